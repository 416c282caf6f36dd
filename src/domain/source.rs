//! What the repository says of a release: its tag, who released it, and the commits in between.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::ReleaseId;

/// What GitHub says of the tag a release is named after. A chain, of which the newest link counts:
/// a second link with another commit means that somebody moved the tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagRecord {
    /// `<service>@<version>`; a release of that name need not have been published.
    pub release_id: ReleaseId,
    /// The tag.
    pub tag: String,
    /// The commit it points at, annotated tags followed; None where only the release was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// GitHub's own release of that tag, where somebody made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<TagRelease>,
}

/// GitHub's release of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagRelease {
    /// Its title; empty where none was given.
    pub name: String,
    /// The login of who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Its page.
    pub url: String,
    /// When it was published.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// Whether it is marked as not ready for production.
    #[serde(default)]
    pub prerelease: bool,
    /// SHA-256 of its files by name, lower-case hex, as GitHub computed it when they were uploaded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
}

/// How one commit lies to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The head descends from the base.
    Ahead,
    /// The base descends from the head.
    Behind,
    /// Each has commits that the other lacks.
    Diverged,
    /// They are one commit.
    Identical,
}

/// The commits that `head` has and `base` has not. Both are fixed, so it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeSet {
    /// The older commit.
    pub base: String,
    /// The newer one.
    pub head: String,
    /// How they lie to each other.
    pub relation: Relation,
    /// How many commits there are.
    pub total: u64,
    /// How many commits the base has and the head lacks.
    pub behind: u64,
    /// The commits, oldest first; fewer than `total` where there are very many.
    pub commits: Vec<SourceCommit>,
}

impl ChangeSet {
    /// Whether every commit is listed.
    pub fn is_whole(&self) -> bool {
        u64::try_from(self.commits.len()) == Ok(self.total)
    }
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceCommit {
    /// Its hash.
    pub id: String,
    /// The first line of its message.
    pub title: String,
    /// Who wrote it: the login, else the name in the commit. Never an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it was written.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Its page.
    pub url: String,
}

/// Whether `text` can name a commit: 7 to 64 lower-case hex digits. Anything else never reaches a
/// key or a path.
pub fn is_commit(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (7..=64).contains(&text.len()) && text.bytes().all(hex)
}

/// Whether two names mean the same commit; one of them may be shortened.
pub fn same_commit(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_name_a_commit() {
        for good in ["c0ffee1", &"a".repeat(40), &"0".repeat(64)] {
            assert!(is_commit(good), "{good}");
        }
        for bad in ["", "c0ffee", "C0FFEE1", "main", "../../x", &"a".repeat(65)] {
            assert!(!is_commit(bad), "{bad}");
        }
        assert!(same_commit("c0ffee1", "c0ffee1234"));
        assert!(!same_commit("c0ffee1", "c0ffee2234"));
    }
}
