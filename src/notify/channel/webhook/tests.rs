use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::config::channel::base_url;
use crate::domain::clock::SystemClock;
use crate::domain::notice::Notice;
use crate::domain::secret::Secret;
use crate::notify::channel::Calls;
use crate::notify::render::Renderer;
use crate::notify::render::sample::{english, finished, firing, many};

/// The secret of the specification's example.
const EXAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn endpoint(max_body: usize) -> Webhook {
    Webhook::new(
        reqwest::Client::default(),
        Settings {
            url: base_url("http://127.0.0.1:1/hook").unwrap(),
            secret: Secret::new(EXAMPLE),
            next_secret: None,
            bearer: None,
            max_body,
        },
        Wording {
            calls: Calls::default(),
            renderer: Arc::new(Renderer::shipped().unwrap()),
            voice: english(),
        },
        Arc::new(SystemClock),
    )
}

fn build(notice: &Notice, max_body: usize) -> Vec<Part> {
    let message = Outgoing::of(notice, "01a2.3");
    let endpoint = endpoint(max_body);
    let parts = endpoint.build(&message).unwrap();
    assert_eq!(endpoint.parts(&message) as usize, parts.len());
    parts
}

#[test]
fn the_signature_is_the_specifications() {
    let key = webhook_key(&Secret::new(EXAMPLE)).unwrap();
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    assert_eq!(
        signature(&key, id, 1_614_265_330, "{\"test\": 2432232314}").unwrap(),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
}

#[test]
fn a_body_names_its_type_its_time_and_the_facts() {
    let parts = build(&finished(), 256 << 10);
    let [part] = parts.as_slice() else {
        panic!("{parts:?}")
    };
    assert_eq!(part.id, "01a2-3");
    let body: Value = serde_json::from_str(&part.body).unwrap();
    assert_eq!(body["type"], "rollback.finished");
    assert_eq!(body["timestamp"], "2026-03-01T12:00:00Z");
    assert_eq!(
        (&body["data"]["part"], &body["data"]["parts"]),
        (&1.into(), &1.into())
    );
    assert_eq!(body["data"]["reference"], "checkout@prod-17");
    assert_eq!(
        body["data"]["notice"],
        serde_json::to_value(finished()).unwrap()
    );
    let text = body["data"]["text"].as_str().unwrap();
    assert!(text.contains("ROLLBACK FINISHED"), "{text}");
}

#[test]
fn what_is_too_long_is_divided_by_alerts_and_loses_none() {
    let (notice, max) = (many(100), 16 << 10);
    let parts = build(&notice, max);
    assert!(parts.len() > 2, "{}", parts.len());
    let mut alerts = Vec::new();
    for (part, n) in parts.iter().zip(1..) {
        assert!(part.body.len() <= max, "{}", part.body.len());
        assert_eq!(part.id, format!("01a2-3-{n}"));
        let body: Value = serde_json::from_str(&part.body).unwrap();
        assert_eq!(body["data"]["part"], n);
        assert_eq!(body["data"]["parts"], parts.len());
        alerts.extend(body["data"]["notice"]["alerts"].as_array().unwrap().clone());
    }
    let all = serde_json::to_value(&notice.alerts).unwrap();
    assert_eq!(Value::Array(alerts), all, "in their order");
    assert_eq!(
        parts,
        build(&notice, max),
        "the same again for a later attempt"
    );
}

#[test]
fn a_single_long_alert_goes_whole() {
    let mut notice = firing();
    notice.alerts.truncate(1);
    notice.alerts[0].message = "x".repeat(40_000);
    let parts = build(&notice, 16 << 10);
    assert_eq!(parts.len(), 1);
    assert!(parts[0].body.len() > 40_000);
}
