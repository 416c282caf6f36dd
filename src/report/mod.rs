//! The incident report: a JSON record, and the HTML and Markdown made from it.
