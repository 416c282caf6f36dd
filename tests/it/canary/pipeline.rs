//! The shipped deploy pipeline, run by the stand-in for Spinnaker against a gateway that arms.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::scene::{PATIENCE, Scene, has_tools};
use crate::support::gate::GateStandIn;
use crate::support::process::free_port;

/// The shipped pipeline, at `gateway`.
fn shipped(gateway: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/spinnaker/deploy-prod.json");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.replace("https://backstop.example.com", gateway);
    serde_json::from_str(&text.replace("BACKSTOP_DEPLOY_TOKEN", "let-me-in")).unwrap()
}

#[tokio::test]
async fn the_shipped_pipeline_deploys_each_batch_only_once_its_rules_are_proven() {
    if !has_tools() {
        return;
    }
    let port = free_port().unwrap();
    let scene = Scene::start(&[format!("http://127.0.0.1:{port}")]).await;
    let gate = GateStandIn::start().await;
    gate.save(shipped(&scene.gateway.url()));
    // What the gateway said of a batch when its hosts were about to be touched.
    let touched: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let (record, base, http) = (
        Arc::clone(&touched),
        scene.gateway.url(),
        scene.http.clone(),
    );
    gate.on_stage("deployHosts", move |call| {
        let (record, base, http) = (Arc::clone(&record), base.clone(), http.clone());
        async move {
            let batch = call.text("batch").to_owned();
            let (id, path) = (&call.execution_id, "api/v1/deployments");
            let url = format!("{base}/{path}/{id}/batches/{batch}");
            let answer = http.get(url).bearer_auth("let-me-in").send().await.unwrap();
            let state: Value = answer.json().await.unwrap();
            let status = state["status"].as_str().unwrap_or_default().to_owned();
            record.lock().unwrap().push((batch, status));
            Ok(Map::new())
        }
    });
    let trigger = json!({"parameters": {"release_id": "checkout@2", "batch_1": "checkout-01",
        "batch_2": "checkout-02", "batch_3": "checkout-03", "soak_seconds": "1"}});
    let id = gate.run("checkout", "deploy-prod", trigger);

    // No vmalert: the pipeline waits, and says for whom.
    let waits = |world: &crate::support::gate::World| {
        let document = world.run(&id)?.document(true).to_string();
        document.contains("it can't be asked").then_some(())
    };
    gate.when(PATIENCE, waits).await;
    assert_eq!(*touched.lock().unwrap(), []);

    let _vmalert = scene.vmalert(port).await;
    let ended = gate.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    let armed = |batch: &str| (batch.to_owned(), "armed".to_owned());
    assert_eq!(
        *touched.lock().unwrap(),
        [armed("1"), armed("2"), armed("3")]
    );
}
