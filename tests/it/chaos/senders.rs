//! Alertmanager's peers: each comes again until it is told that its alerts are safe.

use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::secret;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a peer waits for an answer, as Alertmanager does by default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Posts `body` to the first of `replicas` that takes it, again and again until one says 200.
/// How often it was sent.
pub(super) async fn until_safe(replicas: [String; 2], body: Value) -> u32 {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(PATIENCE)
        .build()
        .unwrap();
    let mut sent = 0;
    loop {
        for replica in &replicas {
            sent += 1;
            let answer = client
                .post(format!("{replica}/api/v1/webhook"))
                .bearer_auth(secret("ingest"))
                .json(&body)
                .send()
                .await;
            match answer {
                Ok(answer) if answer.status().is_success() => return sent,
                Ok(answer) => assert!(
                    answer.status().is_server_error(),
                    "a delivery was refused: {}",
                    answer.status()
                ),
                // Dead, stopped, or killed in the middle.
                Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
