//! `release` and `sync`, in a store that is a folder.

use serde_json::Value;

use super::{Folder, nowhere, whole};

const BY: [(&str, &str); 1] = [("USER", "ci")];

/// SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn publishing_twice_is_fine_and_publishing_other_content_a_conflict() {
    let folder = Folder::new();
    folder.write("app.tar", "hello");
    let publish = [
        "release",
        "publish",
        "checkout",
        "--tag",
        "1.8.0",
        "--artifact-url",
        "s3://artifacts/checkout-1.8.0.tar",
        "--artifact",
        "app.tar",
    ];
    let ran = folder.run_with(&publish, &BY).await.ended(0);
    assert_eq!(
        ran.stdout,
        format!("checkout@1.8.0: published (sha256 {HELLO})\n")
    );
    let ran = folder.run_with(&publish, &BY).await.ended(0);
    assert_eq!(
        ran.stdout,
        format!("checkout@1.8.0: already published, the same (sha256 {HELLO})\n")
    );
    folder.write("app.tar", "other");
    let ran = folder.run_with(&publish, &BY).await.ended(5);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr
            .contains("was published before with another checksum"),
        "{}",
        ran.stderr
    );

    let listed = folder
        .run(&["release", "list", "checkout", "--output", "json"])
        .await
        .ended(0)
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["checksum"], HELLO);
    assert_eq!(listed[0]["created_by"], "ci");
    assert_eq!(listed[0]["mark"], Value::Null);
}

#[tokio::test]
async fn what_a_publication_lacks_is_a_usage_error() {
    let folder = Folder::new();
    let base = [
        "release",
        "publish",
        "checkout",
        "--tag",
        "1",
        "--artifact-url",
        "u",
        "--by",
        "ci",
    ];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    folder.run(&with(&[])).await.ended(2);
    folder.run(&with(&["--checksum", "abc"])).await.ended(2);
    folder
        .run(&with(&["--artifact", "none.tar"]))
        .await
        .ended(2);
    folder
        .run(&with(&["--checksum", HELLO, "--settings-url", "u"]))
        .await
        .ended(2);
    folder.run(&with(&["--checksum", HELLO])).await.ended(0);
}

#[tokio::test]
async fn marks_are_recorded_with_who_and_why() {
    let folder = Folder::new();
    let mark = |word: &'static str| {
        [
            "release",
            "mark",
            word,
            "checkout@1.8.0",
            "--reason",
            "seen in prod",
        ]
    };
    let ran = folder.run_with(&mark("stable"), &BY).await.ended(1);
    assert!(
        ran.stderr.contains("there is no release `checkout@1.8.0`"),
        "{}",
        ran.stderr
    );
    let publish = [
        "release",
        "publish",
        "checkout",
        "--tag",
        "1.8.0",
        "--artifact-url",
        "u",
        "--checksum",
        HELLO,
    ];
    folder.run_with(&publish, &BY).await.ended(0);
    let ran = folder.run_with(&mark("stable"), &BY).await.ended(0);
    assert_eq!(ran.stdout, "checkout@1.8.0: marked stable\n");
    let ran = folder.run_with(&mark("stable"), &BY).await.ended(0);
    assert_eq!(
        ran.stdout,
        "checkout@1.8.0: already marked stable by ci: seen in prod\n"
    );
    folder.run_with(&mark("bad"), &BY).await.ended(0);
    let listed = folder.run(&["release", "list"]).await.ended(0);
    assert!(
        listed.stdout.contains("bad by ci: seen in prod"),
        "{}",
        listed.stdout
    );
    let no_reason = [
        "release",
        "mark",
        "bad",
        "checkout@1.8.0",
        "--reason",
        " ",
        "--by",
        "me",
    ];
    folder.run(&no_reason).await.ended(2);
}

#[tokio::test]
async fn sync_needs_a_source_and_says_when_it_is_away() {
    let folder = Folder::new();
    folder.run(&["sync"]).await.ended(2);
    let ran = folder.run(&["sync", "--once"]).await.ended(2);
    assert!(
        ran.stderr.contains("neither `spinnaker` nor `github`"),
        "{}",
        ran.stderr
    );
    whole(&folder, &nowhere().await);
    let ran = folder.run(&["sync", "--once"]).await.ended(3);
    assert!(
        ran.stdout
            .starts_with("0 executions and 0 tags read, 0 documents written\n  not reached: "),
        "{}",
        ran.stdout
    );
}
