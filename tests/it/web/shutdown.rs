//! The end: readiness off at once, still accepting for a while, nothing begun is lost.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Notify;

use super::*;

#[tokio::test]
async fn requests_in_flight_are_answered_and_late_ones_accepted_for_a_while() {
    let served = serve(Wishes {
        site: |settings| settings.vmalert_deadline = PATIENCE,
        server: |settings| {
            settings.drain_accept = Duration::from_millis(800);
            settings.drain = Duration::from_secs(15);
        },
        ..Wishes::default()
    })
    .await;
    let hold = Arc::new(Notify::new());
    *served.gateway.hold.lock().unwrap() = Some(Arc::clone(&hold));
    let served = Arc::new(served);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let served = Arc::clone(&served);
        requests.spawn(async move { served.post("/api/v2/alerts", "[]").await.status });
    }
    let deadline = Instant::now() + PATIENCE;
    while served.gateway.begun.load(Ordering::SeqCst) < 200 {
        assert!(Instant::now() < deadline, "not all began");
        tokio::task::yield_now().await;
    }
    served.shutdown.cancel();
    let ready = served.get("/-/ready").await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "draining"));
    // The load balancer has not heard of it yet.
    *served.gateway.hold.lock().unwrap() = None;
    assert_eq!(served.post("/api/v2/alerts", "[]").await.status, 200);
    // The rest is answered after the door was closed.
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(served.address).await.is_ok() {
        assert!(Instant::now() < deadline, "the door stays open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hold.notify_waiters();
    while let Some(status) = requests.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let Ok(served) = Arc::try_unwrap(served) else {
        panic!("a request still holds the server")
    };
    served.finish().await;
}

#[tokio::test]
async fn idle_and_half_open_connections_do_not_hold_the_end_up() {
    let served = serve(Wishes {
        server: |settings| {
            settings.drain_accept = Duration::from_millis(10);
            settings.drain = Duration::from_secs(2);
        },
        ..Wishes::default()
    })
    .await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    let mut half = served.connect().await;
    half.write_all(b"POST /api/v1/web").await.unwrap();
    let began = Instant::now();
    served.finish().await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_sender_that_hangs_up_cancels_nothing() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let hold = Arc::new(Notify::new());
    *served.gateway.hold.lock().unwrap() = Some(Arc::clone(&hold));
    let mut stream = served.connect().await;
    stream
        .write_all(b"POST /api/v2/alerts HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]")
        .await
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while served.gateway.begun.load(Ordering::SeqCst) < 1 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    drop(stream);
    let gateway = Arc::clone(&served.gateway);
    while served.metrics.connections_open.get() > 0 {
        assert!(Instant::now() < deadline, "the connection is still counted");
        tokio::task::yield_now().await;
    }
    assert_eq!(gateway.done.load(Ordering::SeqCst), 0);
    hold.notify_one();
    served.finish().await;
    assert_eq!(gateway.done.load(Ordering::SeqCst), 1);
}
