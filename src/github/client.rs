//! The calls, each a GET.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LINK};
use reqwest::{Client, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::Repository;
use super::limit::quiet_until;
use super::wire::{CompareBody, ErrorBody, RateBody, ReleaseBody, TagBody};
use crate::domain::clock::SharedClock;
use crate::domain::secret::Secret;
use crate::domain::source::{Relation, SourceCommit, TagRelease};
use crate::http::{self, BuildError, CallError, CallErrorKind, Settings, TOTAL_TIMEOUT};

/// Items of a page; GitHub gives no more.
pub(super) const PER_PAGE: u32 = 100;
/// Commits of a comparison that are read: nobody reads a longer list, and the rest is counted.
pub(super) const COMMITS: usize = 250;
/// Characters of GitHub's own words that are repeated.
const QUOTED: usize = 200;
const API_VERSION: &str = "2022-11-28";

/// Where GitHub is and who asks.
#[derive(Debug, Clone)]
pub struct GitHubSettings {
    /// `https://api.github.com`, or `https://HOST/api/v3`.
    pub api_url: Url,
    /// A token that may read the repositories; None: 60 calls an hour, public ones only.
    pub token: Option<Secret>,
    /// From a call to the last byte of its answer.
    pub timeout: Duration,
}

impl GitHubSettings {
    /// Without a token, with the usual timeout.
    pub fn new(api_url: Url) -> Self {
        Self {
            api_url,
            token: None,
            timeout: TOTAL_TIMEOUT,
        }
    }
}

/// A call that brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    /// A limit was met; asking on would make it longer.
    #[error("GitHub wants no more calls before {until:.0}")]
    Limited {
        /// When it is over.
        until: Timestamp,
    },
    /// 404: also what a token that may not read it is told.
    #[error("GitHub knows no such thing, or the token may not read it")]
    Missing,
    /// The repository was renamed; no redirect is followed, so that the token stays here.
    #[error("the repository was renamed or moved: put its new page into `repository`")]
    Moved,
    /// Anything else.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The commit behind it.
    pub commit: String,
}

/// A release, drafts apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The tag it is made for.
    pub tag: String,
    /// What it says.
    pub told: TagRelease,
}

/// The commits that a head has and its base has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// How they lie to each other.
    pub relation: Relation,
    /// How many there are.
    pub total: u64,
    /// How many commits the base has and the head lacks.
    pub behind: u64,
    /// The commits, oldest first; the first 250.
    pub commits: Vec<SourceCommit>,
}

/// The calls of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many there are.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// When the hour is over.
    pub reset: Timestamp,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed<T> {
    /// As it was when its `ETag` was given.
    Unchanged,
    /// As it is now.
    Page(Page<T>),
}

/// The items of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In GitHub's order.
    pub items: Vec<T>,
    /// Names this state of the page.
    pub etag: Option<String>,
    /// Whether a page follows.
    pub more: bool,
}

/// A client of one GitHub. Shares one limit over all its calls.
#[derive(Debug)]
pub struct GitHub {
    settings: GitHubSettings,
    http: Client,
    clock: SharedClock,
    quiet_until: Mutex<Option<Timestamp>>,
}

struct Answer {
    headers: HeaderMap,
    body: bytes::Bytes,
}

