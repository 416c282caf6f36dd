//! GitHub as a client meets it, the public one or an Enterprise server: tags, releases, compare.
//!
//! Reading only. Lists come page by page, each asked with the `ETag` of the last time: "unchanged"
//! costs nothing of the hourly limit. A limit that was met is heeded until it is over, without
//! asking. What the answers mean for releases is left to `sync`.

mod client;
mod limit;
mod repository;
mod wire;

pub use client::{
    Comparison, GitHub, GitHubError, GitHubSettings, Listed, Page, Rate, Release, Tag,
};
pub use repository::Repository;
