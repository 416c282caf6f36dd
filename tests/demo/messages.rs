//! What people were told, read where it arrived, sorted, and laid out as files one can open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use anyhow::{Context as _, ensure};
use mail_parser::{MessageParser, MimeHeaders as _};
use serde::Serialize;

use crate::SERVICES;
use crate::support::chat;
use crate::support::process;
use crate::support::slack_blocks;
use crate::world::World;

/// The channels, as the summary names them.
pub const CHANNELS: [&str; 4] = ["email", "slack", "wecom", "dingtalk"];

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An alert began.
    Firing,
    /// An alert ended.
    Resolved,
    /// Spinnaker accepted the rollback.
    Started,
    /// It ended.
    Finished,
    /// The metrics are well again, or not.
    Recovery,
    /// The report.
    Report,
    /// Anything else; the demo expects none.
    Other,
}

/// How headlines begin, in the two languages of the demo's channels.
const HEADLINES: [(&str, Kind); 12] = [
    ("ROLLBACK STARTED", Kind::Started),
    ("回滚已开始", Kind::Started),
    ("ROLLBACK FINISHED", Kind::Finished),
    ("回滚已结束", Kind::Finished),
    ("RECOVERY", Kind::Recovery),
    ("恢复情况", Kind::Recovery),
    ("REPORT", Kind::Report),
    ("报告", Kind::Report),
    ("RESOLVED", Kind::Resolved),
    ("告警恢复", Kind::Resolved),
    ("FIRING", Kind::Firing),
    ("告警触发", Kind::Firing),
];

/// A message where it arrived.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    /// Its channel.
    pub channel: &'static str,
    /// What it is about.
    pub kind: Kind,
    /// Whose.
    pub service: Option<&'static str>,
    /// Where to open it.
    pub file: PathBuf,
    /// The picture beside it.
    pub chart: Option<PathBuf>,
    /// The picture's size; 0 without one.
    pub chart_bytes: usize,
}

/// A message before it is laid out.
struct Arrived {
    headline: String,
    text: String,
    chart: Option<Vec<u8>>,
    /// The mail, which is a file already.
    file: Option<PathBuf>,
}

/// Every message so far, by channel and in order; also written below `target/demo/messages`.
///
/// # Errors
/// When one can't be read, or a chart that a message shows can't be fetched.
pub async fn collect(world: &World) -> anyhow::Result<Vec<Told>> {
    let mut told = Vec::new();
    for (channel, arrived) in [
        ("email", mails(world)?),
        ("slack", slack(world)),
        ("wecom", chats(world.wecom.messages())),
        (
            "dingtalk",
            with_links(world, world.dingtalk.messages()).await?,
        ),
    ] {
        let folder = world.root.join("messages").join(channel);
        std::fs::create_dir_all(&folder).context("create a folder of messages")?;
        for (number, message) in arrived.iter().enumerate() {
            told.extend(lay_out(channel, &folder, number + 1, message)?);
        }
    }
    Ok(told)
}

/// How many messages of each kind about `service` each channel has, and their charts' bytes.
pub fn of_service<'a>(
    told: &'a [Told],
    service: &str,
    kind: Kind,
) -> BTreeMap<&'static str, Vec<&'a Told>> {
    let mut by_channel: BTreeMap<&'static str, Vec<&Told>> = CHANNELS
        .iter()
        .map(|channel| (*channel, Vec::new()))
        .collect();
    for message in told {
        if message.kind == kind && message.service == Some(service) {
            by_channel.entry(message.channel).or_default().push(message);
        }
    }
    by_channel
}

/// How the headline of a digest begins.
const DIGESTS: [&str; 2] = ["DIGEST", "告警汇总"];

/// Writes a message down as a file. A digest tells several things, one a line.
fn lay_out(
    channel: &'static str,
    folder: &Path,
    number: usize,
    message: &Arrived,
) -> anyhow::Result<Vec<Told>> {
    let is_digest = DIGESTS.iter().any(|word| message.headline.contains(word));
    let word = if is_digest {
        serde_json::Value::from("digest")
    } else {
        serde_json::to_value(kind(&message.headline))?
    };
    let stem = format!("{number:02}-{}", word.as_str().unwrap_or_default());
    let file = if let Some(mail) = &message.file {
        mail.clone()
    } else {
        let file = folder.join(format!("{stem}.md"));
        write(&file, message.text.as_bytes())?;
        file
    };
    let chart = match &message.chart {
        None => None,
        Some(bytes) => {
            let file = folder.join(format!("{stem}.png"));
            write(&file, bytes)?;
            Some(file)
        }
    };
    let told = |line: &str| Told {
        channel,
        kind: kind(line),
        service: service(line),
        file: file.clone(),
        chart: chart.clone(),
        chart_bytes: message.chart.as_ref().map_or(0, Vec::len),
    };
    if is_digest {
        let lines = message.text.lines().skip(1);
        return Ok(lines
            .filter(|line| service(line).is_some())
            .map(told)
            .collect());
    }
    Ok(vec![told(&message.headline)])
}

