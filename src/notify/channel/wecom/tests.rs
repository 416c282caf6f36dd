use std::sync::Arc;

use super::*;
use crate::config::channel::base_url;
use crate::domain::notice::Notice;
use crate::domain::secret::Secret;
use crate::notify::channel::Calls;
use crate::notify::render::Renderer;
use crate::notify::render::sample::{PAYLOADS, alert, english, everywhere, finished, firing, many};

fn bot(mention: &[&str]) -> WeCom {
    WeCom::new(
        reqwest::Client::default(),
        Settings {
            key: Secret::new("k"),
            base_url: base_url("http://127.0.0.1:1").unwrap(),
            mention: mention.iter().map(|user| (*user).to_owned()).collect(),
        },
        Wording {
            calls: Calls::default(),
            renderer: Arc::new(Renderer::shipped().unwrap()),
            voice: english(),
        },
    )
}

fn outgoing<'a>(notice: &'a Notice, png: Option<&'a [u8]>) -> Outgoing<'a> {
    Outgoing {
        notice,
        message_id: "m-1",
        chart_png: png,
        thread: None,
        resume: None,
        at_most: u32::MAX,
        plain: false,
    }
}

fn content(body: &Value) -> &str {
    body["markdown"]["content"].as_str().unwrap()
}

#[test]
fn a_follow_up_is_exactly_this_body() {
    let notice = finished();
    let bodies = bot(&["zhang.san"]).build(&outgoing(&notice, None)).unwrap();
    assert_eq!(
        bodies.texts,
        [json!({"msgtype": "markdown", "markdown": {"content":
            "**<font color=\"info\">ROLLBACK FINISHED</font>** Rollback of checkout (checkout prod)\n\
             > Release: `checkout@1.8.1`\n\
             > Execution: rollback-batch 01K\n\
             > Status: SUCCEEDED\n\
             > Decision: roll back the accused batch (batch 1)\n\
             > Back to: `checkout@1.8.0`\n\
             > Incident: `checkout@prod-17`\n\n\
             [incident](https://backstop.example.com/incidents/checkout@prod-17)\n\n\
             <font color=\"comment\">Ref checkout@prod-17 · 2026-03-01 12:00:00 +00:00</font>"
        }})]
    );
    assert_eq!(bodies.image, None);
}

#[test]
fn an_image_carries_the_md5_of_its_bytes() {
    let notice = firing();
    let bodies = bot(&[]).build(&outgoing(&notice, Some(b"png"))).unwrap();
    assert_eq!(
        bodies.image,
        Some(json!({"msgtype": "image", "image": {
            "base64": "cG5n", "md5": "bff139fa05ac583f685a523ab3d110a0"
        }}))
    );
    assert_eq!(bot(&[]).parts(&outgoing(&notice, Some(b"png"))), 2);
}

#[test]
fn a_picture_too_big_is_left_out_and_said() {
    let notice = firing();
    let png = vec![0; MAX_IMAGE + 1];
    let bodies = bot(&[]).build(&outgoing(&notice, Some(&png))).unwrap();
    assert_eq!(bodies.image, None);
    assert!(content(&bodies.texts[0]).contains("Chart: not shown: the chart has 2097153 bytes"));
}

#[test]
fn only_the_configuration_mentions_and_only_when_something_burns() {
    let nasty = everywhere("<@all>");
    let bodies = bot(&["zhang.san"]).build(&outgoing(&nasty, None)).unwrap();
    let mentions: usize = bodies
        .texts
        .iter()
        .map(|body| content(body).matches("<@").count())
        .sum();
    assert_eq!(mentions, 1);
    let follow_up = bot(&["zhang.san"])
        .build(&outgoing(&finished(), None))
        .unwrap();
    assert!(!content(&follow_up.texts[0]).contains("<@"));
}

#[test]
fn a_hundred_alerts_and_a_giant_one_all_fit_and_are_numbered() {
    let mut giant = firing();
    giant.alerts = vec![alert("Giant", &"很长的说明 <font> ".repeat(2000))];
    for notice in [many(100), giant] {
        let bodies = bot(&[]).build(&outgoing(&notice, None)).unwrap();
        let of = bodies.texts.len();
        assert!(of > 1);
        for (n, body) in bodies.texts.iter().enumerate() {
            assert!(content(body).len() <= MAX_CONTENT);
            assert!(content(body).starts_with(&format!("({}/{of})\n", n + 1)));
        }
        let all: String = bodies.texts.iter().map(content).collect();
        for alert in &notice.alerts {
            assert!(all.contains(&alert.name));
        }
    }
}

#[test]
fn payloads_stay_text_in_every_part() {
    for payload in PAYLOADS {
        let notice = everywhere(&payload.repeat(40));
        for body in bot(&[]).build(&outgoing(&notice, None)).unwrap().texts {
            let text = content(&body);
            assert!(text.len() <= MAX_CONTENT);
            assert_eq!(
                text.matches("<font ").count(),
                text.matches("</font>").count(),
                "{text}"
            );
            assert!(
                !text.contains("<@") && !text.contains("](https://evil"),
                "{text}"
            );
        }
    }
}

#[test]
fn codes_have_the_class_the_vendor_documents() {
    for (code, class) in [
        (-1, Class::Retry),
        (45009, Class::Wait(Duration::from_mins(1))),
        (45033, Class::Retry),
        (93000, Class::Broken),
        (40058, Class::Permanent),
        (44004, Class::Permanent),
        (40008, Class::Permanent),
        (40063, Class::Permanent),
        (40033, Class::Permanent),
        (40009, Class::Permanent),
        (40006, Class::Permanent),
        (45001, Class::Permanent),
        (45002, Class::Permanent),
        (12345, Class::Retry),
    ] {
        let refused = refusal(code);
        assert_eq!(refused.class, class, "{code}");
        if class == Class::Broken {
            assert!(refused.fix.is_some(), "{code}");
        }
    }
}
