use super::*;
use crate::domain::alert::AlertStatus;

const FIRING_OLD: &[u8] =
    include_bytes!("../../tests/fixtures/vmalert/vmalert-1.79_notifier_firing_3alerts.json");
const RESOLVED_OLD: &[u8] =
    include_bytes!("../../tests/fixtures/vmalert/vmalert-1.79_notifier_resolved.json");
const FIRING_NEW: &[u8] =
    include_bytes!("../../tests/fixtures/vmalert/vmalert-1.150_notifier_firing_3alerts.json");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_post_with_duplicate_keys_as_an_old_vmalert_sends_is_read() {
    let now = at("2026-11-22T20:23:50Z");
    let delivery = read(FIRING_OLD, now).unwrap();
    assert_eq!(delivery.groups.len(), 1);
    let group = &delivery.groups[0];
    assert_eq!(group.key, "vmalert/local/LocalAlert");
    assert_eq!(group.group_labels["alertname"], "LocalAlert");
    assert_eq!(group.alerts.len(), 3);
    assert!(
        group
            .alerts
            .iter()
            .all(crate::domain::alert::Alert::is_firing)
    );
    assert_eq!(
        group.alerts[0].starts_at,
        at("2026-11-22T20:23:49.588089883Z")
    );
    assert_eq!(
        group.alerts[0].ends_at,
        Some(at("2026-11-22T20:24:09.588089883Z"))
    );
    assert_eq!(delivery.ignored_count, 0);
}

#[test]
fn the_same_post_read_after_its_lease_is_resolved() {
    let delivery = read(FIRING_NEW, at("2026-11-22T20:17:52.617855151Z")).unwrap();
    assert!(
        delivery.groups[0]
            .alerts
            .iter()
            .all(|alert| alert.status == AlertStatus::Resolved)
    );
    let delivery = read(FIRING_NEW, at("2026-11-22T20:17:52.617855150Z")).unwrap();
    assert!(
        delivery.groups[0]
            .alerts
            .iter()
            .all(crate::domain::alert::Alert::is_firing)
    );
}

#[test]
fn both_sides_of_an_alerts_life_have_one_fingerprint() {
    let firing = read(FIRING_OLD, at("2026-11-22T20:23:50Z")).unwrap();
    let resolved = read(RESOLVED_OLD, at("2026-11-22T20:25:30Z")).unwrap();
    let prints = |delivery: &Delivery| {
        delivery.groups[0]
            .alerts
            .iter()
            .map(|alert| alert.fingerprint)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(prints(&firing), prints(&resolved));
}

#[test]
fn an_empty_list_is_fine_and_an_object_is_not() {
    assert_eq!(
        read(b"[]", at("2026-11-22T20:00:00Z")).unwrap(),
        Delivery::default()
    );
    assert_eq!(
        read(b"{}", at("2026-11-22T20:00:00Z")).unwrap_err().code,
        "wrong_type"
    );
}

#[test]
fn mixed_rules_become_a_group_each_and_a_missing_end_is_a_lease_of_five_minutes() {
    let body = br#"[{"labels":{"alertname":"A"}},{"labels":{"alertname":"B"},"endsAt":"0001-01-01T00:00:00Z"},
        {"labels":{"alertname":"A","x":"1"}},{"labels":[]}]"#;
    let delivery = read(body, at("2026-11-22T20:00:00Z")).unwrap();
    let keys: Vec<_> = delivery
        .groups
        .iter()
        .map(|group| (group.key.as_str(), group.alerts.len()))
        .collect();
    assert_eq!(keys, [("vmalert//A", 2), ("vmalert//B", 1)]);
    assert_eq!(delivery.ignored[0].pointer, "/3/labels");
    for group in &delivery.groups {
        assert!(
            group
                .alerts
                .iter()
                .all(|alert| alert.ends_at == Some(at("2026-11-22T20:05:00Z")))
        );
    }
}
