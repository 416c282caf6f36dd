use std::time::Duration;

use backstop::config::channel::{Slack as Settings, base_url};
use backstop::domain::secret::Secret;
use backstop::notify::channel::slack::Slack;
use backstop::notify::channel::{Class, Notifier as _, Outgoing, Probe, Proof};
use serde_json::{Value, json};

use super::{http, notices, outgoing, png, wording};
use crate::support::chat::{Fault, Time};
use crate::support::slack::Slack as Vendor;

const TOKEN: &str = "xoxb-s3cr3t";
const CHANNEL: &str = "C012345";

async fn vendor() -> Vendor {
    Vendor::start(TOKEN, &[CHANNEL], Time::real()).await
}

fn settings(vendor: &Vendor) -> Settings {
    Settings {
        token: Secret::new(TOKEN),
        channel: CHANNEL.into(),
        api_url: base_url(&vendor.url()).unwrap(),
        mention: Vec::new(),
        chart_wait: Duration::from_millis(700),
    }
}

fn bot(vendor: &Vendor) -> Slack {
    Slack::new(http(), settings(vendor), wording())
}

async fn post(vendor: &Vendor, fields: Value) -> String {
    let mut body = json!({"channel": CHANNEL, "text": "x"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let request = http()
        .post(format!("{}/chat.postMessage", vendor.url()))
        .bearer_auth(TOKEN)
        .json(&body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["error"].as_str().unwrap_or("ok").to_owned()
}

#[tokio::test]
async fn a_message_shows_its_chart_once_slack_is_ready_with_it() {
    let vendor = vendor().await;
    vendor.slow_files(2);
    let (notice, png) = (notices::with_chart(None), png());
    let message = Outgoing {
        chart_png: Some(&png),
        ..outgoing(&notice)
    };
    let receipt = bot(&vendor).send(&message).await.unwrap();
    assert_eq!(
        (receipt.parts, receipt.chart_bytes),
        (1, Some(png.len() as u64))
    );
    assert!(
        matches!(&receipt.proof, Proof::Slack { channel, file: Some(_), .. } if channel == CHANNEL)
    );
    let messages = vendor.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].image.as_deref(), Some(&png[..]));
    let body = &vendor.posted()[0].body;
    assert_eq!(body["metadata"]["event_payload"]["message_id"], "entry-1");
    assert_eq!(
        (&body["unfurl_links"], &body["unfurl_media"]),
        (&json!(false), &json!(false))
    );
    let complete = vendor
        .calls()
        .into_iter()
        .find(|(method, ..)| method == "files.completeUploadExternal");
    assert_eq!(complete.unwrap().1.get("channel_id"), None);
}

#[tokio::test]
async fn a_chart_that_is_never_ready_does_not_hold_the_words() {
    let vendor = vendor().await;
    vendor.slow_files(1000);
    let (notice, png) = (notices::with_chart(None), png());
    let message = Outgoing {
        chart_png: Some(&png),
        ..outgoing(&notice)
    };
    let receipt = bot(&vendor).send(&message).await.unwrap();
    assert_eq!((receipt.parts, receipt.chart_bytes), (1, None));
    assert!(receipt.notes[0].contains("not ready"));
    assert!(
        vendor.messages()[0]
            .text
            .contains("Slack was not ready with the picture in time")
    );
}

#[tokio::test]
async fn a_refused_upload_does_not_hold_the_words() {
    let vendor = vendor().await;
    vendor.fault(Fault::Answer(
        json!({"ok": false, "error": "missing_scope"}),
    ));
    let (notice, png) = (notices::with_chart(None), png());
    let message = Outgoing {
        chart_png: Some(&png),
        ..outgoing(&notice)
    };
    let receipt = bot(&vendor).send(&message).await.unwrap();
    assert_eq!(receipt.chart_bytes, None);
    assert!(
        vendor.messages()[0].text.contains("missing＿scope")
            || vendor.messages()[0].text.contains("missing_scope")
    );
}

#[tokio::test]
async fn a_second_attempt_uses_the_same_upload() {
    let vendor = vendor().await;
    let bot = bot(&vendor);
    let (notice, png) = (notices::with_chart(None), png());
    let message = Outgoing {
        chart_png: Some(&png),
        ..outgoing(&notice)
    };
    // The upload's two calls pass, the post does not.
    for fault in [Fault::Pass, Fault::Pass, Fault::Status(500)] {
        vendor.fault(fault);
    }
    let error = bot.send(&message).await.unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (Class::Retry, "http_500")
    );
    bot.send(&message).await.unwrap();
    let uploads = vendor
        .calls()
        .iter()
        .filter(|(method, ..)| method == "files.completeUploadExternal")
        .count();
    assert_eq!(uploads, 1);
    assert!(vendor.messages()[0].image.is_some());
}

