//! What is too slow, too large, of the wrong type or too much.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::*;

const ALERT: &str = r#"{"status":"firing","labels":{"alertname":"A","n":"0"},"startsAt":"2026-11-22T20:00:00Z","endsAt":"0001-01-01T00:00:00Z"}"#;

fn hurried(settings: &mut ServerSettings) {
    settings.header_deadline = Duration::from_millis(300);
    settings.idle = Duration::from_millis(600);
    short_drain(settings);
}

#[tokio::test]
async fn a_half_sent_header_is_reaped_while_others_are_served() {
    let served = serve(Wishes {
        server: hurried,
        ..Wishes::default()
    })
    .await;
    let mut halves = Vec::new();
    for n in 0..50 {
        let mut stream = served.connect().await;
        if n % 2 == 0 {
            stream
                .write_all(b"POST /api/v1/webhook HTTP/1.1\r\nhost: loc")
                .await
                .unwrap();
        }
        halves.push(stream);
    }
    assert_eq!(served.get("/-/healthy").await.status, 200);
    let began = Instant::now();
    for mut stream in halves {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "a half-open connection stays");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    served.finish().await;
}

#[tokio::test]
async fn one_byte_at_a_time_does_not_buy_a_header_more_time() {
    let served = serve(Wishes {
        server: hurried,
        ..Wishes::default()
    })
    .await;
    let mut stream = served.connect().await;
    let began = Instant::now();
    let mut sent = 0;
    while stream.write_all(b"G").await.is_ok() && began.elapsed() < PATIENCE {
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(sent > 2);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    served.finish().await;
}

#[tokio::test]
async fn a_body_that_stops_is_answered_and_reaped() {
    let served = serve(Wishes {
        site: |settings| settings.body_deadline = Duration::from_millis(300),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let head = "POST /api/v1/webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let answer = served.raw(head.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "body_timeout")
    );
    assert_eq!(served.gateway.begun.load(Ordering::SeqCst), 0);
    served.finish().await;
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_and_then_let_go() {
    let served = serve(Wishes {
        server: hurried,
        ..Wishes::default()
    })
    .await;
    let mut stream = served.connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = [0; 4096];
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert!(buffer[..count].starts_with(b"HTTP/1.1 200"));
        // Longer than a header may take, shorter than a connection may idle.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    served.finish().await;
}

#[tokio::test]
async fn a_large_body_is_refused_by_its_length_unread() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let head = "POST /api/v1/webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 60000000\r\n\r\n";
    let began = Instant::now();
    let answer = served.raw(head.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(began.elapsed() < Duration::from_secs(2));
    served.finish().await;
}

#[tokio::test]
async fn a_large_body_in_chunks_is_cut_at_the_limit() {
    let served = serve(Wishes {
        body_limit: 64 * 1024,
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let mut stream = served.connect().await;
    stream
        .write_all(b"POST /api/v1/webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 1_000 && stream.write_all(&chunk).await.is_ok() {
        sent += 1;
    }
    let answer = read_or_reset(&mut stream).await;
    assert!(sent < 1_000, "all of it was taken");
    if let Some(answer) = answer {
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    assert_eq!(served.gateway.begun.load(Ordering::SeqCst), 0);

    // Just over the limit, all sent before the answer is read: the answer must arrive.
    let body = format!("10001\r\n{}\r\n0\r\n\r\n", " ".repeat(65_537));
    let request = format!(
        "POST /api/v1/webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{body}"
    );
    let answer = served.raw(request.as_bytes()).await;
    assert_eq!(answer.status, 413);
    served.finish().await;
}

/// What was answered, unless the reset came before it could be read.
async fn read_or_reset(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let _reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn only_plain_json_is_read() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let body = format!(r#"{{"version":"4","alerts":[{ALERT}]}}"#);
    for headers in [
        &[("content-type", "text/plain")][..],
        &[],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
        &[
            ("content-type", "application/json"),
            ("content-encoding", "identity"),
        ],
    ] {
        let answer = served.send("POST", "/api/v1/webhook", headers, &body).await;
        assert_eq!(answer.status, 415, "{headers:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    let kind = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(
        served
            .send("POST", "/api/v1/webhook", &kind, &body)
            .await
            .status,
        200
    );
    served.finish().await;
}

#[tokio::test]
async fn many_alerts_come_in_whole_and_the_rest_is_counted() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let mut alerts = String::new();
    for n in 0..16_000 {
        let comma = if n == 0 { "" } else { "," };
        write!(
            alerts,
            "{comma}{}",
            ALERT.replace(
                "\"n\":\"0\"",
                &format!("\"n\":\"{n}\",\"pad\":\"{}\"", "x".repeat(400))
            )
        )
        .unwrap();
    }
    let body = format!(r#"{{"version":"4","groupKey":"k","alerts":[{alerts}]}}"#);
    assert!(body.len() > 8_000_000);
    let answer = served.post("/api/v1/webhook", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let groups = served.gateway.alerts.lock().unwrap().clone();
    assert_eq!(
        (groups[0].alerts.len(), groups[0].truncated),
        (1_000, 15_000)
    );
    served.finish().await;
}

#[tokio::test]
async fn bodies_in_flight_are_bounded_and_the_excess_is_told_to_come_again() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    // Announced 16 MiB each, hardly begun: three fill the 48 MiB.
    let head = format!(
        "POST /api/v1/webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{{",
        16 * 1024 * 1024
    );
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = served.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let body = format!(r#"{{"version":"4","alerts":[{ALERT}]}}"#);
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = served.post("/api/v1/webhook", &body).await;
        if answer.status != 200 || Instant::now() > deadline {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.code().as_str()), (503, "overload"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Probes and readers are not concerned.
    assert_eq!(served.get("/-/ready").await.status, 200);
    assert_eq!(served.get("/api/v1/releases").await.status, 200);
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    while served.post("/api/v1/webhook", &body).await.status != 200 {
        assert!(Instant::now() < deadline, "what was held is not given back");
    }
    served.finish().await;
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_for_a_place() {
    let served = serve(Wishes {
        server: |settings| {
            hurried(settings);
            settings.connections = 2;
        },
        ..Wishes::default()
    })
    .await;
    let _held = [served.connect().await, served.connect().await];
    // Served once the held ones are reaped.
    assert_eq!(served.get("/-/healthy").await.status, 200);
    served.finish().await;
}
