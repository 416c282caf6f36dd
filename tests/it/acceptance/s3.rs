//! The same over a real S3 server.

use backstop::domain::secret::Secret;
use backstop::store::StoreSettings;

use crate::support::gateway::{HOSTS, Setting, TestGateway, canary_alert};
use crate::support::tools::{Tool, required_in_ci};
use crate::support::versitygw::{ACCESS_KEY, BUCKET, SECRET_KEY, VersityGw};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_over_s3_tell_and_act_once() {
    if !required_in_ci(Tool::VersityGw) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = VersityGw::start(folder.path()).await.unwrap();
    let site = TestGateway::with(Setting {
        replicas: 2,
        store: Some(StoreSettings {
            url: format!("s3://{BUCKET}/backstop"),
            endpoint: Some(server.url().parse().unwrap()),
            region: Some("us-east-1".to_owned()),
            keys: Some((ACCESS_KEY.to_owned(), Secret::new(SECRET_KEY))),
        }),
        ..Setting::default()
    })
    .await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let body = canary_alert();
    let (one, two) = (site.replicas[0].url(), site.replicas[1].url());
    let path = "/api/v1/webhook";
    let (first, second) = tokio::join!(
        site.post_to(&one, path, "ingest", &body),
        site.post_to(&two, path, "ingest", &body),
    );
    assert_eq!(first.0, 200, "{first:?}");
    assert_eq!(second.0, 200, "{second:?}");
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    for (channel, count) in site.messages_with("FIRING") {
        assert_eq!(count, 1, "{channel}");
    }
    assert_eq!(site.touched().len(), 1, "{:?}", site.touched());
    site.finish().await;
}
