//! One test binary; a module per room or behaviour.

mod web;
