use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::alert::AlertStatus;
use crate::ingest::MAX_LABEL;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-22T21:00:00Z")
}

fn read_json(body: &Value) -> Result<Delivery, Rejection> {
    read(body.to_string().as_bytes(), now())
}

fn alert(labels: &Value) -> Value {
    json!({"status": "firing", "labels": labels, "startsAt": "2026-11-22T20:59:00Z",
           "endsAt": "0001-01-01T00:00:00Z"})
}

fn message(alerts: &Value) -> Value {
    json!({"version": "4", "groupKey": "{}:{}", "alerts": alerts})
}

#[test]
fn bodies_of_real_alertmanagers_are_read_whole() {
    let body = include_bytes!(
        "../../tests/fixtures/alertmanager/alertmanager-0.34_webhook_firing_max_alerts_2_of_3.json"
    );
    let delivery = read(body, now()).unwrap();
    let [group] = &*delivery.groups else {
        panic!("one group, not {}", delivery.groups.len())
    };
    assert_eq!(
        group.key,
        r#"{}:{alertname="HighErrorRate", cluster="prod-eu"}"#
    );
    assert_eq!(group.receiver, "gw");
    assert_eq!(group.truncated, 1);
    assert_eq!(group.route_labels["team"], "sre-checkout");
    assert_eq!(group.alerts.len(), 2);
    assert_eq!(group.alerts[0].fingerprint.to_string(), "8f04befe9ce020ea");
    assert_eq!(group.alerts[0].labels["k8s.pod/name"], "pod-ü");
    assert_eq!(group.alerts[0].ends_at, None);
    assert!(
        group
            .alerts
            .iter()
            .all(crate::domain::alert::Alert::is_firing)
    );
    assert_eq!(delivery.ignored_count, 0);
}

#[test]
fn fingerprints_are_recomputed_and_equal_the_senders() {
    for body in [
        &include_bytes!(
            "../../tests/fixtures/alertmanager/alertmanager-0.25_webhook_partial_resolved.json"
        )[..],
        include_bytes!(
            "../../tests/fixtures/alertmanager/alertmanager-0.25_webhook_all_resolved.json"
        ),
        include_bytes!(
            "../../tests/fixtures/alertmanager/alertmanager-0.34_webhook_all_resolved.json"
        ),
    ] {
        let sent: Value = serde_json::from_slice(body).unwrap();
        let group = read(body, now()).unwrap().groups.remove(0);
        assert_eq!(group.alerts.len(), sent["alerts"].as_array().unwrap().len());
        for (read, sent) in group.alerts.iter().zip(sent["alerts"].as_array().unwrap()) {
            assert_eq!(
                read.fingerprint.to_string(),
                sent["fingerprint"].as_str().unwrap()
            );
            let firing = sent["status"] == "firing";
            assert_eq!(read.is_firing(), firing);
        }
    }
}

#[test]
fn one_bad_alert_is_named_and_its_neighbours_stay() {
    let good = alert(&json!({"alertname": "A"}));
    let mut bad = alert(&json!({"alertname": "B", "x/y": 7}));
    let delivery = read_json(&message(
        &json!([good, bad, 5, good, ["firing", {"alertname": "C"}]]),
    ))
    .unwrap();
    assert_eq!(delivery.groups[0].alerts.len(), 2);
    assert_eq!(delivery.ignored_count, 3);
    assert_eq!(delivery.ignored[0].pointer, "/alerts/1/labels/x~1y");
    assert_eq!(delivery.ignored[0].name.as_deref(), Some("B"));
    assert_eq!(delivery.ignored[0].reason, "a number, not a string");
    assert_eq!(delivery.ignored[1].pointer, "/alerts/2");

    bad["labels"]["x/y"] = json!("7");
    bad["startsAt"] = json!("yesterday");
    let delivery = read_json(&message(&json!([good, bad]))).unwrap();
    assert_eq!(delivery.ignored[0].pointer, "/alerts/1/startsAt");
}

