//! Whom a series is about: the accused, somebody else, or nobody in particular.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::catalog::{LaneIndex, View};
use super::super::host;
use crate::domain::alert::Labels;
use crate::domain::context::Context;
use crate::domain::id::Host;

/// Whom a series is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::enrich) enum Names {
    /// One of the accused hosts, or an accused batch of the release.
    Accused,
    /// The accused release as a whole, all its batches together.
    Release,
    /// The accused release where it is not accused: another batch or host.
    Fellow,
    /// A host of the accused, under another release: its past.
    Former,
    /// Somebody else of the same service and env, to compare with.
    Other,
    /// Neither a release nor a host: aggregated away.
    Nobody,
    /// Another service or env.
    Foreign,
}

/// The accused, as labels of series may name them.
#[derive(Debug)]
pub(in crate::enrich) struct Accused<'a> {
    pub(super) context: &'a Context,
    hosts: BTreeSet<Host>,
    lane: Option<Arc<LaneIndex>>,
    versions: Vec<String>,
}

impl<'a> Accused<'a> {
    pub(in crate::enrich) fn new(context: &'a Context, view: &View) -> Self {
        let lane = view.lane(&context.service, &context.env);
        let canonical = |host: &Host| {
            let known = lane.as_deref().and_then(|lane| lane.canonical(host));
            known.unwrap_or(host).clone()
        };
        let mut versions = vec![context.release_id.version().to_owned()];
        versions.extend(context.release.as_ref().map(|release| release.tag.clone()));
        Self {
            hosts: context.hosts.iter().map(canonical).collect(),
            versions,
            context,
            lane,
        }
    }

    /// Whom a series with these labels is about.
    pub(in crate::enrich) fn names(&self, labels: &Labels) -> Names {
        let differs = |label: &str, ours: &str| {
            labels
                .get(label)
                .is_some_and(|value| !value.is_empty() && value != ours)
        };
        if differs("service", self.context.service.as_str())
            || differs("env", self.context.env.as_str())
        {
            return Names::Foreign;
        }
        let host = self.host_of(labels);
        let on_accused_host = host.as_ref().map(|host| self.hosts.contains(host));
        match (self.release(labels), on_accused_host) {
            (Some(false), Some(true)) => Names::Former,
            (Some(false), _) => Names::Other,
            (_, Some(true)) => Names::Accused,
            (Some(true), Some(false)) => Names::Fellow,
            (Some(true), None) => self.batch(labels),
            // Another batch of the same deployment runs the release as well.
            (None, Some(false)) if host.is_some_and(|host| self.runs_the_release(&host)) => {
                Names::Fellow
            }
            (None, Some(false)) => Names::Other,
            (None, None) => Names::Nobody,
        }
    }

    /// Which part of the accused release a series without a host is about.
    fn batch(&self, labels: &Labels) -> Names {
        let batch = labels.get("batch").and_then(|batch| batch.parse().ok());
        match batch {
            None => Names::Release,
            Some(_) if self.context.batches.is_empty() => Names::Release,
            Some(batch) if self.context.batches.contains(&batch) => Names::Accused,
            Some(_) => Names::Fellow,
        }
    }

    /// Whether the release a series names is the accused one; None when it names none.
    fn release(&self, labels: &Labels) -> Option<bool> {
        if let Some(id) = labels.get("release_id").filter(|id| !id.is_empty()) {
            return Some(id == self.context.release_id.as_str());
        }
        let version = labels
            .get("version")
            .filter(|version| !version.is_empty())?;
        Some(self.versions.contains(version))
    }

    fn host_of(&self, labels: &Labels) -> Option<Host> {
        let text = labels.get("instance").or_else(|| labels.get("pod"))?;
        let host = host::of_instance(text)?;
        let known = self.lane.as_deref().and_then(|lane| lane.canonical(&host));
        Some(known.cloned().unwrap_or(host))
    }

    /// Whether `host` is a member of a started batch of the accused deployment.
    fn runs_the_release(&self, host: &Host) -> bool {
        let batch = self.context.deployment.batch_of(host);
        batch.is_some_and(|batch| batch.started_at.is_some())
    }

    /// The accused hosts by their catalog names.
    pub(super) fn hosts(&self) -> &BTreeSet<Host> {
        &self.hosts
    }

    /// The lane the accused runs in.
    pub(super) fn lane(&self) -> Option<&LaneIndex> {
        self.lane.as_deref()
    }
}
