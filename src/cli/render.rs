//! `render`: the bodies a channel would send for a recorded webhook body. Nothing is sent.

mod facts;

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
use crate::domain::alert::Source;
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::id::ChannelName;
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
    // Secrets are not needed to word a message, so this works in a fresh checkout; without them
    // a store of another machine can't be asked.
    let with_secrets = args.config.load(Secrets::Read);
    let catalog = match &with_secrets {
        Ok(config) => facts::catalog(config).await,
        Err(_) => Err("the store was not asked: its secrets are not here".to_owned()),
    };
    let config = with_secrets.or_else(|_| args.config.load(Secrets::Unread))?;
    let channel = find(&config, &args.channel)?;
    let delivery = parse(&place::read(&args.body)?, args.at)?;
    let http = http::client(&http::Settings::default())?;
    let notifier =
        open_channel(&config, channel, &http).map_err(|text| Failure::new(Exit::Findings, text))?;
    let mut messages = Vec::new();
    for group in &delivery.groups {
        let notice = facts::notice(group, catalog.as_ref(), &config.services);
        let outgoing = Outgoing {
            notice: &notice,
            message_id: "preview",
            chart_png: None,
            thread: None,
            resume: None,
            at_most: u32::MAX,
            plain: false,
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

/// Reads a body as the gateway does; `at` None: as if it came now.
pub(super) fn parse(body: &[u8], at: Option<Timestamp>) -> Result<Delivery, Failure> {
    let at = at.unwrap_or_else(|| SystemClock.now());
    ingest::read(door(body), body, at)
        .map_err(|rejection| Failure::usage(format!("this body can't be accepted: {rejection}")))
}
