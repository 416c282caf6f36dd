//! A hundred alerts in one webhook, to vendors that keep their sizes.

use serde_json::Value;

use crate::support::gateway::{CHANNELS, Setting, TestGateway, alert, group, labels};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_alerts_of_one_webhook_all_arrive_in_every_channel() {
    let site = TestGateway::with(Setting {
        // An unoptimised build on a busy machine.
        timing: &[("webhook_deadline", "25s")],
        ..Setting::default()
    })
    .await;
    let name = |n: u32| format!("Crowd{n:03}");
    let alerts: Vec<Value> = (0..100)
        .map(|n| alert(&labels("h1", &[("alertname", &name(n))]), true))
        .collect();
    let (status, answer) = site.webhook(&group(&alerts)).await;
    assert_eq!(status, 200, "{answer:#}");
    site.until("all to be told everywhere", || async {
        let messages = site.messages();
        let all = CHANNELS.iter().all(|channel| {
            let text = messages[channel].join("\n");
            (0..100).all(|n| text.contains(&name(n)))
        });
        all.then_some(())
    })
    .await;
    for (body, code) in site.wecom.bodies().iter().chain(&site.dingtalk.bodies()) {
        assert_eq!(*code, 0, "{body:#}");
    }
    for (method, _, answer) in site.slack.calls() {
        assert_eq!(answer["ok"], true, "{method}: {answer:#}");
    }
    site.finish().await;
}
