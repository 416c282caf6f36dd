//! What an agent tells of itself.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::Agent;

/// Name, kind and help of each number.
const NUMBERS: [(&str, &str, &str); 8] = [
    (
        "backstop_agent_healthy",
        "gauge",
        "1 while the release that runs passes its health check",
    ),
    (
        "backstop_agent_working",
        "gauge",
        "1 while an order is carried out",
    ),
    ("backstop_agent_epoch", "gauge", "The highest epoch obeyed"),
    (
        "backstop_agent_records_queued",
        "gauge",
        "Records the gateway has not got yet",
    ),
    (
        "backstop_agent_last_poll_timestamp_seconds",
        "gauge",
        "When the gateway last answered",
    ),
    (
        "backstop_agent_reverts_total",
        "counter",
        "Orders gone back from",
    ),
    (
        "backstop_agent_failures_total",
        "counter",
        "Orders given up",
    ),
    (
        "process_resident_memory_bytes",
        "gauge",
        "Memory of the agent",
    ),
];

impl Agent {
    /// Its metrics in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = self.info();
        for ((name, kind, help), value) in NUMBERS.iter().zip(self.numbers()) {
            // Writing to a String can't fail.
            let _infallible = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
        text
    }

    fn info(&self) -> String {
        let mut text = String::from(
            "# HELP deploy_instance_info A host, and what it runs\n\
             # TYPE deploy_instance_info gauge\n",
        );
        let (service, env, host) = (&self.config.service, &self.config.env, &self.config.host);
        if let Some(running) = &self.state().running {
            let (release, deployment) = (&running.known.release_id, &running.deployment_id);
            let batch = running.batch;
            let _infallible = writeln!(
                text,
                "deploy_instance_info{{service=\"{service}\",env=\"{env}\",\
                 release_id=\"{release}\",deployment_id=\"{deployment}\",batch=\"{batch}\",\
                 host=\"{host}\"}} 1"
            );
        }
        text
    }

    /// In the order of [`NUMBERS`].
    fn numbers(&self) -> [u64; 8] {
        let state = self.state();
        let healthy = state.running.as_ref().is_some_and(|one| one.healthy);
        let poll = *self
            .last_poll
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let poll = poll.map_or(0, Timestamp::as_second);
        [
            u64::from(healthy),
            u64::from(state.work.is_some()),
            state.obeyed,
            state.queue.len() as u64,
            u64::try_from(poll).unwrap_or(0),
            self.reverts.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
            resident_bytes(),
        ]
    }
}

/// As Linux tells it; 0 elsewhere.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) * 1_024
}
