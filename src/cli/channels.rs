//! `channels send-test`: one clearly marked message, and what the vendor said to it.

use std::process::ExitCode;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::{Out, OutputArgs};
use super::place::ConfigArgs;
use super::probe::open_channel;
use crate::config::channel::Target;
use crate::config::load::Secrets;
use crate::domain::alert::{AlertStatus, Fingerprint, Labels};
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::id::ChannelName;
use crate::domain::notice::{AlertLine, Notice, NoticeKind};
use crate::http;
use crate::notify::channel::{Class, Delivery, Outgoing, Proof, Receipt, SendError};

/// `channels …`
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Send a clearly marked test message and print what the vendor answered.
    SendTest(SendTest),
}

/// `channels send-test`
#[derive(Debug, clap::Args)]
pub struct SendTest {
    #[command(flatten)]
    config: ConfigArgs,
    /// The channel, by its name.
    name: ChannelName,
    /// Call the people the channel mentions, too.
    #[arg(long)]
    mention: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let Verb::SendTest(args) = verb;
    let config = args.config.load(Secrets::Read)?;
    let mut channel = super::render::find(&config, &args.name)?.clone();
    if !args.mention {
        call_nobody(&mut channel.settings.target);
    }
    let http = http::client(&http::Settings::default())?;
    let notifier = open_channel(&config, &channel, &http)
        .map_err(|text| Failure::new(Exit::Findings, text))?;
    let notice = test_notice();
    let message_id = format!("test-{}", uuid::Uuid::new_v4().simple());
    let outgoing = Outgoing {
        notice: &notice,
        message_id: &message_id,
        chart_png: None,
        thread: None,
        resume: None,
        at_most: u32::MAX,
        plain: false,
    };
    let name = &args.name;
    let receipt = notifier
        .send(&outgoing)
        .await
        .map_err(|error| refused(name, &error))?;
    let refusals = refused_recipients(&receipt);
    let document = json!({"channel": name, "kind": notifier.kind(), "receipt": receipt});
    Out::new(args.output.output).show(&document, || {
        let mut lines = vec![format!("{name}: accepted; {}", proof(&receipt))];
        lines.extend(receipt.notes.iter().map(|note| format!("  note: {note}")));
        lines.extend(
            refusals
                .iter()
                .map(|refusal| format!("  refused: {refusal}")),
        );
        lines.join("\n")
    })?;
    let all_took_it = refusals.is_empty();
    Ok(if all_took_it {
        Exit::Ok
    } else {
        Exit::Findings
    }
    .into())
}

fn call_nobody(target: &mut Target) {
    match target {
        Target::Email(_) | Target::Webhook(_) => {}
        Target::Slack(slack) => slack.mention.clear(),
        Target::WeCom(wecom) => wecom.mention.clear(),
        Target::DingTalk(dingtalk) => {
            dingtalk.mention_mobiles.clear();
            dingtalk.mention_users.clear();
        }
    }
}

fn test_notice() -> Notice {
    let now = SystemClock.now();
    let labels: Labels = [("alertname", "BackstopTest"), ("severity", "info")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Notice {
        severity: "info".to_owned(),
        context_missing: Some("this is a test, it belongs to no release".to_owned()),
        alerts: vec![AlertLine {
            fingerprint: Fingerprint::of(&labels),
            name: "BackstopTest".to_owned(),
            severity: "info".to_owned(),
            status: AlertStatus::Firing,
            starts_at: now,
            message: "This is a test of the channel, sent by a person. 这是一条测试消息。"
                .to_owned(),
            labels,
        }],
        chart_missing: Some("a test draws no chart".to_owned()),
        ..Notice::blank(
            NoticeKind::Alert,
            &format!("test/{}", uuid::Uuid::new_v4().simple()),
            "TEST MESSAGE, nothing is wrong",
            now,
        )
    }
}

fn refused(name: &ChannelName, error: &SendError) -> Failure {
    let (exit, next) = match error.class {
        Class::Permanent | Class::Broken => (
            Exit::Findings,
            "sending again will not help: correct the channel's file or the vendor's side"
                .to_owned(),
        ),
        Class::Wait(wait) => (
            Exit::Unreachable,
            format!("the vendor's limit: try again in {} s", wait.as_secs()),
        ),
        Class::Retry | Class::More => (
            Exit::Unreachable,
            "try again; `backstop check --online` asks without a message".to_owned(),
        ),
        Class::MaybeSent => (
            Exit::Unreachable,
            "the message may have arrived: look before you send again".to_owned(),
        ),
    };
    let next = match error.fix {
        Some(fix) => format!("{fix} ({next})"),
        None => next,
    };
    Failure::new(exit, format!("{name}: not accepted: {error}")).next(next)
}

fn proof(receipt: &Receipt) -> String {
    match &receipt.proof {
        Proof::Slack { channel, ts, .. } => format!("Slack channel {channel}, message {ts}"),
        Proof::Email { message_id, .. } => format!("Message-ID {message_id}"),
        Proof::Webhook { ids } => format!("webhook-id {}", ids.join(" ")),
        Proof::Bot { reference } => format!("look for the reference {reference}"),
    }
}

fn refused_recipients(receipt: &Receipt) -> Vec<String> {
    let Proof::Email { recipients, .. } = &receipt.proof else {
        return Vec::new();
    };
    let refusal = |recipient: &crate::notify::channel::Recipient| match &recipient.outcome {
        Delivery::Accepted => None,
        Delivery::Refused { code, text } => Some(format!("{}: {code} {text}", recipient.address)),
    };
    recipients.iter().filter_map(refusal).collect()
}
