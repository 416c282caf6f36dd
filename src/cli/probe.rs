//! Questions to what a configuration names: does it answer, and as it must?
//!
//! Nothing here has an effect that stays: the race removes its keys, logins are only checked.

mod github;
mod pipelines;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::check::renderer;
use super::exit::Exit;
use super::place::open_store;
use crate::app::gate_settings;
use crate::config::{Channel, Config, Metrics, Spinnaker, Vmalert};
use crate::domain::clock::{SharedClock, SystemClock};
use crate::http::{self, CallErrorKind};
use crate::notify::channel::{self as notifier, Class};
use crate::prometheus::{Ask as _, Client, Options, PromError, RuleList as _, RuleSource};
use crate::spinnaker::{Gate, GateError, GateSettings};
use crate::store::probe::{Race, WRITERS, race};

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it must be.
    Ok,
    /// Works, but not as one may think.
    Warn,
    /// Answers, and is wrong.
    Fail,
    /// Does not answer.
    Unreachable,
    /// Not asked, or nobody can tell.
    Skipped,
}

/// One question and its answer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Probe {
    /// Of what.
    pub name: String,
    /// What came out.
    pub verdict: Verdict,
    /// In words.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Probe {
    /// An answer.
    pub(super) fn new(name: impl Into<String>, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            verdict,
            text: text.into(),
            hint: None,
        }
    }

    /// With advice.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A workflow command of GitHub Actions, unless all is well.
    pub(super) fn annotation(&self) -> Option<String> {
        let command = match self.verdict {
            Verdict::Ok | Verdict::Skipped => return None,
            Verdict::Warn => "warning",
            Verdict::Fail | Verdict::Unreachable => "error",
        };
        let text = super::check::data(&format!("{}: {}", self.name, self.text));
        Some(format!("::{command}::{text}"))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warning",
            Verdict::Fail => "failed",
            Verdict::Unreachable => "unreachable",
            Verdict::Skipped => "skipped",
        };
        write!(f, "{}: {word}: {}", self.name, self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The exit code of several answers: a wrong one weighs more than a missing one.
pub(super) fn verdict(probes: &[Probe], deny_warnings: bool) -> Exit {
    let has = |verdict| probes.iter().any(|probe| probe.verdict == verdict);
    if has(Verdict::Fail) || (deny_warnings && has(Verdict::Warn)) {
        Exit::Findings
    } else if has(Verdict::Unreachable) {
        Exit::Unreachable
    } else {
        Exit::Ok
    }
}

/// Asks everything the configuration names, all at once.
pub(super) async fn all(config: &Config, race_keys: usize) -> Vec<Probe> {
    let http = match http::client(&http::Settings::default()) {
        Ok(http) => http,
        Err(error) => return vec![Probe::new("http", Verdict::Fail, error.to_string())],
    };
    let mut asked: Vec<futures::future::BoxFuture<'_, Probe>> =
        vec![Box::pin(store(config, race_keys))];
    if let Some(settings) = &config.metrics {
        asked.push(Box::pin(metrics(&http, settings)));
    }
    for one in &config.vmalert {
        asked.push(Box::pin(vmalert(&http, one)));
    }
    if let Some(settings) = &config.spinnaker {
        asked.push(Box::pin(gate_login(settings)));
    }
    for channel in config.channels.values() {
        asked.push(Box::pin(credentials(config, channel, &http)));
    }
    let mut answers = join_all(asked).await;
    if let Some(settings) = &config.spinnaker {
        answers.extend(pipelines::ask(config, settings).await);
    }
    if let Some(settings) = &config.github {
        answers.extend(github::ask(config, settings).await);
    }
    answers
}

/// Whether creating a key is exclusive in the configured store.
async fn store(config: &Config, keys: usize) -> Probe {
    let name = "store";
    let store = match open_store(config) {
        Ok(store) => store,
        Err(failure) => return Probe::new(name, Verdict::Unreachable, failure.message),
    };
    let place = store.description().to_owned();
    let race = match race(&store, keys).await {
        Ok(race) => race,
        Err(error) => {
            return Probe::new(name, Verdict::Unreachable, format!("{place}: {error}"));
        }
    };
    let text = format!("{place}: {}", in_words(&race));
    if race.is_exclusive() {
        return Probe::new(name, Verdict::Ok, text);
    }
    Probe::new(name, Verdict::Fail, text)
        .hint("it does not create exclusively: automatic rollback stays off on it; take a store that honours If-None-Match: *")
}

fn in_words(race: &Race) -> String {
    let ms = |percent| race.percentile(percent).as_secs_f64() * 1e3;
    let wrong = match race.bad_keys {
        0 => String::new(),
        bad => format!(" ({bad} rounds were won wrongly)"),
    };
    format!(
        "{} rounds of {WRITERS} writers, {} winners{wrong}; a create with its read-back took p50 {:.1} ms, p99 {:.1} ms",
        race.keys,
        race.winners,
        ms(50),
        ms(99)
    )
}

async fn metrics(http: &reqwest::Client, settings: &Metrics) -> Probe {
    let client = Client::new(http.clone(), settings);
    match client.instant("vector(1)", None, &Options::default()).await {
        Ok(samples) if samples.iter().any(|sample| sample.value > 0.5) => {
            Probe::new("metrics", Verdict::Ok, "answers queries")
        }
        Ok(_) => Probe::new(
            "metrics",
            Verdict::Fail,
            "answers, but not to `vector(1)` with 1",
        )
        .hint("`metrics.url` is the prefix before /api/v1"),
        Err(error) => prom_failed("metrics", &error),
    }
}

async fn vmalert(http: &reqwest::Client, settings: &Vmalert) -> Probe {
    let source = RuleSource::new(http.clone(), settings);
    let name = format!("vmalert {}", source.name());
    let groups = match source.rules().await {
        Ok(groups) => groups,
        Err(error) => return prom_failed(&name, &error),
    };
    let rules = groups.iter().flat_map(|group| &group.rules);
    let ill: Vec<&str> = rules
        .clone()
        .filter(|rule| rule.healthy == Some(false))
        .map(|rule| rule.name.as_str())
        .take(5)
        .collect();
    let total = rules.count();
    if total == 0 && !settings.canary {
        return Probe::new(name, Verdict::Warn, "lists no alerting rule");
    }
    if ill.is_empty() {
        return Probe::new(name, Verdict::Ok, format!("{total} alerting rules"));
    }
    let text = format!("rules that fail to evaluate: {}", ill.join(", "));
    Probe::new(name, Verdict::Warn, text)
}

fn prom_failed(name: &str, error: &PromError) -> Probe {
    let verdict = match error {
        PromError::Call(call) => call_verdict(call.kind),
        _ => Verdict::Fail,
    };
    Probe::new(name, verdict, error.to_string())
}

fn call_verdict(kind: CallErrorKind) -> Verdict {
    match kind {
        CallErrorKind::Timeout | CallErrorKind::Network | CallErrorKind::Server => {
            Verdict::Unreachable
        }
        _ => Verdict::Fail,
    }
}

/// A client of the configured Gate.
///
/// # Errors
/// When no HTTP client can be built.
pub(super) fn gate(settings: &Spinnaker) -> Result<Gate, http::BuildError> {
    let settings = gate_settings(settings);
    Gate::new(GateSettings {
        timeout: settings.timeout.min(Duration::from_secs(10)),
        ..settings
    })
}

async fn gate_login(settings: &Spinnaker) -> Probe {
    let gate = match gate(settings) {
        Ok(gate) => gate,
        Err(error) => return Probe::new("gate", Verdict::Fail, error.to_string()),
    };
    match gate.probe().await {
        Ok(()) => Probe::new("gate", Verdict::Ok, "the login is accepted"),
        Err(GateError::Call(call)) => Probe::new("gate", call_verdict(call.kind), call.to_string())
            .hint("`spinnaker.gate` and its login"),
        Err(error) => Probe::new("gate", Verdict::Fail, error.to_string()),
    }
}

async fn credentials(config: &Config, channel: &Channel, http: &reqwest::Client) -> Probe {
    let name = format!("channel {}", channel.name());
    let opened = open_channel(config, channel, http);
    let notifier = match opened {
        Ok(notifier) => notifier,
        Err(text) => return Probe::new(name, Verdict::Fail, text),
    };
    match notifier.probe().await {
        Ok(notifier::Probe::Works(who)) => {
            Probe::new(name, Verdict::Ok, format!("the credentials work: {who}"))
        }
        Ok(notifier::Probe::CannotTell) => Probe::new(
            name.clone(),
            Verdict::Skipped,
            "only a message would tell whether the credentials work",
        )
        .hint(format!("backstop channels send-test {}", channel.name())),
        Err(error) => {
            let verdict = match error.class {
                Class::Permanent | Class::Broken => Verdict::Fail,
                Class::Retry | Class::Wait(_) | Class::MaybeSent | Class::More => {
                    Verdict::Unreachable
                }
            };
            let probe = Probe::new(name, verdict, error.to_string());
            match error.fix {
                Some(fix) => probe.hint(fix),
                None => probe,
            }
        }
    }
}

/// The notifier of a configured channel.
///
/// # Errors
/// In words, when templates or TLS settings can't be used.
pub(super) fn open_channel(
    config: &Config,
    channel: &Channel,
    http: &reqwest::Client,
) -> Result<Arc<dyn notifier::Notifier>, String> {
    let renderer = renderer(&config.root).map_err(|failure| failure.message)?;
    let clock: SharedClock = Arc::new(SystemClock);
    let owners = Arc::new(config.owners());
    notifier::open(
        &channel.settings,
        http,
        &renderer,
        &clock,
        &Arc::default(),
        &owners,
    )
    .map_err(|error| error.to_string())
}
