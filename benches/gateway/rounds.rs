//! The comparison: every target in every round, each time fresh, in turning order.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::figures::{Figures, count, ms, quantile_ms};
use crate::load;
use crate::sink::Sink;
use crate::support::process::{self, Process};
use crate::target::{self, Kind};
use crate::usage;

/// A cell of the closed loop lasts this long, or this many webhooks.
const CELL: (Duration, u64) = (Duration::from_millis(700), 20_000);
/// Webhooks before a target is measured.
const WARM_UP: (Duration, u64) = (Duration::from_secs(2), 100);
/// What the open loop sends.
const PER_SECOND: u32 = 50;
const OPEN_COUNT: u32 = 120;
/// Alerts a webhook, connections.
pub(crate) const CELLS: [(u64, usize); 4] = [(1, 1), (1, 16), (100, 1), (100, 16)];

/// Runs the rounds.
///
/// # Errors
/// When a target fails.
pub(crate) async fn run(
    scratch: &Path,
    rounds: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    for round in 0..rounds {
        for turn in 0..Kind::ALL.len() {
            let kind = Kind::ALL[(round + turn) % Kind::ALL.len()];
            let folder = scratch.join(format!("{round}-{}", kind.name()));
            let mut target = target::start(kind, &folder, &sink.url).await?;
            measure(kind, &target, &sink, figures)
                .await
                .with_context(|| format!("{} in round {round}:\n{}", kind.name(), target.tail()))?;
            target.kill()?;
            // Its folder stays until the end: a file system that is still forgetting thousands of
            // files (ext4 spares their inodes for seconds) is slow to make new ones.
        }
    }
    Ok(())
}

async fn measure(
    kind: Kind,
    target: &Process,
    sink: &Sink,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let http = process::client()?;
    let (url, name) = (target.url(), kind.name());
    // What a start leaves behind is settled by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    figures.add(
        format!("{name}/idle_bytes"),
        count(usage::memory(target.pid())?.now),
    );
    load::closed(&http, &url, 1, 4, WARM_UP).await?;
    let took = load::open(&http, &url, sink, PER_SECOND, OPEN_COUNT).await?;
    for (word, q) in [("p50", 0.5), ("p99", 0.99)] {
        let value = quantile_ms(&took, q).context("nothing was sent")?;
        figures.add(format!("{name}/open/{word}_ms"), value);
    }
    for (alerts, connections) in CELLS {
        let (before, calls) = (usage::cpu(target.pid())?, sink.messages());
        let cell = load::closed(&http, &url, alerts, connections, CELL).await?;
        let cpu = usage::cpu(target.pid())?.saturating_sub(before);
        let calls = sink.messages() - calls;
        let cell_name = format!("{name}/{alerts}x{connections}");
        let webhooks = count(cell.webhooks);
        figures.add(format!("{cell_name}/cpu_us"), ms(cpu) * 1e3 / webhooks);
        figures.add(
            format!("{cell_name}/per_second"),
            webhooks / cell.elapsed.as_secs_f64(),
        );
        figures.add(format!("{cell_name}/calls"), count(calls) / webhooks);
        for (word, q) in [("p50", 0.5), ("p99", 0.99)] {
            let value = quantile_ms(&cell.latencies, q).context("nothing was sent")?;
            figures.add(format!("{cell_name}/{word}_ms"), value);
        }
    }
    figures.add(
        format!("{name}/peak_bytes"),
        count(usage::memory(target.pid())?.peak),
    );
    Ok(())
}
