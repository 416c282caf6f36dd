//! Every key the product writes, in one place.
//!
//! One writer per prefix. Parts that come from outside are ids (checked), fingerprints or hashes,
//! so that no label can steer a key.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::domain::hex;
use crate::domain::id::{
    ChannelName, DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, ReplicaId, Service,
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

/// The chain of what GitHub says of a release's tag; the newest link counts. Written by `sync`.
pub fn tag(service: &Service, id: &ReleaseId) -> String {
    format!("tags/{service}/{}", id.version())
}

/// The commits between two commits, which [`is_commit`](crate::domain::source::is_commit) has
/// seen. Written by `sync`, once.
pub fn change(service: &Service, base: &str, head: &str) -> String {
    format!("changes/{service}/{base}-{head}.json")
}

/// What `sync` remembers of a list that it reads page by page: an aid, no document.
pub fn page(service: &Service, address: &str) -> String {
    format!("sync/{service}/{}.json", hashed(address))
}

/// The chain of what is known of a deployment; the newest link counts. Written by `sync`.
pub fn deployment(service: &Service, env: &Env, id: &DeploymentId) -> String {
    format!("deployments/{service}/{env}/{id}")
}

/// The chain of one host's record in a deployment; the newest link counts. Written by agents.
pub fn instance(service: &Service, env: &Env, id: &DeploymentId, host: &Host) -> String {
    format!("instances/{service}/{env}/{id}/{host}")
}

/// The chain of what is known of all hosts of a deployment, in one document; the newest link counts.
/// Written by the gateway, when the deployment is over.
pub fn snapshot(service: &Service, env: &Env, id: &DeploymentId) -> String {
    format!("snapshots/{service}/{env}/{id}")
}

/// What one host is to run as of an epoch. Written once, by the gateway.
pub fn desired(env: &Env, service: &Service, host: &Host, epoch: u64) -> String {
    format!("desired/{env}/{service}/{host}/{}.json", number(epoch))
}

/// What became of a batch that agents deployed; written once.
pub fn verdict(lane: &LaneName, deployment: &DeploymentId, batch: u32) -> String {
    format!("batches/{lane}/{deployment}/{batch}.json")
}

/// The folder of what replicas heard of agents.
pub const SEEN: &str = "seen";

/// What one replica heard of agents; replaces the one before.
pub fn seen(replica: &ReplicaId, at: Timestamp) -> String {
    format!("{SEEN}/{}.json", stamped(at, replica.as_str()))
}

/// A lane's chain.
pub fn lane(lane: &LaneName) -> String {
    format!("lanes/{lane}")
}

/// The index entry announced before the append that opens an incident.
pub fn open(lane: &LaneName, seq: u64) -> String {
    format!("open/{lane}-{seq}")
}

/// The chain of one batch's canary rules: armed, proven, disarmed.
pub fn armed(lane: &LaneName, deployment: &DeploymentId, batch: u32) -> String {
    format!("armed/{lane}/{deployment}/{}", number(u64::from(batch)))
}

/// The folder of a deployment's holds.
pub fn holds(lane: &LaneName, deployment: &DeploymentId) -> String {
    format!("holds/{lane}/{deployment}")
}

/// A hold's chain: one per lane, deployment and rule.
pub fn hold(lane: &LaneName, deployment: &DeploymentId, rule: &str) -> String {
    format!("{}/{}", holds(lane, deployment), hashed(rule))
}

/// A name that sorts by its time; `unique` keeps two of one millisecond apart.
pub fn stamped(at: Timestamp, unique: &str) -> String {
    format!("{:013}-{unique}", at.as_millisecond())
}

/// The name and time of a key that ends in a [`stamped`] name; None for others.
pub fn stamp(key: &str) -> Option<(&str, Timestamp)> {
    let (_, file) = key.rsplit_once('/')?;
    let name = file.strip_suffix(".json")?;
    let (millisecond, _) = name.split_once('-')?;
    let at = Timestamp::from_millisecond(millisecond.parse().ok()?).ok()?;
    Some((name, at))
}

fn by_day(folder: &str, at: Timestamp, unique: &str) -> String {
    format!("{folder}/{}/{}.json", day(at), stamped(at, unique))
}

/// One delivery's episode document; `unique` keeps two deliveries of one millisecond apart.
pub fn episodes(at: Timestamp, unique: &str) -> String {
    by_day("episodes", at, unique)
}

/// One replica's sign of life.
pub fn presence(at: Timestamp, unique: &str) -> String {
    by_day("presence", at, unique)
}

/// Something that happened to the self-test; `name` keeps two events of one millisecond apart.
pub fn self_test(at: Timestamp, name: &str) -> String {
    format!(
        "self-test/{}/{:013}-{name}.json",
        day(at),
        at.as_millisecond()
    )
}

/// The ledger chain of one channel and group on one day.
pub fn ledger(day: &str, channel: &ChannelName, thread: &str) -> String {
    format!("ledger/{day}/{channel}/{}", hashed(thread))
}

/// A vendor told a target to wait; `target` is a hash, `unique` keeps two parkings apart.
pub fn parked(target: &str, until: Timestamp, unique: &str) -> String {
    format!(
        "parked/{target}/{:013}-{unique}.json",
        until.as_millisecond()
    )
}

/// A decision's record, for `explain` and the API.
pub fn decision(at: Timestamp, unique: &str) -> String {
    by_day("decisions", at, unique)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_by_day_tells_its_time() {
        let at: Timestamp = "2026-11-22T14:02:00.125Z".parse().unwrap_or_default();
        let key = decision(at, "ab-c");
        assert_eq!(key, "decisions/2026-11-22/1795356120125-ab-c.json");
        assert_eq!(stamp(&key), Some(("1795356120125-ab-c", at)));
        for other in ["decisions", "a/b.json", "a/x-y.json", "a/1795356120125-ab"] {
            assert_eq!(stamp(other), None, "{other}");
        }
    }
}
