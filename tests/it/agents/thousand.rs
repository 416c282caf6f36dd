//! Many agents in one process against one gateway: how long it takes from desired to healthy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backstop::agent::{Agent, Unbroken};
use backstop::config::agent::{
    AgentConfig, AgentGateway, ArtifactKind, ArtifactLimits, HealthCheck, Restart, RestartBy,
};
use backstop::domain::clock::SystemClock;
use backstop::domain::secret::Secret;
use backstop::http::Tls;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::scene::{Kind, Scene, knob, name};

fn config(scene: &Scene, n: usize, port: u16) -> AgentConfig {
    AgentConfig {
        gateway: AgentGateway {
            url: scene.gateway.url().parse().unwrap(),
            token: Secret::new(format!("token-of-{}", name(n))),
            tls: Tls::default(),
            timeout: Duration::from_secs(30),
        },
        host: name(n).parse().unwrap(),
        service: "checkout".parse().unwrap(),
        env: "prod".parse().unwrap(),
        root: scene.root(n),
        keep: 2,
        artifact: ArtifactLimits {
            kind: ArtifactKind::Auto,
            max_bytes: 1 << 20,
            max_unpacked_bytes: 1 << 20,
            max_files: 100,
            timeout: Duration::from_mins(1),
        },
        // What is measured is the agents and the gateway, not a thousand programs.
        restart: Restart {
            by: RestartBy::Command(vec!["true".to_owned()]),
            timeout: Duration::from_mins(1),
        },
        health: HealthCheck {
            http: None,
            tcp: Some(([127, 0, 0, 1], port).into()),
            command: None,
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(20),
            start_period: Duration::from_secs(10),
            retries: 5,
            healthy_for: Duration::ZERO,
            within: Duration::from_mins(2),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_agents_bring_one_batch_in() {
    // `BACKSTOP_AGENTS`: how many.
    let many = knob("BACKSTOP_AGENTS", 100);
    let scene = Scene::new(many, "{poll: 2s, within: 5m}").await;
    scene.publish("1.0.0", Kind::Good).await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            drop(service.accept().await);
        }
    }));
    for n in 1..=many {
        std::fs::create_dir_all(scene.root(n)).unwrap();
        let agent = Agent::new(
            config(&scene, n, port),
            Arc::new(SystemClock),
            Arc::new(Unbroken),
        );
        let (agent, stop) = (agent.unwrap(), stop.clone());
        running.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            agent.run(listener, stop).await;
            None
        });
    }
    let begun = Instant::now();
    let (status, state) = scene.batch("D1", 1, "1.0.0", 1..=many).await;
    assert_eq!(status, 202, "{state:#}");
    let told = begun.elapsed();
    scene.until("D1", 1, "succeeded").await;
    println!(
        "{many} agents: announced in {told:?}, all healthy after {:?}",
        begun.elapsed()
    );
    for n in 1..=many {
        assert_eq!(scene.runs(n).0, "releases/checkout@1.0.0", "host {n}");
    }
    stop.cancel();
    while running.join_next().await.is_some() {}
}
