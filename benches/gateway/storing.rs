//! What one create in the store takes, on this disk and in an S3 bucket on it: everything that is
//! promised waits for some.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backstop::domain::secret::Secret;
use backstop::store::{Created, Store, StoreSettings};

use crate::figures::{Figures, quantile_ms};
use crate::support::versitygw::{ACCESS_KEY, BUCKET, SECRET_KEY, VersityGw};

const CREATES: u32 = 300;

/// Where documents lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// In a directory.
    Directory,
    /// In a real S3 server.
    S3(&'a VersityGw),
}

impl Place<'_> {
    /// Added to the names of its figures.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Directory => "",
            Self::S3(_) => "_s3",
        }
    }

    /// The settings of a store of its own for `folder`.
    ///
    /// # Errors
    /// When the folder has no name.
    pub(crate) fn settings(self, folder: &Path) -> anyhow::Result<StoreSettings> {
        let nowhere = StoreSettings {
            url: format!("file:{}", folder.join("data").display()),
            endpoint: None,
            region: None,
            keys: None,
        };
        let Self::S3(server) = self else {
            return Ok(nowhere);
        };
        let name = folder.file_name().context("a folder without a name")?;
        Ok(StoreSettings {
            url: format!("s3://{BUCKET}/{}", name.display()),
            endpoint: Some(server.url().parse()?),
            region: Some("us-east-1".to_owned()),
            keys: Some((ACCESS_KEY.to_owned(), Secret::new(SECRET_KEY))),
        })
    }

    /// That store, as the gateway opens it.
    ///
    /// # Errors
    /// When it can't be opened.
    pub(crate) fn open(self, folder: &Path) -> anyhow::Result<Store> {
        backstop::store::open(&self.settings(folder)?).context("open the store")
    }
}

/// Measures creates one after the other.
///
/// # Errors
/// When one fails.
pub(crate) async fn run(
    scratch: &Path,
    place: Place<'_>,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let store = place.open(&scratch.join("creates"))?;
    let took = creates(&store, "bench", CREATES).await?;
    for (word, q) in [("p50", 0.5), ("p99", 0.99)] {
        let value = quantile_ms(&took, q).context("nothing was created")?;
        figures.add(format!("store{}/create_{word}_ms", place.suffix()), value);
    }
    Ok(())
}

async fn creates(store: &Store, prefix: &str, count: u32) -> anyhow::Result<Vec<Duration>> {
    let value = "x".repeat(700);
    let mut took = Vec::new();
    for n in 0..count {
        let began = Instant::now();
        let created = store
            .create(&format!("{prefix}/{n:010}.json"), &value)
            .await?;
        took.push(began.elapsed());
        anyhow::ensure!(created == Created::Mine, "somebody else was there");
    }
    Ok(took)
}
