//! `make bench`: the gateway beside what no forwarder can go below, all in one run.
//!
//! Every target is a process of its own, so that CPU and memory can be read of it alone. The
//! floors are this program again: axum, `serde_json` and reqwest, once without and once with a
//! record on disk before the answer. Targets take turns within a round, and what is printed are
//! medians over the rounds with their spread. Nothing here is a test: a machine that is busy with
//! other work gives other figures, which is why the ratios stand beside them.
#![expect(
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking, and its indices are taken modulo"
)]

mod bodies;
mod charting;
mod figures;
mod floor;
mod incidents;
mod load;
mod metrics_stub;
mod rounds;
mod scene;
mod sink;
mod storing;
mod table;
mod target;
mod usage;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

use crate::figures::Figures;

/// Rounds of the comparison; fewer say little.
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    if let Some(("floor", rest)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        return runtime.block_on(floor::serve(rest));
    }
    runtime.block_on(bench(rounds_asked(&arguments)))
}

/// `cargo bench --bench gateway -- --rounds N`
fn rounds_asked(arguments: &[String]) -> usize {
    let place = arguments.iter().position(|one| one == "--rounds");
    let asked = place.and_then(|place| arguments.get(place + 1)?.parse().ok());
    asked.unwrap_or(ROUNDS)
}

async fn bench(rounds: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).context("create `target/bench`")?;
    let scratch = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&folder)
        .context("create a folder for the run")?;
    let mut figures = Figures::default();
    if rounds > 0 {
        rounds::run(scratch.path(), rounds, &mut figures).await?;
    }
    charting::run(&mut figures)?;
    incidents::run(scratch.path(), &mut figures).await?;
    let summary = folder.join("summary.json");
    figures.write(&summary, rounds)?;
    table::print(&figures, rounds, began.elapsed(), &summary);
    Ok(())
}
