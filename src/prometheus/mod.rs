//! The metrics store, the vmalerts and Alertmanager, as they are asked.
//!
//! [`Client`] asks for instants and ranges, [`RuleSource`] for the alerting rules of one vmalert;
//! evidence knows them as [`Ask`] and [`RuleList`], since a rehearsal answers from a file.
//! [`history`] reads raw points for reports, [`expr`] takes expressions apart just far enough. What
//! an answer means for an accusation is left to [`crate::enrich`]. Every answer is bounded in
//! bytes, series and points, and a partial one is an error, never half a truth.

mod alertmanager;
mod ask;
mod client;
mod error;
pub mod expr;
pub mod history;
mod rules;
mod wire;

pub use alertmanager::{Alertmanager, KnownAlert, PostedAlert};
pub use ask::{Ask, RuleList};
pub use client::{Client, Options, Sample, Series};
pub use error::PromError;
pub use rules::{AlertingRule, RuleGroup, RuleSource};

use crate::config::Basic;
use crate::domain::secret::Secret;

/// How we log in, the same for the store and for vmalert.
#[derive(Debug, Clone, Default)]
struct Login {
    basic: Option<Basic>,
    bearer: Option<Secret>,
}

impl Login {
    fn apply(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match (&self.basic, &self.bearer) {
            (Some(basic), _) => request.basic_auth(&basic.username, Some(basic.password.expose())),
            (None, Some(token)) => request.bearer_auth(token.expose()),
            (None, None) => request,
        }
    }
}

/// `base` with `segments` behind its own path; whatever prefix the base has is kept.
fn join(base: &url::Url, segments: &[&str]) -> Result<url::Url, PromError> {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.path_segments_mut()
        .map_err(|()| PromError::BadAnswer("the address cannot carry a path".into()))?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

#[cfg(test)]
mod tests;
