//! Batches that real agents deploy.

mod fleet;
mod scene;
mod thousand;