fn kind(headline: &str) -> Kind {
    let named = HEADLINES.iter().find(|(word, _)| headline.contains(word));
    named.map_or(Kind::Other, |(_, kind)| *kind)
}

/// Whose a headline is: it ends in the place, such as `(checkout prod)`.
fn service(headline: &str) -> Option<&'static str> {
    let names = |service: &&str| headline.contains(&format!("({service} "));
    SERVICES.map(|service| service.name).into_iter().find(names)
}

fn mails(world: &World) -> anyhow::Result<Vec<Arrived>> {
    world
        .smtp
        .mails()?
        .into_iter()
        .map(|kept| {
            let mail = MessageParser::default()
                .parse(&kept.eml)
                .context("a mail that is none")?;
            let picture = mail.attachments().find(|part| {
                part.content_type()
                    .is_some_and(|kind| kind.subtype() == Some("png"))
            });
            let subject = mail.subject().unwrap_or_default();
            let body = mail.body_text(0).unwrap_or_default();
            Ok(Arrived {
                // A thread's subject carries no state; the first line does.
                headline: first_line(&body),
                text: format!("{subject}\n{body}"),
                chart: picture.map(|part| part.contents().to_vec()),
                file: Some(kept.path),
            })
        })
        .collect()
}

fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty());
    first.unwrap_or_default().to_owned()
}

/// Slack's messages are rewritten when their alert ends: what one is about is what it began as.
fn slack(world: &World) -> Vec<Arrived> {
    let calls = world.slack.calls();
    let begun = |ts: &str| {
        let posted = calls.iter().find(|(method, _, answer)| {
            method == "chat.postMessage" && answer.get("ts").is_some_and(|at| at == ts)
        });
        posted.map(|(_, body, _)| first_line(&slack_blocks::text(body)))
    };
    let posted = world.slack.posted();
    let mut arrived = chats(world.slack.messages());
    for (message, posted) in arrived.iter_mut().zip(posted) {
        if let Some(headline) = begun(&posted.ts) {
            message.headline = headline;
        }
    }
    arrived
}

/// A picture that comes as a message of its own belongs to the words before it.
fn chats(messages: Vec<chat::Message>) -> Vec<Arrived> {
    let mut arrived: Vec<Arrived> = Vec::new();
    for message in messages {
        match arrived.last_mut() {
            Some(last) if message.text.is_empty() && last.chart.is_none() => {
                last.chart = message.image;
            }
            _ => arrived.push(Arrived {
                headline: first_line(&message.text),
                text: message.text,
                chart: message.image,
                file: None,
            }),
        }
    }
    arrived
}

/// DingTalk's clients fetch pictures from where a message points; so does this, once each.
async fn with_links(world: &World, messages: Vec<chat::Message>) -> anyhow::Result<Vec<Arrived>> {
    let kept = || {
        world
            .pictures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    let mut arrived = chats(messages);
    for message in &mut arrived {
        let Some(url) = picture_link(&message.text).map(str::to_owned) else {
            continue;
        };
        let known = kept().get(&url).cloned();
        message.chart = Some(match known {
            Some(bytes) => bytes,
            None => fetch(&url).await?,
        });
        kept().extend(message.chart.clone().map(|bytes| (url, bytes)));
    }
    Ok(arrived)
}

async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let answer = process::client()?.get(url).send().await;
    let answer = answer.context("fetch a chart")?;
    let status = answer.status();
    ensure!(status.is_success(), "a chart's link is answered {status}");
    Ok(answer.bytes().await?.to_vec())
}

/// Writes a file that is not there as it should be yet; readers never see half of one.
fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(file).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let part = file.with_extension(format!("{}.part", uuid::Uuid::new_v4().simple()));
    std::fs::write(&part, bytes).context("write a message")?;
    std::fs::rename(&part, file).context("write a message")
}

/// The address in `![words](address)`.
fn picture_link(markdown: &str) -> Option<&str> {
    let (_, from_words) = markdown.split_once("![")?;
    let (_, from_address) = from_words.split_once("](")?;
    from_address.split([')', ' ']).next()
}

/// Whether a picture is a PNG that is not empty.
pub fn is_png(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| chat::is_picture(&bytes) && bytes.len() > 1_000)
}
