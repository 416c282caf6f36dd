//! Tables of one guard's pass, hold and deny.

use super::super::*;
use super::world::*;
use crate::domain::decision::Outcome;

/// A change, and what the guard says then: its word and a piece of its words.
pub(super) type Row<'a> = (&'a str, fn(&mut World), &'a str, &'a str);

fn outcome(decision: &Decision, guard: Guard) -> &Outcome {
    let verdict = decision.guards.iter().find(|v| v.guard == guard);
    &verdict
        .unwrap_or_else(|| panic!("{guard:?} was not asked"))
        .outcome
}

pub(super) fn check(guard: Guard, rows: &[Row<'_>]) {
    for (name, change, word, words) in rows {
        let decision = World::new().with(*change).decided();
        let outcome = outcome(&decision, guard);
        assert_eq!(outcome.as_str(), *word, "{name}: {outcome:?}");
        assert!(outcome.reason().contains(words), "{name}: {outcome:?}");
        let verdict = match *word {
            "deny" => "notify",
            "hold" => "hold",
            _ => "rollback_batch",
        };
        assert_eq!(
            decision.verdict.as_str(),
            verdict,
            "{name}: {}",
            decision.why()
        );
        let asked: Vec<Guard> = decision.guards.iter().map(|v| v.guard).collect();
        assert_eq!(asked, Guard::ALL, "{name}: every guard is recorded");
        if *word != "pass" {
            let why = decision.why();
            assert!(why.starts_with(guard.as_str()), "{name}: {why}");
        }
    }
}
