//! Who may do what, and under which names we answer.
//!
//! Without tokens and users only this machine is served, and only ingest and read. A token's secret is
//! compared in constant time, all of them every time. The Host must be a name of ours, so that no
//! page can reach us through a name of its own (DNS rebinding); an IP address can't be rebound.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::ApiError;
use super::logins::Logins;
use super::signed::Signer;
use crate::config::{AccessScope, Auth, Token, Web};
use crate::domain::id::Host;
use crate::domain::secret::Secret;

/// Who asks, as far as it was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's name, or `this machine`.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<AccessScope>,
    /// The host that is all it may speak for.
    pub host: Option<Host>,
}

/// Why nobody could be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// No token was shown.
    NoToken,
    /// It is none of ours.
    WrongToken,
    /// No tokens are configured, and the request is not from this machine.
    NotConfigured,
}

/// Tokens, names and the signing key, as configured; replaced whole at a reload.
#[derive(Debug, Clone, Default)]
pub struct Access {
    tokens: Vec<Token>,
    hosts: BTreeSet<String>,
    external: Option<url::Origin>,
    signer: Option<Signer>,
    logins: Option<Arc<Logins>>,
}

impl Access {
    /// From the configuration.
    pub fn new(web: &Web, auth: Option<&Auth>) -> Self {
        let external = web.external_url.as_ref().and_then(|url| url.host_str());
        let names = web.allowed_hosts.iter().map(String::as_str).chain(external);
        Self {
            tokens: auth.map(|auth| auth.tokens.clone()).unwrap_or_default(),
            hosts: names.map(normal).collect(),
            external: web.external_url.as_ref().map(url::Url::origin),
            signer: auth
                .and_then(|auth| auth.signing_key.clone())
                .map(Signer::new),
            logins: None,
        }
    }

    /// Lets the users of `--web.config.file` in too, by name and password: to send and to read.
    #[must_use]
    pub fn with_users(self, users: &BTreeMap<String, Secret>) -> Self {
        let logins = (!users.is_empty()).then(|| Arc::new(Logins::new(users.clone())));
        Self { logins, ..self }
    }

    /// Signs and checks links. None: no signing key is configured.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Whether the request names us as we are called.
    pub(super) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut named = headers.get_all(header::HOST).iter();
        let host = named.next().and_then(|host| host.to_str().ok());
        let host = uri
            .authority()
            .map(axum::http::uri::Authority::as_str)
            .or(host);
        let name = host.map(without_port).map(normal).unwrap_or_default();
        let known = !name.is_empty()
            && named.next().is_none()
            && (is_local(&name) || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name));
        if known {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown_host",
            "the Host of this request is no name of this gateway: add it to `web.allowed_hosts`",
        ))
    }

    /// Whether a browser's `Origin` is a page of ours: behind our external address, or of the
    /// very host and port the request went to.
    pub(super) fn is_own_origin(&self, origin: &str, headers: &HeaderMap) -> bool {
        let Ok(origin) = origin.parse::<url::Url>() else {
            return false;
        };
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let authority = match (origin.host_str(), origin.port()) {
            (Some(name), Some(port)) => format!("{name}:{port}"),
            (Some(name), None) => name.to_owned(),
            (None, _) => return false,
        };
        self.external.as_ref() == Some(&origin.origin())
            || host.is_some_and(|host| host.eq_ignore_ascii_case(&authority))
    }

    /// Who shows these headers from there.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Caller, Stranger> {
        if self.tokens.is_empty() && self.logins.is_none() {
            let here = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
            return if here {
                Ok(Caller::guest("this machine"))
            } else {
                Err(Stranger::NotConfigured)
            };
        }
        let shown = headers
            .get(header::AUTHORIZATION)
            .ok_or(Stranger::NoToken)?;
        let shown = shown.to_str().ok().and_then(presented);
        let Presented { user, secret } = shown.ok_or(Stranger::WrongToken)?;
        if let Some(caller) = self.token(&secret) {
            return Ok(caller);
        }
        match (&self.logins, user) {
            (Some(logins), Some(user)) if logins.check(&user, &secret).await => {
                Ok(Caller::guest(&user))
            }
            _ => Err(Stranger::WrongToken),
        }
    }

    fn token(&self, secret: &str) -> Option<Caller> {
        let mut found = None;
        for token in &self.tokens {
            for known in &token.secrets {
                // No early end: the time must not tell which one matched.
                if known.matches(secret) {
                    found = Some(token);
                }
            }
        }
        found.map(|token| Caller {
            name: token.name.clone(),
            scopes: token.scopes.clone(),
            host: token.host.clone(),
        })
    }
}

