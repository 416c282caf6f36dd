use super::super::catalog::Catalog;
use super::super::samples::{at, deployment, lane, put};
use super::*;
use crate::config::Timing;
use crate::domain::alert::{AlertStatus, Fingerprint, Labels, Source};
use crate::domain::clock::ManualClock;
use crate::store::Store;

fn alert(when: i64, labels: &[(&str, &str)]) -> Alert {
    let labels: Labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Alert {
        fingerprint: Fingerprint::of(&labels),
        status: AlertStatus::Firing,
        labels,
        annotations: Labels::new(),
        starts_at: at(when),
        ends_at: None,
        generator_url: None,
        source: Source::Alertmanager,
    }
}

/// D1 of version 1 everywhere, then D2 of version 2 in flight: its first batch has started.
async fn view() -> View {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1", "h2", "h3"]])).await;
    let mut second = deployment("D2", "2", 2000, &[&["h1", "h2"], &["h3"]]);
    second.status = Status::Running;
    second.batches[1].started_at = None;
    put(&store, 1, &second).await;
    view_of(&store).await
}

async fn view_of(store: &Store) -> View {
    let catalog = Catalog::new(store.clone(), ManualClock::at(at(3000)), &Timing::default());
    catalog.refresh().await.unwrap();
    catalog.view()
}

fn services() -> BTreeMap<Service, ServiceConfig> {
    let service = ServiceConfig {
        owner: None,
        application: "checkout".into(),
        deploy: Vec::new(),
        rollback: crate::config::Rollback::default(),
        recovery: None,
        canary: crate::config::ServiceCanary::default(),
        mode: None,
        harmless_pipelines: Vec::new(),
        tag_prefix: "v".into(),
        repository: None,
    };
    BTreeMap::from([(lane().0, service)])
}

type Found = (String, Vec<u32>, Vec<String>, Rung);

fn found(view: &View, when: i64, labels: &[(&str, &str)]) -> Result<Found, String> {
    match resolve(&alert(when, labels), view, &services()) {
        Resolution::Found(context) => Ok((
            context.deployment.id.to_string(),
            context.batches.into_iter().collect(),
            context.hosts.into_iter().map(String::from).collect(),
            context.rung,
        )),
        Resolution::Ambiguous { candidates, .. } => Err(candidates.join(" | ")),
        Resolution::Unavailable { reason, .. } => Err(reason),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "compared with an answer")]
fn is(id: &str, batches: &[u32], hosts: &[&str], rung: Rung) -> Result<Found, String> {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Ok((id.to_owned(), batches.to_vec(), hosts, rung))
}

const S: (&str, &str) = ("service", "checkout");
const E: (&str, &str) = ("env", "prod");

#[tokio::test]
async fn release_and_batch_labels_are_exact() {
    let view = view().await;
    let labels = [("release_id", "checkout@2"), ("batch", "1")];
    assert_eq!(
        found(&view, 2500, &labels),
        is("D2", &[1], &["h1", "h2"], Rung::ReleaseLabels)
    );
    let labels = [
        S,
        E,
        ("release_id", "checkout@2"),
        ("batch", "1"),
        ("instance", "h2:9100"),
    ];
    assert_eq!(
        found(&view, 2500, &labels),
        is("D2", &[1], &["h2"], Rung::ReleaseLabels)
    );
    // A host that is not in the batch changes nothing.
    let labels = [
        ("release_id", "checkout@2"),
        ("batch", "1"),
        ("instance", "h3:9100"),
    ];
    assert_eq!(
        found(&view, 2500, &labels),
        is("D2", &[1], &["h1", "h2"], Rung::ReleaseLabels)
    );
}

#[tokio::test]
async fn a_release_or_version_without_batch_accuses_what_has_started() {
    let view = view().await;
    let expected = is("D2", &[1], &["h1", "h2"], Rung::Version);
    assert_eq!(
        found(&view, 2500, &[("release_id", "checkout@2")]),
        expected
    );
    assert_eq!(
        found(
            &view,
            2500,
            &[("release_id", "checkout@2"), ("batch", "canary")]
        ),
        expected
    );
    assert_eq!(
        found(
            &view,
            2500,
            &[("release_id", "checkout@2"), ("batch", "99")]
        ),
        expected
    );
    assert_eq!(found(&view, 2500, &[S, E, ("version", "2")]), expected);
    assert_eq!(found(&view, 2500, &[S, E, ("version", "v2")]), expected);
    assert_eq!(
        found(
            &view,
            2500,
            &[S, ("image", "r:5000/x/checkout:2@sha256:00")]
        ),
        expected
    );
    let labels = [S, E, ("version", "2"), ("instance", "h1:1")];
    assert_eq!(
        found(&view, 2500, &labels),
        is("D2", &[1], &["h1"], Rung::Version)
    );
}

