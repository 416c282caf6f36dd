//! What happens in a round: at which steps a replica is hit, how, and in what weather. All of it
//! follows from the round's number.

use std::time::Duration;

use axum::http::Method;

use crate::support::gate::Weather;
use crate::support::holding::{Asked, Side};

/// A step of the rollback at which a process can be hit from outside: every request it makes or is
/// made, from the alert to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The metrics store is asked for evidence.
    Evidence,
    /// Spinnaker is asked for the accused deployment.
    Deployment,
    /// The message is with the vendor; the record of it is not written.
    Told,
    /// The accused deployment was cancelled, the sender has not heard.
    Cancelled,
    /// It is looked at until it stands.
    Stopping,
    /// Is the rollback pipeline there?
    Pipelines,
    /// Between the last check and the request to start the rollback.
    Sending,
    /// Spinnaker has started it; its answer is on the way.
    Sent,
    /// It is looked for, because the answer was lost.
    LookingUp,
    /// The execution asks to be let in; the replica has not heard it.
    Asking,
    /// The replica has let it in; the execution has not heard.
    Admitted,
    /// The execution is followed.
    Following,
    /// The recovery question is asked.
    Recovery,
}

/// Every step, in the order of a rollback.
pub(super) const STEPS: [Step; 13] = [
    Step::Evidence,
    Step::Deployment,
    Step::Told,
    Step::Cancelled,
    Step::Stopping,
    Step::Pipelines,
    Step::Sending,
    Step::Sent,
    Step::LookingUp,
    Step::Asking,
    Step::Admitted,
    Step::Following,
    Step::Recovery,
];

/// Between whom a step's request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// From a replica to Gate.
    Gate,
    /// From a replica to the metrics store.
    Metrics,
    /// From a replica to Slack.
    Slack,
    /// From Spinnaker to a replica.
    Front,
}

impl Step {
    pub(super) fn wire(self) -> Wire {
        match self {
            Self::Evidence | Self::Recovery => Wire::Metrics,
            Self::Told => Wire::Slack,
            Self::Asking | Self::Admitted => Wire::Front,
            _ => Wire::Gate,
        }
    }

    pub(super) fn side(self) -> Side {
        match self {
            Self::Told | Self::Cancelled | Self::Sent | Self::Admitted => Side::Reply,
            _ => Side::Request,
        }
    }

    /// Tells the step's request among all that go over its wire; `accused` is the deployment.
    pub(super) fn matches(self, accused: &str) -> impl Fn(&Asked) -> bool + Send + Sync + 'static {
        let accused = format!("/pipelines/{accused}");
        let cancel = format!("{accused}/cancel");
        let cancelled = std::sync::atomic::AtomicBool::new(false);
        move |asked| {
            use std::sync::atomic::Ordering;
            let (path, get) = (asked.path.as_str(), asked.method == Method::GET);
            let post = asked.method == Method::POST;
            if path == cancel {
                cancelled.store(true, Ordering::SeqCst);
            }
            match self {
                Self::Evidence => asked.rest.contains("error_ratio"),
                Self::Recovery => asked.rest.contains("recovery_ratio"),
                Self::Told => path.ends_with("/chat.postMessage"),
                Self::Deployment => get && path == accused,
                Self::Cancelled => path == cancel,
                Self::Stopping => get && path == accused && cancelled.load(Ordering::SeqCst),
                Self::Pipelines => path.ends_with("/pipelineConfigs"),
                Self::Sending | Self::Sent => post && path.starts_with("/pipelines/checkout/"),
                Self::LookingUp => path == "/executions",
                Self::Asking | Self::Admitted => path.ends_with("/admit"),
                Self::Following => {
                    let rollback = path.strip_prefix("/pipelines/");
                    get && path != accused && rollback.is_some_and(|id| !id.contains('/'))
                }
            }
        }
    }
}

/// How a replica is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// kill -9.
    Kill,
    /// SIGSTOP for longer than its lease, then SIGCONT.
    Pause,
}

/// A round.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) number: u64,
    /// The first blow falls here.
    pub(super) step: Step,
    pub(super) blow: Blow,
    /// What was held goes on only when the other replica has gone on.
    pub(super) late: bool,
    /// A killed replica is started again.
    pub(super) restart: bool,
    /// A second blow, at whoever comes to this step afterwards; it may never come.
    pub(super) second: Option<(Step, Blow)>,
    pub(super) weather: Weather,
}

impl Plan {
    pub(super) fn of(number: u64) -> Self {
        let step = STEPS[index(number, 1)];
        let blow = |bit: u64| {
            if bit.is_multiple_of(2) {
                Blow::Kill
            } else {
                Blow::Pause
            }
        };
        let turn = number / STEPS.len() as u64;
        // The first two turns are one plain blow at each step; then it gets worse.
        let second =
            (turn >= 2).then(|| (STEPS[index(mixed(number), 1)], blow(mixed(number) >> 8)));
        Self {
            number,
            step,
            blow: blow(turn),
            late: mixed(number).is_multiple_of(3) || step == Step::Sending,
            restart: second.is_some() || number.is_multiple_of(2),
            second,
            weather: weather(turn + number),
        }
    }
}

fn index(number: u64, step: u64) -> usize {
    usize::try_from(number.wrapping_mul(step) % STEPS.len() as u64).unwrap()
}

fn mixed(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17
}

fn weather(number: u64) -> Weather {
    let ms = Duration::from_millis;
    match number % 4 {
        0 => Weather::default(),
        1 => Weather {
            slow: ms(200),
            ..Weather::default()
        },
        2 => Weather {
            late: ms(200),
            drop_reply_every: 1,
            ..Weather::default()
        },
        _ => Weather {
            correlation_gap: ms(300),
            drop_reply_every: 2,
            ..Weather::default()
        },
    }
}
