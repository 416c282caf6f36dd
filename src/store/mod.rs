//! Typed documents over an object store; creating a key is the only lock.
