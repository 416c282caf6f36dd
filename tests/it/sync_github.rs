//! `sync` and GitHub: what is read, when nothing is asked, and what a person is told.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use backstop::config::{Rollback, ServiceConfig};
use backstop::domain::clock::{Clock as _, ManualClock};
use backstop::domain::id::{ReleaseId, Service};
use backstop::domain::release::Release;
use backstop::domain::secret::Secret;
use backstop::domain::source::{ChangeSet, Relation, TagRecord};
use backstop::github::{GitHub, GitHubSettings};
use backstop::store::{Store, keys};
use backstop::sync::{Finding, Summary, Syncer};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::github::GitHubServer;

struct Site {
    github: GitHubServer,
    store: Store,
    clock: std::sync::Arc<ManualClock>,
}

fn service() -> Service {
    Service::new("checkout").unwrap()
}

impl Site {
    async fn new() -> Self {
        let site = Self {
            github: GitHubServer::start().await,
            store: Store::in_memory(),
            clock: ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()),
        };
        site.github.world().token = Some("t0ken".into());
        site
    }

    /// A process that knows nothing yet.
    fn syncer(&self) -> Syncer {
        self.syncer_with("t0ken")
    }

    fn syncer_with(&self, token: &str) -> Syncer {
        let mut settings = GitHubSettings::new(self.github.url.parse().unwrap());
        settings.token = Some(Secret::new(token));
        let github = GitHub::new(settings, self.clock.clone()).unwrap();
        let config = ServiceConfig {
            owner: None,
            application: "checkout".into(),
            deploy: Vec::new(),
            rollback: Rollback {
                batch: None,
                full: None,
            },
            recovery: None,
            canary: backstop::config::ServiceCanary::default(),
            harmless_pipelines: Vec::new(),
            mode: None,
            tag_prefix: "v".into(),
            repository: Some(self.github.page().parse().unwrap()),
        };
        Syncer::new(BTreeMap::from([(service(), config)]), self.store.clone())
            .with_github(github, Duration::from_mins(1))
    }

    /// As `release publish` writes it.
    async fn publish(&self, version: &str, commit: Option<&str>, second: i64) {
        let id = ReleaseId::of(&service(), version).unwrap();
        let release = Release {
            id: id.clone(),
            service: service(),
            tag: format!("v{version}"),
            version: version.into(),
            artifact_url: format!("https://artifacts.example.com/{version}"),
            checksum: "ab".repeat(32),
            config: None,
            commit: commit.map(str::to_owned),
            reversible: true,
            created_at: Timestamp::from_second(second).unwrap(),
            created_by: "ci".into(),
        };
        let key = keys::release(&service(), &id);
        self.store.create(&key, &release).await.unwrap();
    }

    async fn tag(&self, version: &str, link: u32) -> Option<TagRecord> {
        let key = format!("tags/checkout/{version}/{link:010}.json");
        self.store.get(&key).await.unwrap()
    }

    async fn change(&self, base: &str, head: &str) -> Option<ChangeSet> {
        let key = keys::change(&service(), base, head);
        self.store.get(&key).await.unwrap()
    }
}

fn quiet(summary: &Summary) {
    assert!(summary.is_complete(), "{summary:?}");
    assert!(summary.problems.is_empty(), "{summary:?}");
}

/// Three published releases; the last but one was built from a side branch.
async fn history(site: &Site) -> [String; 3] {
    let commits = {
        let mut world = site.github.world();
        let root = world.commit("begin", None);
        let one = world.commit("count carts", Some(&root));
        let two = world.commit("sell socks (#12)", Some(&one));
        let three = world.commit("sell shoes", Some(&two));
        world.release("v1.7.0", &one);
        world.release("v1.8.0", &three);
        let fix = world.commit("repair carts", Some(&one));
        world.release("v1.7.1", &fix);
        world.tags.insert("nightly".into(), two);
        [one, three, fix]
    };
    site.publish("1.7.0", Some(&commits[0]), 100).await;
    site.publish("1.8.0", None, 200).await;
    site.publish("1.7.1", Some(&commits[2]), 300).await;
    commits
}

