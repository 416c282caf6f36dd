//! `check`, `doctor` and `schema`.

use serde_json::{Value, json};

use super::{CANARY, Folder, StandIn, nowhere, whole};

#[tokio::test]
async fn a_whole_configuration_is_ok_without_a_word_more() {
    let folder = Folder::new();
    whole(&folder, "http://localhost:1");
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let ran = folder.run(&["check", "--deny-warnings"]).await.ended(0);
    assert_eq!(ran.stdout, "ok: 1 service, 1 rule, 1 channel; 0 warnings\n");
    assert_eq!(ran.stderr, "");
    let json = folder
        .run(&["check", "--output", "json"])
        .await
        .ended(0)
        .json();
    assert_eq!(
        (&json["findings"], &json["probes"]),
        (&json!([]), &json!([]))
    );
}

#[tokio::test]
async fn without_any_file_the_defaults_are_usable_and_their_limits_told() {
    let folder = Folder::new();
    let ran = folder.run(&["check"]).await.ended(0);
    assert!(
        ran.stdout
            .ends_with("ok: 0 services, 3 rules, 0 channels; 5 warnings\n")
    );
    let first = "(defaults): warning: no `auth`: only loopback is served, and only ingest and read\n  hint: ";
    assert!(ran.stdout.starts_with(first), "{}", ran.stdout);
    folder.run(&["check", "--deny-warnings"]).await.ended(1);
    assert!(!folder.path().join("data").exists(), "a check made a store");
}

fn broken(folder: &Folder) {
    folder.write("b.yaml", "metrics: {url: http://m:1}\nservice: {}\n");
    folder.write(
        "rules/policy/a.yaml",
        "services: [x]\nrules:\n  - name: r\n    matchers: [severity]\n    action: rollbak\n",
    );
}

#[tokio::test]
async fn a_broken_folder_is_told_with_places_and_hints() {
    let folder = Folder::new();
    broken(&folder);
    let ran = folder
        .run(&["check", "--config.file", "b.yaml"])
        .await
        .ended(1);
    assert_eq!(
        ran.stdout,
        "b.yaml:2:1: error: unknown key `service`\n  hint: did you mean `services`?\nnot usable: 1 error, 0 warnings\n"
    );
    folder.write("b.yaml", "{}\n");
    let ran = folder
        .run(&["check", "--config.file", "b.yaml"])
        .await
        .ended(1);
    assert_eq!(
        ran.stdout,
        "rules/policy/a.yaml:5:13: error: unknown word `rollbak`\n  hint: did you mean `rollback`?\nnot usable: 1 error, 0 warnings\n"
    );
}

#[tokio::test]
async fn findings_can_be_read_by_programs_and_pull_requests() {
    let folder = Folder::new();
    broken(&folder);
    let github = ["check", "--config.file", "b.yaml", "--output", "github"];
    let ran = folder.run(&github).await.ended(1);
    assert_eq!(
        ran.stdout,
        "::error file=b.yaml,line=2,col=1::unknown key `service`%0Ahint: did you mean `services`?\n"
    );
    let json = ["check", "--config.file", "b.yaml", "--output", "json"];
    let found = folder.run(&json).await.ended(1).json();
    let finding = &found["findings"][0];
    assert_eq!(finding["severity"], "error");
    assert_eq!(
        (&finding["line"], &finding["file"]),
        (&json!(2), &json!("b.yaml"))
    );
}

#[tokio::test]
async fn serve_refuses_the_same_configuration_once_and_on_stderr() {
    let folder = Folder::new();
    broken(&folder);
    let ran = folder
        .run(&["serve", "--config.file", "b.yaml"])
        .await
        .ended(1);
    assert_eq!(ran.stdout, "");
    assert_eq!(
        ran.stderr.matches("unknown key `service`").count(),
        1,
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("b.yaml:2:1"), "{}", ran.stderr);
    let ran = folder.run(&["serve", "--log.format", "xml"]).await.ended(2);
    assert!(
        ran.stderr.contains("`xml` is no log format"),
        "{}",
        ran.stderr
    );
    folder
        .run(&["serve", "--web.listen-address", "here"])
        .await
        .ended(2);
}

