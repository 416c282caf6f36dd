//! Every key the product writes, in one place.
//!
//! One writer per prefix. Parts that come from outside are ids (checked), fingerprints or hashes,
//! so that no label can steer a key.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::domain::hex;
use crate::domain::id::{
    ChannelName, DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service,
};

/// Digits of a number in a key, so that names sort like numbers.
const WIDTH: usize = 10;

/// `0000000017`
pub fn number(n: u64) -> String {
    format!("{n:0WIDTH$}")
}

/// A day in UTC: `2026-11-22`. Ledger entries, decisions and episodes expire by it.
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// A short name for text of any shape: 20 hex digits of its SHA-256.
pub fn hashed(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    hex(digest.get(..10).unwrap_or_default())
}

/// A release's document. Written by `release publish`.
pub fn release(service: &Service, id: &ReleaseId) -> String {
    format!("releases/{service}/{}.json", id.version())
}

/// The chain of a release's marks.
pub fn marks(id: &ReleaseId) -> String {
    format!("marks/{id}")
}

/// The chain of what is known of a deployment; the newest link counts. Written by `sync`.
pub fn deployment(service: &Service, env: &Env, id: &DeploymentId) -> String {
    format!("deployments/{service}/{env}/{id}")
}

/// The chain of one host's record in a deployment; the newest link counts. Written by agents.
pub fn instance(service: &Service, env: &Env, id: &DeploymentId, host: &Host) -> String {
    format!("instances/{service}/{env}/{id}/{host}")
}

/// A lane's chain.
pub fn lane(lane: &LaneName) -> String {
    format!("lanes/{lane}")
}

/// The index entry announced before the append that opens an incident.
pub fn open(lane: &LaneName, seq: u64) -> String {
    format!("open/{lane}-{seq}")
}

/// A hold's chain: one per lane, deployment and rule.
pub fn hold(lane: &LaneName, deployment: &DeploymentId, rule: &str) -> String {
    format!("holds/{lane}/{deployment}/{}", hashed(rule))
}

/// One delivery's episode document; `unique` keeps two deliveries of one millisecond apart.
pub fn episodes(at: Timestamp, unique: &str) -> String {
    format!(
        "episodes/{}/{:013}-{unique}.json",
        day(at),
        at.as_millisecond()
    )
}

/// The ledger chain of one channel and group on one day.
pub fn ledger(day: &str, channel: &ChannelName, thread: &str) -> String {
    format!("ledger/{day}/{channel}/{}", hashed(thread))
}

/// A decision's record, for `explain` and the API.
pub fn decision(at: Timestamp, unique: &str) -> String {
    format!(
        "decisions/{}/{:013}-{unique}.json",
        day(at),
        at.as_millisecond()
    )
}

/// The chain of budget grants.
pub fn budget() -> String {
    "budget".to_owned()
}

/// The folder of all revisions of an incident's report.
pub fn reports(incident: &IncidentId) -> String {
    format!("reports/{incident}")
}

/// One revision of an incident's report: `record.json`, `report.html`, `report.md`.
pub fn report(incident: &IncidentId, revision: u32, file: &str) -> String {
    format!("reports/{incident}/{revision}/{file}")
}

/// A drawn chart.
pub fn chart(id: &str) -> String {
    format!("charts/{id}.png")
}

/// The chain of modes that people set.
pub fn mode() -> String {
    "mode".to_owned()
}