#[tokio::test]
async fn tags_releases_and_the_commits_between_them_are_read_once() {
    let site = Site::new().await;
    let [one, three, fix] = history(&site).await;
    let syncer = site.syncer();
    let summary = syncer.run_once().await;
    quiet(&summary);
    assert_eq!(summary.tags, 3);
    let tag = site.tag("1.8.0", 1).await.unwrap();
    assert_eq!(tag.commit.as_deref(), Some(three.as_str()));
    let release = tag.release.unwrap();
    assert_eq!(release.author.as_deref(), Some("release-bot"));
    assert!(release.url.ends_with("/releases/tag/v1.8.0"), "{release:?}");
    // A tag of another kind is nobody's release.
    assert_eq!(site.store.list("tags").await.unwrap().len(), 3);

    // 1.8.0 was published without its commit: the tag's counts.
    let change = site.change(&one, &three).await.unwrap();
    assert_eq!((change.relation, change.total), (Relation::Ahead, 2));
    let titles: Vec<&str> = change.commits.iter().map(|c| c.title.as_str()).collect();
    assert_eq!(titles, ["sell socks (#12)", "sell shoes"]);
    assert_eq!(change.commits[0].author.as_deref(), Some("mira"));
    assert!(change.is_whole());
    let side = site.change(&three, &fix).await.unwrap();
    assert_eq!((side.relation, side.behind), (Relation::Diverged, 2));

    // Nothing changed: another process asks for two pages, gets 304, and writes nothing.
    let calls = site.github.world().calls.len();
    for syncer in [syncer, site.syncer()] {
        let again = syncer.run_once().await;
        quiet(&again);
        assert_eq!(again.written, Vec::<String>::new());
    }
    let world = site.github.world();
    assert_eq!(world.calls.len(), calls + 4);
    assert_eq!(world.answered(304), 4);
}

#[tokio::test]
async fn a_list_of_many_pages_is_read_page_by_page_and_only_the_changed_ones_again() {
    let site = Site::new().await;
    {
        let mut world = site.github.world();
        let root = world.commit("begin", None);
        for n in 0..250 {
            world.release(&format!("v2.{n:03}"), &root);
        }
    }
    let summary = site.syncer().run_once().await;
    quiet(&summary);
    assert_eq!(summary.tags, 250);
    assert_eq!(site.github.world().answered(200), 6);
    {
        let mut world = site.github.world();
        // Sorts behind all others: the last page changes, and one more link is written.
        let root = world.tags["v2.000"].clone();
        world.tags.insert("v1.0".into(), root);
    }
    let summary = site.syncer().run_once().await;
    quiet(&summary);
    assert_eq!(summary.written, ["tags/checkout/1.0"]);
    let world = site.github.world();
    assert_eq!((world.answered(200), world.answered(304)), (7, 5));
}

#[tokio::test]
async fn a_tag_that_moved_is_told_every_round_and_never_overwritten() {
    let site = Site::new().await;
    let [one, three, _] = history(&site).await;
    quiet(&site.syncer().run_once().await);
    let moved = site.github.world().commit("swap socks", Some(&three));
    site.github
        .world()
        .tags
        .insert("v1.7.0".into(), moved.clone());
    for syncer in [site.syncer(), site.syncer()] {
        let summary = syncer.run_once().await;
        let [problem] = summary.problems.as_slice() else {
            panic!("{summary:?}")
        };
        assert_eq!(problem.of, "tag `v1.7.0`");
        let expected = Finding::TagMoved {
            published: one.clone(),
            now: moved.clone(),
        };
        assert_eq!(problem.finding, expected);
    }
    let first = site.tag("1.7.0", 1).await.unwrap();
    let second = site.tag("1.7.0", 2).await.unwrap();
    assert_eq!(first.commit.as_deref(), Some(one.as_str()));
    assert_eq!(second.commit.as_deref(), Some(moved.as_str()));
    assert_eq!(site.tag("1.7.0", 3).await, None);
}

