//! Canary rules with the real vmalert and a real metrics store.

mod arming;
mod pipeline;
mod pull;
mod scene;
mod templates;
