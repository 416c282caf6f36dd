//! A stand-in for GitHub's REST API: tags, releases and compare of one repository.
//!
//! It keeps what the documentation promises: pages of at most a hundred with a `Link` to the next,
//! an `ETag` for every page and 304 without a count against the limit, the hourly limit with its
//! headers and the refusal, 401 for a wrong token, 404 for what a caller may not see, annotated
//! tags followed, comparisons by page with the count of all. An unknown path is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use backstop::domain::hex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The repository's owner and name.
pub const OWNER: &str = "shop";
pub const NAME: &str = "checkout";

/// A commit and where it comes from.
#[derive(Debug, Clone)]
pub struct Commit {
    pub id: String,
    pub parent: Option<String>,
    pub title: String,
    pub login: Option<String>,
    pub date: String,
}

/// What there is, and what was asked.
#[derive(Debug, Default)]
pub struct World {
    pub commits: BTreeMap<String, Commit>,
    /// Name to commit.
    pub tags: BTreeMap<String, String>,
    /// Newest first, as GitHub's JSON.
    pub releases: Vec<Value>,
    /// The only token that may read.
    pub token: Option<String>,
    /// Counted calls that are left in this hour; None: no limit.
    pub remaining: Option<u32>,
    /// When the hour ends, in seconds.
    pub reset: i64,
    /// Every call is answered so.
    pub broken: Option<StatusCode>,
    /// Path and query of each call with the status it was answered with.
    pub calls: Vec<(String, u16)>,
}

impl World {
    /// Adds a commit on top of `parent`; its id is made from its title.
    pub fn commit(&mut self, title: &str, parent: Option<&str>) -> String {
        let id = hex(&Sha256::digest(title.as_bytes())[..20]);
        let commit = Commit {
            id: id.clone(),
            parent: parent.map(str::to_owned),
            title: title.to_owned(),
            login: Some("mira".to_owned()),
            date: "2026-11-20T10:00:00Z".to_owned(),
        };
        self.commits.insert(id.clone(), commit);
        id
    }

    /// Tags a commit and makes a release of it.
    pub fn release(&mut self, tag: &str, commit: &str) {
        self.tags.insert(tag.to_owned(), commit.to_owned());
        let release = json!({
            "tag_name": tag, "name": format!("Checkout {tag}"), "draft": false, "prerelease": false,
            "html_url": format!("https://github.com/{OWNER}/{NAME}/releases/tag/{tag}"),
            "author": {"login": "release-bot", "id": 7}, "published_at": "2026-11-20T11:00:00Z",
            "assets": [],
        });
        self.releases.insert(0, release);
    }

    /// Calls that were answered with `status`.
    pub fn answered(&self, status: u16) -> usize {
        self.calls.iter().filter(|(_, was)| *was == status).count()
    }

    /// The commits from the root to `id`.
    fn history(&self, id: &str) -> Option<Vec<&Commit>> {
        let mut line = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            let commit = self.commits.get(id)?;
            line.push(commit);
            next = commit.parent.as_deref();
        }
        line.reverse();
        Some(line)
    }
}

/// A running stand-in.
#[derive(Debug, Clone)]
pub struct GitHubServer {
    pub url: String,
    pub world: Arc<Mutex<World>>,
}

impl GitHubServer {
    pub async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let router = Router::new()
            .route("/repos/{owner}/{name}/tags", get(tags))
            .route("/repos/{owner}/{name}/releases", get(releases))
            .route("/repos/{owner}/{name}/compare/{range}", get(compare))
            .route("/rate_limit", get(rate_limit))
            .fallback(|| async { not_found() })
            .layer(axum::middleware::from_fn_with_state(
                Arc::clone(&world),
                door,
            ))
            .with_state(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, world }
    }

    /// The repository's page, as a configuration names it.
    pub fn page(&self) -> String {
        format!("{}/{OWNER}/{NAME}", self.url)
    }

    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

type Shared = State<Arc<Mutex<World>>>;
type Queries = Query<BTreeMap<String, String>>;

/// Login, limits and the record of calls.
async fn door(State(world): Shared, request: Request, next: axum::middleware::Next) -> Response {
    let asked = request.uri().path_and_query().unwrap().to_string();
    let is_free = request.uri().path() == "/rate_limit";
    let refused = check(&mut world.lock().unwrap(), request.headers(), is_free);
    let mut response = match refused {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    let mut world = world.lock().unwrap();
    let counts = response.status() != StatusCode::NOT_MODIFIED && !is_free;
    if let Some(left) = &mut world.remaining {
        *left = left.saturating_sub(u32::from(counts));
        let headers = response.headers_mut();
        headers.insert("x-ratelimit-remaining", HeaderValue::from(*left));
        let reset = world.reset;
        headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    }
    world.calls.push((asked, response.status().as_u16()));
    response
}

fn check(world: &mut World, headers: &HeaderMap, is_free: bool) -> Option<Response> {
    if let Some(status) = world.broken {
        return Some((status, axum::Json(json!({"message": "Server Error"}))).into_response());
    }
    if world.remaining == Some(0) && !is_free {
        let message = "API rate limit exceeded for user ID 1.";
        return Some(
            (
                StatusCode::FORBIDDEN,
                axum::Json(json!({"message": message})),
            )
                .into_response(),
        );
    }
    let shown = headers.get(header::AUTHORIZATION);
    let shown = shown.map(|value| {
        value
            .to_str()
            .unwrap()
            .trim_start_matches("Bearer ")
            .to_owned()
    });
    match (&world.token, shown) {
        (None, _) => None,
        (Some(token), Some(shown)) if *token == shown => None,
        (Some(_), Some(_)) => {
            let body = json!({"message": "Bad credentials"});
            Some((StatusCode::UNAUTHORIZED, axum::Json(body)).into_response())
        }
        // A private repository is not there for strangers.
        (Some(_), None) => Some(not_found()),
    }
}

/// Of a server without limits there is no such page.
async fn rate_limit(State(world): Shared) -> Response {
    let world = world.lock().unwrap();
    let Some(remaining) = world.remaining else {
        return not_found();
    };
    let core = json!({"limit": 5_000, "remaining": remaining, "reset": world.reset, "used": 0});
    axum::Json(json!({"resources": {"core": core}, "rate": core})).into_response()
}

fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        axum::Json(json!({"message": "Not Found"})),
    )
        .into_response()
}

