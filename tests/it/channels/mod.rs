//! The notifiers against services that keep the vendors' limits.

mod dingtalk;
mod email;
mod golden;
mod notices;
mod slack;
mod webhook;
mod wecom;

use std::sync::Arc;
use std::time::Duration;

use backstop::config::channel::{
    Channel, ChartTheme, DingTalk, Email, Locale, Slack, Target, WeCom, Webhook, base_url, mailbox,
};
use backstop::domain::clock::{SharedClock, SystemClock};
use backstop::domain::id::ChannelName;
use backstop::domain::notice::Notice;
use backstop::domain::secret::Secret;
use backstop::notify::channel::{Calls, Outgoing, Wording, open};
use backstop::notify::render::{Renderer, Voice};

fn wording() -> Wording {
    Wording {
        calls: Calls::default(),
        renderer: Arc::new(Renderer::shipped().unwrap()),
        voice: Voice {
            locale: Locale::En,
            time_zone: jiff::tz::TimeZone::UTC,
        },
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()
        .unwrap()
}

fn outgoing(notice: &Notice) -> Outgoing<'_> {
    Outgoing {
        notice,
        message_id: "entry-1",
        chart_png: None,
        thread: None,
        resume: None,
        at_most: u32::MAX,
        plain: false,
    }
}

/// The smallest thing that is a picture to a vendor.
fn png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend_from_slice(&[7; 500]);
    png
}

fn channel(target: Target) -> Channel {
    Channel {
        name: ChannelName::new("ops").unwrap(),
        locale: Locale::ZhCn,
        chart_theme: ChartTheme::Light,
        time_zone: jiff::tz::TimeZone::UTC,
        mention_when: Vec::new(),
        target,
    }
}

fn targets() -> [(&'static str, Target); 5] {
    let secret = || Secret::new("s3cr3t");
    let nowhere = || base_url("http://127.0.0.1:1").unwrap();
    let email = Email {
        server: "smtps://mail.example.com".parse().unwrap(),
        login: Some(("me".into(), secret())),
        authority: None,
        from: mailbox("backstop@example.com").unwrap(),
        to: vec![mailbox("oncall@example.com").unwrap()],
        reply_to: None,
        timeout: Duration::from_secs(1),
    };
    let slack = Slack {
        token: secret(),
        channel: "C1".into(),
        api_url: nowhere(),
        mention: Vec::new(),
        chart_wait: Duration::from_secs(1),
    };
    let wecom = WeCom {
        key: secret(),
        base_url: nowhere(),
        mention: Vec::new(),
    };
    let dingtalk = DingTalk {
        token: secret(),
        secret: Some(secret()),
        keyword: None,
        base_url: nowhere(),
        mention_mobiles: Vec::new(),
        mention_users: Vec::new(),
    };
    let webhook = Webhook {
        url: nowhere(),
        secret: secret(),
        next_secret: None,
        bearer: Some(secret()),
        max_body: 256 << 10,
    };
    [
        ("email", Target::Email(email)),
        ("slack", Target::Slack(slack)),
        ("wecom", Target::WeCom(wecom)),
        ("dingtalk", Target::DingTalk(dingtalk)),
        ("webhook", Target::Webhook(webhook)),
    ]
}

#[test]
fn a_configured_channel_opens_previews_and_prints_no_secret() {
    let (renderer, clock): (_, SharedClock) = (wording().renderer, Arc::new(SystemClock));
    for (kind, target) in targets() {
        let channel = channel(target);
        let notifier = open(
            &channel,
            &http(),
            &renderer,
            &clock,
            &Arc::default(),
            &Arc::default(),
        )
        .unwrap();
        assert_eq!(notifier.kind(), kind);
        let preview = notifier.preview(&outgoing(&notices::firing())).unwrap();
        assert_eq!(preview.len(), 1, "{kind}");
        assert!(
            !format!("{channel:?} {notifier:?} {preview:?}").contains("s3cr3t"),
            "{kind}"
        );
    }
}

#[test]
fn a_receipt_survives_being_written_down() {
    use backstop::notify::channel::{Delivery, Proof, Receipt, Recipient};
    let refused = Delivery::Refused {
        code: "550".into(),
        text: "no".into(),
    };
    let proofs = [
        Proof::Slack {
            channel: "C1".into(),
            ts: "1.1".into(),
            file: None,
            shows_state: true,
        },
        Proof::Email {
            message_id: "a@b".into(),
            root: "a@b".into(),
            subject: "s".into(),
            recipients: vec![Recipient {
                address: "a@b".into(),
                outcome: refused,
            }],
        },
        Proof::Bot {
            reference: "#123456".into(),
        },
        Proof::Webhook {
            ids: vec!["01a2-1".into()],
        },
    ];
    for proof in proofs {
        let receipt = Receipt {
            parts: 2,
            chart_bytes: Some(9),
            notes: Vec::new(),
            merged: 3,
            proof,
        };
        let written = serde_json::to_string(&receipt).unwrap();
        assert_eq!(serde_json::from_str::<Receipt>(&written).unwrap(), receipt);
    }
}

#[tokio::test]
async fn a_minute_passes_as_fast_as_the_demo_wants() {
    use crate::support::chat::{Time, Window};
    let time = Time::scaled(6000);
    let mut window = Window::new(1, Duration::from_mins(1));
    window.take(time.now()).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while window.take(time.now()).is_err() {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}
