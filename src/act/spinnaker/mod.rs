//! Gate as a client meets it.