#[test]
fn a_body_without_one_good_alert_is_rejected() {
    let rejection = read_json(&message(&json!([{"labels": {}}]))).unwrap_err();
    assert_eq!(rejection.pointer, "/alerts/0/labels");
    assert!(
        read_json(&message(&json!([]))).unwrap().groups[0]
            .alerts
            .is_empty()
    );
}

#[test]
fn what_is_wrong_is_pointed_at() {
    let cases = [
        (
            json!({"version": "5", "alerts": []}),
            "/version",
            "unsupported_version",
        ),
        (
            json!({"version": 4, "alerts": []}),
            "/version",
            "wrong_type",
        ),
        (
            json!({"version": "4", "alerts": {}}),
            "/alerts",
            "wrong_type",
        ),
        (json!({"version": "4"}), "/alerts", "wrong_type"),
        (
            json!({"version": "4", "alerts": [], "groupLabels": {"a": 1}}),
            "/groupLabels/a",
            "wrong_type",
        ),
        (
            json!({"version": "4", "alerts": [], "truncatedAlerts": -1}),
            "/truncatedAlerts",
            "wrong_type",
        ),
        (
            json!({"version": "4", "alerts": [], "receiver": []}),
            "/receiver",
            "wrong_type",
        ),
        (json!([]), "", "wrong_type"),
        (json!("x"), "", "wrong_type"),
    ];
    for (body, pointer, code) in cases {
        let rejection = read_json(&body).unwrap_err();
        assert_eq!(
            (rejection.pointer.as_str(), rejection.code),
            (pointer, code),
            "{body}"
        );
    }
    for body in [
        "",
        "{",
        "{\"version\":\"4\",}",
        "nul",
        "{\"alerts\":[1e999999]",
    ] {
        let rejection = read(body.as_bytes(), now()).unwrap_err();
        assert_eq!(rejection.code, "malformed", "{body}: {rejection}");
    }
    assert_eq!(
        read(b"{\"a\":\"\xff\"}", now()).unwrap_err().code,
        "malformed"
    );
}

#[test]
fn what_is_missing_is_not_wrong() {
    let delivery = read_json(&json!({
        "alerts": [{"labels": {"alertname": "A", "empty": ""}, "annotations": null}],
        "groupLabels": null, "future": [[["field"]]],
    }))
    .unwrap();
    let alert = &delivery.groups[0].alerts[0];
    assert!(alert.is_firing());
    assert_eq!(alert.starts_at, now());
    assert!(!alert.labels.contains_key("empty"));
}