#[tokio::test]
async fn a_host_accuses_what_it_ran_when_the_anomaly_began() {
    let view = view().await;
    assert_eq!(
        found(&view, 2059, &[S, E, ("instance", "h1:9100")]),
        is("D1", &[1], &["h1"], Rung::Host)
    );
    assert_eq!(
        found(&view, 2060, &[S, E, ("instance", "h1:9100")]),
        is("D2", &[1], &["h1"], Rung::Host)
    );
    assert_eq!(
        found(&view, 2060, &[("instance", "h3:9100")]),
        is("D1", &[1], &["h3"], Rung::Host)
    );
    assert_eq!(
        found(&view, 2060, &[S, E, ("pod", "h1")]),
        is("D2", &[1], &["h1"], Rung::Pod)
    );
    assert_eq!(
        found(&view, 2060, &[S, E, ("server_group", "h1")]),
        is("D2", &[1], &["h1"], Rung::ServerGroup)
    );
    // Nobody deployed there: what is in flight is not to blame.
    let refusal = found(&view, 2060, &[S, E, ("instance", "lb7:9100")]).unwrap_err();
    assert!(refusal.contains("`lb7`"), "{refusal}");
}

#[tokio::test]
async fn service_and_env_alone_accuse_the_newest_batch_of_the_only_deployment_in_flight() {
    let view = view().await;
    assert_eq!(
        found(&view, 2500, &[S, E]),
        is("D2", &[1], &["h1", "h2"], Rung::ActiveDeployment)
    );
    assert!(found(&view, 2500, &[S]).unwrap_err().contains("`env`"));
    assert!(
        found(&view, 2500, &[("service", "cart"), E])
            .unwrap_err()
            .contains("`cart`")
    );
}

#[tokio::test]
async fn two_that_fit_are_ambiguous() {
    let store = Store::in_memory();
    for id in ["D1", "D2"] {
        let mut one = deployment(id, "1", 0, &[&["h1"]]);
        one.status = Status::Running;
        put(&store, 1, &one).await;
        if id == "D2" {
            one.env = Env::new("stage").unwrap();
            let key = crate::store::keys::deployment(&one.service, &one.env, &one.id);
            crate::store::chain::append(&store, &key, 1, &one)
                .await
                .unwrap();
        }
    }
    let view = view_of(&store).await;
    for labels in [
        &[S, E][..],
        &[S, ("instance", "h1")],
        &[("release_id", "checkout@1"), ("batch", "1")],
    ] {
        let found = found(&view, 500, labels).unwrap_err();
        assert!(found.contains(" | "), "{labels:?}: {found}");
    }
    // An env tells them apart.
    let found = found(
        &view,
        500,
        &[("release_id", "checkout@1"), ("env", "stage")],
    )
    .unwrap();
    assert_eq!(found.0, "D2");
}

#[tokio::test]
async fn text_that_is_no_id_ends_the_search() {
    let view = view().await;
    for label in [
        "service",
        "env",
        "release_id",
        "version",
        "pod",
        "server_group",
    ] {
        for text in [
            "../../x",
            "x\"} or vector(1) #",
            "a/b",
            "ä",
            &"a".repeat(129),
        ] {
            let mut labels = vec![S, E, ("instance", "h1:1")];
            labels.retain(|(name, _)| *name != label);
            labels.push((label, text));
            let refusal = found(&view, 2500, &labels).unwrap_err();
            assert!(refusal.contains(&format!("label `{label}`")), "{refusal}");
        }
    }
}

#[tokio::test]
async fn what_contradicts_or_is_unknown_accuses_nobody() {
    let view = view().await;
    let refusal = found(
        &view,
        2500,
        &[("service", "cart"), ("release_id", "checkout@2")],
    );
    assert!(refusal.unwrap_err().contains("contradict"));
    // Not even with a host that leads somewhere.
    for labels in [
        [S, E, ("release_id", "checkout@9"), ("instance", "h1:1")],
        [S, E, ("version", "9"), ("instance", "h1:1")],
    ] {
        assert!(
            found(&view, 2500, &labels)
                .unwrap_err()
                .contains("no known deployment")
        );
    }
}

#[tokio::test]
async fn when_nothing_is_in_flight_what_runs_everywhere_is_meant() {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1", "h2"]])).await;
    put(&store, 1, &deployment("D2", "2", 1000, &[&["h1"], &["h2"]])).await;
    let view = view_of(&store).await;
    assert_eq!(
        found(&view, 2500, &[S, E]),
        is("D2", &[1, 2], &["h1", "h2"], Rung::ActiveDeployment)
    );
    // A deployment that reached one host only leaves two running.
    put(&store, 1, &deployment("D3", "3", 2000, &[&["h1"]])).await;
    let view = view_of(&store).await;
    assert!(found(&view, 2500, &[S, E]).unwrap_err().contains(" | "));
}

#[tokio::test]
async fn a_redeployed_release_is_the_run_before_the_anomaly() {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1"]])).await;
    put(&store, 1, &deployment("D2", "1", 1000, &[&["h1"]])).await;
    let view = view_of(&store).await;
    let run = |when| found(&view, when, &[("release_id", "checkout@1")]).map(|found| found.0);
    assert_eq!((run(900), run(1500)), (Ok("D1".into()), Ok("D2".into())));
}

#[tokio::test]
async fn a_catalog_that_was_never_read_knows_nothing() {
    let catalog = Catalog::new(
        Store::in_memory(),
        ManualClock::at(at(0)),
        &Timing::default(),
    );
    let refusal = found(&catalog.view(), 10, &[S, E]).unwrap_err();
    assert!(refusal.contains("could not be read"), "{refusal}");
}
