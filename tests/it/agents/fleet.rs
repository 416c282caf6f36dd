//! Twenty hosts: what comes in, what is gone back from, and what a batch says of it.

use std::time::Instant;

use super::scene::{Kind, Scene, knob};

/// `BACKSTOP_AGENT_HOSTS`: real agent processes, 20 when it is asked to be thorough.
fn hosts() -> usize {
    knob("BACKSTOP_AGENT_HOSTS", 8)
}

/// 5, 25 and 100 percent of the hosts, cumulative.
fn batches(hosts: usize) -> [std::ops::RangeInclusive<usize>; 3] {
    let (first, second) = (hosts.div_ceil(20), hosts.div_ceil(4).max(2));
    [1..=first, first + 1..=second, second + 1..=hosts]
}

async fn rolled_out(scene: &Scene, deployment: &str, version: &str, hosts: usize) {
    for (n, batch) in (1..).zip(batches(hosts)) {
        let (status, state) = scene.batch(deployment, n, version, batch.clone()).await;
        assert_eq!(status, 202, "{state:#}");
        scene.until(deployment, n, "succeeded").await;
        scene.assert_run(batch, version);
    }
}

const QUICK: &str = "{poll: 200ms, within: 2m}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_release_comes_in_batch_by_batch_and_a_bad_one_stops_in_the_second() {
    let hosts = hosts();
    let mut scene = Scene::new(hosts, QUICK).await;
    scene.publish("1.0.0", Kind::Good).await;
    let [first, second, third] = batches(hosts);
    let bad_from = *second.end();
    scene.publish("1.1.0", Kind::BadFrom(bad_from)).await;
    scene.start_all(hosts).await;
    let begun = Instant::now();
    rolled_out(&scene, "D1", "1.0.0", hosts).await;
    println!(
        "desired to healthy, {hosts} hosts in 3 batches: {:?}",
        begun.elapsed()
    );
    let steps = scene.steps("D1", 1).await;
    assert_eq!(
        steps,
        [
            "downloaded",
            "verified",
            "staged",
            "switched",
            "restarted",
            "healthy"
        ]
    );

    let (status, _) = scene.batch("D2", 1, "1.1.0", first.clone()).await;
    assert_eq!(status, 202);
    scene.until("D2", 1, "succeeded").await;
    scene.batch("D2", 2, "1.1.0", second.clone()).await;
    let state = scene.until("D2", 2, "failed").await;
    let told = state["progress"].as_str().unwrap();
    assert!(
        told.contains(&format!("vm-{bad_from} reverted: not healthy")),
        "{told}"
    );
    // The right hosts run the right release, and the record tells the truth.
    scene.assert_run([bad_from], "1.0.0");
    scene.assert_run(third, "1.0.0");
    let record = scene.record("D2", bad_from).await;
    assert_eq!(record["status"], "rolled_back", "{record:#}");
    assert_eq!(record["health_status"], "unhealthy", "{record:#}");
    assert!(
        record["error_message"]
            .as_str()
            .unwrap()
            .contains("not healthy"),
        "{record:#}"
    );
    let metrics = scene.metrics(bad_from).await;
    assert!(
        metrics.contains("release_id=\"checkout@1.0.0\""),
        "{metrics}"
    );
    assert!(
        metrics.contains("backstop_agent_reverts_total 1"),
        "{metrics}"
    );
    let memory = metrics
        .lines()
        .find(|line| line.starts_with("process_resident"))
        .unwrap();
    println!("memory of one agent: {memory}");
    // An end is an end, however often it is asked for.
    assert_eq!(scene.state("D2", 2).await["status"], "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_artifact_is_switched_to_by_nobody() {
    let mut scene = Scene::new(2, QUICK).await;
    scene.publish("1.0.0", Kind::Good).await;
    scene.publish("1.1.0", Kind::Corrupt).await;
    scene.start_all(2).await;
    scene.batch("D1", 1, "1.0.0", 1..=2).await;
    scene.until("D1", 1, "succeeded").await;
    scene.batch("D2", 1, "1.1.0", 1..=2).await;
    let state = scene.until("D2", 1, "failed").await;
    assert!(
        state["progress"].as_str().unwrap().contains("SHA-256"),
        "{state:#}"
    );
    scene.assert_run(1..=2, "1.0.0");

    let (status, refused) = scene.batch("D3", 1, "9.9.9", [1]).await;
    assert_eq!(
        (status, refused["code"].as_str()),
        (409, Some("release_unknown")),
        "{refused:#}"
    );
    assert!(scene.store.list("desired").await.unwrap().len() == 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_disappears_is_lost_and_the_batch_does_not_pass() {
    let mut scene = Scene::new(3, "{poll: 200ms, within: 5s}").await;
    scene.publish("1.0.0", Kind::Good).await;
    scene.start_all(2).await;
    scene.batch("D1", 1, "1.0.0", 1..=3).await;
    let state = scene.until_told("D1", 1, "1 lost (vm-3)").await;
    assert_ne!(state["status"], "succeeded", "{state:#}");
    let state = scene.until("D1", 1, "failed").await;
    let told = state["progress"].as_str().unwrap();
    assert_eq!(told, "not in time: 2 of 3 hosts healthy, 1 lost (vm-3)");
    // It comes back too late: a batch that failed is not handed out.
    scene.start(3).await;
    let record = scene.steps("D1", 3).await;
    assert!(
        record.is_empty() && scene.runs(3).1.is_empty(),
        "{record:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_at_each_step_brings_the_release_in_when_it_is_started_again() {
    let mut scene = Scene::new(1, QUICK).await;
    scene.publish("1.0.0", Kind::Good).await;
    scene.start_all(1).await;
    scene.batch("D0", 1, "1.0.0", [1]).await;
    scene.until("D0", 1, "succeeded").await;
    // `BACKSTOP_AGENT_KILLS`: how many pauses after the order are tried.
    let kills = knob("BACKSTOP_AGENT_KILLS", 4);
    for n in 1..=kills {
        let (version, deployment) = (format!("1.{n}.0"), format!("D{n}"));
        scene.publish(&version, Kind::Good).await;
        scene.batch(&deployment, 1, &version, [1]).await;
        // As it happens: each round a little later into the order.
        let journal = scene.root(1).join(".backstop/state.json");
        let begun = || async {
            let text = std::fs::read_to_string(&journal).unwrap_or_default();
            text.contains(&format!("\"obeyed\":{}", n + 1))
                .then_some(())
        };
        crate::support::eventually::eventually(super::scene::PATIENCE, "the order", begun)
            .await
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(n as u64 * 12)).await;
        drop(scene.agents.remove(&1));
        let (linked, serves) = scene.runs(1);
        let old = format!("1.{}.0", n - 1);
        assert!(
            [&old, &version]
                .map(|v| format!("releases/checkout@{v}"))
                .contains(&linked)
        );
        assert!([old, version.clone()].contains(&serves), "{serves}");
        scene.start(1).await;
        scene.until(&deployment, 1, "succeeded").await;
        scene.assert_run([1], &version);
        let last = scene.record(&deployment, 1).await;
        assert_eq!(last["step"], "healthy", "{last:#}");
    }
    // No more than the five that are kept.
    let kept = std::fs::read_dir(scene.root(1).join("releases"))
        .unwrap()
        .count();
    assert!(kept <= 5, "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_goes_on_without_the_gateway_and_is_told_later() {
    let mut scene = Scene::new(1, QUICK).await;
    scene.publish("1.0.0", Kind::Good).await;
    scene.start_all(1).await;
    scene.batch("D1", 1, "1.0.0", [1]).await;
    scene.until("D1", 1, "succeeded").await;
    scene.gateway.kill().unwrap();
    std::fs::write(scene.root(1).join("running"), "broken").unwrap();
    let unwell = || async {
        let metrics = scene.metrics(1).await;
        metrics
            .contains("backstop_agent_healthy 0")
            .then_some(metrics)
    };
    let metrics =
        crate::support::eventually::eventually(super::scene::PATIENCE, "bad health", unwell);
    assert!(
        metrics
            .await
            .unwrap()
            .contains("backstop_agent_records_queued 1")
    );
    scene.gateway.restart().await.unwrap();
    let told = || async {
        let record = scene.record("D1", 1).await;
        (record["step"] == "unhealthy").then_some(())
    };
    crate::support::eventually::eventually(super::scene::PATIENCE, "the record", told)
        .await
        .unwrap();
}
