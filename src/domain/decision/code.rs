//! Why a guard said what it said, in a word that programs may rely on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One list for the variants and their words, so that neither is forgotten.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a guard said what it said. Together with the guard it names one situation; the words
        /// beside it are for people and may change, this does not.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema,
        )]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $name,)+
            /// None was recorded, or one that this version does not know.
            #[default]
            #[serde(rename = "unstated", other)]
            Unstated,
        }

        impl Code {
            /// All that a guard may state.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word in documents and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                    Self::Unstated => "unstated",
                }
            }
        }
    };
}

codes! {
    /// Nothing speaks against it.
    Ok = "ok",
    /// What it needs to know can't be read.
    Unreadable = "unreadable",
    /// No single deployment is accused, so there is nothing to ask about.
    NobodyAccused = "nobody_accused",
    /// Switched off, by people or by the policy.
    Off = "off",
    /// Mode `shadow`: said and recorded, not done.
    Shadow = "shadow",
    /// The delivery lacks alerts.
    Truncated = "truncated",
    /// An alert fires no longer.
    Resolved = "resolved",
    /// The delivery is too old.
    OldDelivery = "old_delivery",
    /// The hold is too old.
    OldHold = "old_hold",
    /// An alert starts in the future.
    StartsInFuture = "starts_in_future",
    /// The sender no longer vouches for an alert.
    LeaseOver = "lease_over",
    /// More than one deployment fits.
    Ambiguous = "ambiguous",
    /// No deployment fits.
    NoDeployment = "no_deployment",
    /// The deployment brought another release than the alert accuses.
    OtherRelease = "other_release",
    /// Service and environment are too long for a lane's name.
    NoLane = "no_lane",
    /// The catalog is too old.
    StaleCatalog = "stale_catalog",
    /// It has not stood long enough.
    TooYoung = "too_young",
    /// Too few hosts are accused.
    TooFewHosts = "too_few_hosts",
    /// The metrics store was not asked yet.
    NotAsked = "not_asked",
    /// The evidence is too old.
    OldEvidence = "old_evidence",
    /// The metrics store says that it does not hold.
    DoesNotHold = "does_not_hold",
    /// The metrics store says it of others.
    HoldsForOthers = "holds_for_others",
    /// The metrics store has no sample.
    NoData = "no_data",
    /// The metrics store can't be asked.
    SourceDown = "source_down",
    /// No trusted expression is known.
    NoTrustedExpression = "no_trusted_expression",
    /// It is not this release's fault.
    NotToBlame = "not_to_blame",
    /// Whether it is this release's fault can't be told.
    BlameUnclear = "blame_unclear",
    /// How much would go back can't be told.
    ScopeUntold = "scope_untold",
    /// An unfinished incident takes back all that is asked for.
    AlreadyHandled = "already_handled",
    /// An unfinished incident of this deployment takes back less.
    WiderThanIncident = "wider_than_incident",
    /// An unfinished incident is about another deployment.
    OtherIncident = "other_incident",
    /// An earlier rollback of this deployment failed.
    RollbackFailed = "rollback_failed",
    /// A person gave up an earlier incident of this deployment.
    GivenUp = "given_up",
    /// An earlier incident took back all that is asked for.
    AlreadyTakenBack = "already_taken_back",
    /// No release could be gone back to.
    NoStableRelease = "no_stable_release",
    /// The accused deployment was a rollback.
    WasRollback = "was_rollback",
    /// A rollback of the lane went to the accused release.
    WasTarget = "was_target",
    /// The release was published as not reversible.
    NotReversible = "not_reversible",
    /// A freeze window is open, and rollbacks pass it.
    RollbacksPass = "rollbacks_pass",
    /// A freeze window is open, and it holds rollbacks.
    Frozen = "frozen",
    /// Another execution runs.
    OtherExecution = "other_execution",
    /// Something runs, and whether it touches the service can't be told.
    MayTouch = "may_touch",
    /// The last rollback was too short ago.
    CoolingDown = "cooling_down",
    /// All services together have used theirs up.
    OverallSpent = "overall_spent",
    /// The service has used its up.
    ServiceSpent = "service_spent",
    /// Too few hosts would stay up.
    TooFewLeft = "too_few_left",
    /// Mode `approve`: a person must agree.
    ModeAsks = "mode_asks",
    /// The rule wants a person to agree.
    RuleAsks = "rule_asks",
    /// People are being asked.
    Asked = "asked",
    /// Nobody answered in time.
    NoAnswer = "no_answer",
    /// A person said no.
    Denied = "denied",
}
