//! The verbs of the command line and their exit codes.