impl Stranger {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::NotConfigured => "auth_not_configured",
        }
    }

    pub(super) fn error(self) -> ApiError {
        let (status, text) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "a token is needed"),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "this is no token of this gateway"),
            Self::NotConfigured => (
                StatusCode::FORBIDDEN,
                "without `auth:` in the configuration only this machine is served",
            ),
        };
        ApiError::new(status, self.reason(), text)
    }
}

impl Caller {
    /// Somebody who may send and read, as without tokens.
    fn guest(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scopes: vec![AccessScope::Ingest, AccessScope::Read],
            host: None,
        }
    }

    /// Whether it may do that.
    pub(super) fn must(&self, scope: AccessScope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let word = match scope {
            AccessScope::Ingest => "ingest",
            AccessScope::Read => "read",
            AccessScope::Deploy => "deploy",
            AccessScope::Agent => "agent",
            AccessScope::Rollback => "rollback",
            AccessScope::Admin => "admin",
        };
        let text = format!("this needs a token with the scope `{word}`");
        Err(ApiError::new(StatusCode::FORBIDDEN, "scope", text))
    }
}

/// What an Authorization header shows.
struct Presented {
    /// The name of a basic login.
    user: Option<String>,
    /// The bearer token, or the password.
    secret: String,
}

fn presented(header: &str) -> Option<Presented> {
    let (way, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if way.eq_ignore_ascii_case("bearer") {
        return Some(Presented {
            user: None,
            secret: rest.to_owned(),
        });
    }
    if way.eq_ignore_ascii_case("basic") {
        let login = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (user, password) = login.split_once(':')?;
        return Some(Presented {
            user: Some(user.to_owned()),
            secret: password.to_owned(),
        });
    }
    None
}

fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn normal(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        // `[::1]:80`; a bare `::1` has no port.
        Some((name, _)) if name.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn web(external: Option<&str>, allowed: &[&str]) -> Web {
        Web {
            external_url: external.map(|url| url.parse().unwrap()),
            allowed_hosts: allowed.iter().map(|&host| host.to_owned()).collect(),
            body_limit: 1,
        }
    }

    fn token(name: &str, secrets: &[&str], scopes: &[AccessScope]) -> Token {
        Token {
            name: name.to_owned(),
            secrets: secrets.iter().map(|&secret| Secret::new(secret)).collect(),
            scopes: scopes.to_vec(),
            host: None,
        }
    }

    fn with_tokens() -> Access {
        let auth = Auth {
            signing_key: None,
            tokens: vec![
                token("am", &["old", "new"], &[AccessScope::Ingest]),
                token(
                    "oncall",
                    &["pager"],
                    &[AccessScope::Read, AccessScope::Rollback],
                ),
            ],
        };
        Access::new(&web(None, &[]), Some(&auth))
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    async fn shown(access: &Access, authorization: &str) -> Result<String, Stranger> {
        let headers = headers(header::AUTHORIZATION, authorization);
        let peer = Some("203.0.113.9:1".parse().unwrap());
        access
            .identify(&headers, peer)
            .await
            .map(|caller| caller.name)
    }

    #[tokio::test]
    async fn a_token_is_taken_as_bearer_or_as_a_password() {
        let access = with_tokens();
        assert_eq!(shown(&access, "Bearer old").await.unwrap(), "am");
        assert_eq!(shown(&access, "bearer new").await.unwrap(), "am");
        let basic = format!("Basic {}", STANDARD.encode("whoever:pager"));
        assert_eq!(shown(&access, &basic).await.unwrap(), "oncall");
        for wrong in [
            "Bearer x",
            "Bearer ",
            "Bearer",
            "Basic !!",
            "Basic b2xk",
            "Digest old",
            "old",
        ] {
            assert_eq!(
                shown(&access, wrong).await,
                Err(Stranger::WrongToken),
                "{wrong}"
            );
        }
        assert_eq!(
            access.identify(&HeaderMap::new(), None).await,
            Err(Stranger::NoToken)
        );
    }

    #[tokio::test]
    async fn without_tokens_only_this_machine_may_send_and_read() {
        let access = Access::new(&web(None, &[]), None);
        let from = async |peer: &str| {
            let peer = Some(peer.parse().unwrap());
            access.identify(&HeaderMap::new(), peer).await
        };
        for here in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let caller = from(here).await.unwrap();
            assert!(caller.must(AccessScope::Ingest).is_ok());
            assert!(caller.must(AccessScope::Read).is_ok());
            for scope in [
                AccessScope::Deploy,
                AccessScope::Agent,
                AccessScope::Rollback,
                AccessScope::Admin,
            ] {
                assert!(caller.must(scope).is_err());
            }
        }
        assert_eq!(from("10.0.0.1:1").await, Err(Stranger::NotConfigured));
        assert_eq!(
            access.identify(&HeaderMap::new(), None).await,
            Err(Stranger::NotConfigured)
        );
    }

    #[test]
    fn only_names_of_ours_are_answered_to() {
        let access = Access::new(
            &web(Some("https://Backstop.example.com/x"), &["backstop.svc"]),
            None,
        );
        let known = |host: &str| {
            access
                .check_host(&Uri::from_static("/"), &headers(header::HOST, host))
                .is_ok()
        };
        for ours in [
            "localhost:9095",
            "127.0.0.1",
            "[::1]:9095",
            "10.1.2.3:80",
            "backstop.example.com",
            "BACKSTOP.svc.:9095",
        ] {
            assert!(known(ours), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "backstop.example.com.evil.example",
            "localhost.evil",
            "backstop.example.com@evil",
        ] {
            assert!(!known(foreign), "{foreign}");
        }
        assert!(
            access
                .check_host(&Uri::from_static("/"), &HeaderMap::new())
                .is_err()
        );
        let mut two = headers(header::HOST, "localhost");
        two.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(access.check_host(&Uri::from_static("/"), &two).is_err());
    }

    #[tokio::test]
    async fn users_of_the_web_config_may_send_and_read() {
        let hash = bcrypt::hash("hunter2", 4).unwrap();
        let users = BTreeMap::from([("prom".to_owned(), Secret::new(hash))]);
        let access = Access::new(&web(None, &[]), None).with_users(&users);
        let login = |login: &str| format!("Basic {}", STANDARD.encode(login));
        for _ in 0..2 {
            let name = shown(&access, &login("prom:hunter2")).await;
            assert_eq!(name.as_deref(), Ok("prom"));
        }
        for wrong in ["prom:hunter3", "prom:", "other:hunter2", ":"] {
            let name = shown(&access, &login(wrong)).await;
            assert_eq!(name, Err(Stranger::WrongToken), "{wrong}");
        }
        assert!(shown(&access, "Bearer hunter2").await.is_err());
        // Once there are users, being on this machine is not enough.
        let here = Some("127.0.0.1:1".parse().unwrap());
        let nobody = access.identify(&HeaderMap::new(), here).await;
        assert_eq!(nobody, Err(Stranger::NoToken));
    }
}
