//! `deploy/github`: its scripts, run as the workflow runs them, and the workflow itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::gate::GateStandIn;
use crate::support::tools::{Tool, required_in_ci};
use crate::support::versitygw::{ACCESS_KEY, BUCKET, SECRET_KEY, VersityGw};

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/github")
}

/// A checkout with a tag, what was built of it, and where it goes.
struct Checkout {
    folder: tempfile::TempDir,
    /// Where artifacts go.
    artifacts: String,
}

impl Checkout {
    fn new(store: &str, artifacts: &str, gate: &str) -> Self {
        let checkout = Self {
            folder: tempfile::tempdir().unwrap(),
            artifacts: artifacts.to_owned(),
        };
        let text = format!(
            r#"store: {store}
spinnaker: {{gate: "{gate}", basic: {{username: gateway, password: {{file: gate}}}}}}
services:
  checkout:
    application: shop
    tag_prefix: v
    deploy:
      - {{pipeline: deploy-prod, env: prod, strategy: all, release: "{{parameters.release_id}}"}}
"#
        );
        checkout.write("backstop.yaml", &text);
        checkout.write("gate", "gate-password");
        checkout.git(&["init", "--quiet"]);
        checkout.commit("begin");
        checkout.git(&["tag", "-a", "v1.8.0", "-m", "1.8.0"]);
        checkout.build("hello");
        checkout
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        let command = command.args(["-c", "user.name=ci", "-c", "user.email=ci@example.com"]);
        let ran = command
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, message: &str) {
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
    }

    /// What `make dist` would have made, with its checksums.
    fn build(&self, content: &str) {
        self.write("dist/checkout.tar.gz", content);
        self.write("dist/settings.yaml", "carts: 3\n");
        let ran = self.run("checksums.sh", &["dist"]);
        assert!(ran.status.success(), "{ran:?}");
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(scripts().join(script));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("SERVICE", "checkout")
            .env("ARTIFACTS", &self.artifacts)
            .env("GITHUB_REF_NAME", "v1.8.0")
            .env("GITHUB_SHA", self.git_head())
            .env("GITHUB_ACTOR", "mira")
            .env("DEPLOY_PIPELINE", "deploy-prod")
            .env("BACKSTOP", env!("CARGO_BIN_EXE_backstop"));
        command.output().unwrap()
    }

    fn git_head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs the publishing step; its exit code, its document, and what it said.
    fn publish(&self) -> (i32, Value, String) {
        let ran = self.run("publish.sh", &["dist"]);
        let document = serde_json::from_slice(&ran.stdout).unwrap_or(Value::Null);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        (ran.status.code().unwrap(), document, said)
    }
}

async fn gate() -> GateStandIn {
    let gate = GateStandIn::start().await;
    gate.save(json!({
        "application": "shop", "name": "deploy-prod", "stages": [],
        "parameterConfig": [{"name": "release_id", "required": true}],
    }));
    gate
}

/// From a tag to a release and a deployment; again; and everything that is refused.
async fn a_release_is_published_once(checkout: Checkout, gate: GateStandIn, prefix: &str) {
    let (checkout, gate) = tokio::task::spawn_blocking({
        let prefix = prefix.to_owned();
        move || {
            publish_and_refuse(&checkout, &gate, &prefix);
            (checkout, gate)
        }
    })
    .await
    .unwrap();
    assert_eq!(gate.executions().len(), 1);
    drop(checkout);
}

