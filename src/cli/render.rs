//! `render`: the bodies a channel would send for a recorded webhook body. Nothing is sent.

mod folder;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::world::{World, WorldArgs};
use super::exit::{Exit, Failure};
use super::output::{Out, OutputArgs};
use super::place::{self, ConfigArgs};
use super::probe::open_channel;
use crate::app::preview::Worded;
use crate::chart::Fonts;
use crate::config::load::Secrets;
use crate::config::{Channel, Config};
use crate::domain::alert::Source;
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::id::ChannelName;
use crate::http;
use crate::ingest::{self, Delivery};
use crate::notify::channel::{Body, Notifier, Outgoing};

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
    world: WorldArgs,
    /// Write the bodies to the byte, the chart and a page to look at into this folder.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// One message in the channel's words.
#[derive(Debug)]
struct Message {
    group: String,
    bodies: Vec<Body>,
    png: Option<Bytes>,
    is_for_it: bool,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Secrets are not needed to word a message, so this works in a fresh checkout.
    let with_secrets = args.config.load(Secrets::Read);
    let secrets = match &with_secrets {
        Ok(_) => Ok(()),
        Err(_) => Err("the store was not asked: its secrets are not here".to_owned()),
    };
    let config = with_secrets.or_else(|_| args.config.load(Secrets::Unread))?;
    let channel = find(&config, &args.channel)?;
    let at = args.at.unwrap_or_else(|| SystemClock.now());
    let delivery = parse(&place::read(&args.body)?, Some(at))?;
    let http = http::client(&http::Settings::default())?;
    let notifier =
        open_channel(&config, channel, &http).map_err(|text| Failure::new(Exit::Findings, text))?;
    let fonts = Fonts::load(config.chart_font.as_deref())?;
    let world = World::read(&args.world, &config, secrets, at).await?;
    let mut messages = Vec::new();
    for group in &delivery.groups {
        let scene = world.scene(&group.alerts, &fonts).await;
        for worded in scene.messages(group, channel).await {
            messages.push(message(&*notifier, &group.key, worded)?);
        }
    }
    let files = match &args.to {
        Some(folder) => folder::write(folder, notifier.kind(), &messages)?,
        None => Vec::new(),
    };
    let ignored: Vec<String> = delivery.ignored.iter().map(ToString::to_string).collect();
    let unanswered = world.unanswered();
    let document = json!({
        "channel": args.channel,
        "kind": notifier.kind(),
        "messages": messages.iter().map(shown).collect::<Vec<_>>(),
        "ignored": ignored,
        "unanswered": unanswered,
        "files": files,
    });
    Out::new(args.output.output).show(&document, || {
        if args.to.is_some() {
            let files = files.iter().map(|file| file.display().to_string());
            return files.collect::<Vec<_>>().join("\n");
        }
        let bodies = messages.iter().flat_map(|message| &message.bodies);
        bodies.map(readable).collect::<Vec<_>>().join("\n\n")
    })?;
    for line in &ignored {
        tracing::warn!("left out: {line}");
    }
    for line in &unanswered {
        tracing::warn!("{line}");
    }
    for message in messages.iter().filter(|message| !message.is_for_it) {
        tracing::warn!("rules and settings send {} elsewhere", message.group);
    }
    Ok(Exit::Ok.into())
}

fn message(notifier: &dyn Notifier, group: &str, worded: Worded) -> Result<Message, Failure> {
    let outgoing = Outgoing {
        chart_png: worded.png.as_deref(),
        ..Outgoing::of(&worded.notice, "preview")
    };
    let bodies = notifier.preview(&outgoing);
    let bodies = bodies.map_err(|error| Failure::new(Exit::Findings, error.to_string()))?;
    Ok(Message {
        group: group.to_owned(),
        bodies,
        is_for_it: worded.is_for_it,
        png: worded.png,
    })
}

fn shown(message: &Message) -> Value {
    let bodies = message.bodies.iter().map(|body| &body.text);
    json!({
        "group": message.group,
        "bodies": bodies.collect::<Vec<_>>(),
        "chart_bytes": message.png.as_ref().map(Bytes::len),
        "goes_to_this_channel": message.is_for_it,
    })
}

/// JSON over several lines, a picture's bytes counted; anything else as it is.
fn readable(body: &Body) -> String {
    let Ok(mut json) = serde_json::from_str::<Value>(&body.text) else {
        return body.text.clone();
    };
    if let Some(picture) = json.pointer_mut("/image/base64") {
        let size = picture.as_str().map_or(0, str::len);
        *picture = json!(format!("({size} characters of base64; --to writes them)"));
    }
    format!("{json:#}")
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
