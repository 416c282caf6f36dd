//! What evidence asks, whoever answers.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Options, PromError, RuleGroup, Sample, Series};

/// A metrics store, as it is asked.
#[async_trait]
pub trait Ask: fmt::Debug + Send + Sync {
    /// The value of `query` at `at` (now when None).
    ///
    /// # Errors
    /// When there is no whole answer within the limits; see [`PromError`].
    async fn instant(
        &self,
        query: &str,
        at: Option<Timestamp>,
        options: &Options,
    ) -> Result<Vec<Sample>, PromError>;

    /// The points of `query` from `start` to `end`, one per `step`.
    ///
    /// # Errors
    /// When there is no whole answer within the limits; see [`PromError`].
    async fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &Options,
    ) -> Result<Vec<Series>, PromError>;
}

/// The alerting rules of one evaluator, whose expressions are trusted.
#[async_trait]
pub trait RuleList: fmt::Debug + Send + Sync {
    /// Its name, for words.
    fn name(&self) -> String;

    /// Its alerting rules as they stand.
    ///
    /// # Errors
    /// When there is no whole answer.
    async fn rules(&self) -> Result<Vec<RuleGroup>, PromError>;
}
