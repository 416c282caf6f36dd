use std::sync::Arc;
use std::time::Duration;

use backstop::config::channel::{Webhook as Settings, base_url};
use backstop::domain::clock::SystemClock;
use backstop::domain::secret::Secret;
use backstop::notify::channel::webhook::Webhook;
use backstop::notify::channel::{Class, Notifier as _, Outgoing};

use super::{http, notices, outgoing, wording};
use crate::support::chat::Fault;
use crate::support::webhook::Receiver;

const OLD: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const NEW: &str = "whsec_YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNk";

fn settings(receiver: &Receiver, secret: &str) -> Settings {
    Settings {
        url: base_url(&receiver.url()).unwrap(),
        secret: Secret::new(secret),
        next_secret: None,
        bearer: None,
        max_body: 16 << 10,
    }
}

fn hook(settings: Settings) -> Webhook {
    Webhook::new(http(), settings, wording(), Arc::new(SystemClock))
}

#[tokio::test]
async fn a_message_arrives_signed() {
    let receiver = Receiver::start(&[OLD], None).await;
    let hook = hook(settings(&receiver, OLD));
    let receipt = hook.send(&outgoing(&notices::firing())).await.unwrap();
    assert_eq!(receipt.parts, 1);
    let messages = receiver.messages();
    assert_eq!(messages[0]["type"], "alert.firing");
    assert_eq!(
        messages[0]["data"]["notice"]["release_id"],
        "checkout@1.8.1"
    );
    hook.send(&outgoing(&notices::resolved())).await.unwrap();
    assert_eq!(receiver.calls().len(), 2);
    assert_eq!(receiver.messages().len(), 1, "the same id is taken once");
}

#[tokio::test]
async fn another_secret_or_a_missing_token_is_refused_for_good() {
    let receiver = Receiver::start(&[NEW], Some("t0ken")).await;
    for (secret, bearer) in [(OLD, Some("t0ken")), (NEW, None)] {
        let hook = hook(Settings {
            bearer: bearer.map(Secret::new),
            ..settings(&receiver, secret)
        });
        let error = hook.send(&outgoing(&notices::firing())).await.unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (Class::Broken, "http_401")
        );
    }
    assert!(receiver.messages().is_empty());
}

#[tokio::test]
async fn while_secrets_change_either_is_enough() {
    for known in [OLD, NEW] {
        let receiver = Receiver::start(&[known], None).await;
        let hook = hook(Settings {
            next_secret: Some(Secret::new(NEW)),
            ..settings(&receiver, OLD)
        });
        hook.send(&outgoing(&notices::firing())).await.unwrap();
        assert_eq!(receiver.messages().len(), 1);
    }
}

#[tokio::test]
async fn a_hundred_alerts_arrive_in_parts_and_an_attempt_goes_on_where_one_broke_off() {
    let receiver = Receiver::start(&[OLD], None).await;
    let hook = hook(settings(&receiver, OLD));
    let notice = notices::many(100);
    receiver.fault(Fault::Pass);
    receiver.fault(Fault::Status(502));
    let error = hook.send(&outgoing(&notice)).await.unwrap_err();
    assert_eq!(error.class, Class::Retry);
    let partial = error.partial.unwrap();
    assert_eq!(partial.parts, 1);
    let rest = Outgoing {
        resume: Some(&partial),
        ..outgoing(&notice)
    };
    let receipt = hook.send(&rest).await.unwrap();
    assert_eq!(receipt.parts, hook.parts(&outgoing(&notice)));
    let messages = receiver.messages();
    assert_eq!(
        receiver.calls().len(),
        messages.len(),
        "nothing was sent twice"
    );
    let names: Vec<String> = messages
        .iter()
        .flat_map(|body| body["data"]["notice"]["alerts"].as_array().unwrap())
        .map(|alert| alert["name"].as_str().unwrap().to_owned())
        .collect();
    let wanted: Vec<String> = notice
        .alerts
        .iter()
        .map(|alert| alert.name.clone())
        .collect();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn what_a_failure_means() {
    let receiver = Receiver::start(&[OLD], None).await;
    let hook = hook(settings(&receiver, OLD));
    let cases = [
        (Fault::Status(410), Class::Broken, "http_410"),
        (Fault::Status(413), Class::Permanent, "http_413"),
        (
            Fault::Redirect("http://127.0.0.1:1/".to_owned()),
            Class::Broken,
            "http_302",
        ),
        (Fault::Status(500), Class::Retry, "http_500"),
        (
            Fault::RetryAfter(429, 7),
            Class::Wait(Duration::from_secs(7)),
            "http_429",
        ),
        (
            Fault::RetryAfter(503, 9),
            Class::Wait(Duration::from_secs(9)),
            "http_503",
        ),
        (Fault::Hang, Class::MaybeSent, "timeout"),
    ];
    for (fault, class, code) in cases {
        receiver.fault(fault);
        let error = hook.send(&outgoing(&notices::firing())).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (class, code));
    }
    assert!(receiver.messages().is_empty());
}