#[tokio::test]
async fn a_file_on_github_that_is_not_the_one_published_is_told_every_round() {
    let site = Site::new().await;
    history(&site).await;
    let published = "ab".repeat(32);
    let asset = |name: &str, digest: Value| json!({"name": name, "digest": digest});
    let attach = |assets: Vec<Value>| {
        let mut world = site.github.world();
        let releases = &mut world.releases;
        let one = releases.iter_mut().find(|one| one["tag_name"] == "v1.7.0");
        one.unwrap()["assets"] = json!(assets);
    };
    // The file that was published, one that was not, and one from before there were digests.
    attach(vec![
        asset("1.7.0", json!(format!("sha256:{published}"))),
        asset("notes.txt", json!(format!("sha256:{}", "00".repeat(32)))),
        asset("old.tar.gz", Value::Null),
    ]);
    quiet(&site.syncer().run_once().await);

    let now = "cd".repeat(32);
    attach(vec![asset("1.7.0", json!(format!("sha256:{now}")))]);
    for syncer in [site.syncer(), site.syncer()] {
        let summary = syncer.run_once().await;
        let [problem] = summary.problems.as_slice() else {
            panic!("{summary:?}")
        };
        assert_eq!(problem.of, "file `1.7.0` of `v1.7.0`");
        let (published, now) = (published.clone(), now.clone());
        assert_eq!(problem.finding, Finding::AssetDiffers { published, now });
    }
}

#[tokio::test]
async fn a_used_up_hour_is_waited_for_without_asking_and_then_gone_on_with() {
    let site = Site::new().await;
    let [one, three, fix] = history(&site).await;
    {
        let mut world = site.github.world();
        // Both lists and one of the two ranges.
        world.remaining = Some(3);
        world.reset = site.clock.now().as_second() + 600;
    }
    let syncer = site.syncer();
    let summary = syncer.run_once().await;
    let told = summary.failures[0].to_string();
    assert!(
        told.contains("no more calls before 2027-01-15T08:10:00Z"),
        "{told}"
    );
    assert!(site.change(&one, &three).await.is_some());
    assert!(site.change(&three, &fix).await.is_none());
    let calls = site.github.world().calls.len();
    assert!(!syncer.run_once().await.is_complete());
    assert_eq!(site.github.world().calls.len(), calls);

    site.clock.advance(Duration::from_mins(11));
    site.github.world().remaining = Some(5_000);
    quiet(&syncer.run_once().await);
    assert!(site.change(&three, &fix).await.is_some());
}

#[tokio::test]
async fn a_long_range_says_how_many_commits_it_leaves_out() {
    let site = Site::new().await;
    let (base, head) = {
        let mut world = site.github.world();
        let base = world.commit("begin", None);
        let head = (0..612).fold(base.clone(), |parent, n| {
            world.commit(&format!("step {n}"), Some(&parent))
        });
        (base, head)
    };
    site.publish("1.0", Some(&base), 100).await;
    site.publish("2.0", Some(&head), 200).await;
    quiet(&site.syncer().run_once().await);
    let change = site.change(&base, &head).await.unwrap();
    assert_eq!((change.total, change.commits.len()), (612, 250));
    assert!(!change.is_whole());
    assert_eq!(change.commits[249].title, "step 249");
}

#[tokio::test]
async fn what_can_t_be_read_is_named_and_what_is_there_stays() {
    let site = Site::new().await;
    history(&site).await;
    let told = site.syncer_with("wrong").run_once().await.failures[0].to_string();
    assert!(
        told.contains("`shop/checkout`") && told.contains("token"),
        "{told}"
    );
    quiet(&site.syncer().run_once().await);
    let before = site.store.list("").await.unwrap();
    for (status, words) in [
        (StatusCode::BAD_GATEWAY, "GitHub answered 502"),
        (StatusCode::MOVED_PERMANENTLY, "renamed or moved"),
        (StatusCode::NOT_FOUND, "the token may not read it"),
        (StatusCode::TOO_MANY_REQUESTS, "no more calls before"),
    ] {
        site.github.world().broken = Some(status);
        let summary = site.syncer().run_once().await;
        let told = summary.failures[0].to_string();
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(site.store.list("").await.unwrap(), before);
}

#[tokio::test]
async fn a_release_built_from_no_commit_of_the_repository_is_a_problem_once() {
    let site = Site::new().await;
    history(&site).await;
    site.publish("1.9.0", Some(&"f".repeat(40)), 400).await;
    site.publish("2.0.0", Some("main"), 500).await;
    let syncer = site.syncer();
    let summary = syncer.run_once().await;
    let findings: Vec<&Finding> = summary.problems.iter().map(|one| &one.finding).collect();
    assert!(findings.contains(&&Finding::NoSuchRange), "{findings:?}");
    assert!(
        findings.contains(&&Finding::NoCommit("main".into())),
        "{findings:?}"
    );
    let calls = site.github.world().calls.len();
    syncer.run_once().await;
    // The two lists, and no range again.
    assert_eq!(site.github.world().calls.len(), calls + 2);
}