#[tokio::test]
async fn warnings_name_what_will_not_work() {
    let folder = Folder::new();
    whole(&folder, "http://localhost:1");
    let file = folder.path().join("backstop.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text
        .replace(
            "web: {external_url: https://backstop.example.com}\n",
            "replicas: 2\n",
        )
        .replace(
            "full: {pipeline: rf,",
            "full: {admission: false, pipeline: rf,",
        )
        .replace("  signing_key: {file: token}\n", "");
    let text = text
        .lines()
        .filter(|line| !line.contains("recovery:"))
        .collect::<Vec<_>>();
    std::fs::write(&file, text.join("\n")).unwrap();
    folder.write(
        "channels/d.yaml",
        "name: d\ndingtalk: {token: {env: NONE}}\n",
    );
    folder.write("templates/notify/slack.tera", "{{ nothing }");
    folder.write("templates/notify/smoke.tera", "x");
    let ran = folder.run(&["check"]).await.ended(1);
    for words in [
        "templates/notify/slack.tera: error: ",
        "templates/notify/smoke.tera: error: template `smoke.tera` has no use",
        "warning: no `auth.signing_key`",
        "warning: the store `file:./data` is a directory, yet there are 2 replicas",
        "warning: pipeline `rf` of service `checkout` does not ask for admission",
        "warning: service `checkout` has no `recovery` question",
        "warning: channel `d` shows text only",
        "info: no `web.external_url`",
    ] {
        assert!(ran.stdout.contains(words), "{words}\n{}", ran.stdout);
    }
}

/// The pipelines of a whole configuration, as Gate lists them.
fn pipelines() -> Value {
    let admit = json!({"refId": "1", "type": "webhook", "name": "Admit",
        "url": "https://backstop.example.com/api/v1/incidents/${parameters.incident}/attempts/1/admit",
        "payload": {"execution": "${execution.id}"}});
    let back = |requisites: Value| {
        json!([admit, {"refId": "2", "type": "deployHosts", "name": "Deploy",
            "release": "${parameters.release}", "hosts": "${parameters['hosts']}",
            "requisiteStageRefIds": requisites}])
    };
    let attempt = json!([{"name": "attempt", "required": true}]);
    json!([
        {"id": "1", "application": "checkout", "name": "deploy", "stages": []},
        {"id": "2", "application": "checkout", "name": "rb", "stages": back(json!(["1"])), "parameterConfig": attempt},
        {"id": "3", "application": "checkout", "name": "rf", "stages": back(json!(["1"])), "parameterConfig": attempt},
    ])
}

/// Gate, with a pipeline that is gone and one that touches hosts before it asks.
fn careless(seen: &super::Seen) -> (u16, Value) {
    let (status, mut answer) = upstreams(seen);
    if seen.line.contains("/pipelineConfigs") {
        answer[1]["name"] = json!("renamed");
        answer[2]["stages"][1]["requisiteStageRefIds"] = json!([]);
    }
    (status, answer)
}

/// Gate, with a pipeline that no longer reads its hosts and one that wants more than it is sent.
fn changed(seen: &super::Seen) -> (u16, Value) {
    let (status, mut answer) = upstreams(seen);
    if seen.line.contains("/pipelineConfigs") {
        answer[1]["stages"][1]["hosts"] = json!("${parameters.hosts_of_old}");
        let why = json!({"name": "why", "required": true});
        answer[2]["parameterConfig"]
            .as_array_mut()
            .unwrap()
            .push(why);
    }
    (status, answer)
}

/// Everything a whole configuration reaches, in one server.
fn upstreams(seen: &super::Seen) -> (u16, Value) {
    let bearer = seen.header("authorization") == format!("Bearer {CANARY}");
    let path = seen.line.split(['?', ' ']).nth(1).unwrap();
    match path {
        "/metrics/api/v1/query" => (
            200,
            json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "1"]}]}}),
        ),
        "/vmalert/api/v1/rules" => (
            200,
            json!({"status": "success", "data": {"groups": [{"name": "g", "file": "f", "interval": 5.0, "rules": [
                {"type": "alerting", "name": "Bad", "query": "x > 1", "health": "ok", "duration": 0, "labels": {}, "annotations": {}}]}]}}),
        ),
        "/gate/auth/user" if bearer => (200, json!({"username": "gateway", "email": ""})),
        "/gate/applications/checkout/pipelineConfigs" if bearer => (200, pipelines()),
        "/slack/auth.test" if bearer => (
            200,
            json!({"ok": true, "team": "T", "user": "backstop", "url": "https://t.slack.com/", "team_id": "T1", "user_id": "U1"}),
        ),
        _ if path.starts_with("/gate/webhooks/webhook/backstop-doctor-") => {
            (200, json!({"eventProcessed": true, "eventId": "x"}))
        }
        _ => (404, Value::Null),
    }
}

#[tokio::test]
async fn online_asks_everything_and_its_answers_make_the_exit_code() {
    let stand_in = StandIn::start(upstreams).await;
    let folder = Folder::new();
    whole(&folder, &stand_in.url);
    let ran = folder
        .run(&["check", "--online", "--deny-warnings"])
        .await
        .ended(0);
    for words in [
        "store: ok: ",
        "metrics: ok: ",
        "vmalert ",
        "gate: ok: ",
        "pipelines of checkout: ok: ",
        "channel ops: ok: ",
    ] {
        assert!(ran.stdout.contains(words), "{words}\n{}", ran.stdout);
    }
    let careless = StandIn::start(careless).await;
    whole(&folder, &careless.url);
    let ran = folder.run(&["check", "--online"]).await.ended(1);
    let words = "pipelines of checkout: failed: `rb` is not there; `rf`: stage `Deploy` does not wait for admission";
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    let changed = StandIn::start(changed).await;
    whole(&folder, &changed.url);
    let ran = folder.run(&["check", "--online"]).await.ended(1);
    let words = "pipelines of checkout: failed: `rb` has no parameter `hosts`, which it is sent; \
                 `rf` requires a parameter `why`, which it is not sent: it would not start\n  hint: ";
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    whole(&folder, &nowhere().await);
    let ran = folder.run(&["check", "--online"]).await.ended(3);
    assert!(
        ran.stdout.contains("metrics: unreachable: cannot connect"),
        "{}",
        ran.stdout
    );
    // A secret that is missing is an error as soon as it is needed.
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let ran = folder.run(&["check", "--online"]).await.ended(1);
    assert!(ran.stdout.contains("the secret file"), "{}", ran.stdout);
}

