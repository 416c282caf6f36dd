use std::time::Duration;

use backstop::config::channel::{WeCom as Settings, base_url};
use backstop::domain::secret::Secret;
use backstop::notify::channel::wecom::WeCom;
use backstop::notify::channel::{Class, Notifier as _, Outgoing};
use serde_json::json;

use super::{http, notices, outgoing, png, wording};
use crate::support::chat::{Fault, Time};
use crate::support::wecom::WeCom as Vendor;

const KEY: &str = "key-s3cr3t";

fn bot(vendor: &Vendor, key: &str) -> WeCom {
    let settings = Settings {
        key: Secret::new(key),
        base_url: base_url(&vendor.url()).unwrap(),
        mention: Vec::new(),
    };
    WeCom::new(http(), settings, wording())
}

async fn post(vendor: &Vendor, body: serde_json::Value) -> i64 {
    let url = format!("{}/cgi-bin/webhook/send?key={KEY}", vendor.url());
    let answer = http().post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<serde_json::Value>().await.unwrap()["errcode"]
        .as_i64()
        .unwrap()
}

#[tokio::test]
async fn words_and_picture_arrive() {
    let vendor = Vendor::start(&[KEY], Time::real()).await;
    let (notice, png) = (notices::firing(), png());
    let message = Outgoing {
        chart_png: Some(&png),
        ..outgoing(&notice)
    };
    let bot = bot(&vendor, KEY);
    assert_eq!(bot.parts(&message), 2);
    let receipt = bot.send(&message).await.unwrap();
    assert_eq!(
        (receipt.parts, receipt.chart_bytes),
        (2, Some(png.len() as u64))
    );
    let messages = vendor.messages();
    assert!(messages[0].text.contains("CanaryErrors"));
    assert_eq!(messages[1].image.as_deref(), Some(&png[..]));
}

#[tokio::test]
async fn a_hundred_alerts_and_a_giant_one_arrive_whole() {
    for notice in [notices::many(100), notices::giant(30_000)] {
        let vendor = Vendor::start(&[KEY], Time::real()).await;
        let bot = bot(&vendor, KEY);
        let receipt = bot.send(&outgoing(&notice)).await.unwrap();
        assert!(receipt.parts > 1 && receipt.parts == bot.parts(&outgoing(&notice)));
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
    let vendor = Vendor::start(&[KEY], Time::real()).await;
    let markdown = |text: String| json!({"msgtype": "markdown", "markdown": {"content": text}});
    assert_eq!(post(&vendor, markdown("中".repeat(1365))).await, 0);
    assert_eq!(post(&vendor, markdown("中".repeat(1366))).await, 40058);
    assert_eq!(post(&vendor, markdown(String::new())).await, 44004);
    assert_eq!(post(&vendor, json!({"msgtype": "sms"})).await, 40008);
    let image = json!({"msgtype": "image", "image": {"base64": "cG5n", "md5": "0".repeat(32)}});
    assert_eq!(post(&vendor, image).await, 301_019);
    assert_eq!(vendor.messages().len(), 1);
}

#[tokio::test]
async fn at_the_limit_the_target_waits_and_goes_on_a_minute_later() {
    let time = Time::real();
    let vendor = Vendor::start(&[KEY], time.clone()).await;
    let (bot, notice) = (bot(&vendor, KEY), notices::finished());
    for _ in 0..20 {
        bot.send(&outgoing(&notice)).await.unwrap();
    }
    let error = bot.send(&outgoing(&notice)).await.unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (Class::Wait(Duration::from_mins(1)), "45009")
    );
    time.advance(Duration::from_mins(1));
    bot.send(&outgoing(&notice)).await.unwrap();
    assert_eq!(vendor.messages().len(), 21);
}

