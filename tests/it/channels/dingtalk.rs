use std::sync::Arc;
use std::time::Duration;

use backstop::config::channel::{DingTalk as Settings, base_url};
use backstop::domain::clock::{ManualClock, SharedClock, SystemClock};
use backstop::domain::secret::Secret;
use backstop::notify::channel::dingtalk::DingTalk;
use backstop::notify::channel::{Class, Notifier as _, Outgoing};
use serde_json::json;

use super::{http, notices, outgoing, wording};
use crate::support::chat::{Fault, Time};
use crate::support::dingtalk::{DingTalk as Vendor, Robot};

const TOKEN: &str = "token-s3cr3t";

fn guarded() -> Robot {
    Robot {
        secret: Some("SECs3cr3t+/=".into()),
        keywords: vec!["告警".into()],
    }
}

fn settings(vendor: &Vendor, robot: &Robot) -> Settings {
    Settings {
        token: Secret::new(TOKEN),
        secret: robot.secret.as_ref().map(Secret::new),
        keyword: robot.keywords.first().cloned(),
        base_url: base_url(&vendor.url()).unwrap(),
        mention_mobiles: Vec::new(),
        mention_users: Vec::new(),
    }
}

fn robot(settings: Settings) -> DingTalk {
    robot_at(settings, Arc::new(SystemClock))
}

fn robot_at(settings: Settings, clock: SharedClock) -> DingTalk {
    DingTalk::new(http(), settings, wording(), clock)
}

#[tokio::test]
async fn a_signed_message_with_its_keyword_and_chart_arrives() {
    let vendor = Vendor::start(&[(TOKEN, guarded())], Time::real()).await;
    let robot = robot(settings(&vendor, &guarded()));
    let notice = notices::with_chart(Some("https://backstop.example.com/charts/c1.png"));
    let receipt = robot.send(&outgoing(&notice)).await.unwrap();
    assert_eq!((receipt.parts, receipt.chart_bytes), (1, None));
    let message = &vendor.messages()[0];
    assert!(message.text.contains("CanaryErrors") && message.text.contains("告警"));
    assert!(
        message
            .text
            .contains("![](https://backstop.example.com/charts/c1.png)")
    );
}

#[tokio::test]
async fn every_kind_passes_signature_and_keyword() {
    let vendor = Vendor::start(&[(TOKEN, guarded())], Time::real()).await;
    let robot = robot(settings(&vendor, &guarded()));
    for notice in [
        notices::firing(),
        notices::resolved(),
        notices::finished(),
        notices::recovery(),
    ] {
        robot.send(&outgoing(&notice)).await.unwrap();
    }
    assert_eq!(vendor.messages().len(), 4);
}

#[tokio::test]
async fn hundreds_of_alerts_and_a_giant_one_arrive_whole() {
    for notice in [notices::many(300), notices::giant(90_000)] {
        let vendor = Vendor::start(&[(TOKEN, guarded())], Time::real()).await;
        let robot = robot(settings(&vendor, &guarded()));
        let receipt = robot.send(&outgoing(&notice)).await.unwrap();
        assert!(receipt.parts > 1 && receipt.parts == robot.parts(&outgoing(&notice)));
        let all: String = vendor
            .messages()
            .iter()
            .map(|message| message.text.clone())
            .collect();
        for alert in &notice.alerts {
            assert!(all.contains(&alert.name), "{}", alert.name);
        }
    }
}

