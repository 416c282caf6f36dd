//! Gate's front door: every request is recorded, and without a login most lead to a login page.

use axum::{
    Extension,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Recorded, Shared, routes::answer, trigger::dropped, world::World};

/// Whether a request came with a login that holds.
#[derive(Clone, Copy)]
pub(super) struct LoggedIn(bool);

/// Records a request and sends those without a login to the login page.
pub(super) async fn front_door(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 16 << 20).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let recorded = Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: json_or_text(&body),
        at: shared.now(),
    };
    shared.update(|world| world.requests.push(recorded.clone()));
    let with_session = has_session(&shared, &parts.headers);
    let logged_in = with_session || has_credentials(&shared, &parts.headers);
    let open = matches!(parts.uri.path(), "/health" | "/auth/user" | "/login");
    if !logged_in && !open {
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let login = format!("http://{}/login", host.unwrap_or_default());
        return (StatusCode::FOUND, [(header::LOCATION, login)]).into_response();
    }
    let triggers = is_trigger(&recorded);
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(LoggedIn(logged_in));
    request.extensions_mut().insert(recorded);
    let mut response = through_the_weather(&shared, request, next).await;
    if triggers && response.status().is_success() && shared.update(World::swallows_reply) {
        return dropped();
    }
    if logged_in && !with_session {
        let session = uuid::Uuid::new_v4().to_string();
        let cookie = format!("SESSION={session}; Path=/; HttpOnly; SameSite=Lax");
        response
            .headers_mut()
            .insert(header::SET_COOKIE, cookie.parse().unwrap());
        shared.update(|world| world.sessions.insert(session));
    }
    response
}

/// Hands a request on. What has reached Gate happens, whether its sender waits for it or not.
async fn through_the_weather(shared: &Shared, request: Request, next: Next) -> Response {
    let weather = shared.world.lock().unwrap().weather;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    shared.spawn(async move {
        tokio::time::sleep(weather.slow).await;
        let response = next.run(request).await;
        tokio::time::sleep(weather.late).await;
        // Nobody listens any more when the caller has gone.
        drop(sender.send(response));
    });
    receiver.await.unwrap_or_else(|_| dropped())
}

/// Whether a request starts an execution.
fn is_trigger(recorded: &Recorded) -> bool {
    let steps: Vec<&str> = recorded.path.split('/').skip(1).collect();
    let starts = matches!(
        steps.as_slice(),
        ["pipelines", _, _] | ["applications", _, "tasks"] | ["tasks"]
    );
    recorded.method == "POST" && starts
}

fn has_session(shared: &Shared, headers: &HeaderMap) -> bool {
    let cookies = headers
        .get(header::COOKIE)
        .and_then(|value| value.to_str().ok());
    let mut cookies = cookies.unwrap_or_default().split("; ");
    let session = cookies.find_map(|cookie| cookie.strip_prefix("SESSION="));
    session.is_some_and(|session| shared.world.lock().unwrap().sessions.contains(session))
}

fn has_credentials(shared: &Shared, headers: &HeaderMap) -> bool {
    let options = &shared.options;
    let login = format!("{}:{}", options.username, options.password);
    let basic = format!("Basic {}", BASE64_STANDARD.encode(login));
    let bearer = options
        .bearer
        .as_ref()
        .map(|token| format!("Bearer {token}"));
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    sent.is_some() && (sent == Some(basic.as_str()) || sent == bearer.as_deref())
}

fn json_or_text(body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let text = || json!(String::from_utf8_lossy(body));
    serde_json::from_slice(body).unwrap_or_else(|_| text())
}

pub(super) async fn login_page() -> Response {
    let kind = "text/html;charset=UTF-8";
    (
        [(header::CONTENT_TYPE, kind)],
        "<html><body>Please sign in</body></html>",
    )
        .into_response()
}

pub(super) async fn auth_user(
    State(shared): State<Shared>,
    Extension(LoggedIn(yes)): Extension<LoggedIn>,
) -> Response {
    if !yes {
        return StatusCode::OK.into_response();
    }
    let user = &shared.options.username;
    answer(
        StatusCode::OK,
        &json!({
            "accountNonExpired": true, "accountNonLocked": true, "allowedAccounts": [],
            "authorities": [{"authority": "USER"}], "credentialsNonExpired": true, "email": user,
            "enabled": true, "firstName": null, "lastName": null, "roles": ["USER"], "username": user,
        }),
    )
}
