//! `POST /api/v1/deployments/{id}/instances`: what deploys without agents tells of hosts.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{Scene, TOKEN};
use crate::support::eventually::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_host_is_kept_once_and_can_be_read() {
    let scene = Scene::start().await;
    let running = json!({"host": "vm-1", "batch": 1, "status": "running"});
    let (status, answer) = scene.record(running.clone()).await;
    assert_eq!((status, &answer), (200, &json!({"recorded": 1})));
    // Asked again, as after an answer that was lost.
    let (_, answer) = scene.record(running).await;
    assert_eq!(answer, json!({"recorded": 0}));
    assert_eq!(scene.links("vm-1"), 1);

    let back = json!({
        "host": "vm-1", "batch": 1, "status": "rolled_back", "health_status": "unhealthy",
        "error_message": "e".repeat(5_000), "from": "2026-11-22T10:00:00Z", "to": "2026-11-22T10:00:30Z",
    });
    assert_eq!(scene.record(back).await.1, json!({"recorded": 1}));
    assert_eq!(scene.links("vm-1"), 2);
    let url = format!(
        "http://{}/api/v1/instances?host=vm-1",
        scene.gateway.address
    );
    let read = eventually(
        Duration::from_mins(1),
        "the host in the catalog",
        async || {
            let asked = scene.http.get(&url).bearer_auth(TOKEN);
            let list: Value = asked.send().await.ok()?.json().await.ok()?;
            let one = list.pointer("/items/0")?.clone();
            (one["status"] == "rolled_back").then_some(one)
        },
    )
    .await
    .unwrap();
    assert_eq!(read["deployment_id"], "E1");
    assert_eq!(read["health_status"], "unhealthy");
    assert_eq!(read["error_message"].as_str().unwrap().len(), 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_is_refused_with_its_place() {
    let scene = Scene::start().await;
    let (from, to) = ("2026-11-22T10:00:30Z", "2026-11-22T10:00:00Z");
    for (host, pointer) in [
        (
            json!({"host": "vm-1", "batch": 0, "status": "running"}),
            "/instances/0/batch",
        ),
        (
            json!({"host": "vm-1", "batch": 1, "status": "failed", "from": from, "to": to}),
            "/instances/0/to",
        ),
        (
            json!({"host": "vm-1", "batch": 1, "status": "failed", "to": to}),
            "/instances/0/to",
        ),
    ] {
        let (status, answer) = scene.record(host).await;
        assert_eq!(
            (status, &answer["pointer"]),
            (400, &json!(pointer)),
            "{answer}"
        );
        assert_eq!(answer["code"], "invalid_instances");
    }
    let (status, _) = scene
        .record(json!({"host": "../vm", "batch": 1, "status": "failed"}))
        .await;
    assert_eq!(status, 400);
    assert_eq!(scene.links("vm-1"), 0);
}
