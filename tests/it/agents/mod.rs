//! Batches that real agents deploy.

mod fleet;
mod rollback;
mod scene;
mod thousand;
