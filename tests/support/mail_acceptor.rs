//! A mail server small enough to live in a test: it takes mail, refuses by script, and records.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A mail it took.
#[derive(Debug, Clone)]
pub struct Taken {
    pub to: Vec<String>,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Answers to `RCPT TO`, by address; 250 for others.
    refusals: BTreeMap<String, String>,
    /// Answer to the end of DATA; 250 when None.
    after_data: Option<String>,
    /// Says nothing after DATA.
    hang_after_data: bool,
    taken: Vec<Taken>,
}

#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new(Inside::default()));
        let shared = Arc::clone(&inside);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { drop(talk(stream, &shared).await) });
            }
        });
        Self {
            address,
            inside,
            task,
        }
    }

    pub fn refuse(&self, address: &str, answer: &str) {
        let mut inside = self.inside.lock().unwrap();
        inside
            .refusals
            .insert(address.to_owned(), answer.to_owned());
    }

    pub fn accept(&self, address: &str) {
        self.inside.lock().unwrap().refusals.remove(address);
    }

    pub fn after_data(&self, answer: &str) {
        self.inside.lock().unwrap().after_data = Some(answer.to_owned());
    }

    pub fn hang_after_data(&self) {
        self.inside.lock().unwrap().hang_after_data = true;
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.inside.lock().unwrap().taken.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(stream: TcpStream, inside: &Mutex<Inside>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test ESMTP\r\n").await?;
    let mut to = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.trim_end().to_ascii_uppercase();
        let answer = if verb.starts_with("EHLO") {
            "250-test\r\n250 8BITMIME".to_owned()
        } else if verb.starts_with("MAIL") {
            to.clear();
            "250 ok".to_owned()
        } else if verb.starts_with("RCPT") {
            let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let refusal = inside.lock().unwrap().refusals.get(&address).cloned();
            to.push(address);
            refusal.unwrap_or_else(|| "250 ok".to_owned())
        } else if verb == "DATA" {
            stream.write_all(b"354 go on\r\n").await?;
            let bytes = data(&mut stream).await?;
            if inside.lock().unwrap().hang_after_data {
                std::future::pending::<()>().await;
            }
            let mut inside = inside.lock().unwrap();
            if let Some(answer) = inside.after_data.clone() {
                answer
            } else {
                let to = to.clone();
                inside.taken.push(Taken { to, bytes });
                "250 taken".to_owned()
            }
        } else if verb == "QUIT" {
            stream.write_all(b"221 bye\r\n").await?;
            return Ok(());
        } else {
            "250 ok".to_owned()
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 || line == b".\r\n" {
            return Ok(bytes);
        }
        let line = line.strip_prefix(b".").unwrap_or(&line);
        bytes.extend_from_slice(line);
    }
}