fn publish_and_refuse(checkout: &Checkout, gate: &GateStandIn, prefix: &str) {
    let (code, first, said) = checkout.publish();
    assert_eq!(code, 0, "{said}");
    assert_eq!(first["created"], true);
    let release = &first["release"];
    assert_eq!(release["commit"], checkout.git_head());
    assert_eq!(release["created_by"], "mira");
    let url = release["artifact_url"].as_str().unwrap();
    let expected = format!("{prefix}/checkout/1.8.0/2cf24dba5fb0/checkout.tar.gz");
    assert_eq!(url, expected);
    assert!(
        release["config"]["url"]
            .as_str()
            .unwrap()
            .ends_with("/settings.yaml")
    );
    let execution = first["execution"]["id"].as_str().unwrap().to_owned();
    let ran = gate.execution(&execution).unwrap();
    let trigger = &ran["trigger"];
    assert_eq!(trigger["parameters"]["release_id"], "checkout@1.8.0");
    assert_eq!(trigger["artifacts"][0]["reference"], url);

    // The job is run again.
    let (code, again, said) = checkout.publish();
    assert_eq!(code, 0, "{said}");
    assert_eq!(again["created"], false);
    assert_eq!(again["release"], first["release"]);
    assert_eq!(again["execution"]["id"], execution);
    assert_eq!(again["execution"]["started"], false);

    // Built again, with another outcome.
    checkout.build("other");
    let (code, _, said) = checkout.publish();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("another checksum"), "{said}");
    // What was built is not what was attested.
    checkout.write("dist/checkout.tar.gz", "hello");
    let (code, _, said) = checkout.publish();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not what SHA256SUMS says"), "{said}");

    // The tag was moved: while the job waited, and before a new one.
    checkout.build("hello");
    checkout.commit("more");
    let (code, _, said) = checkout.publish();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("tag v1.8.0 is at"), "{said}");
    checkout.git(&["tag", "-f", "v1.8.0"]);
    let (code, _, said) = checkout.publish();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("another commit"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_becomes_a_release_in_a_directory() {
    let gate = gate().await;
    let folder = tempfile::tempdir().unwrap();
    let place = format!("file:{}/artifacts", folder.path().display());
    let store = format!("{{url: \"file:{}/data\"}}", folder.path().display());
    let checkout = Checkout::new(&store, &place, &gate.url());
    a_release_is_published_once(checkout, gate, &place).await;
    let kept = folder
        .path()
        .join("artifacts/checkout/1.8.0/2cf24dba5fb0/checkout.tar.gz");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_becomes_a_release_on_s3() {
    if !required_in_ci(Tool::VersityGw) {
        return;
    }
    let gate = gate().await;
    let folder = tempfile::tempdir().unwrap();
    let server = VersityGw::start(folder.path()).await.unwrap();
    let store = format!(
        "{{url: \"s3://{BUCKET}/backstop\", endpoint: \"{}\", region: us-east-1, access_key_id: {{file: id}}, secret_access_key: {{file: key}}}}",
        server.url()
    );
    let place = format!("s3://{BUCKET}/artifacts");
    let checkout = Checkout::new(&store, &place, &gate.url());
    checkout.write("id", ACCESS_KEY);
    checkout.write("key", SECRET_KEY);
    a_release_is_published_once(checkout, gate, &place).await;
    let objects = folder.path().join("data").join(BUCKET);
    let kept = objects.join("artifacts/checkout/1.8.0/2cf24dba5fb0/checkout.tar.gz");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "hello");
}

#[tokio::test]
async fn a_program_that_is_not_what_it_must_be_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::write(&source, "hello").unwrap();
    let fetch = |checksum: &str| {
        Command::new(scripts().join("fetch.sh"))
            .arg(format!("file://{}", source.display()))
            .arg(checksum)
            .arg(folder.path().join("bin/backstop"))
            .output()
            .unwrap()
    };
    let wrong = fetch(&"0".repeat(64));
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(
        std::fs::read_dir(folder.path().join("bin"))
            .unwrap()
            .count(),
        0
    );
    let right = fetch("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert!(right.status.success(), "{right:?}");
    assert!(folder.path().join("bin/backstop").exists());
}

/// Runs a linter over the workflow, offline; what it says is the failure.
fn lint(tool: Tool, arguments: &[&str]) {
    if !required_in_ci(tool) {
        return;
    }
    let mut command = Command::new(tool.path().unwrap());
    let ran = command
        .args(arguments)
        .arg(scripts().join("release.yml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let failed = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}{failed}");
}

#[test]
fn the_workflow_is_sound_says_actionlint() {
    lint(Tool::Actionlint, &["-shellcheck=", "-pyflakes="]);
}

#[test]
fn the_workflow_is_safe_says_zizmor() {
    lint(
        Tool::Zizmor,
        &["--offline", "--no-progress", "--color=never"],
    );
}
