//! `test`: what people, CI and programs see.

use super::Folder;

const POLICY: &str = "services: [\"*\"]\nrules:\n  - name: bad canary\n    matchers: ['severity=\"critical\"']\n    for: 1m\n    action: rollback\n    channels: [ops]\nguards: {mode: enforce}\n";

const TEST: &str = r"given:
  releases: [{id: shop@1}, {id: shop@2, created: -1h}]
  deployments:
    - {id: D1, release: shop@1, env: prod, started: -9days, finished: -9days, batches: [{hosts: [h1, h2], started: -9days}]}
    - {id: D2, release: shop@2, env: prod, started: -6m, batches: [{hosts: [h1], started: -5m}, {hosts: [h2]}]}
  evidence: holds
tests:
  - name: a bad canary goes back
    alerts:
      - labels: {alertname: Errors, severity: critical, service: shop, env: prod, instance: h1}
    decision_test:
      - eval_time: 1m
        exp_decisions:
          - verdict: rollback_batch
            scope: batch 1
            channels: [ops]
";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("backstop.yaml", "default_channels: [ops]\n");
    folder.write(
        "channels/ops.yaml",
        "name: ops\nslack: {token: {env: T}, channel: C1}\n",
    );
    folder.write("rules/policy/p.yaml", POLICY);
    folder.write("rules/tests/shop.yaml", TEST);
    folder
}

#[tokio::test]
async fn what_passes_is_named() {
    let folder = folder();
    let ran = folder.run(&["test"]).await.ended(0);
    assert_eq!(
        ran.stdout,
        "rules/tests/shop.yaml\n  ok    a bad canary goes back\n1 test: 1 passed, 0 failed\n"
    );
    assert_eq!(ran.stderr, "");
    assert!(!folder.path().join("data").exists(), "a test made a store");
}

#[tokio::test]
async fn what_fails_is_shown_as_a_diff_and_ends_in_1() {
    let folder = folder();
    let text = TEST.replace("eval_time: 1m", "eval_time: 50s");
    folder.write("rules/tests/shop.yaml", &text);
    let args = ["test", "--junit", "out.xml"];
    let ran = folder.run(&args).await.ended(1);
    assert_eq!(
        ran.stdout,
        "rules/tests/shop.yaml
  FAIL  a bad canary goes back
        rules/tests/shop.yaml:14:13: at 50s: decision 1 of 1 is not as expected
          - verdict: rollback_batch
          + verdict: hold
            decided: hold, threshold: stands for 50s, the rule wants 1m: 10s more
1 test: 0 passed, 1 failed
"
    );
    let xml = std::fs::read_to_string(folder.path().join("out.xml")).unwrap();
    assert!(xml.contains("tests=\"1\" failures=\"1\""), "{xml}");
    assert!(
        xml.contains("<failure message=\"decision 1 of 1 is not as expected\">"),
        "{xml}"
    );
    assert!(xml.contains("- verdict: rollback_batch\n"), "{xml}");

    let json = folder
        .run(&["test", "--output", "json"])
        .await
        .ended(1)
        .json();
    assert_eq!((&json["passed"], &json["failed"]), (&0.into(), &1.into()));
    let failure = &json["tests"][0]["failures"][0];
    assert_eq!(
        (&failure["line"], &failure["eval_time"]),
        (&14.into(), &"50s".into())
    );
    assert_eq!(failure["differences"][0]["field"], "verdict");
}

#[tokio::test]
async fn a_decision_too_few_or_too_many_fails() {
    let folder = folder();
    let text = TEST.replace(
        "          - verdict: rollback_batch",
        "          - {verdict: notify, service: pay}\n          - verdict: rollback_batch",
    );
    folder.write("rules/tests/shop.yaml", &text);
    let ran = folder.run(&["test"]).await.ended(1);
    assert!(
        ran.stdout
            .contains("decision 1 of 2 is expected, and nothing stands"),
        "{}",
        ran.stdout
    );
    folder.write(
        "rules/tests/shop.yaml",
        &TEST
            .split("        exp_decisions")
            .next()
            .unwrap()
            .replace("eval_time: 1m", "{eval_time: 1m, exp_decisions: []}"),
    );
    let ran = folder.run(&["test"]).await.ended(1);
    assert!(
        ran.stdout
            .contains("a decision stands that is not expected"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout
            .contains("decided: rollback_batch, rule rules/policy/p.yaml: bad canary"),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn an_unusable_file_is_told_with_places_and_ends_in_2() {
    let folder = folder();
    let cases = [
        (
            "eval_time: 1m",
            "eval_time: soon",
            "12:20: `soon` is not a time relative to the start",
        ),
        (
            "evidence: holds",
            "evidence: hods",
            "6:3: unknown word `hods`\n  hint: did you mean `holds`?",
        ),
        (
            "    alerts:",
            "    alarms:",
            "9:5: unknown key `alarms`\n  hint: did you mean `alerts`?",
        ),
        (
            "scope: batch 1",
            "scope: half",
            "is not a scope: `full`, `batch 1` or `batch 1+2`",
        ),
        (
            "scope: batch 1",
            "obstacle: budgets",
            "15:23: there is no guard `budgets`\n  hint: did you mean `budget`?",
        ),
        (
            "alertname: Errors, ",
            "",
            "10:17: the label `alertname` is missing",
        ),
        (
            "release: shop@2, env",
            "release: shop, env",
            "5:25: a release's id is `<service>@<version>`",
        ),
    ];
    for (good, bad, told) in cases {
        folder.write("rules/tests/shop.yaml", &TEST.replace(good, bad));
        let ran = folder.run(&["test"]).await.ended(2);
        assert_eq!(ran.stdout, "");
        assert!(
            ran.stderr
                .starts_with("error: the tests can't be used\nrules/tests/shop.yaml:"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(told), "{told}\n{}", ran.stderr);
        // `check` reads them, too.
        let ran = folder.run(&["check"]).await.ended(1);
        assert!(ran.stdout.contains(": error: "), "{}", ran.stdout);
    }
    folder.write(
        "rules/tests/shop.yaml",
        &format!("rule_files: [gone.yaml]\n{TEST}"),
    );
    let ran = folder.run(&["test"]).await.ended(2);
    assert!(
        ran.stderr
            .contains("rules/tests/shop.yaml:1:14: `rules/tests/gone.yaml`: can't be read"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_name_may_choose_and_nothing_chosen_is_no_success() {
    let folder = folder();
    folder.run(&["test", "--run", "canary"]).await.ended(0);
    folder.run(&["test", "--run", "full"]).await.ended(2);
    std::fs::remove_file(folder.path().join("rules/tests/shop.yaml")).unwrap();
    let ran = folder.run(&["test"]).await.ended(2);
    assert!(ran.stderr.contains("there is no test"), "{}", ran.stderr);
}
