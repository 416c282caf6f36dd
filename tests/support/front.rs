//! One address before several replicas: every connection goes to the first that takes it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The address in front; it ends when this is dropped.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    behind: Arc<Mutex<Vec<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Front {
    /// Listens; nobody is behind it yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behind: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let known = Arc::clone(&behind);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let candidates = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(carry(stream, candidates));
            }
        });
        Self {
            address,
            behind,
            task,
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who is behind it from now on, in order of preference.
    pub fn set(&self, replicas: Vec<SocketAddr>) {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = replicas;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut stream: TcpStream, candidates: Vec<SocketAddr>) {
    for address in candidates {
        if let Ok(mut replica) = TcpStream::connect(address).await {
            // Either end may hang up at any time.
            drop(tokio::io::copy_bidirectional(&mut stream, &mut replica).await);
            return;
        }
    }
}
