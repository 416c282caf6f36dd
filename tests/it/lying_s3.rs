//! The S3 client as it is built for production, over a wire that lies once: what the client makes
//! of it is often "it exists already", and the store must find out that the object is its own.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use backstop::domain::secret::Secret;
use backstop::store::{Created, Store, StoreSettings, open};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What the first PUT meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// 409 `ConditionalRequestConflict`, nothing written.
    ConflictOverNothing,
    /// Written, then 500.
    ErrorAfterWrite,
    /// Written, then the connection is gone.
    DroppedAfterWrite,
    /// Written; the answer comes later than the store waits.
    Late,
}

#[derive(Debug)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Bytes>>,
    lie: Mutex<Option<Lie>>,
}

impl Bucket {
    /// A bucket behind a real port, and the store that production opens on it.
    async fn open(lie: Lie) -> (Arc<Self>, Store) {
        let bucket = Arc::new(Self {
            objects: Mutex::default(),
            lie: Mutex::new(Some(lie)),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::clone(&bucket);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let bucket = Arc::clone(&served);
                let service = service_fn(move |request| Arc::clone(&bucket).answer(request));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // An error is a connection that was dropped on purpose.
                tokio::spawn(async { drop(connection.await) });
            }
        });
        let store = open(&StoreSettings {
            url: "s3://bucket".to_owned(),
            endpoint: Some(endpoint.parse().unwrap()),
            region: Some("us-east-1".to_owned()),
            keys: Some(("id".to_owned(), Secret::new("key"))),
        });
        (bucket, store.unwrap())
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let key = parts.uri.path().to_owned();
        if parts.method == Method::GET {
            let found = self.objects.lock().unwrap().get(&key).cloned();
            return Ok(found.map_or_else(|| plain(StatusCode::NOT_FOUND), object));
        }
        assert_eq!(parts.method, Method::PUT);
        assert_eq!(parts.headers["if-none-match"], "*");
        let body = to_bytes(Body::new(body), 1 << 20).await.unwrap();
        let lie = self.lie.lock().unwrap().take();
        if lie == Some(Lie::ConflictOverNothing) {
            return Ok(plain(StatusCode::CONFLICT));
        }
        {
            let mut objects = self.objects.lock().unwrap();
            if objects.contains_key(&key) {
                return Ok(plain(StatusCode::PRECONDITION_FAILED));
            }
            objects.insert(key, body);
        }
        match lie {
            Some(Lie::ErrorAfterWrite) => Ok(plain(StatusCode::INTERNAL_SERVER_ERROR)),
            Some(Lie::DroppedAfterWrite) => Err(io::Error::other("gone")),
            Some(Lie::Late) => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Ok(plain(StatusCode::OK))
            }
            Some(Lie::ConflictOverNothing) | None => Ok(plain(StatusCode::OK)),
        }
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let response = Response::builder().status(status).header("etag", "\"e\"");
    response.body(Body::empty()).unwrap()
}

fn object(bytes: Bytes) -> Response<Body> {
    Response::builder()
        .header("etag", "\"e\"")
        .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        .body(Body::from(bytes))
        .unwrap()
}

async fn sees_through(lie: Lie) {
    let (bucket, store) = Bucket::open(lie).await;
    let key = "lanes/checkout@prod/0000000001.json";
    let mine = store.create(key, &"mine").await;
    assert_eq!(mine.unwrap(), Created::Mine, "{lie:?}");
    assert_eq!(*bucket.lie.lock().unwrap(), None, "{lie:?} was not told");
    let theirs = store.create(key, &"theirs").await;
    assert_eq!(theirs.unwrap(), Created::Taken, "{lie:?}");
    let stands = store.get::<String>(key).await.unwrap();
    assert_eq!(stands.as_deref(), Some("mine"), "{lie:?}");
    assert_eq!(bucket.objects.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_create_on_s3_is_mine_whatever_the_wire_does_to_it_once() {
    futures::join!(
        sees_through(Lie::ConflictOverNothing),
        sees_through(Lie::ErrorAfterWrite),
        sees_through(Lie::DroppedAfterWrite),
        sees_through(Lie::Late),
    );
}