#[tokio::test]
async fn a_message_cut_by_the_limit_goes_on_where_it_stopped() {
    let time = Time::real();
    let vendor = Vendor::start(&[KEY], time.clone()).await;
    let bot = bot(&vendor, KEY);
    for _ in 0..18 {
        bot.send(&outgoing(&notices::finished())).await.unwrap();
    }
    let (notice, png) = (notices::many(100), png());
    let message = Outgoing {
        chart_png: Some(&png),
        ..outgoing(&notice)
    };
    let error = bot.send(&message).await.unwrap_err();
    let partial = error.partial.unwrap();
    assert_eq!(partial.parts, 2);
    time.advance(Duration::from_mins(1));
    let rest = Outgoing {
        resume: Some(&partial),
        ..message
    };
    assert_eq!(bot.parts(&rest), bot.parts(&message) - 2);
    let receipt = bot.send(&rest).await.unwrap();
    assert_eq!(receipt.parts, bot.parts(&message));
    let messages = vendor.messages();
    for (n, message) in messages[18..messages.len() - 1].iter().enumerate() {
        assert!(
            message.text.starts_with(&format!("({}/", n + 1)),
            "{}",
            message.text
        );
    }
    assert!(messages.last().unwrap().image.is_some());
}

#[tokio::test]
async fn a_bad_key_is_permanent_and_shows_no_secret() {
    let vendor = Vendor::start(&[KEY], Time::real()).await;
    let bot = bot(&vendor, "wrong-s3cr3t");
    let error = bot.send(&outgoing(&notices::firing())).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Broken, "93000"));
    assert!(!format!("{error} {error:?} {bot:?}").contains("s3cr3t"));
    assert!(
        !error.to_string().contains("127.0.0.1"),
        "the vendor echoes our address"
    );
}

#[tokio::test]
async fn a_failure_says_whether_the_message_may_be_out() {
    let vendor = Vendor::start(&[KEY], Time::real()).await;
    let (bot, notice) = (bot(&vendor, KEY), notices::finished());
    for (fault, class, code) in [
        (Fault::Status(500), Class::Retry, "http_500"),
        (Fault::Status(403), Class::Broken, "http_403"),
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
        (
            Fault::Redirect("http://127.0.0.1:1/".into()),
            Class::Broken,
            "http_302",
        ),
        (Fault::Garbage, Class::MaybeSent, "bad_answer"),
        (
            Fault::Answer(json!({"ok": true})),
            Class::MaybeSent,
            "bad_answer",
        ),
        (
            Fault::Answer(json!({"errcode": -1, "errmsg": "busy"})),
            Class::Retry,
            "-1",
        ),
        (Fault::Hang, Class::MaybeSent, "timeout"),
        (Fault::DropAfterAccept, Class::MaybeSent, "network"),
    ] {
        let name = format!("{fault:?}");
        vendor.fault(fault);
        let error = bot.send(&outgoing(&notice)).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (class, code), "{name}");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{name}");
    }
    assert_eq!(
        vendor.messages().len(),
        1,
        "only the one whose answer broke off"
    );
}

#[tokio::test]
async fn nobody_listening_means_nothing_was_sent() {
    let vendor = Vendor::start(&[KEY], Time::real()).await;
    let bot = bot(&vendor, KEY);
    drop(vendor);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    // The listener's task ends soon after its handle is dropped.
    loop {
        let error = bot.send(&outgoing(&notices::finished())).await;
        match error {
            Err(error) if error.code == "connect" => {
                assert_eq!(error.class, Class::Retry);
                break;
            }
            _ => assert!(tokio::time::Instant::now() < deadline),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_refused_picture_does_not_repeat_the_words() {
    let vendor = Vendor::start(&[KEY], Time::real()).await;
    let notice = notices::firing();
    let message = Outgoing {
        chart_png: Some(b"no picture"),
        ..outgoing(&notice)
    };
    let receipt = bot(&vendor, KEY).send(&message).await.unwrap();
    assert_eq!((receipt.parts, receipt.chart_bytes), (1, None));
    assert!(receipt.notes[0].contains("40009"), "{:?}", receipt.notes);
}