#[tokio::test]
async fn follow_ups_stand_in_the_thread_and_a_new_state_rewrites_its_head() {
    let vendor = vendor().await;
    let bot = bot(&vendor);
    let (notice, png) = (notices::with_chart(None), png());
    let root = bot
        .send(&Outgoing {
            chart_png: Some(&png),
            ..outgoing(&notice)
        })
        .await
        .unwrap();
    for notice in [
        notices::finished(),
        notices::recovery(),
        notices::resolved(),
    ] {
        bot.send(&Outgoing {
            thread: Some(&root),
            ..outgoing(&notice)
        })
        .await
        .unwrap();
    }
    let posted = vendor.posted();
    assert_eq!(posted.len(), 4);
    let Proof::Slack { ts, .. } = &root.proof else {
        panic!("{root:?}")
    };
    assert!(
        posted[1..]
            .iter()
            .all(|one| one.thread.as_ref() == Some(ts))
    );
    assert_eq!(posted[1].body.get("reply_broadcast"), None);
    assert_eq!(posted[2].body["reply_broadcast"], json!(true));
    assert_eq!(posted[0].edits, 1);
    let head = &vendor.messages()[0];
    assert!(
        head.text.contains("RESOLVED") && head.image.is_some(),
        "{}",
        head.text
    );
}

#[tokio::test]
async fn an_alert_that_a_rollback_overtook_stands_beside_it_for_all_to_see() {
    let vendor = vendor().await;
    let bot = bot(&vendor);
    let started = notices::finished();
    let root = bot.send(&outgoing(&started)).await.unwrap();
    let notice = notices::firing();
    bot.send(&Outgoing {
        thread: Some(&root),
        ..outgoing(&notice)
    })
    .await
    .unwrap();
    let posted = vendor.posted();
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0].edits, 0, "what a rollback said stays said");
    assert_eq!(posted[1].body["reply_broadcast"], json!(true));
}

#[tokio::test]
async fn a_head_that_is_gone_is_noted_and_nothing_more() {
    let vendor = vendor().await;
    let bot = bot(&vendor);
    let root = bot.send(&outgoing(&notices::firing())).await.unwrap();
    vendor.fault(Fault::Answer(
        json!({"ok": true, "channel": CHANNEL, "ts": "1.1"}),
    ));
    vendor.fault(Fault::Answer(
        json!({"ok": false, "error": "message_not_found"}),
    ));
    let notice = notices::resolved();
    let receipt = bot
        .send(&Outgoing {
            thread: Some(&root),
            ..outgoing(&notice)
        })
        .await
        .unwrap();
    assert!(receipt.notes[0].contains("message_not_found"));
}

