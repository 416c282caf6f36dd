//! Canary rules with the real vmalert and a real metrics store.

mod arming;
mod disarming;
mod pipeline;
mod pull;
mod scene;
mod templates;
