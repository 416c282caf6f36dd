//! Real processes, hit at each step of a rollback: kill -9, and SIGSTOP for longer than the lease.
//!
//! Two replicas share a directory; their requests go through proxies that hold the one of the step,
//! so that no step is missed and nothing in production code knows. Gate is slow, late, loses
//! replies and de-duplicates as leakily as the real one. What a round does follows from its number:
//! `BACKSTOP_CHAOS_ROUND=N` repeats one, `BACKSTOP_CHAOS_ROUNDS=N` says how many are played (CI: 40).

mod nodes;
mod plan;
mod round;
mod senders;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};

use self::plan::Plan;
use self::round::{Outcome, play};
use crate::support::tools::in_ci;

/// Rounds at once: they mostly wait, each in a world of its own.
const AT_ONCE: usize = 4;

#[expect(clippy::disallowed_methods, reason = "the test's own knobs")]
fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

fn rounds() -> std::ops::Range<u64> {
    if let Some(round) = number("BACKSTOP_CHAOS_ROUND") {
        return round..round + 1;
    }
    0..number("BACKSTOP_CHAOS_ROUNDS").unwrap_or(if in_ci() { 40 } else { 6 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_or_stopped_where_ever_one_rollback_happens_and_is_reported() {
    let began = Instant::now();
    // Every round is played, and each that broke a promise has told its story.
    let played: Vec<Result<Outcome, u64>> = stream::iter(rounds())
        .map(async |number| {
            let round = AssertUnwindSafe(play(Plan::of(number))).catch_unwind();
            round.await.map_err(|_| number)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let broken: Vec<u64> = played
        .iter()
        .filter_map(|one| one.as_ref().err().copied())
        .collect();
    let played: Vec<Outcome> = played.into_iter().filter_map(Result::ok).collect();
    let sum = |of: fn(&Outcome) -> usize| played.iter().map(of).sum::<usize>();
    println!(
        "{} rounds in {:.0?}: {} kills, {} pauses, {} executions started, {} let in, {} webhooks, {} messages twice",
        played.len(),
        began.elapsed(),
        sum(|one| one.kills as usize),
        sum(|one| one.pauses as usize),
        sum(|one| one.executions),
        played.len(),
        sum(|one| one.sent as usize),
        sum(|one| one.doubles),
    );
    assert!(
        broken.is_empty(),
        "these rounds broke a promise: {broken:?}"
    );
}
