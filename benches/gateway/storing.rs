//! What one create in the store takes on this disk: everything that is promised waits for some.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backstop::store::{Created, Store, StoreSettings};

use crate::figures::{Figures, quantile_ms};

const CREATES: u32 = 300;

/// A store in a directory, as the gateway opens it.
///
/// # Errors
/// When the directory can't be made.
pub(crate) fn directory(path: &Path) -> anyhow::Result<Store> {
    let settings = StoreSettings {
        url: format!("file:{}", path.display()),
        endpoint: None,
        region: None,
        keys: None,
    };
    backstop::store::open(&settings).context("open the store")
}

/// Measures creates one after the other.
///
/// # Errors
/// When one fails.
pub(crate) async fn run(scratch: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    let store = directory(&scratch.join("creates"))?;
    let took = creates(&store, "bench", CREATES).await?;
    for (word, q) in [("p50", 0.5), ("p99", 0.99)] {
        let value = quantile_ms(&took, q).context("nothing was created")?;
        figures.add(format!("store/create_{word}_ms"), value);
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
