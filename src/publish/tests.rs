use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::domain::clock::ManualClock;
use crate::domain::release::MarkKind;

fn request(tag: &str) -> PublishRequest {
    PublishRequest {
        service: Service::new("checkout").unwrap(),
        tag: tag.into(),
        tag_prefix: "v".into(),
        artifact: File {
            url: "https://artifacts.example/checkout".into(),
            content: Content::Checksum("AB".repeat(32)),
        },
        config: None,
        commit: Some("c0ffee".into()),
        by: "ci".into(),
        reversible: true,
    }
}

#[tokio::test]
async fn publishing_again_is_fine_and_changes_nothing() {
    let (store, clock) = (Store::in_memory(), ManualClock::at(Timestamp::UNIX_EPOCH));
    let Outcome::Created(first) = publish(&request("v1.8.0"), &store, &*clock).await.unwrap()
    else {
        panic!("not created");
    };
    assert_eq!(
        (first.id.as_str(), first.version.as_str()),
        ("checkout@1.8.0", "1.8.0")
    );
    assert_eq!(first.checksum, "ab".repeat(32));
    clock.advance(Duration::from_mins(1));
    let mut again = request("v1.8.0");
    again.by = "somebody else".into();
    let again = publish(&again, &store, &*clock).await.unwrap();
    assert_eq!(again, Outcome::AlreadySame(first));
}

#[tokio::test]
async fn other_content_under_a_version_is_refused_and_both_are_named() {
    let (store, clock) = (Store::in_memory(), ManualClock::at(Timestamp::UNIX_EPOCH));
    publish(&request("v1.8.0"), &store, &*clock).await.unwrap();
    let conflict = async |change: fn(&mut PublishRequest)| {
        let mut other = request("v1.8.0");
        change(&mut other);
        publish(&other, &store, &*clock)
            .await
            .unwrap_err()
            .to_string()
    };
    let moved = conflict(|one| one.commit = Some("badcafe".into())).await;
    assert!(moved.contains("commit: `c0ffee`, now `badcafe`"), "{moved}");
    let rebuilt = conflict(|one| one.artifact.content = Content::Checksum("00".repeat(32))).await;
    assert!(
        rebuilt.contains("checksum") && rebuilt.contains(&"ab".repeat(32)),
        "{rebuilt}"
    );
    let twice = conflict(|one| one.tag = "1.8.0".into()).await;
    assert!(twice.contains("tag: `v1.8.0`, now `1.8.0`"), "{twice}");
    assert!(
        conflict(|one| one.reversible = false)
            .await
            .contains("reversible")
    );
}

#[tokio::test]
async fn a_file_of_many_pieces_is_hashed_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("binary");
    std::fs::write(&path, vec![b'a'; 1_000_000]).unwrap();
    // A known answer: one million times `a` (FIPS 180-4's example).
    let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_eq!(sha256_of(&path).await.unwrap(), expected);
    std::fs::write(&path, []).unwrap();
    assert!(
        sha256_of(&path)
            .await
            .unwrap()
            .starts_with("e3b0c44298fc1c14")
    );

    let (store, clock) = (Store::in_memory(), ManualClock::at(Timestamp::UNIX_EPOCH));
    let mut missing = request("v1");
    missing.artifact.content = Content::Local(directory.path().join("nothing"));
    let told = publish(&missing, &store, &*clock)
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("nothing"), "{told}");
}

#[tokio::test]
async fn what_is_no_version_or_checksum_is_refused_before_anything_is_written() {
    let (store, clock) = (Store::in_memory(), ManualClock::at(Timestamp::UNIX_EPOCH));
    for tag in ["v", "", "release/1.8", "v1 8"] {
        let told = publish(&request(tag), &store, &*clock).await.unwrap_err();
        assert!(matches!(told, PublishError::Tag { .. }), "{told}");
    }
    let mut wrong = request("v1");
    wrong.artifact.content = Content::Checksum("sha256:00".into());
    assert!(matches!(
        publish(&wrong, &store, &*clock).await,
        Err(PublishError::Checksum(_))
    ));
    assert!(store.list("releases").await.unwrap().is_empty());
}

#[tokio::test]
async fn marks_follow_each_other() {
    let store = Store::in_memory();
    let release_id = ReleaseId::new("checkout@1").unwrap();
    for kind in [MarkKind::Stable, MarkKind::Bad, MarkKind::Clear] {
        let one = Mark {
            release_id: release_id.clone(),
            kind,
            reason: "r".into(),
            by: "oncall".into(),
            at: Timestamp::UNIX_EPOCH,
            incident: None,
        };
        mark(&store, &one).await.unwrap();
    }
    let marks = chain::read_from::<Mark>(&store, &keys::marks(&release_id), 1)
        .await
        .unwrap();
    let kinds: Vec<MarkKind> = marks.into_iter().map(|(_, mark)| mark.kind).collect();
    assert_eq!(kinds, [MarkKind::Stable, MarkKind::Bad, MarkKind::Clear]);
}