#[test]
fn nesting_of_any_depth_leaves_the_stack_alone() {
    let deep = format!("{}{}", "[".repeat(5_000_000), "]".repeat(5_000_000));
    let body = format!(r#"{{"version":"4","alerts":[],"x":{deep}}}"#);
    assert!(read(body.as_bytes(), now()).is_ok());
    let body = format!(r#"{{"version":"4","alerts":[{{"labels":{deep}}}]}}"#);
    assert!(read(body.as_bytes(), now()).is_err());
    let body = format!(r#"{{"version":{deep},"alerts":[]}}"#);
    assert!(read(body.as_bytes(), now()).is_err());
}

#[test]
fn an_end_in_the_past_means_resolved_whatever_the_status_says() {
    let mut late = alert(&json!({"alertname": "A"}));
    late["endsAt"] = json!("2026-11-22T20:59:59.999999999+00:00");
    let group = read_json(&message(&json!([late])))
        .unwrap()
        .groups
        .remove(0);
    assert_eq!(group.alerts[0].status, AlertStatus::Resolved);
}

#[test]
fn times_may_carry_up_to_nine_digits_and_odd_years() {
    for (text, expected) in [
        ("2026-11-22T20:11:19Z", Some("2026-11-22T20:11:19Z")),
        ("2026-11-22T20:11:19.058Z", Some("2026-11-22T20:11:19.058Z")),
        (
            "2026-11-22T22:11:19.588089883+02:00",
            Some("2026-11-22T20:11:19.588089883Z"),
        ),
        ("2999-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00Z", None),
    ] {
        let mut alert = alert(&json!({"alertname": "A"}));
        alert["startsAt"] = json!(text);
        let group = read_json(&message(&json!([alert])))
            .unwrap()
            .groups
            .remove(0);
        // A start that can't be, or is far ahead, is taken as now.
        assert_eq!(
            group.alerts[0].starts_at,
            expected.map_or_else(now, at),
            "{text}"
        );
    }
    let mut forever = alert(&json!({"alertname": "A"}));
    forever["endsAt"] = json!("9999-12-31T23:59:59Z");
    let group = read_json(&message(&json!([forever])))
        .unwrap()
        .groups
        .remove(0);
    assert_eq!(group.alerts[0].ends_at, Some(Timestamp::MAX));
}

#[test]
fn long_values_are_cut_between_characters_and_keep_their_identity() {
    let long = "中".repeat(2_000);
    let labels = json!({"alertname": "A", "x": long});
    let group = read_json(&message(&json!([alert(&labels)])))
        .unwrap()
        .groups
        .remove(0);
    let whole: Labels = serde_json::from_value(labels).unwrap();
    assert_eq!(group.alerts[0].labels["x"].len(), MAX_LABEL / 3 * 3);
    assert_eq!(
        group.alerts[0].fingerprint,
        crate::domain::alert::Fingerprint::of(&whole)
    );
}

#[test]
fn beyond_a_thousand_alerts_are_counted_only() {
    let many: Vec<Value> = (0..1_234)
        .map(|i| alert(&json!({"alertname": "A", "i": i.to_string()})))
        .collect();
    let mut body = message(&json!(many));
    body["truncatedAlerts"] = json!(10);
    let group = read_json(&body).unwrap().groups.remove(0);
    assert_eq!((group.alerts.len(), group.truncated), (1_000, 244));
}

#[test]
fn a_receivers_name_loses_its_quoting() {
    let mut body = message(&json!([]));
    body["receiver"] = json!(r"gateway\.web-hook");
    assert_eq!(
        read_json(&body).unwrap().groups[0].receiver,
        "gateway.web-hook"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("firing")),
        Just(Value::from("2026-11-22T20:11:19Z")),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "version",
            "alerts",
            "labels",
            "status",
            "startsAt",
            "endsAt",
            "annotations",
            "groupKey",
            "truncatedAlerts",
            "groupLabels",
            "alertname",
            "generatorURL",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..512)) {
        let _either = read(&body, now());
        let _either = crate::ingest::vmalert::read(&body, now());
    }

    #[test]
    fn any_json_is_read_or_rejected_and_a_rejection_points_into_the_body(body in any_json()) {
        let text = body.to_string();
        if let Err(rejection) = read(text.as_bytes(), now()) {
            prop_assert!(rejection.pointer.is_empty() || rejection.pointer.starts_with('/'));
            prop_assert!(!rejection.reason.is_empty());
        }
        if let Ok(delivery) = crate::ingest::vmalert::read(text.as_bytes(), now()) {
            for group in delivery.groups {
                prop_assert!(group.alerts.iter().all(|alert| !alert.labels.is_empty()));
            }
        }
    }

    #[test]
    fn a_valid_body_survives(
        labels in prop::collection::btree_map("[a-z_]{1,8}", ".{1,20}", 1..6),
        seconds in 0_i64..1_700_000_000,
    ) {
        let start = Timestamp::from_second(seconds).unwrap();
        let mut sent = alert(&json!(labels));
        sent["startsAt"] = json!(start.to_string());
        let group = read_json(&message(&json!([sent]))).unwrap().groups.remove(0);
        prop_assert_eq!(&group.alerts[0].labels, &labels);
        prop_assert_eq!(group.alerts[0].starts_at, start);
        prop_assert!(group.alerts[0].is_firing());
    }
}
