//! Tells, while it happens, what can be seen from the outside: the executions in Spinnaker, the
//! lanes in the store, the alerts in vmalert, the messages at the vendors.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use backstop::domain::decision::Scope;
use backstop::domain::lane::LaneEvent;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::messages::{self, Kind};
use crate::world::World;
use crate::{HOSTS, SERVICES, lane};

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// The running narrator; it ends when this is dropped.
#[derive(Debug)]
pub struct Narrator(JoinHandle<()>);

impl Narrator {
    /// Tells what happens in `world` from now on.
    pub fn start(world: Arc<World>) -> Self {
        Self(tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                ticks.tick().await;
                for (key, who, what) in look(&world).await {
                    if seen.insert(key) {
                        world.timeline.say(who, what);
                    }
                }
            }
        }))
    }
}

impl Drop for Narrator {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A fact: its name, who, what.
type Fact = (String, &'static str, String);

async fn look(world: &World) -> Vec<Fact> {
    // In the order of cause: what is decided, what Spinnaker does, what is seen of that.
    let mut facts = alerts(world).await;
    let mut seen = Vec::new();
    for service in SERVICES {
        // A store that is being written to may be asked again in a moment.
        let entries = lane::entries(&world.store, service.name).await;
        for (seq, entry) in entries.unwrap_or_default() {
            let decided = matches!(entry.event, LaneEvent::Opened(_));
            let name = format!("{}/{seq}", service.name);
            let fact = event(&entry.event).map(|what| (name, "backstop", what));
            if decided { &mut facts } else { &mut seen }.extend(fact);
        }
    }
    facts.extend(executions(world));
    facts.extend(seen);
    facts.extend(told(world).await);
    facts
}

async fn alerts(world: &World) -> Vec<Fact> {
    let alerts = world.vmalert.alerts().await.unwrap_or_default();
    let fact = |alert: &Value| {
        let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str);
        let (name, state) = (text("/labels/alertname")?, text("/state")?);
        let release = text("/labels/release_id")?;
        let batch = text("/labels/batch").map_or(String::new(), |batch| format!(", batch {batch}"));
        Some((
            format!("{name}/{release}/{batch}/{state}"),
            "vmalert",
            format!("{name} is {state} for {release}{batch}"),
        ))
    };
    alerts.iter().filter_map(fact).collect()
}

fn executions(world: &World) -> Vec<Fact> {
    let mut facts = Vec::new();
    for run in world.gate.world().runs() {
        let release = run.parameter("release_id").or(run.parameter("release"));
        let title = format!("{} {}", run.name, release.unwrap_or_default());
        let fact = |key: &str, what: String| (format!("{}/{key}", run.id), "spinnaker", what);
        facts.push(fact("start", format!("{title} starts ({})", run.id)));
        for stage in run
            .stages
            .iter()
            .filter(|stage| stage.status == "SUCCEEDED")
        {
            let name = &stage.name;
            match stage.kind.as_str() {
                "deployHosts" => {
                    let hosts = stage.context.get("hosts").and_then(Value::as_str);
                    let hosts = some_of(hosts.unwrap_or_default());
                    facts.push(fact(name, format!("{title}: {name} done on {hosts}")));
                }
                "webhook" if name.contains("admission") => {
                    facts.push(fact(name, format!("{title}: admitted by Backstop")));
                }
                _ => {}
            }
        }
        if run.has_ended() {
            facts.push(fact("end", format!("{title} ended {}", run.status)));
        }
    }
    facts
}

fn some_of(hosts: &str) -> String {
    if hosts == "all" {
        return format!("all {HOSTS} hosts");
    }
    let all: Vec<&str> = hosts.split(',').collect();
    match all.as_slice() {
        [first, .., last] if all.len() > 3 => format!("{} hosts ({first} .. {last})", all.len()),
        _ => hosts.replace(',', ", "),
    }
}

/// What an event of a lane says; batch starts and claims are told by others, or not worth a line.
fn event(event: &LaneEvent) -> Option<String> {
    Some(match event {
        LaneEvent::Opened(opened) => format!(
            "decides: {} of {} goes back to {}; {}",
            match &opened.scope {
                Scope::Full => "all".to_owned(),
                batch @ Scope::Batch(_) => batch.to_string(),
            },
            opened.release_id,
            opened.target,
            opened.decision.why()
        ),
        LaneEvent::Submitted { execution, .. } => format!("Gate accepted execution {execution}"),
        LaneEvent::Finished { status, .. } => format!("sees the rollback end {status}"),
        LaneEvent::Recovery { ending, .. } => {
            format!("asks the metrics store about the service: {ending:?}")
        }
        LaneEvent::Reported { incident, revision } => {
            format!("report of {incident} is written, revision {revision}")
        }
        LaneEvent::Closed {
            incident, ending, ..
        } => format!("incident {incident} is closed: {ending:?}"),
        LaneEvent::Voided { why, .. } => format!("an attempt came to nothing: {why}"),
        LaneEvent::Unknown { why, .. } => format!("cannot tell what Spinnaker did: {why}"),
        _ => return None,
    })
}

async fn told(world: &World) -> Vec<Fact> {
    // A chart that is not there yet is asked for again.
    let messages = messages::collect(world).await.unwrap_or_default();
    let fact = |message: &messages::Told| {
        let name = serde_json::to_value(message.kind).ok()?;
        let mut what = format!("{} message", name.as_str()?);
        if message.kind == Kind::Firing {
            let _infallible = match message.chart_bytes {
                0 => return None,
                bytes => write!(what, " with a chart of {bytes} bytes"),
            };
        }
        Some((message.file.display().to_string(), message.channel, what))
    };
    messages.iter().filter_map(fact).collect()
}
