use std::sync::Arc;

use super::*;
use crate::config::channel::base_url;
use crate::config::matcher::parse_matchers;
use crate::domain::clock::ManualClock;
use crate::domain::notice::Notice;
use crate::domain::secret::Secret;
use crate::notify::channel::Calls;
use crate::notify::render::Renderer;
use crate::notify::render::sample::{
    AT, PAYLOADS, alert, chart, english, everywhere, finished, firing, many,
};

fn robot(keyword: Option<&str>, mobiles: &[&str]) -> DingTalk {
    DingTalk::new(
        reqwest::Client::default(),
        Settings {
            token: Secret::new("t"),
            secret: None,
            keyword: keyword.map(str::to_owned),
            base_url: base_url("http://127.0.0.1:1").unwrap(),
            mention_mobiles: mobiles.iter().map(|who| (*who).to_owned()).collect(),
            mention_users: Vec::new(),
        },
        Wording {
            calls: Calls::default(),
            renderer: Arc::new(Renderer::shipped().unwrap()),
            voice: english(),
        },
        ManualClock::at(AT),
    )
}

fn build(robot: &DingTalk, notice: &Notice) -> Vec<Value> {
    robot
        .build(&Outgoing {
            notice,
            message_id: "m-1",
            chart_png: None,
            thread: None,
            resume: None,
            at_most: u32::MAX,
            plain: false,
        })
        .unwrap()
}

fn text(body: &Value) -> &str {
    body["markdown"]["text"].as_str().unwrap()
}

#[test]
fn the_signature_is_the_one_another_implementation_makes() {
    // printf '1700000000000\nSECabc' | openssl dgst -sha256 -hmac SECabc -binary | base64
    let at = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    assert_eq!(
        sign("SECabc", at).unwrap(),
        "jcUpW0QmtKduN03n4JqQ0PBosVjqnM8gU7fIIvsDmCM="
    );
}

#[test]
fn a_small_message_is_exactly_this_body() {
    let mut notice = finished();
    notice.decision = None;
    notice.links.clear();
    assert_eq!(
        build(&robot(None, &[]), &notice),
        [json!({"msgtype": "markdown", "markdown": {
            "title": "ROLLBACK FINISHED: Rollback of checkout (checkout prod)",
            "text": "#### ROLLBACK FINISHED: Rollback of checkout (checkout prod)  \n\
                **Release:** checkout@1.8.1  \n\
                **Execution:** rollback-batch 01K  \n\
                **Status:** SUCCEEDED  \n\
                **Incident:** checkout@prod-17\n\n\
                Ref checkout@prod-17 · 2026-03-01 12:00:00 +00:00"
        }})]
    );
}

#[test]
fn the_chart_is_shown_by_its_address_or_said_to_be_missing() {
    let mut notice = firing();
    notice.chart = Some(chart());
    let body = build(&robot(None, &[]), &notice);
    assert!(text(&body[0]).contains("![](https://backstop.example.com/charts/c1.sig.png)"));
    notice.chart.as_mut().unwrap().url = None;
    let body = build(&robot(None, &[]), &notice);
    assert!(!text(&body[0]).contains("!["));
    assert!(text(&body[0]).contains("this channel needs web.external_url"));
}

#[test]
fn every_part_and_every_kind_holds_the_keyword() {
    let robot = robot(Some("告警"), &[]);
    for notice in [many(400), finished(), firing()] {
        for body in build(&robot, &notice) {
            assert!(
                text(&body).contains("告警")
                    && body["markdown"]["title"].as_str().unwrap().contains("告警")
            );
        }
    }
}

#[test]
fn people_are_called_by_the_configuration_alone() {
    let robot = robot(None, &["13800000000"]);
    let body = build(&robot, &firing());
    assert_eq!(
        body[0]["at"],
        json!({"atMobiles": ["13800000000"], "atUserIds": [], "isAtAll": false})
    );
    assert!(text(&body[0]).ends_with("@13800000000"));
    assert_eq!(build(&robot, &finished())[0].get("at"), None);
}

