use serde_json::{Value, json};

use super::*;

/// A running execution with these stages.
fn execution(stages: &[Value]) -> Execution {
    let stages: Vec<Value> = stages
        .iter()
        .map(|own| {
            let mut stage = json!({"id": "S", "ref_id": "1", "name": "Do it", "status": "NOT_STARTED",
                "start_time": null, "end_time": null, "context": {}, "outputs": {}, "parent": null,
                "owner": null});
            let own = own.as_object().unwrap().clone();
            stage.as_object_mut().unwrap().extend(own);
            stage
        })
        .collect();
    serde_json::from_value(
        json!({"id": "E", "application": "checkout", "name": "hotfix",
        "pipeline_config_id": null, "status": "RUNNING", "build_time": null, "start_time": null,
        "end_time": null, "trigger": {"correlation_id": null, "event_id": null, "user": null,
            "parameters": {}}, "stages": stages, "cancellation_reason": null}),
    )
    .unwrap()
}

fn resize(name: &str) -> Value {
    json!({"kind": "resizeServerGroup", "context": {"credentials": "prod", "region": "eu-west-1",
        "serverGroupName": name}})
}

fn own() -> Vec<Place> {
    vec![Place::new("prod", "eu-west-1", "checkout-prod")]
}

#[test]
fn what_is_left_of_an_execution_decides() {
    let wait = json!({"kind": "wait", "status": "RUNNING"});
    let here = resize("checkout-prod-v042");
    let touching = Some(Touches::Place("`checkout-prod` in prod/eu-west-1".into()));
    assert_eq!(
        touches(&execution(&[wait.clone(), here.clone()]), &own()),
        touching
    );
    let mut done = here.clone();
    done["status"] = json!("SUCCEEDED");
    assert_eq!(touches(&execution(&[wait.clone(), done]), &own()), None);
    let elsewhere = resize("checkout-stage-v007");
    assert_eq!(
        touches(&execution(std::slice::from_ref(&elsewhere)), &own()),
        None
    );
    // Of several stages the surest counts.
    let script = json!({"kind": "script", "name": "Run Ansible"});
    assert_eq!(
        touches(&execution(&[script.clone(), here]), &own()),
        touching
    );
    let untold = touches(&execution(&[wait, script]), &own());
    assert!(matches!(&untold, Some(Touches::Untold(why)) if why.contains("Run Ansible")));
    // Nobody knows where the service runs, so anything may be there.
    let untold = touches(&execution(&[elsewhere]), &[]);
    assert!(matches!(&untold, Some(Touches::Untold(why)) if why.contains("checkout-stage")));
    let untold = touches(&execution(&[]), &own());
    assert!(matches!(untold, Some(Touches::Untold(_))));
}

#[test]
fn pipelines_of_others_and_harmless_ones_hold_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backstop.yaml");
    let full = |name: &str| {
        format!(
            r#"{{full: {{pipeline: {name}, parameters: {{to: "{{target.release_id}}", incident: "{{incident.id}}", attempt: "{{attempt}}"}}}}}}"#
        )
    };
    let text = format!(
        r#"services:
  checkout:
    application: shop
    deploy:
      - {{pipeline: deploy-prod, env: prod, strategy: all, release: "{{parameters.release}}"}}
      - {{pipeline: deploy-stage, env: stage, strategy: all, release: "{{parameters.release}}"}}
    rollback: {}
    harmless_pipelines: [nightly-tests]
  cart:
    application: shop
    deploy: [{{pipeline: cart-prod, env: prod, strategy: all, release: "{{parameters.release}}"}}]
    rollback: {}
"#,
        full("rollback"),
        full("cart-rollback")
    );
    std::fs::write(&file, text).unwrap();
    let secrets = crate::config::load::Secrets::Unread;
    let config = crate::config::load::load(Some(&file), secrets).unwrap();
    let (service, env): (Service, Env) = ("checkout".parse().unwrap(), "prod".parse().unwrap());
    let owner = |name| owner(&config, &service, &config.services[&service], &env, name);
    for name in ["deploy-prod", "rollback"] {
        assert_eq!(owner(name), Owner::Here, "{name}");
    }
    for name in [
        "deploy-stage",
        "nightly-tests",
        "cart-prod",
        "cart-rollback",
    ] {
        assert_eq!(owner(name), Owner::Elsewhere, "{name}");
    }
    assert_eq!(owner("hotfix"), Owner::Nobody);
}