#[tokio::test]
async fn doctor_examines_a_directory_and_leaves_it_as_it_was() {
    let folder = Folder::new();
    let ran = folder.run(&["doctor", "--store-race", "4"]).await.ended(0);
    let first = "store: ok: file:./data: 4 rounds of 16 writers, 4 winners; a create with its read-back took p50 ";
    assert!(ran.stdout.starts_with(first), "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("directory: ok: write, fsync and rename took ")
    );
    let left: Vec<_> = walk(&folder.path().join("data"));
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn doctor_warns_of_webhooks_open_to_everybody() {
    let stand_in = StandIn::start(upstreams).await;
    let folder = Folder::new();
    whole(&folder, &stand_in.url);
    let answers = folder
        .run(&["doctor", "--output", "json"])
        .await
        .ended(0)
        .json();
    let of = |name: &str| {
        let probes = answers.as_array().unwrap();
        probes.iter().find(|probe| probe["name"] == name).unwrap()["verdict"].clone()
    };
    assert_eq!(of("gate webhooks"), "warn");
    assert_eq!(of("clock"), "ok");
    assert_eq!(of("gate"), "ok");
    let hook = stand_in
        .seen()
        .into_iter()
        .find(|seen| seen.line.contains("/webhooks/"));
    assert_eq!(
        hook.unwrap().header("authorization"),
        "",
        "the hook was asked with a login"
    );
    folder.run(&["doctor", "--deny-warnings"]).await.ended(1);
}

#[tokio::test]
async fn schemas_describe_the_files_people_write() {
    let folder = Folder::new();
    whole(&folder, "http://localhost:1");
    let all = folder.run(&["schema"]).await.ended(0).json();
    let kinds: Vec<&String> = all.as_object().unwrap().keys().collect();
    assert!(kinds.len() >= 10, "{kinds:?}");
    for (kind, file) in [
        ("config", "backstop.yaml"),
        ("channel", "channels/ops.yaml"),
        ("policy", "rules/policy/checkout.yaml"),
    ] {
        let schema = folder.run(&["schema", kind]).await.ended(0).json();
        assert_eq!(schema, all[kind]);
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        let mut value: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(fits(&schema, &schema, &value), Ok(()), "{file}");
        value["surprise"] = json!(1);
        assert!(
            fits(&schema, &schema, &value).is_err(),
            "{file} takes any key"
        );
    }
    let shipped: Value =
        serde_saphyr::from_str(include_str!("../../../rules/policy/default.yaml")).unwrap();
    assert_eq!(fits(&all["policy"], &all["policy"], &shipped), Ok(()));
    folder.run(&["schema", "soup"]).await.ended(2);
}

/// As much of JSON Schema as the schemas here use: references, keys, types, choices.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        return fits(root, root.pointer(pointer).ok_or(reference)?, value);
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[word].as_array() {
            let fit = choices
                .iter()
                .any(|choice| fits(root, choice, value).is_ok());
            return fit
                .then_some(())
                .ok_or_else(|| format!("{value} fits no choice"));
        }
    }
    if let Some(only) = schema.get("const") {
        return (only == value)
            .then_some(())
            .ok_or_else(|| format!("{value} is not {only}"));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words
            .contains(value)
            .then_some(())
            .ok_or_else(|| format!("{value} is no {words:?}"));
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds
            .iter()
            .map(|kind| kind.as_str().unwrap().to_owned())
            .collect(),
        _ => Vec::new(),
    };
    let is = |kind: &String| match kind.as_str() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        return Err(format!("{value} is not {kinds:?}"));
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values
            .iter()
            .try_for_each(|value| fits(root, items, value))?;
    }
    let Some(fields) = value.as_object() else {
        return Ok(());
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(required.as_str().unwrap()) {
            return Err(format!("{required} is missing"));
        }
    }
    for (name, field) in fields {
        match (
            schema["properties"].get(name),
            schema.get("additionalProperties"),
        ) {
            (Some(known), _) => fits(root, known, field).map_err(|why| format!("{name}: {why}"))?,
            (None, Some(Value::Bool(false))) => return Err(format!("unknown key {name}")),
            (None, Some(other)) if other.is_object() => fits(root, other, field)?,
            _ => {}
        }
    }
    Ok(())
}