#[test]
fn people_are_called_only_where_the_matchers_hold() {
    let mut robot = robot(None, &["13800000000"]);
    let mut notice = firing();
    notice.severity = "critical".into();
    notice.route_labels = [("team".to_owned(), "night".to_owned())].into();
    for (matchers, calls) in [
        ("severity=critical", true),
        ("severity=page", false),
        ("severity=critical,route_team=night", true),
        ("route_team=day", false),
        // A label of the alert, which is none of the operator's.
        ("alertname=~\".+\"", false),
    ] {
        robot.wording.calls.when = parse_matchers(matchers).unwrap();
        let body = build(&robot, &notice);
        assert_eq!(body[0].get("at").is_some(), calls, "{matchers}");
    }
}

#[test]
fn bodies_stay_under_the_limit_whatever_is_in_them() {
    let mut giant = firing();
    giant.alerts = vec![alert("Giant", &"\"quoted\\ 中文 ".repeat(5000))];
    for notice in [many(400), giant] {
        let bodies = build(&robot(Some("kw"), &["13800000000"]), &notice);
        assert!(bodies.len() > 1);
        for body in &bodies {
            assert!(serde_json::to_vec(body).unwrap().len() <= MAX_BODY);
        }
        let all: String = bodies.iter().map(text).collect();
        assert!(notice.alerts.iter().all(|alert| all.contains(&alert.name)));
    }
}

#[test]
fn payloads_stay_text() {
    for payload in PAYLOADS {
        for body in build(&robot(None, &[]), &everywhere(&payload.repeat(30))) {
            let images = text(&body).matches("![").count();
            let own = text(&body)
                .matches("![](https://backstop.example.com/")
                .count();
            assert!(!text(&body).contains("](https://evil") && images == own);
            assert_eq!(body["at"]["isAtAll"], json!(false));
            assert_eq!(body.as_object().unwrap().len(), 3);
        }
    }
}

#[test]
fn codes_have_the_class_the_vendor_documents() {
    for (code, message, class) in [
        (-1, "", Class::Retry),
        (130_101, "", Class::Wait(MUTED)),
        (410_100, "", Class::Wait(MUTED)),
        (
            99,
            "send too fast, exceed 20 times per minute",
            Class::Wait(MUTED),
        ),
        (99, "发送太快", Class::Wait(MUTED)),
        (-1, "发送太快", Class::Wait(MUTED)),
        (
            460_101,
            "message too long, exceed 20000 bytes",
            Class::Permanent,
        ),
        (101_002, "exceed", Class::Permanent),
        (90_030, "", Class::Wait(QUOTA)),
        (310_000, "keywords not in content", Class::Broken),
        (310_000, "sign not match", Class::Broken),
        (310_000, "ip 1.2.3.4 not in whitelist", Class::Broken),
        (310_000, "invalid timestamp", Class::Retry),
        (310_000, "", Class::Broken),
        (300_001, "", Class::Broken),
        (300_005, "token is not exist", Class::Broken),
        (400_101, "", Class::Broken),
        (400_102, "", Class::Broken),
        (400_106, "", Class::Broken),
        (400_013, "", Class::Broken),
        (400_105, "", Class::Permanent),
        (40_035, "", Class::Permanent),
        (43_002, "", Class::Permanent),
        (43_004, "", Class::Permanent),
        (400_402, "", Class::Permanent),
        (430_101, "", Class::Permanent),
        (430_102, "", Class::Permanent),
        (430_103, "", Class::Permanent),
        (430_104, "", Class::Permanent),
        (1, "", Class::Retry),
    ] {
        let refused = refusal(code, message);
        assert_eq!(refused.class, class, "{code} {message}");
        if class == Class::Broken {
            assert!(refused.fix.is_some(), "{code} {message}");
        }
    }
}
