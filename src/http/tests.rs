use axum::{Router, http::header, response::Redirect, routing::get};
use tokio::net::TcpListener;

use super::*;

/// Serves `router` on a free loopback port until the runtime of the test ends.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn short(timeout: Duration) -> Client {
    client(&Settings {
        timeout,
        ..Settings::default()
    })
    .unwrap()
}

#[tokio::test]
async fn redirects_are_answers_not_followed() {
    let router = Router::new().route("/", get(|| async { Redirect::to("/login") }));
    let base = serve(router).await;
    let response = short(TOTAL_TIMEOUT).get(base).send().await.unwrap();
    assert_eq!(response.status(), 303);
    assert_eq!(
        CallErrorKind::of_status(response.status()),
        CallErrorKind::Auth
    );
}

#[tokio::test]
async fn says_who_it_is() {
    let echo = |headers: header::HeaderMap| async move {
        headers[header::USER_AGENT].to_str().unwrap().to_owned()
    };
    let base = serve(Router::new().route("/", get(echo))).await;
    let response = short(TOTAL_TIMEOUT).get(base).send().await.unwrap();
    let text = response.text().await.unwrap();
    assert_eq!(text, format!("backstop/{}", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_body_over_the_limit_is_an_error() {
    let base = serve(Router::new().route("/", get(|| async { vec![b'x'; 100] }))).await;
    let client = short(TOTAL_TIMEOUT);
    let response = client.get(&base).send().await.unwrap();
    let error = read_body(response, 99).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Decode);
    assert_eq!(error.status, Some(200));
    let response = client.get(&base).send().await.unwrap();
    assert_eq!(read_body(response, 100).await.unwrap().len(), 100);
}

#[tokio::test]
async fn silence_is_a_timeout_and_a_closed_port_a_network_failure() {
    let base = serve(Router::new().route("/", get(std::future::pending::<&str>))).await;
    let error = short(Duration::from_millis(50)).get(&base).send().await;
    let error = CallError::from(error.unwrap_err());
    assert_eq!(
        (error.kind, error.retry),
        (CallErrorKind::Timeout, Retry::Backoff)
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{closed}/?token=hidden");
    let error = short(TOTAL_TIMEOUT).get(url).send().await.unwrap_err();
    let error = CallError::from(error);
    assert_eq!(error.kind, CallErrorKind::Network);
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
}

#[test]
fn retry_after_is_read_as_seconds_and_as_a_date() {
    let mut headers = header::HeaderMap::new();
    let limited = |headers: &header::HeaderMap| {
        CallError::from_status(reqwest::StatusCode::TOO_MANY_REQUESTS, headers, "slow down").retry
    };
    assert_eq!(limited(&headers), Retry::Backoff);
    headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
    assert_eq!(limited(&headers), Retry::After(Duration::from_secs(7)));
    let date = |text: &str| text.parse().unwrap();
    headers.insert(header::RETRY_AFTER, date("Sun, 22 Nov 2026 20:46:58 GMT"));
    assert_eq!(limited(&headers), Retry::Backoff, "no `Date` to compare");
    headers.insert(header::DATE, date("Sun, 22 Nov 2026 20:46:28 GMT"));
    assert_eq!(limited(&headers), Retry::After(Duration::from_secs(30)));
}

#[test]
fn a_decode_error_names_the_place_and_not_the_text() {
    let error = decode::<u32>(b"{\"token\": \"hidden\"}").unwrap_err();
    assert_eq!(error.kind.as_str(), "decode");
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    assert!(error.detail.contains("line 1"), "{error}");
}