#[tokio::test]
async fn the_vendor_refuses_what_it_documents() {
    let vendor = Vendor::start(&[(TOKEN, guarded())], Time::real()).await;
    let fine = settings(&vendor, &guarded());
    let notice = notices::firing();
    for (broken, class, says) in [
        (
            Settings {
                secret: Some(Secret::new("SECother")),
                ..fine.clone()
            },
            Class::Broken,
            "signature",
        ),
        (
            Settings {
                secret: None,
                ..fine.clone()
            },
            Class::Retry,
            "time",
        ),
        (
            Settings {
                keyword: None,
                ..fine.clone()
            },
            Class::Broken,
            "keyword",
        ),
    ] {
        let error = robot(broken).send(&outgoing(&notice)).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (class, "310000"));
        assert!(error.detail.contains(says), "{error}");
    }
    let unknown = Settings {
        token: Secret::new("other-s3cr3t"),
        ..fine
    };
    let error = robot(unknown).send(&outgoing(&notice)).await.unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (Class::Broken, "300005")
    );
    assert!(!format!("{error:?}").contains("s3cr3t"));
    assert!(vendor.messages().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_the_vendor() {
    let open = Robot::default();
    let vendor = Vendor::start(&[(TOKEN, open)], Time::real()).await;
    let url = format!("{}/robot/send?access_token={TOKEN}", vendor.url());
    let body =
        json!({"msgtype": "markdown", "markdown": {"title": "t", "text": "\"".repeat(10_000)}});
    let answer = http().post(url).json(&body).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["errcode"], 460_101);
}

#[tokio::test]
async fn a_clock_that_is_off_is_named() {
    let vendor = Vendor::start(&[(TOKEN, guarded())], Time::real()).await;
    let clock = ManualClock::at("2020-01-01T00:00:00Z".parse().unwrap());
    let robot = robot_at(settings(&vendor, &guarded()), clock);
    let error = robot.send(&outgoing(&notices::firing())).await.unwrap_err();
    assert!(error.detail.contains("clock"), "{error}");
    assert_eq!(error.class, Class::Retry, "it is signed anew");
}

#[tokio::test]
async fn over_the_limit_the_robot_is_mute_for_ten_minutes() {
    let time = Time::real();
    let vendor = Vendor::start(&[(TOKEN, guarded())], time.clone()).await;
    let robot = robot(settings(&vendor, &guarded()));
    let notice = notices::finished();
    for _ in 0..20 {
        robot.send(&outgoing(&notice)).await.unwrap();
    }
    let muted = Class::Wait(Duration::from_mins(10));
    let error = robot.send(&outgoing(&notice)).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (muted, "130101"));
    time.advance(Duration::from_secs(61));
    assert_eq!(
        robot.send(&outgoing(&notice)).await.unwrap_err().class,
        muted
    );
    time.advance(Duration::from_mins(9));
    robot.send(&outgoing(&notice)).await.unwrap();
}

#[tokio::test]
async fn words_called_unsafe_are_refused_and_pass_without_markup() {
    let vendor = Vendor::start(&[(TOKEN, Robot::default())], Time::real()).await;
    let robot = robot(settings(&vendor, &Robot::default()));
    vendor.fault(Fault::Answer(
        json!({"errcode": 430_101, "errmsg": "unsafe link"}),
    ));
    let notice = notices::firing();
    let error = robot.send(&outgoing(&notice)).await.unwrap_err();
    assert_eq!(error.class, Class::Permanent);
    let again = Outgoing {
        plain: true,
        ..outgoing(&notice)
    };
    robot.send(&again).await.unwrap();
    let text = &vendor.messages()[0].text;
    assert!(text.contains("CanaryErrors") && !text.contains("](") && !text.contains("**"));
}

#[tokio::test]
async fn a_failure_says_whether_the_message_may_be_out() {
    let vendor = Vendor::start(&[(TOKEN, guarded())], Time::real()).await;
    let robot = robot(settings(&vendor, &guarded()));
    for (fault, class) in [
        (Fault::Status(502), Class::Retry),
        (Fault::Hang, Class::MaybeSent),
        (Fault::DropAfterAccept, Class::MaybeSent),
        (
            Fault::Answer(json!({"errcode": -1, "errmsg": "busy"})),
            Class::Retry,
        ),
        (
            Fault::Answer(json!({"errcode": 410_100, "errmsg": "限流"})),
            Class::Wait(Duration::from_mins(10)),
        ),
    ] {
        let name = format!("{fault:?}");
        vendor.fault(fault);
        let error = robot
            .send(&outgoing(&notices::finished()))
            .await
            .unwrap_err();
        assert_eq!(error.class, class, "{name}");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{name}");
    }
}
