use std::fs;
use std::path::PathBuf;

use super::load::{Secrets, load};
use super::*;

const MAIN: &str = r#"
web: {external_url: https://backstop.example.com}
auth:
  signing_key: {file: signing}
  tokens:
    - {name: alertmanager, token: {file: am}, scopes: [ingest]}
    - {name: oncall, token: {file: oncall}, scopes: [read, rollback]}
store: {url: "s3://releases/backstop", endpoint: http://minio:9000}
replicas: 2
metrics: {url: http://vmselect:8481/select/0/prometheus}
vmalert: [{url: http://vmalert:8880}, {url: http://vmalert-canary:8880, canary: true}]
spinnaker: {gate: http://gate:8084, basic: {username: backstop, password: {file: gate}}}
default_channels: [ops-slack]
budget: {per_service: 1 per 30m, overall: 3 per 10m}
services:
  checkout:
    application: checkout
    deploy:
      - {pipeline: deploy-prod, env: prod, strategy: canary, soak: 15m, release: "{parameters.release_id}", batch: "{stage.context.batch}", hosts: "{stage.context.hosts}"}
    rollback:
      batch: {pipeline: rollback-batch, parameters: {release: "{target.release_id}", hosts: "{hosts}", incident: "{incident.id}", attempt: "{attempt}"}}
      full:  {pipeline: rollback-full,  parameters: {release: "{target.release_id}", incident: "{incident.id}", attempt: "{attempt}"}}
    recovery: {expr: 'up', op: "<", value: 0.01, for: 1m, within: 5m}
timing: {settle: 2s}
"#;
const POLICY: &str = r#"
services: [checkout, "cart-*"]
rules:
  - name: bad canary takes its batch back
    matchers: ['severity=~"critical|page"', 'alertname=~"Canary.+"']
    phase: [canary, between]
    for: 30s
    min_hosts: 1
    action: rollback
    channels: [ops-slack]
guards: {mode: enforce, cooldown: 30m, freeze: [], min_capacity: 60%}
"#;
const CHANNEL: &str = r"
name: ops-slack
slack: {token: {file: ../slack}, channel: C0123456, api_url: https://slack.com/api}
locale: zh-CN
time_zone: Asia/Shanghai
";

/// A folder as a team keeps it, with every secret `planted-…`.
fn folder(main: &str, policy: &str, channel: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for secret in ["signing", "am", "oncall", "gate"] {
        write(secret, &format!("planted-{secret}\n"));
    }
    fs::write(dir.path().join("slack"), "planted-slack").unwrap();
    write("backstop.yaml", main);
    write("rules/policy/checkout.yaml", policy);
    write(
        "channels/ops-slack.yaml",
        &channel.replace("../slack", "slack"),
    );
    let file = dir.path().join("backstop.yaml");
    (dir, file)
}

fn problems(main: &str, policy: &str, channel: &str) -> Vec<String> {
    let (_dir, file) = folder(main, policy, channel);
    let found = load(Some(&file), Secrets::Read).unwrap_err();
    let text = found.iter().map(ToString::to_string);
    text.map(|text| {
        text.rsplit_once("/backstop.yaml")
            .map_or(text.clone(), |(_, rest)| rest.to_owned())
    })
    .collect()
}

#[test]
fn the_documented_example_is_understood_and_shows_no_secret() {
    let (_dir, file) = folder(MAIN, POLICY, CHANNEL);
    let config = load(Some(&file), Secrets::Read).unwrap();
    assert_eq!(config.replicas, 2);
    assert_eq!(
        config.budget.overall,
        Rate {
            count: 3,
            per: Duration::from_mins(10)
        }
    );
    assert_eq!(config.timing.settle, Duration::from_secs(2));
    assert_eq!(config.policies[0].file, "rules/policy/checkout.yaml");
    let shown = format!("{config:?}");
    assert!(!shown.contains("planted-"), "{shown}");
    assert_eq!(
        config.auth.unwrap().tokens[0].secrets[0].expose(),
        "planted-am"
    );
}

#[test]
fn without_any_file_the_shipped_rules_watch() {
    let config = load(None, Secrets::Read).unwrap();
    assert_eq!(config.store.url, "file:./data");
    assert!(config.channels.is_empty());
    assert_eq!(config.policies[0].guards.mode, Mode::Shadow);
}

#[test]
fn a_check_needs_no_secrets() {
    let (dir, file) = folder(MAIN, POLICY, CHANNEL);
    for secret in ["signing", "am", "oncall", "gate", "slack"] {
        fs::remove_file(dir.path().join(secret)).unwrap();
    }
    load(Some(&file), Secrets::Unread).unwrap();
    let missing = load(Some(&file), Secrets::Read).unwrap_err();
    assert_eq!(missing.len(), 5, "{missing:?}");
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let main = MAIN
        .replace("replicas: 2", "replicas: 0")
        .replace("http://gate:8084", "gate:8084")
        .replace("soak: 15m", "soak: 15 parsecs")
        .replace("hosts: \"{hosts}\", ", "hosts: \"{host}\", ")
        .replace("[ops-slack]", "[ops-slak]");
    let found = problems(&main, POLICY, CHANNEL);
    for expected in [
        ":9:11: there is at least one replica",
        ":12:19: this base URL",
        "`15 parsecs` is not a duration",
        "nothing is known here as {host}",
        "there is no channel `ops-slak`",
    ] {
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{expected} in {found:#?}"
        );
    }
}

#[test]
fn an_unknown_key_has_a_place_and_a_hint() {
    let found = problems(&MAIN.replace("replicas: 2", "replica: 2"), POLICY, CHANNEL);
    assert_eq!(
        found,
        [":9:1: unknown key `replica`\n  hint: did you mean `replicas`?"]
    );
}

#[test]
fn files_that_contradict_each_other_are_named() {
    let (dir, file) = folder(MAIN, POLICY, CHANNEL);
    fs::write(
        dir.path().join("rules/policy/other.yaml"),
        POLICY.replace("cart-*", "check*"),
    )
    .unwrap();
    fs::write(
        dir.path().join("channels/two.yaml"),
        CHANNEL.replace("../slack", "slack"),
    )
    .unwrap();
    let found = load(Some(&file), Secrets::Read).unwrap_err();
    let text = found
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(text.contains("service `checkout` is matched by"), "{text}");
    assert!(
        text.contains("a channel `ops-slack` is in another file already"),
        "{text}"
    );
}

#[test]
fn a_channel_must_be_defined_before_a_rule_tells_it() {
    let found = problems(
        MAIN,
        &POLICY.replace("channels: [ops-slack]", "channels: [nobody]"),
        CHANNEL,
    );
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("`nobody`, which no file defines")),
        "{found:?}"
    );
    let silent = MAIN.replace("default_channels: [ops-slack]", "default_channels: []");
    let found = problems(&silent, POLICY, CHANNEL);
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("`default_channels` is missing")),
        "{found:?}"
    );
}

#[test]
fn a_rollback_must_name_target_hosts_and_admission() {
    let main = MAIN.replace(r#"parameters: {release: "{target.release_id}", hosts: "{hosts}", incident: "{incident.id}", attempt: "{attempt}"}"#, "parameters: {}");
    let found = problems(&main, POLICY, CHANNEL).join("\n");
    for expected in [
        "the release to go back to",
        "what to take back: {hosts}",
        "admission: false",
    ] {
        assert!(found.contains(expected), "{expected} in {found}");
    }
}

#[test]
fn a_batch_rollback_names_hosts_or_batches_unless_it_takes_everything() {
    let with = |name: &str, part: &str| {
        let main = MAIN
            .replace("pipeline: rollback-batch", &format!("pipeline: {name}"))
            .replace("hosts: \"{hosts}\", ", part);
        let (_dir, file) = folder(&main, POLICY, CHANNEL);
        let found = load(Some(&file), Secrets::Read).err().unwrap_or_default();
        let words = found.into_iter().map(|problem| problem.message);
        words.collect::<Vec<String>>()
    };
    assert_eq!(with("rollback-batch", "part: \"{batches}\", "), [""; 0]);
    assert_eq!(with("rollback-full", ""), [""; 0]);
    let found = with("rollback-batch", "");
    assert!(found[0].contains("{batches}"), "{found:?}");
}

/// `MAIN` with another way back for everything.
fn with_full(way: &str) -> String {
    let (before, rest) = MAIN.split_once("      full:").unwrap();
    let (_, after) = rest.split_once("    recovery:").unwrap();
    format!("{before}      full: {way}\n    recovery:{after}")
}

const GROUP: &str = r#"{server_group: {cloud_provider: aws, credentials: "{env}", region: eu-west-1, cluster: "{service}-{env}", image: "checkout-{version}", target_healthy_percentage: 90}}"#;
const UNDO: &str = r#"{undo_rollout: {account: k8s, location: shop, manifest_name: deployment checkout, image: "reg/checkout:{version}"}}"#;

#[test]
fn a_task_is_a_way_back_too() {
    for (way, name) in [
        (GROUP, "rollbackServerGroup"),
        (UNDO, "undoRolloutManifest"),
    ] {
        let (_dir, file) = folder(&with_full(way), POLICY, CHANNEL);
        let config = load(Some(&file), Secrets::Read).unwrap();
        let service = config.services.values().next().unwrap();
        let full = service.rollback.full.as_ref().unwrap();
        assert_eq!(full.name(), name);
        assert!(full.pipeline().is_none());
        assert_eq!(service.rollback.pipelines().count(), 1, "the batch's");
    }
}

#[test]
fn a_task_must_tell_releases_apart_and_has_nothing_of_a_pipeline() {
    let cases = [
        (
            "{}".to_owned(),
            "one of `pipeline`, `server_group` and `undo_rollout`",
        ),
        (
            UNDO.replacen('{', "{pipeline: x, ", 1),
            "one of `pipeline`, `server_group` and `undo_rollout`",
        ),
        (
            UNDO.replacen('{', "{parameters: {a: b}, ", 1),
            "`parameters` belong to a `pipeline`",
        ),
        (
            GROUP.replacen('{', "{admission: true, ", 1),
            "`admission` belongs to a `pipeline`",
        ),
        (
            UNDO.replace(":{version}", ":stable"),
            "it does not tell releases apart",
        ),
        (
            UNDO.replace("deployment checkout", "statefulSet checkout"),
            "only a Deployment can be undone",
        ),
        (
            UNDO.replace("account: k8s", r#"account: "{version}""#),
            "nothing is known here as {version}",
        ),
        (GROUP.replace("aws", "kubernetes"), "use `undo_rollout`"),
        (GROUP.replace("90", "101"), "from 1 to 100 percent"),
        (
            UNDO.replace("location: shop", r#"location: """#),
            "may not be empty",
        ),
    ];
    for (way, expected) in cases {
        let found = problems(&with_full(&way), POLICY, CHANNEL).join("\n");
        assert!(found.contains(expected), "{way}: {found}");
        assert!(found.contains(":22:"), "{way}: {found}");
    }
}

#[test]
fn routes_name_who_hears_where_no_rule_does() {
    let main = MAIN
        .replace("application: checkout\n", "application: checkout\n    owner: payments\n")
        .replace(
            "budget:",
            "routes:\n  - {matchers: ['owner=\"payments\"', 'severity=~\"critical|page\"'], channels: [ops-slack]}\n  \
             - {matchers: ['route_team=\"night\"'], channels: [night]}\nbudget:",
        );
    let (dir, path) = folder(&main, POLICY, CHANNEL);
    let night = "name: night\nslack: {token: {file: ../slack}, channel: C9}\nmention_when: ['severity=\"critical\"']\n";
    fs::write(dir.path().join("channels/night.yaml"), night).unwrap();
    let config = load(Some(&path), Secrets::Unread).unwrap();
    let service = Service::new("checkout").unwrap();
    let heard = |severity: &str, route: &[(&str, &str)]| {
        let route = route
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let traits = route::traits(
            severity,
            Some(&service),
            None,
            config.owner(&service),
            &route,
        );
        config
            .routed(&traits)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        heard("critical", &[("team", "night")]),
        ["ops-slack", "night"]
    );
    assert_eq!(heard("warning", &[("team", "night")]), ["night"]);
    assert_eq!(
        heard("warning", &[("team", "day")]),
        ["ops-slack"],
        "the default ones"
    );
}

#[test]
fn a_route_by_what_an_alert_says_of_itself_is_refused() {
    let main = MAIN.replace(
        "budget:",
        "routes: [{matchers: ['team=\"night\"'], channels: [nobody]}]\nbudget:",
    );
    let found = problems(&main, POLICY, CHANNEL).join("\n");
    assert!(found.contains("`team` decides nothing here"), "{found}");
    assert!(found.contains("there is no channel `nobody`"), "{found}");
}
