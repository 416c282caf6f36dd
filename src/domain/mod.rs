//! The vocabulary. No I/O, no async, no foreign formats.
