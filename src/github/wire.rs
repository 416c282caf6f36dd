//! GitHub's JSON, as much of it as is read.

use jiff::Timestamp;
use serde::Deserialize;

use super::client::{Comparison, Rate, Release, Tag};
use crate::domain::source::{Relation, SourceCommit, TagRelease};
use crate::http::{CallError, CallErrorKind};

/// Longest title that is kept, in characters.
const TITLE: usize = 200;

/// One of `GET …/tags`; the commit is already the one behind an annotated tag.
#[derive(Deserialize)]
pub(super) struct TagBody {
    name: String,
    commit: ShaBody,
}

#[derive(Deserialize)]
struct ShaBody {
    sha: String,
}

/// One of `GET …/releases`.
#[derive(Deserialize)]
pub(super) struct ReleaseBody {
    tag_name: String,
    name: Option<String>,
    html_url: String,
    author: Option<LoginBody>,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    prerelease: bool,
    published_at: Option<Timestamp>,
    #[serde(default)]
    assets: Vec<AssetBody>,
}

#[derive(Deserialize)]
struct AssetBody {
    name: String,
    /// `sha256:…`; null on files from before GitHub computed it, absent on older servers.
    digest: Option<String>,
}

impl AssetBody {
    fn sha256(self) -> Option<(String, String)> {
        let digest = self.digest?.strip_prefix("sha256:")?.to_ascii_lowercase();
        Some((self.name, digest))
    }
}

#[derive(Deserialize)]
struct LoginBody {
    login: String,
}

/// `GET /rate_limit`
#[derive(Deserialize)]
pub(super) struct RateBody {
    resources: ResourcesBody,
}

#[derive(Deserialize)]
struct ResourcesBody {
    core: CoreBody,
}

#[derive(Deserialize)]
struct CoreBody {
    limit: u64,
    remaining: u64,
    reset: i64,
}

impl RateBody {
    /// What counts for all but searches.
    pub(super) fn core(self) -> Result<Rate, CallError> {
        let CoreBody {
            limit,
            remaining,
            reset,
        } = self.resources.core;
        let reset = Timestamp::from_second(reset).map_err(|_| {
            let detail = "GitHub's end of the hour is no time";
            CallError::new(CallErrorKind::Decode, detail)
        })?;
        Ok(Rate {
            limit,
            remaining,
            reset,
        })
    }
}

/// `GET …/compare/{base}...{head}`
#[derive(Deserialize)]
pub(super) struct CompareBody {
    status: String,
    behind_by: u64,
    total_commits: u64,
    commits: Vec<CommitBody>,
}

#[derive(Deserialize)]
struct CommitBody {
    sha: String,
    html_url: String,
    /// Null where the address in the commit belongs to no account.
    author: Option<LoginBody>,
    commit: CommitInside,
}

#[derive(Deserialize)]
struct CommitInside {
    message: String,
    author: Option<PersonBody>,
}

#[derive(Deserialize)]
struct PersonBody {
    name: Option<String>,
    date: Option<Timestamp>,
}

/// Body of a refusal.
#[derive(Deserialize, Default)]
pub(super) struct ErrorBody {
    #[serde(default)]
    pub(super) message: String,
}

impl From<TagBody> for Tag {
    fn from(body: TagBody) -> Self {
        Self {
            name: body.name,
            commit: body.commit.sha,
        }
    }
}

impl ReleaseBody {
    /// None for a draft: its tag need not exist, and it may be thrown away.
    pub(super) fn published(self) -> Option<Release> {
        (!self.draft).then(|| Release {
            tag: self.tag_name,
            told: TagRelease {
                name: first_line(&self.name.unwrap_or_default()),
                author: self.author.map(|author| author.login),
                url: self.html_url,
                published_at: self.published_at,
                prerelease: self.prerelease,
                digests: self
                    .assets
                    .into_iter()
                    .filter_map(AssetBody::sha256)
                    .collect(),
            },
        })
    }
}

impl CompareBody {
    /// None where GitHub's word is none we know: nothing may be built on it.
    pub(super) fn comparison(self) -> Option<Comparison> {
        let relation = match self.status.as_str() {
            "ahead" => Relation::Ahead,
            "behind" => Relation::Behind,
            "diverged" => Relation::Diverged,
            "identical" => Relation::Identical,
            _ => return None,
        };
        Some(Comparison {
            relation,
            total: self.total_commits,
            behind: self.behind_by,
            commits: self.commits.into_iter().map(SourceCommit::from).collect(),
        })
    }
}

impl From<CommitBody> for SourceCommit {
    fn from(body: CommitBody) -> Self {
        let (name, at) = match body.commit.author {
            Some(person) => (person.name, person.date),
            None => (None, None),
        };
        let login = body.author.map(|author| author.login);
        Self {
            id: body.sha,
            title: first_line(&body.commit.message),
            author: login.or(name).filter(|author| !author.is_empty()),
            at,
            url: body.html_url,
        }
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().take(TITLE).collect()
}
