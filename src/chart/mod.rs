//! Draws the trend chart of an alert's metric: series in, PNG out.
