//! What ships is sound for any service; what is broken is told with its place.

use std::path::Path;

use super::*;
use crate::config::load::{Secrets, load};

const MAIN: &str = "services:
  checkout:
    application: checkout
    canary: {values: {errors: 'status=~\"5..\"'}}
";

fn config(main: &str, templates: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backstop.yaml");
    std::fs::write(&file, main).unwrap();
    for (name, text) in templates {
        let path = folder.path().join("rules/canary").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let config = load(Some(&file), Secrets::Unread).unwrap();
    (folder, config)
}

fn group(config: &Config, stable: Option<&str>) -> Result<Group, Vec<Problem>> {
    let stable = stable.map(|id| ReleaseId::new(id).unwrap());
    let subject = Subject {
        service: &Service::new("checkout").unwrap(),
        env: &Env::new("prod").unwrap(),
        deployment: &DeploymentId::new("01X").unwrap(),
        release_id: &ReleaseId::new("checkout@2").unwrap(),
        batch: 1,
        stable: stable.as_ref(),
    };
    render(config, &subject)
}

fn problems(main: &str, templates: &[(&str, &str)]) -> Vec<String> {
    let (folder, config) = config(main, templates);
    let root = format!("{}/", folder.path().display());
    let found = check(&config, "backstop.yaml");
    let told = |problem: Problem| problem.to_string().replace(&root, "");
    found.into_iter().map(told).collect()
}

#[test]
fn the_shipped_templates_are_sound_and_name_what_they_watch() {
    assert_eq!(problems(MAIN, &[]), [""; 0]);
    let (_folder, config) = config(MAIN, &[]);
    let group = group(&config, Some("checkout@1")).unwrap();
    assert_eq!(group.name, "canary/checkout/prod/checkout@2/01X/batch-1");
    assert_eq!(group.labels["batch"], "1");
    assert_eq!(group.labels["stable_release_id"], "checkout@1");
    let mut alerts: Vec<&str> = group.rules.iter().map(|rule| rule.alert.as_str()).collect();
    alerts.sort_unstable();
    let shipped = [
        "CpuPerRequest",
        "ErrorRatio",
        "LatencyP95",
        "Memory",
        "NoData",
        "Restarts",
    ];
    assert_eq!(alerts, shipped.map(|name| format!("Canary{name}")));
    let errors = group
        .rules
        .iter()
        .find(|rule| rule.alert == "CanaryErrorRatio")
        .unwrap();
    let canary = r#"service="checkout",env="prod",release_id="checkout@2",batch="1",status=~"5..""#;
    let stable = r#"service="checkout",env="prod",release_id="checkout@1",status=~"5..""#;
    assert!(
        errors.expr.contains(canary) && errors.expr.contains(stable),
        "{}",
        errors.expr
    );
    assert_eq!(lint::group(&group), [""; 0]);
    assert!(
        lint::group(&Group {
            labels: BTreeMap::new(),
            ..group
        })
        .len()
            == 1
    );
}

#[test]
fn without_a_stable_release_the_rest_is_compared_with() {
    let (_folder, config) = config(MAIN, &[]);
    let group = group(&config, None).unwrap();
    let rest = r#"service="checkout",env="prod",release_id!="checkout@2""#;
    assert!(group.rules.iter().any(|rule| rule.expr.contains(rest)));
}

#[test]
fn a_service_may_have_templates_of_its_own() {
    let own =
        "rules: [{alert: Mine, expr: 'x{${canary}} > 1', for: 90s, labels: {severity: page}}]\n";
    let (_folder, config) = config(MAIN, &[("checkout/mine.yaml", own)]);
    let group = group(&config, None).unwrap();
    assert_eq!(group.rules.len(), 1);
    assert_eq!(group.rules[0].for_, "90s");
    assert_eq!(config.canary.files(&Service::new("cart").unwrap()).len(), 6);
}

#[test]
fn a_broken_template_is_told_with_its_place() {
    let main = MAIN.replace("errors:", "wrong:");
    let text = "rules:
  - alert: A
    expr: x{${canry}} > 1
    labels: {severity: page}
  - alert: A
    expr: up > 1
    labels: {batch: '2'}
";
    assert_eq!(
        problems(&main, &[("a.yaml", text)]),
        [
            "rules/canary/a.yaml:3:11: `x` is selected without service, env, release_id\n  \
             hint: write `{${canary}}` or `{${stable}}` behind every metric",
            "rules/canary/a.yaml:3:11: nothing is known here as `${canry}`\n  \
             hint: did you mean `${canary}`?",
            "rules/canary/a.yaml:5:12: `A` has no label `severity`\n  hint: policies match it",
            "rules/canary/a.yaml:5:12: `A` is the name of two rules",
            "rules/canary/a.yaml:6:11: `up` is selected without service, env, release_id\n  \
             hint: write `{${canary}}` or `{${stable}}` behind every metric",
            "rules/canary/a.yaml:7:21: the label `batch` is put on by Backstop\n  \
             hint: leave it out",
            "backstop.yaml:4:30: no canary template of `checkout` has a value `wrong`",
        ]
    );
    let unclosed = "rules: [{alert: A, expr: 'x{${canary', labels: {severity: page}}]\n";
    assert!(problems(MAIN, &[("a.yaml", unclosed)])[0].contains("a `${` without its `}`"));
    let file = Path::new("rules/canary/a.yaml").display().to_string();
    let wrong = crate::config::canary::load_file(&file, "rules: [{alert: A, exp: x}]").unwrap_err();
    assert_eq!(
        wrong[0].to_string(),
        "rules/canary/a.yaml:1:20: unknown key `exp`\n  hint: did you mean `expr`?"
    );
}
