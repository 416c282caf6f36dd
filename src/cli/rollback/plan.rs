//! A plan as the gateway tells it, in words.

use std::fmt;

use serde::Deserialize;

use crate::domain::decision::{GuardVerdict, Outcome, Scope};

/// Hosts that are named before the rest is counted.
const NAMED_HOSTS: usize = 10;

/// What a rollback would do.
#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    service: String,
    env: String,
    pub(super) deployment_id: String,
    scope: Scope,
    hosts: Vec<String>,
    pub(super) current: String,
    pub(super) target: String,
    pipeline: String,
    guards: Vec<GuardVerdict>,
    pub(super) allowed: bool,
}

impl Plan {
    /// The first guard that says no for good.
    pub(super) fn denial(&self) -> Option<String> {
        self.first(|outcome| matches!(outcome, Outcome::Deny(_)))
    }

    /// The first guard that says not now.
    pub(super) fn hold(&self) -> Option<String> {
        self.first(|outcome| matches!(outcome, Outcome::Hold(_)))
    }

    fn first(&self, wanted: impl Fn(&Outcome) -> bool) -> Option<String> {
        let found = self
            .guards
            .iter()
            .find(|verdict| wanted(&verdict.outcome))?;
        Some(format!(
            "{}: {}",
            found.guard.as_str(),
            found.outcome.reason()
        ))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} in {}: {}", self.service, self.env, self.scope)?;
        writeln!(f, "  from        {}", self.current)?;
        writeln!(f, "  back to     {}", self.target)?;
        writeln!(f, "  deployment  {}", self.deployment_id)?;
        writeln!(f, "  pipeline    {}", self.pipeline)?;
        let mut hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let more = hosts.len().saturating_sub(NAMED_HOSTS);
        hosts.truncate(NAMED_HOSTS);
        write!(f, "  hosts       {}", self.hosts.len())?;
        if !hosts.is_empty() {
            write!(f, ": {}", hosts.join(", "))?;
        }
        if more > 0 {
            write!(f, " and {more} more")?;
        }
        for verdict in &self.guards {
            let (guard, outcome) = (verdict.guard.as_str(), &verdict.outcome);
            write!(
                f,
                "\n  {:<4}  {guard:<12}{}",
                outcome.as_str(),
                outcome.reason()
            )?;
        }
        let word = if self.allowed {
            "would be done"
        } else {
            "would not be done"
        };
        write!(f, "\n{word}")
    }
}
