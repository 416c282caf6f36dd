//! `channels/*.yaml`: one channel a file.

use std::time::Duration;

use lettre::message::Mailbox;

use super::Channel;
pub(super) use super::channel::base_url;
use super::channel::{self, DingTalk, Email, Slack, Target, WeCom, Webhook};
use super::load::Secrets;
use super::place::At;
use super::problem::{Problem, read_yaml};
use super::raw::{RawChannel, RawDingtalk, RawEmail, RawSlack, RawWebhook, RawWecom, SecretRef};
use super::route;
use super::validate::Checker;
use crate::domain::secret::Secret;

/// A webhook's longest body unless told otherwise.
const MAX_WEBHOOK_BODY: usize = 256 << 10;
/// Below this not even the facts without alerts fit.
const LEAST_WEBHOOK_BODY: usize = 16 << 10;

pub(super) fn read(checker: &mut Checker<'_>, text: &str) -> Option<Channel> {
    let raw: RawChannel = match read_yaml(checker.file, text) {
        Ok(raw) => raw,
        Err(mut problems) => {
            checker.problems.append(&mut problems);
            return None;
        }
    };
    let name = checker.parse(&raw.name);
    let locale = raw
        .locale
        .as_ref()
        .map_or(Some(channel::Locale::default()), |at| checker.parse(at));
    let chart_theme = raw
        .chart_theme
        .as_ref()
        .map_or(Some(channel::ChartTheme::default()), |at| checker.parse(at));
    let zone = raw.time_zone.as_ref();
    let time_zone = zone.map_or(Some(jiff::tz::TimeZone::UTC), |at| {
        checker.with(at, |text| channel::time_zone(text))
    });
    if let Some(at) = raw.rate_per_minute.as_ref().filter(|at| at.value == 0) {
        checker.problem(at, "a channel that may send nothing is no channel");
    }
    let mention_when = route::matchers(checker, &raw.mention_when);
    let target = target(checker, &raw);
    Some(Channel {
        settings: channel::Channel {
            name: name?,
            locale: locale?,
            time_zone: time_zone?,
            chart_theme: chart_theme?,
            mention_when,
            target: target?,
        },
        send_resolved: raw.send_resolved.unwrap_or(true),
        rate_per_minute: raw.rate_per_minute.map(|at| at.value.max(1)),
    })
}

fn target(checker: &mut Checker<'_>, raw: &RawChannel) -> Option<Target> {
    let (mail, slack_bot) = (raw.email.as_ref(), raw.slack.as_ref());
    let (group, robot) = (raw.wecom.as_ref(), raw.dingtalk.as_ref());
    match (mail, slack_bot, group, robot, raw.webhook.as_ref()) {
        (Some(raw), None, None, None, None) => email(checker, raw).map(Target::Email),
        (None, Some(raw), None, None, None) => slack(checker, raw).map(Target::Slack),
        (None, None, Some(raw), None, None) => wecom(checker, raw).map(Target::WeCom),
        (None, None, None, Some(raw), None) => dingtalk(checker, raw).map(Target::DingTalk),
        (None, None, None, None, Some(raw)) => webhook(checker, raw).map(Target::Webhook),
        _ => {
            let problem = Problem::at(
                checker.file,
                raw.name.place,
                "a channel is exactly one of email, slack, wecom, dingtalk, webhook",
            );
            checker.problems.push(problem);
            None
        }
    }
}

fn email(checker: &mut Checker<'_>, raw: &RawEmail) -> Option<Email> {
    let mailbox = |checker: &mut Checker<'_>, at: &At<String>| -> Option<Mailbox> {
        checker.with(at, |text| channel::mailbox(text))
    };
    let password = raw.password.as_ref().and_then(|at| checker.secret(at));
    let root = checker.root.to_owned();
    let authority = match &raw.ca_file {
        None => None,
        Some(at) => Some(checker.with(at, |path| {
            std::fs::read(root.join(path)).map_err(|error| format!("can't be read: {error}"))
        })?),
    };
    let email = Email {
        server: checker.parse(&raw.smarthost)?,
        login: raw.username.clone().zip(password),
        authority,
        from: mailbox(checker, &raw.from)?,
        to: raw
            .to
            .iter()
            .filter_map(|at| mailbox(checker, at))
            .collect(),
        reply_to: raw.reply_to.as_ref().and_then(|at| mailbox(checker, at)),
        timeout: checker.duration_or(raw.timeout.as_ref(), Duration::from_secs(20)),
    };
    checker.with(&raw.smarthost, |_| email.check())?;
    Some(email)
}

fn slack(checker: &mut Checker<'_>, raw: &RawSlack) -> Option<Slack> {
    Some(Slack {
        token: checker.secret(&raw.token)?,
        channel: raw.channel.clone(),
        api_url: base(checker, raw.api_url.as_ref(), "https://slack.com/api")?,
        mention: raw
            .mention
            .iter()
            .filter_map(|at| checker.parse(at))
            .collect(),
        chart_wait: checker.duration_or(raw.chart_wait.as_ref(), Duration::from_secs(5)),
    })
}

fn wecom(checker: &mut Checker<'_>, raw: &RawWecom) -> Option<WeCom> {
    Some(WeCom {
        key: checker.secret(&raw.key)?,
        base_url: base(checker, raw.api_url.as_ref(), "https://qyapi.weixin.qq.com")?,
        mention: mentions(checker, &raw.mention),
    })
}

fn dingtalk(checker: &mut Checker<'_>, raw: &RawDingtalk) -> Option<DingTalk> {
    Some(DingTalk {
        token: checker.secret(&raw.token)?,
        secret: match &raw.secret {
            None => None,
            Some(at) => Some(checker.secret(at)?),
        },
        keyword: raw.keyword.clone(),
        base_url: base(checker, raw.api_url.as_ref(), "https://oapi.dingtalk.com")?,
        mention_mobiles: mentions(checker, &raw.mention_mobiles),
        mention_users: mentions(checker, &raw.mention_users),
    })
}

fn webhook(checker: &mut Checker<'_>, raw: &RawWebhook) -> Option<Webhook> {
    let max_body = match &raw.max_body {
        None => MAX_WEBHOOK_BODY,
        Some(at) if at.value < LEAST_WEBHOOK_BODY => {
            checker.problem(at, format!("a message needs {LEAST_WEBHOOK_BODY} bytes"));
            return None;
        }
        Some(at) => at.value,
    };
    Some(Webhook {
        url: checker.url(&raw.url)?,
        secret: signing_secret(checker, &raw.secret)?,
        next_secret: match &raw.next_secret {
            None => None,
            Some(at) => Some(signing_secret(checker, at)?),
        },
        bearer: match &raw.bearer {
            None => None,
            Some(at) => Some(checker.secret(at)?),
        },
        max_body,
    })
}

fn signing_secret(checker: &mut Checker<'_>, at: &At<SecretRef>) -> Option<Secret> {
    let secret = checker.secret(at)?;
    if checker.secrets == Secrets::Read {
        checker.with(at, |_| channel::webhook_key(&secret))?;
    }
    Some(secret)
}

fn mentions(checker: &mut Checker<'_>, raw: &[At<String>]) -> Vec<String> {
    raw.iter()
        .filter_map(|at| checker.with(at, |text| channel::mention(text)))
        .collect()
}

fn base(checker: &mut Checker<'_>, at: Option<&At<String>>, default: &str) -> Option<url::Url> {
    match at {
        Some(at) => checker.url(at),
        None => base_url(default).ok(),
    }
}
