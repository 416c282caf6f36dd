//! `render`: the bodies a channel would send for a recorded webhook body. Nothing is sent.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::{Out, OutputArgs};
use super::place::{self, ConfigArgs};
use super::probe::open_channel;
use crate::config::load::Secrets;
use crate::config::{Channel, Config};
use crate::domain::alert::{Alert, AlertGroup, AlertStatus, Source};
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::id::{ChannelName, Env, Service};
use crate::domain::notice::{AlertLine, Notice, NoticeKind};
use crate::http;
use crate::ingest::{self, Delivery};
use crate::notify::channel::Outgoing;

/// `render`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The channel, by its name.
    #[arg(long, value_name = "NAME")]
    channel: ChannelName,
    /// A recorded body: an Alertmanager's webhook, or a list as vmalert posts it.
    #[arg(value_name = "BODY.json")]
    body: PathBuf,
    /// When it was received; left out: now. vmalert's alerts carry an end, so a body of
    /// yesterday is read as resolved today.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Secrets are not needed to word a message, so this works in a fresh checkout.
    let config = args.config.load(Secrets::Unread)?;
    let channel = find(&config, &args.channel)?;
    let delivery = parse(&place::read(&args.body)?, args.at)?;
    let http = http::client(&http::Settings::default())?;
    let notifier =
        open_channel(&config, channel, &http).map_err(|text| Failure::new(Exit::Findings, text))?;
    let mut messages = Vec::new();
    for group in &delivery.groups {
        let notice = notice(group);
        let outgoing = Outgoing {
            notice: &notice,
            message_id: "preview",
            chart_png: None,
            thread: None,
            resume: None,
        };
        let bodies = notifier
            .preview(&outgoing)
            .map_err(|error| Failure::new(Exit::Findings, error.to_string()))?;
        messages.push((group.key.clone(), bodies));
    }
    let ignored: Vec<String> = delivery.ignored.iter().map(ToString::to_string).collect();
    let document = json!({
        "channel": args.channel,
        "kind": notifier.kind(),
        "messages": messages
            .iter()
            .map(|(group, bodies)| json!({"group": group, "bodies": bodies}))
            .collect::<Vec<_>>(),
        "ignored": ignored,
    });
    Out::new(args.output.output).show(&document, || {
        let bodies: Vec<&str> = messages
            .iter()
            .flat_map(|(_, bodies)| bodies.iter().map(String::as_str))
            .collect();
        bodies.join("\n\n")
    })?;
    for line in &ignored {
        tracing::warn!("left out: {line}");
    }
    Ok(Exit::Ok.into())
}

/// The channel of this name.
pub(super) fn find<'a>(config: &'a Config, name: &ChannelName) -> Result<&'a Channel, Failure> {
    config.channels.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.channels.keys().map(AsRef::as_ref).collect();
        let failure = Failure::usage(format!("there is no channel `{name}`"));
        if known.is_empty() {
            failure.next("no channel is configured; --config.file names the configuration")
        } else {
            failure.next(format!("there are: {}", known.join(", ")))
        }
    })
}

/// Which door a body belongs to: vmalert posts a list.
pub(super) fn door(body: &[u8]) -> Source {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        Source::Vmalert
    } else {
        Source::Alertmanager
    }
}

/// Reads a body as the gateway does.
pub(super) fn parse(body: &[u8]) -> Result<Delivery, Failure> {
    ingest::read(door(body), body, SystemClock.now())
        .map_err(|rejection| Failure::usage(format!("this body can't be accepted: {rejection}")))
}

/// The facts of a group, as far as its body tells them: no store and no metrics store is asked.
fn notice(group: &AlertGroup) -> Notice {
    let firing: Vec<&Alert> = group.alerts.iter().filter(|one| one.is_firing()).collect();
    let label = |name: &str| {
        let values: BTreeSet<&str> = group.alerts.iter().filter_map(|a| a.label(name)).collect();
        let mut values = values.into_iter();
        values.next().filter(|_| values.next().is_none())
    };
    let names: BTreeSet<&str> = group.alerts.iter().map(Alert::name).collect();
    let told = if firing.is_empty() {
        group.alerts.iter().collect()
    } else {
        firing.clone()
    };
    Notice {
        kind: NoticeKind::Alert,
        thread: group.key.clone(),
        at: group.received_at,
        subject: names.into_iter().collect::<Vec<_>>().join(", "),
        status: if firing.is_empty() {
            AlertStatus::Resolved
        } else {
            AlertStatus::Firing
        },
        severity: worst(&told).to_owned(),
        service: label("service").and_then(|text| Service::new(text).ok()),
        env: label("env").and_then(|text| Env::new(text).ok()),
        release_id: None,
        version: None,
        deployment: None,
        batches: BTreeSet::new(),
        phase: None,
        context_missing: Some("release unknown: the catalog was not asked".to_owned()),
        stale_as_of: None,
        hosts: Vec::new(),
        alerts: group.alerts.iter().map(line).collect(),
        truncated: group.truncated,
        metric: None,
        chart: None,
        chart_missing: Some("a preview draws no chart".to_owned()),
        decision: None,
        incident: None,
        execution: None,
        links: Vec::new(),
    }
}

fn line(alert: &Alert) -> AlertLine {
    AlertLine {
        fingerprint: alert.fingerprint,
        name: alert.name().to_owned(),
        severity: alert.severity().to_owned(),
        status: alert.status,
        starts_at: alert.starts_at,
        message: alert.message().to_owned(),
        labels: alert.labels.clone(),
    }
}

fn worst<'a>(alerts: &[&'a Alert]) -> &'a str {
    let rank = |severity: &str| {
        let order = ["page", "critical", "error", "warning", "info"];
        order
            .iter()
            .position(|word| *word == severity)
            .unwrap_or(order.len())
    };
    let severities = alerts.iter().map(|alert| alert.severity());
    severities
        .min_by_key(|severity| rank(severity))
        .unwrap_or("none")
}
