//! When a batch has passed, and when it has not: pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::ByAgents;
use crate::domain::agent::{InstanceRecord, Step};
use crate::domain::clock;
use crate::domain::id::Host;
use crate::web::api::BatchStatus;

/// Hosts named in one progress; the rest is counted.
const MOST_NAMED: usize = 5;

/// What is known of one host.
#[derive(Debug, Clone)]
pub(super) struct HostFacts {
    pub(super) host: Host,
    /// Its newest record of the deployment.
    pub(super) newest: Option<Arc<InstanceRecord>>,
    /// When its agent was heard last, or since when it could have been.
    pub(super) heard: Timestamp,
}

/// How a batch stands that started at `started`.
pub(super) fn judge(
    hosts: &[HostFacts],
    rules: &ByAgents,
    started: Timestamp,
    now: Timestamp,
) -> (BatchStatus, String) {
    let all = hosts.len();
    let needed = (all * usize::from(rules.min_healthy)).div_ceil(100).max(1);
    let mut healthy: Vec<Timestamp> = Vec::new();
    let (mut failed, mut lost, mut working) = (Vec::new(), Vec::new(), Vec::new());
    for one in hosts {
        let record = one.newest.as_deref();
        let host = &one.host;
        let is_lost = clock::since(now, one.heard) > rules.lost_after();
        match record.map(|record| record.step) {
            Some(step @ (Step::Failed | Step::Reverted)) => {
                let error = record.and_then(|record| record.instance.error_message.as_deref());
                failed.push(format!(
                    "{host} {}: {}",
                    step.as_str(),
                    error.unwrap_or("no reason given")
                ));
            }
            _ if is_lost => lost.push(host.to_string()),
            Some(Step::Healthy) => healthy.extend(record.map(|record| record.received_at)),
            Some(step) => working.push(format!("{host} {}", step.as_str())),
            None => working.push(format!("{host} has not begun")),
        }
    }
    let mut words = vec![format!("{} of {all} hosts healthy", healthy.len())];
    for (what, which) in [("lost", &lost), ("failed", &failed), ("at work", &working)] {
        if !which.is_empty() {
            words.push(format!("{} {what} ({})", which.len(), named(which)));
        }
    }
    let words = words.join(", ");
    if all - failed.len() < needed {
        return (BatchStatus::Failed, words);
    }
    healthy.sort_unstable();
    // Since when so many as are needed have been healthy.
    if let Some(since) = healthy.get(needed - 1) {
        return if clock::since(now, *since) >= rules.healthy_for {
            (BatchStatus::Succeeded, words)
        } else {
            (
                BatchStatus::Running,
                format!("{words}; they must stay so for a while"),
            )
        };
    }
    if clock::since(now, started) > rules.within {
        return (BatchStatus::Failed, format!("not in time: {words}"));
    }
    (BatchStatus::Running, words)
}

fn named(which: &[String]) -> String {
    let mut text: Vec<&str> = which.iter().take(MOST_NAMED).map(String::as_str).collect();
    let more = format!("and {} more", which.len().saturating_sub(MOST_NAMED));
    if which.len() > MOST_NAMED {
        text.push(&more);
    }
    text.join("; ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::agent::{Desired, Reason, Record};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn rules() -> ByAgents {
        ByAgents {
            min_healthy: 100,
            healthy_for: Duration::ZERO,
            within: Duration::from_mins(10),
            poll: Duration::from_secs(10),
        }
    }

    fn facts(host: &str, step: Option<(Step, i64)>, heard: i64) -> HostFacts {
        let desired = Desired {
            epoch: 1,
            host: Host::new(host).unwrap(),
            service: "s".parse().unwrap(),
            env: "prod".parse().unwrap(),
            release_id: "s@2".parse().unwrap(),
            deployment_id: "D".parse().unwrap(),
            batch: 1,
            reason: Reason::Deploy,
            incident_id: None,
        };
        let record = |(step, when): (Step, i64)| {
            let bad = matches!(step, Step::Failed | Step::Reverted);
            let record = Record {
                id: "x".into(),
                epoch: 1,
                step,
                at: at(when),
                ip: None,
                error: bad.then(|| "the health check failed".to_owned()),
                from: None,
                to: None,
            };
            Arc::new(InstanceRecord::of(&desired, record, at(when)))
        };
        HostFacts {
            host: desired.host.clone(),
            newest: step.map(record),
            heard: at(heard),
        }
    }

    #[test]
    fn all_healthy_passes_after_the_soak() {
        let hosts = [
            facts("a", Some((Step::Healthy, 20)), 50),
            facts("b", Some((Step::Healthy, 40)), 50),
        ];
        assert_eq!(
            judge(&hosts, &rules(), at(0), at(50)).0,
            BatchStatus::Succeeded
        );
        let soaking = ByAgents {
            healthy_for: Duration::from_secs(30),
            ..rules()
        };
        assert_eq!(
            judge(&hosts, &soaking, at(0), at(50)).0,
            BatchStatus::Running
        );
        assert_eq!(
            judge(&hosts, &soaking, at(0), at(70)).0,
            BatchStatus::Succeeded
        );
    }

    #[test]
    fn a_host_that_went_back_fails_the_batch_and_is_named() {
        let hosts = [
            facts("a", Some((Step::Healthy, 20)), 50),
            facts("b", Some((Step::Reverted, 40)), 50),
        ];
        let (status, words) = judge(&hosts, &rules(), at(0), at(50));
        assert_eq!(status, BatchStatus::Failed);
        assert_eq!(
            words,
            "1 of 2 hosts healthy, 1 failed (b reverted: the health check failed)"
        );
        let half = ByAgents {
            min_healthy: 50,
            ..rules()
        };
        assert_eq!(
            judge(&hosts, &half, at(0), at(50)).0,
            BatchStatus::Succeeded
        );
    }

    #[test]
    fn a_silent_host_is_lost_and_the_batch_does_not_pass_until_its_time_is_over() {
        let hosts = [
            facts("a", Some((Step::Healthy, 20)), 60),
            facts("b", Some((Step::Healthy, 20)), 20),
        ];
        let (status, words) = judge(&hosts, &rules(), at(0), at(56));
        assert_eq!(status, BatchStatus::Succeeded, "{words}");
        let (status, words) = judge(&hosts, &rules(), at(0), at(57));
        assert_eq!(status, BatchStatus::Running, "{words}");
        assert!(words.contains("1 lost (b)"), "{words}");
        let hosts = [facts("b", Some((Step::Staged, 20)), 20)];
        let (status, words) = judge(&hosts, &rules(), at(0), at(601));
        assert_eq!(
            (status, words.as_str()),
            (
                BatchStatus::Failed,
                "not in time: 0 of 1 hosts healthy, 1 lost (b)"
            )
        );
    }

    #[test]
    fn a_host_that_is_unwell_again_does_not_count() {
        let hosts = [facts("a", Some((Step::Unhealthy, 20)), 20)];
        let (status, words) = judge(&hosts, &rules(), at(0), at(21));
        assert_eq!(
            (status, words.as_str()),
            (
                BatchStatus::Running,
                "0 of 1 hosts healthy, 1 at work (a unhealthy)"
            )
        );
    }
}
