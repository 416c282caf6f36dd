//! The guards by name, and what one of them can say.

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::code::Code;

/// The guards, in the order they are asked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Nobody switched it off: for everything, the service or the environment.
    KillSwitch,
    /// Shadow, approve or enforce; a policy may say off.
    Mode,
    /// The payload is recent, whole and still firing.
    Freshness,
    /// Exactly one deployment is accused, from a fresh catalog.
    Context,
    /// `for` and `min_hosts` of the rule are met.
    Threshold,
    /// The metrics store says so itself.
    Verify,
    /// It is this release's fault.
    Attribution,
    /// Phase and scope could be told.
    Phase,
    /// No incident of the lane handles it, or stands in the way.
    Lane,
    /// The target exists, is stable and differs.
    Target,
    /// What would be taken back is not itself what was gone back to.
    RollbackOfRollback,
    /// The release may be taken back at all.
    Irreversible,
    /// No freeze window holds rollbacks.
    Freeze,
    /// No other execution runs on the service and environment.
    OtherExecutions,
    /// The last rollback of the lane is long enough ago.
    Cooldown,
    /// Few enough automatic rollbacks lately.
    Budget,
    /// Enough hosts stay up while it runs.
    Capacity,
    /// A person agreed, where one is asked.
    Approval,
}

impl Guard {
    /// All of them, in the order they are asked.
    pub const ALL: [Self; 18] = [
        Self::KillSwitch,
        Self::Mode,
        Self::Freshness,
        Self::Context,
        Self::Threshold,
        Self::Verify,
        Self::Attribution,
        Self::Phase,
        Self::Lane,
        Self::Target,
        Self::RollbackOfRollback,
        Self::Irreversible,
        Self::Freeze,
        Self::OtherExecutions,
        Self::Cooldown,
        Self::Budget,
        Self::Capacity,
        Self::Approval,
    ];

    /// Its name in documents, messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill_switch",
            Self::Mode => "mode",
            Self::Freshness => "freshness",
            Self::Context => "context",
            Self::Threshold => "threshold",
            Self::Verify => "verify",
            Self::Attribution => "attribution",
            Self::Phase => "phase",
            Self::Lane => "lane",
            Self::Target => "target",
            Self::RollbackOfRollback => "rollback_of_rollback",
            Self::Irreversible => "irreversible",
            Self::Freeze => "freeze",
            Self::OtherExecutions => "other_executions",
            Self::Cooldown => "cooldown",
            Self::Budget => "budget",
            Self::Capacity => "capacity",
            Self::Approval => "approval",
        }
    }
}

/// What a guard says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Go on; the words say what it saw.
    Pass(String),
    /// Not now.
    Hold(String),
    /// No.
    Deny(String),
}

impl Outcome {
    /// `pass`, `hold` or `deny`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Hold(_) => "hold",
            Self::Deny(_) => "deny",
        }
    }

    /// The words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Pass(reason) | Self::Hold(reason) | Self::Deny(reason) => reason,
        }
    }

    /// Whether it lets the action through.
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Pass(_))
    }
}

/// One guard's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardVerdict {
    /// Which.
    pub guard: Guard,
    /// What it said.
    pub outcome: Outcome,
    /// Why, in a word that programs may rely on.
    #[serde(default)]
    pub code: Code,
}

/// Reads verdicts of another version: those of guards that are not known here are left out, so
/// that a replica can read what a newer one decided.
pub(super) fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<GuardVerdict>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Known(GuardVerdict),
        Unknown(IgnoredAny),
    }
    let entries = Vec::<Entry>::deserialize(from)?;
    let known = entries.into_iter().filter_map(|entry| match entry {
        Entry::Known(verdict) => Some(verdict),
        Entry::Unknown(_) => None,
    });
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value of a unit enum, as its schema lists them.
    fn listed<T: JsonSchema>() -> Vec<String> {
        let schema = schemars::schema_for!(T);
        let rows = schema.get("oneOf").and_then(|rows| rows.as_array());
        let words = |row: &serde_json::Value| match (row.get("const"), row.get("enum")) {
            (Some(one), _) => vec![one.clone()],
            (None, Some(many)) => many.as_array().cloned().unwrap_or_default(),
            (None, None) => panic!("{row}"),
        };
        let words = rows.unwrap().iter().flat_map(words);
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_list_of_guards_is_whole_and_in_order() {
        assert_eq!(listed::<Guard>(), Guard::ALL.map(|g| g.as_str().to_owned()));
        assert!(Guard::ALL.is_sorted());
    }

    #[test]
    fn a_code_is_written_as_its_word_and_an_unknown_one_is_unstated() {
        for code in Code::ALL {
            let written = serde_json::to_value(code).unwrap();
            assert_eq!(written, code.as_str());
            assert_eq!(serde_json::from_value::<Code>(written).unwrap(), *code);
        }
        let newer: Code = serde_json::from_str("\"moon_phase\"").unwrap();
        assert_eq!(newer, Code::Unstated);
    }

    #[test]
    fn verdicts_without_a_code_and_of_unknown_guards_are_read() {
        #[derive(Deserialize)]
        struct Decision {
            #[serde(deserialize_with = "known")]
            guards: Vec<GuardVerdict>,
        }
        let text = r#"{"guards": [
            {"guard": "lane", "outcome": {"pass": "free"}},
            {"guard": "moon_phase", "outcome": {"hold": "full"}, "code": "full"},
            {"guard": "budget", "outcome": {"hold": "spent"}, "code": "service_spent"}
        ]}"#;
        let Decision { guards } = serde_json::from_str(text).unwrap();
        let read: Vec<_> = guards.iter().map(|one| (one.guard, one.code)).collect();
        assert_eq!(
            read,
            [
                (Guard::Lane, Code::Unstated),
                (Guard::Budget, Code::ServiceSpent)
            ]
        );
    }
}
