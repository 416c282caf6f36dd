//! Bots of three vendors and a mail server, the room that talks to them, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backstop::config::channel::{
    Channel, DingTalk, Email, Locale, Slack, Target, WeCom, base_url, mailbox,
};
use backstop::domain::alert::{AlertStatus, Fingerprint};
use backstop::domain::clock::{Clock as _, SharedClock, SystemClock};
use backstop::domain::id::{ChannelName, ReplicaId};
use backstop::domain::notice::{AlertLine, Message, Notice, NoticeKind};
use backstop::domain::secret::Secret;
use backstop::http;
use backstop::notify::channel::open;
use backstop::notify::render::Renderer;
use backstop::notify::{Broken, ChannelSetup, Ear, Limits, Notify, NotifySettings};
use backstop::store::{Store, StoreError};
use tokio_util::task::TaskTracker;

use crate::support::chat::{self, Time};
use crate::support::dingtalk::{self, Robot};
use crate::support::mail_acceptor;
use crate::support::slack;
use crate::support::wecom;

/// Messages that bots of each kind take in a vendor's minute.
pub(super) const LIMITS: [(&str, u32); 3] = [("dingtalk", 20), ("slack", 60), ("wecom", 20)];

#[derive(Debug)]
struct Deaf;

impl Ear for Deaf {
    fn attempt(&self, _: &ChannelName, _: &'static str, _: &'static str) {}
    fn sent(&self, _: &Message) {}
    fn broken(&self, _: Broken) {}
    fn owed(&self, _: usize) {}
    fn store_trouble(&self, _: &'static str, _: &StoreError) {}
}

/// The vendors.
pub(super) struct Bots {
    pub(super) dingtalk: dingtalk::DingTalk,
    pub(super) slack: slack::Slack,
    pub(super) wecom: wecom::WeCom,
    pub(super) mail: mail_acceptor::Server,
}

impl Bots {
    pub(super) async fn start(time: &Time) -> Self {
        Self {
            dingtalk: dingtalk::DingTalk::start(&[("token", Robot::default())], time.clone()).await,
            slack: slack::Slack::start("token", &["C1"], time.clone()).await,
            wecom: wecom::WeCom::start(&["key"], time.clone()).await,
            mail: mail_acceptor::Server::start().await,
        }
    }

    /// Where each of them is.
    pub(super) fn addresses(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("dingtalk", self.dingtalk.url()),
            ("slack", self.slack.url()),
            ("wecom", self.wecom.url()),
            ("email", format!("smtp://{}", self.mail.address)),
        ])
    }

    /// What the bots show, by kind.
    pub(super) fn messages(&self) -> BTreeMap<&'static str, Vec<chat::Message>> {
        BTreeMap::from([
            ("dingtalk", self.dingtalk.messages()),
            ("slack", self.slack.messages()),
            ("wecom", self.wecom.messages()),
        ])
    }

    /// How many calls were refused, by kind.
    pub(super) fn refusals(&self) -> BTreeMap<&'static str, usize> {
        let refused = |bodies: Vec<(serde_json::Value, i64)>| {
            bodies.iter().filter(|(_, code)| *code != 0).count()
        };
        let calls = self.slack.calls();
        let slack = calls.iter().filter(|(_, _, answer)| answer["ok"] != true);
        BTreeMap::from([
            ("dingtalk", refused(self.dingtalk.bodies())),
            ("slack", slack.count()),
            ("wecom", refused(self.wecom.bodies())),
        ])
    }
}

fn target(kind: &str, address: &str) -> Target {
    let url = || base_url(address).unwrap();
    match kind {
        "dingtalk" => Target::DingTalk(DingTalk {
            token: Secret::new("token"),
            secret: None,
            keyword: None,
            base_url: url(),
            mention_mobiles: Vec::new(),
            mention_users: Vec::new(),
        }),
        "slack" => Target::Slack(Slack {
            token: Secret::new("token"),
            channel: "C1".into(),
            api_url: url(),
            mention: Vec::new(),
            chart_wait: Duration::from_secs(1),
        }),
        "wecom" => Target::WeCom(WeCom {
            key: Secret::new("key"),
            base_url: url(),
            mention: Vec::new(),
        }),
        _ => Target::Email(Email {
            server: address.parse().unwrap(),
            login: None,
            authority: None,
            from: mailbox("backstop@example.com").unwrap(),
            to: vec![mailbox("oncall@example.com").unwrap()],
            reply_to: None,
            timeout: Duration::from_secs(10),
        }),
    }
}

/// One replica that talks to `addresses`; `window` is the vendors' minute, `limits` their calls in
/// it, over `replicas`.
pub(super) fn replica(
    store: &Store,
    addresses: &BTreeMap<&'static str, String>,
    limits: &[(&str, u32)],
    (replicas, window): (u32, Duration),
) -> Notify {
    let clock: SharedClock = Arc::new(SystemClock);
    let client = http::client(&http::Settings::default()).unwrap();
    let renderer = Arc::new(Renderer::shipped().unwrap());
    let setup = |(kind, calls): &(&str, u32)| {
        let name = ChannelName::new(*kind).unwrap();
        let channel = Channel {
            name: name.clone(),
            chart_theme: backstop::config::channel::ChartTheme::Light,
            locale: Locale::En,
            time_zone: jiff::tz::TimeZone::UTC,
            mention_when: Vec::new(),
            target: target(kind, &addresses[kind]),
        };
        let setup = ChannelSetup {
            notifier: open(
                &channel,
                &client,
                &renderer,
                &clock,
                &Arc::default(),
                &Arc::default(),
            )
            .unwrap(),
            target: (*kind).to_owned(),
            calls: *calls,
            window,
        };
        (name, setup)
    };
    let settings = NotifySettings {
        channels: limits.iter().map(setup).collect(),
        replicas,
        send_claim: Duration::from_secs(30),
        list: None,
        limits: Arc::new(Limits::default()),
    };
    let ear: Arc<dyn Ear> = Arc::new(Deaf);
    let tasks = TaskTracker::new();
    Notify::new(
        settings,
        store.clone(),
        &clock,
        ReplicaId::random(),
        &tasks,
        &ear,
    )
}

/// A group of one alert, for one channel.
pub(super) fn message(channel: &str, name: &str) -> Message {
    let now = SystemClock.now();
    let labels = [
        ("alertname".to_owned(), name.to_owned()),
        ("instance".to_owned(), "web-1:9100".to_owned()),
        ("severity".to_owned(), "critical".to_owned()),
    ]
    .into();
    let fingerprint = Fingerprint::of(&labels);
    let mut notice = Notice::blank(NoticeKind::Alert, name, name, now);
    "critical".clone_into(&mut notice.severity);
    notice.alerts = vec![AlertLine {
        fingerprint,
        name: name.to_owned(),
        severity: "critical".into(),
        status: AlertStatus::Firing,
        starts_at: now,
        message: "12 % of requests fail".into(),
        labels,
    }];
    Message {
        channel: ChannelName::new(channel).unwrap(),
        notice,
        covers: [format!("{fingerprint}@{now}/firing/0")].into(),
    }
}
