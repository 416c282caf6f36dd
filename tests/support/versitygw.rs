//! A real S3 server (versitygw) over a local directory, with one bucket.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::signer::Signer as _;

use super::process::{self, Process, Ready};
use super::tools::Tool;

/// The root account's name.
pub const ACCESS_KEY: &str = "backstop";
/// The root account's password.
pub const SECRET_KEY: &str = "backstop-secret";
/// The bucket that exists from the start.
pub const BUCKET: &str = "releases";
const REGION: &str = "us-east-1";

/// The running server.
#[derive(Debug)]
pub struct VersityGw {
    /// To pause, kill and restart it.
    pub process: Process,
}

impl VersityGw {
    /// Starts it with its objects and log in `directory` and creates [`BUCKET`].
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let program = Tool::VersityGw.path()?;
        let (data, attributes) = (directory.join("data"), directory.join("attributes"));
        std::fs::create_dir_all(&data).context("create the data directory")?;
        // It refuses attributes kept inside the data.
        std::fs::create_dir_all(&attributes).context("create the attribute directory")?;
        let recipe = move |port: u16| {
            let mut command = Command::new(&program);
            command
                .env("ROOT_ACCESS_KEY", ACCESS_KEY)
                .env("ROOT_SECRET_KEY", SECRET_KEY)
                .arg("--port")
                .arg(format!("127.0.0.1:{port}"))
                .args(["--region", REGION, "posix", "--sidecar"])
                .arg(&attributes)
                .arg(&data);
            command
        };
        let log = directory.join("versitygw.log");
        let process = Process::start("versitygw", &log, Ready::AnyHttp, recipe).await?;
        let server = Self { process };
        server.create_bucket().await?;
        Ok(server)
    }

    /// The endpoint, for path-style requests.
    pub fn url(&self) -> String {
        self.process.url()
    }

    /// A client for [`BUCKET`], with the crate's own retries.
    pub fn store(&self) -> anyhow::Result<AmazonS3> {
        self.builder().build().context("build an S3 client")
    }

    /// The same client, not yet built, to set more on it.
    pub fn builder(&self) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_endpoint(self.url())
            .with_allow_http(true)
            .with_region(REGION)
            .with_bucket_name(BUCKET)
            .with_access_key_id(ACCESS_KEY)
            .with_secret_access_key(SECRET_KEY)
    }

    /// A PUT of the bucket's own, empty path; the object store API has no call for it.
    async fn create_bucket(&self) -> anyhow::Result<()> {
        let root = object_store::path::Path::default();
        let url = self
            .store()?
            .signed_url(reqwest::Method::PUT, &root, Duration::from_mins(1))
            .await
            .context("sign the bucket's URL")?;
        let answer = process::client()?.put(url).send().await?;
        ensure!(answer.status().is_success(), "bucket: {}", answer.status());
        Ok(())
    }
}