#[tokio::test]
async fn hundreds_of_alerts_and_a_giant_one_arrive_whole_in_one_thread() {
    for notice in [notices::many(300), notices::giant(100_000)] {
        let vendor = vendor().await;
        let bot = bot(&vendor);
        let receipt = bot.send(&outgoing(&notice)).await.unwrap();
        assert!(receipt.parts > 1 && receipt.parts == bot.parts(&outgoing(&notice)));
        let posted = vendor.posted();
        assert!(
            posted[1..]
                .iter()
                .all(|part| part.thread.as_ref() == Some(&posted[0].ts))
        );
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
async fn a_message_cut_in_the_middle_goes_on_in_its_thread() {
    let vendor = vendor().await;
    let bot = bot(&vendor);
    let notice = notices::many(300);
    let all = bot.parts(&outgoing(&notice));
    vendor.fault(Fault::Pass);
    vendor.fault(Fault::RetryAfter(429, 3));
    let error = bot.send(&outgoing(&notice)).await.unwrap_err();
    assert_eq!(error.class, Class::Wait(Duration::from_secs(3)));
    let partial = error.partial.unwrap();
    assert_eq!(partial.parts, 1);
    let rest = Outgoing {
        resume: Some(&partial),
        ..outgoing(&notice)
    };
    assert_eq!(bot.parts(&rest), all - 1);
    // Another replica goes on: this one was told to wait.
    let receipt = self::bot(&vendor).send(&rest).await.unwrap();
    assert_eq!(receipt.parts, all);
    let posted = vendor.posted();
    assert_eq!(posted.len(), usize::try_from(all).unwrap());
    for (n, part) in posted.iter().enumerate() {
        assert_eq!(part.body["metadata"]["event_payload"]["part"], json!(n + 1));
        assert_eq!(part.thread.as_ref(), (n > 0).then_some(&posted[0].ts));
    }
}

#[tokio::test]
async fn the_vendor_refuses_what_it_documents() {
    let vendor = vendor().await;
    let section =
        |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let header =
        |text: String| json!({"type": "header", "text": {"type": "plain_text", "text": text}});
    for (fields, answer) in [
        (json!({"blocks": [section("x".repeat(3000))]}), "ok"),
        (
            json!({"blocks": [section("x".repeat(3001))]}),
            "invalid_blocks",
        ),
        (
            json!({"blocks": [section(String::new())]}),
            "invalid_blocks",
        ),
        (
            json!({"blocks": [header("x".repeat(151))]}),
            "invalid_blocks",
        ),
        (
            json!({"blocks": vec![section("x".into()); 51]}),
            "invalid_blocks",
        ),
        (
            json!({"blocks": vec![section("x".repeat(2900)); 5]}),
            "msg_blocks_too_long",
        ),
        (
            json!({"blocks": [{"type": "image", "alt_text": "x", "slack_file": {"id": "F9"}}]}),
            "invalid_blocks",
        ),
        (json!({"text": "x".repeat(40_001)}), "msg_too_long"),
        (json!({"text": ""}), "no_text"),
        (json!({"channel": "C9"}), "channel_not_found"),
        (json!({"thread_ts": "1.1"}), "thread_not_found"),
        (
            json!({"metadata": {"event_type": "x", "event_payload": {"x": "y".repeat(17_000)}}}),
            "metadata_too_large",
        ),
    ] {
        assert_eq!(
            post(&vendor, fields.clone()).await,
            answer,
            "{}",
            fields.to_string().get(..80).unwrap_or("short")
        );
    }
}

#[tokio::test]
async fn too_many_messages_wait_as_long_as_slack_says() {
    let time = Time::real();
    let vendor = Vendor::start(TOKEN, &[CHANNEL], time.clone()).await;
    let (bot, notice) = (bot(&vendor), notices::finished());
    for _ in 0..60 {
        bot.send(&outgoing(&notice)).await.unwrap();
    }
    let error = bot.send(&outgoing(&notice)).await.unwrap_err();
    let Class::Wait(wait) = error.class else {
        panic!("{error:?}")
    };
    assert!(
        wait <= Duration::from_mins(1) && wait > Duration::from_secs(30),
        "{wait:?}"
    );
    let calls = vendor.calls().len();
    let error = bot.send(&outgoing(&notice)).await.unwrap_err();
    assert!(matches!(error.class, Class::Wait(_)), "{error:?}");
    assert_eq!(vendor.calls().len(), calls, "and does not call before that");
    time.advance(Duration::from_mins(1));
    self::bot(&vendor).send(&outgoing(&notice)).await.unwrap();
}

#[tokio::test]
async fn ok_false_is_a_failure_of_its_class() {
    let vendor = vendor().await;
    let bot = bot(&vendor);
    for (error, class) in [
        ("invalid_auth", Class::Broken),
        ("is_archived", Class::Broken),
        ("msg_too_long", Class::Permanent),
        ("internal_error", Class::Retry),
        ("fatal_error", Class::MaybeSent),
    ] {
        vendor.fault(Fault::Answer(json!({"ok": false, "error": error})));
        let failure = bot.send(&outgoing(&notices::finished())).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (class, error));
    }
    for fault in [Fault::Hang, Fault::DropAfterAccept, Fault::Garbage] {
        vendor.fault(fault);
        let failure = bot.send(&outgoing(&notices::finished())).await.unwrap_err();
        assert_eq!(failure.class, Class::MaybeSent);
    }
}

#[tokio::test]
async fn a_probe_tells_who_the_token_is_without_a_message() {
    let vendor = vendor().await;
    assert_eq!(
        bot(&vendor).probe().await,
        Ok(Probe::Works("backstop in Example".into()))
    );
    let wrong = Settings {
        token: Secret::new("xoxb-other-s3cr3t"),
        ..settings(&vendor)
    };
    let wrong = Slack::new(http(), wrong, wording());
    let error = wrong.probe().await.unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (Class::Broken, "invalid_auth")
    );
    assert!(!format!("{error:?} {wrong:?}").contains("s3cr3t"));
    assert!(vendor.posted().is_empty());
}