fn is_ours(owner: &str, name: &str) -> bool {
    owner == OWNER && name == NAME
}

fn numbers(query: &BTreeMap<String, String>) -> (usize, usize) {
    let number = |name: &str, default: usize| {
        query
            .get(name)
            .map_or(default, |text| text.parse().unwrap())
    };
    (number("per_page", 30).min(100), number("page", 1).max(1))
}

/// A page with its `Link` and `ETag`, or 304.
fn paged(
    path: &str,
    query: &BTreeMap<String, String>,
    all: &[Value],
    asked: &HeaderMap,
) -> Response {
    let (per_page, page) = numbers(query);
    let items: Vec<&Value> = all
        .iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .collect();
    let body = serde_json::to_vec(&items).unwrap();
    let etag = format!("W/\"{}\"", hex(&Sha256::digest(&body)));
    let more = page * per_page < all.len();
    let mut response = if asked
        .get(header::IF_NONE_MATCH)
        .is_some_and(|was| *was == etag)
    {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (
            [(header::CONTENT_TYPE, "application/json; charset=utf-8")],
            body,
        )
            .into_response()
    };
    response
        .headers_mut()
        .insert(header::ETAG, etag.parse().unwrap());
    add_link(&mut response, path, per_page, page, more);
    response
}

fn add_link(response: &mut Response, path: &str, per_page: usize, page: usize, more: bool) {
    let to = |page: usize, rel: &str| {
        // The host is not ours, as behind a proxy: following it would lead away.
        format!("<https://elsewhere.example{path}?per_page={per_page}&page={page}>; rel=\"{rel}\"")
    };
    let mut links = Vec::new();
    if page > 1 {
        links.push(to(page - 1, "prev"));
    }
    if more {
        links.push(to(page + 1, "next"));
    }
    if !links.is_empty() {
        let links = links.join(", ").parse().unwrap();
        response.headers_mut().insert(header::LINK, links);
    }
}

async fn tags(
    State(world): Shared,
    Path((owner, name)): Path<(String, String)>,
    Query(query): Queries,
    headers: HeaderMap,
) -> Response {
    if !is_ours(&owner, &name) {
        return not_found();
    }
    let world = world.lock().unwrap();
    let all: Vec<Value> = world
        .tags
        .iter()
        .rev()
        .map(|(name, commit)| json!({"name": name, "commit": {"sha": commit, "url": ""}}))
        .collect();
    paged(
        &format!("/repos/{owner}/{name}/tags"),
        &query,
        &all,
        &headers,
    )
}

async fn releases(
    State(world): Shared,
    Path((owner, name)): Path<(String, String)>,
    Query(query): Queries,
    headers: HeaderMap,
) -> Response {
    if !is_ours(&owner, &name) {
        return not_found();
    }
    let all = world.lock().unwrap().releases.clone();
    paged(
        &format!("/repos/{owner}/{name}/releases"),
        &query,
        &all,
        &headers,
    )
}

async fn compare(
    State(world): Shared,
    Path((owner, name, range)): Path<(String, String, String)>,
    Query(query): Queries,
) -> Response {
    let world = world.lock().unwrap();
    let ends = range.split_once("...");
    let lines = ends.and_then(|(base, head)| Some((world.history(base)?, world.history(head)?)));
    let (Some((base, head)), true) = (lines, is_ours(&owner, &name)) else {
        return not_found();
    };
    let of = |line: &[&Commit]| {
        line.iter()
            .map(|one| one.id.clone())
            .collect::<BTreeSet<_>>()
    };
    let (in_base, in_head) = (of(&base), of(&head));
    let ahead: Vec<&&Commit> = head
        .iter()
        .filter(|one| !in_base.contains(&one.id))
        .collect();
    let behind = base.iter().filter(|one| !in_head.contains(&one.id)).count();
    let status = match (ahead.is_empty(), behind) {
        (true, 0) => "identical",
        (false, 0) => "ahead",
        (true, _) => "behind",
        (false, _) => "diverged",
    };
    let (per_page, page) = numbers(&query);
    let shown = ahead.iter().skip((page - 1) * per_page).take(per_page);
    let commits: Vec<Value> = shown
        .map(|one| {
            json!({
                "sha": one.id,
                "html_url": format!("https://github.com/{OWNER}/{NAME}/commit/{}", one.id),
                "author": one.login.as_ref().map(|login| json!({"login": login})),
                "commit": {
                    "message": format!("{}\n\nMore words.", one.title),
                    "author": {"name": "Mira Example", "email": "mira@example.com", "date": one.date},
                },
            })
        })
        .collect();
    let body = json!({
        "status": status, "ahead_by": ahead.len(), "behind_by": behind,
        "total_commits": ahead.len(), "commits": commits, "files": [],
    });
    let mut response = axum::Json(body).into_response();
    let more = page * per_page < ahead.len();
    let path = format!("/repos/{owner}/{name}/compare/{range}");
    add_link(&mut response, &path, per_page, page, more);
    response
}