impl GitHub {
    /// A client with a connection pool of its own.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new(settings: GitHubSettings, clock: SharedClock) -> Result<Self, BuildError> {
        let http = http::client(&Settings {
            timeout: settings.timeout,
            ..Settings::default()
        })?;
        Ok(Self {
            settings,
            http,
            clock,
            quiet_until: Mutex::new(None),
        })
    }

    /// The API's address.
    pub fn api_url(&self) -> &Url {
        &self.settings.api_url
    }

    /// One page of the tags, from 1 on; in no useful order.
    ///
    /// # Errors
    /// See [`GitHubError`].
    pub async fn tags(
        &self,
        repository: &Repository,
        page: u32,
        etag: Option<&str>,
    ) -> Result<Listed<Tag>, GitHubError> {
        let url = self.page_of(repository, &["tags"], page)?;
        self.list::<TagBody, Tag>(url, etag, |body| Some(body.into()))
            .await
    }

    /// One page of the releases, from 1 on, newest first.
    ///
    /// # Errors
    /// See [`GitHubError`].
    pub async fn releases(
        &self,
        repository: &Repository,
        page: u32,
        etag: Option<&str>,
    ) -> Result<Listed<Release>, GitHubError> {
        let url = self.page_of(repository, &["releases"], page)?;
        self.list(url, etag, ReleaseBody::published).await
    }

    /// The hourly limit as it stands; None on a server that has none. Costs nothing of it.
    ///
    /// # Errors
    /// See [`GitHubError`]; a wrong token is refused here, too.
    pub async fn rate(&self) -> Result<Option<Rate>, GitHubError> {
        let answer = match self.call(self.address(&["rate_limit"])?, None).await {
            // An Enterprise server without limits has no such page.
            Err(GitHubError::Missing) | Ok(None) => return Ok(None),
            Ok(Some(answer)) => answer,
            Err(error) => return Err(error),
        };
        let body: RateBody = http::decode(&answer.body)?;
        Ok(Some(body.core()?))
    }

    /// What `head` has and `base` has not. Both are commits; a range of names would not be fixed.
    ///
    /// # Errors
    /// See [`GitHubError`].
    pub async fn compare(
        &self,
        repository: &Repository,
        base: &str,
        head: &str,
    ) -> Result<Comparison, GitHubError> {
        let range = format!("{base}...{head}");
        let mut whole: Option<Comparison> = None;
        for page in 1.. {
            let url = self.page_of(repository, &["compare", &range], page)?;
            let Some(answer) = self.call(url, None).await? else {
                break;
            };
            let body: CompareBody = http::decode(&answer.body)?;
            let found = body.comparison().ok_or_else(|| {
                let detail = "GitHub's word for how the two commits lie is none we know";
                CallError::new(CallErrorKind::Decode, detail)
            })?;
            let count = found.commits.len();
            let so_far = match &mut whole {
                None => whole.insert(found),
                Some(whole) => {
                    whole.commits.extend(found.commits);
                    whole
                }
            };
            if so_far.commits.len() >= COMMITS || count == 0 || !has_next(&answer.headers) {
                so_far.commits.truncate(COMMITS);
                break;
            }
        }
        whole.ok_or(GitHubError::Missing)
    }

    async fn list<Body: DeserializeOwned, T>(
        &self,
        url: Url,
        etag: Option<&str>,
        read: impl Fn(Body) -> Option<T>,
    ) -> Result<Listed<T>, GitHubError> {
        let Some(answer) = self.call(url, etag).await? else {
            return Ok(Listed::Unchanged);
        };
        let bodies: Vec<Body> = http::decode(&answer.body)?;
        let etag = answer.headers.get(ETAG);
        Ok(Listed::Page(Page {
            items: bodies.into_iter().filter_map(read).collect(),
            etag: etag.and_then(|tag| tag.to_str().ok()).map(str::to_owned),
            more: has_next(&answer.headers),
        }))
    }

    /// None: as it was when `etag` was given.
    async fn call(&self, url: Url, etag: Option<&str>) -> Result<Option<Answer>, GitHubError> {
        if let Some(until) = self.limited() {
            return Err(GitHubError::Limited { until });
        }
        let mut request = self
            .http
            .get(url)
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", API_VERSION);
        if let Some(token) = &self.settings.token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.map_err(CallError::from)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::read_body(response, http::BODY_LIMIT).await?;
        let quiet = quiet_until(status, &headers, &body, self.clock.now());
        if let Some(until) = quiet {
            *self.limit() = Some(until);
        }
        match status.as_u16() {
            200..=299 => Ok(Some(Answer { headers, body })),
            304 if etag.is_some() => Ok(None),
            301 | 302 | 307 | 308 => Err(GitHubError::Moved),
            404 => Err(GitHubError::Missing),
            _ => Err(match quiet {
                Some(until) => GitHubError::Limited { until },
                None => refused(status, &headers, &body).into(),
            }),
        }
    }

    /// Until when nothing may be asked, if that is not over.
    fn limited(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        self.limit().filter(|until| now < *until)
    }

    fn limit(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        self.quiet_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, path: &[&str]) -> Result<Url, CallError> {
        let mut url = self.settings.api_url.clone();
        let detail = "the address of the API can't carry a path";
        url.path_segments_mut()
            .map_err(|()| CallError::new(CallErrorKind::Client, detail))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    fn page_of(
        &self,
        repository: &Repository,
        path: &[&str],
        page: u32,
    ) -> Result<Url, GitHubError> {
        let mut whole = vec!["repos", &repository.owner, &repository.name];
        whole.extend(path);
        let mut url = self.address(&whole)?;
        url.query_pairs_mut()
            .append_pair("per_page", &PER_PAGE.to_string())
            .append_pair("page", &page.to_string());
        Ok(url)
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, CallError> {
    let text = format!("Bearer {}", token.expose());
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| CallError::new(CallErrorKind::Client, "the token holds what no header may"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let told: ErrorBody = http::decode(body).unwrap_or_default();
    let told: String = told.message.chars().take(QUOTED).collect();
    let code = status.as_u16();
    let detail = match (code, told.is_empty()) {
        (401, _) => "GitHub does not accept the token".to_owned(),
        (_, true) => format!("GitHub answered {code}"),
        (_, false) => format!("GitHub answered {code}: {}", told.escape_default()),
    };
    CallError::from_status(status, headers, detail)
}

/// Whether `Link` names a next page. Its address is not followed: the pages are ours to count, and
/// a proxy that rewrites hosts can't lead the token away.
fn has_next(headers: &HeaderMap) -> bool {
    let links = headers.get_all(LINK).iter();
    let mut links = links.filter_map(|value| value.to_str().ok());
    links.any(|links| {
        links.split(',').any(|link| {
            let mut parameters = link.split(';').skip(1);
            parameters.any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"))
        })
    })
}
