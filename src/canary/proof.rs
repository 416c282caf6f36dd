//! What a vmalert says it evaluates, compared with what it should.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::armed::{Armed, Place};
use super::group::Group;
use crate::domain::clock;
use crate::prometheus::{AlertingRule, RuleGroup};

/// A vmalert that restarts is back before; people need not hear of it.
pub const LAPSE: Duration = Duration::from_mins(1);

/// What a vmalert does with a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It can't be asked.
    Away(String),
    /// It has not loaded the group.
    Missing,
    /// It has loaded another version of it: which rule differs.
    Other(String),
    /// A rule was not evaluated yet.
    Waiting(String),
    /// A rule's evaluation failed, and how.
    Failing(String),
    /// All rules were evaluated without an error, the least recent one then.
    Evaluated(Timestamp),
}

/// Compares a rule list with the group that must be in it. Evaluations before `since` are those of
/// an earlier group of that name.
pub fn look(group: &Group, since: Timestamp, list: &[RuleGroup]) -> Sight {
    let Some(found) = list.iter().find(|one| one.name == group.name) else {
        return Sight::Missing;
    };
    let mut oldest: Option<Timestamp> = None;
    for rule in &group.rules {
        let same = |one: &&AlertingRule| one.name == rule.alert && is_same(&one.query, &rule.expr);
        let Some(loaded) = found.rules.iter().find(same) else {
            return Sight::Other(rule.alert.clone());
        };
        if let Some(error) = &loaded.last_error {
            return Sight::Failing(format!("{}: {error}", rule.alert));
        }
        let at = loaded.last_evaluation.as_deref();
        let at = at.and_then(|text| text.parse::<Timestamp>().ok());
        match at.filter(|at| *at >= since) {
            Some(at) if loaded.healthy != Some(false) => {
                oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
            }
            _ => return Sight::Waiting(rule.alert.clone()),
        }
    }
    if found.rules.len() != group.rules.len() {
        return Sight::Other("it has more rules".to_owned());
    }
    oldest.map_or(Sight::Missing, Sight::Evaluated)
}

/// vmalert may write an expression on one line.
fn is_same(loaded: &str, ours: &str) -> bool {
    loaded.split_whitespace().eq(ours.split_whitespace())
}

impl Sight {
    /// Why the rules do not watch; None where they were evaluated.
    fn complaint(&self) -> Option<String> {
        Some(match self {
            Self::Evaluated(_) => return None,
            Self::Away(why) => format!("it can't be asked: {why}"),
            Self::Missing => "the rules are not loaded".to_owned(),
            Self::Other(rule) => format!("other rules are loaded ({rule})"),
            Self::Waiting(rule) => format!("`{rule}` was not evaluated yet"),
            Self::Failing(error) => format!("an evaluation fails: {error}"),
        })
    }
}

/// What became of rules that had been proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// They have not been evaluated for [`LAPSE`], and why.
    Lost(String),
    /// They are again, after so long.
    Back(Duration),
}

/// A batch whose proven rules are not evaluated.
#[derive(Debug)]
struct Lapse {
    since: Timestamp,
    why: String,
    told: bool,
}

/// What this replica saw before: a second evaluation is one after the first it saw.
#[derive(Debug, Default)]
pub struct Watch {
    firsts: Mutex<BTreeMap<(Place, u64, String), Timestamp>>,
    lapses: Mutex<BTreeMap<(Place, u64), Lapse>>,
}

impl Watch {
    /// Takes in one look at every canary vmalert; Ok when each has evaluated the rules twice.
    ///
    /// # Errors
    /// In words, what each of the others waits for.
    pub fn judge(&self, armed: &Armed, sights: &[(String, Sight)]) -> Result<Vec<String>, String> {
        let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waits = Vec::new();
        let mut by = Vec::new();
        for (name, sight) in sights {
            let key = (armed.place.clone(), armed.seq, name.clone());
            let why = match sight {
                Sight::Evaluated(at) => {
                    let first = *firsts.entry(key.clone()).or_insert(*at);
                    if *at > first {
                        by.push(name.clone());
                        continue;
                    }
                    "the rules were evaluated once".to_owned()
                }
                other => other.complaint().unwrap_or_default(),
            };
            if !matches!(sight, Sight::Evaluated(_) | Sight::Away(_)) {
                firsts.remove(&key);
            }
            waits.push(format!("vmalert {name}: {why}"));
        }
        if by.is_empty() && waits.is_empty() {
            return Err("no vmalert is configured with `canary: true`".to_owned());
        }
        if waits.is_empty() {
            Ok(by)
        } else {
            Err(waits.join("; "))
        }
    }

    /// Forgets all batches but these.
    pub fn keep(&self, wanted: impl Fn(&Place) -> bool) {
        let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
        firsts.retain(|(place, ..), _| wanted(place));
        self.lapses().retain(|(place, _), _| wanted(place));
    }

    /// Takes in one more look at rules that were proven; what is to be told of it, once. An
    /// evaluation older than `fresh` is none.
    pub fn again(
        &self,
        armed: &Armed,
        sights: &[(String, Sight)],
        now: Timestamp,
        fresh: Duration,
    ) -> Option<Turn> {
        let complaint = |(name, sight): &(String, Sight)| {
            let why = match sight {
                Sight::Evaluated(at) if clock::since(now, *at) > fresh => {
                    format!("the last evaluation was at {at:.0}")
                }
                other => other.complaint()?,
            };
            Some(format!("vmalert {name}: {why}"))
        };
        let why: Vec<String> = sights.iter().filter_map(complaint).collect();
        let mut lapses = self.lapses();
        let key = (armed.place.clone(), armed.seq);
        if why.is_empty() {
            let lapse = lapses.remove(&key).filter(|lapse| lapse.told)?;
            return Some(Turn::Back(clock::since(now, lapse.since)));
        }
        let lapse = lapses.entry(key).or_insert_with(|| Lapse {
            since: now,
            why: String::new(),
            told: false,
        });
        lapse.why = why.join("; ");
        let is_due = !lapse.told && clock::since(now, lapse.since) >= LAPSE;
        lapse.told |= is_due;
        is_due.then(|| Turn::Lost(lapse.why.clone()))
    }

    /// Since when proven rules are not evaluated, and why; None while they are, as far as this
    /// replica saw.
    pub fn lapse(&self, armed: &Armed) -> Option<(Timestamp, String)> {
        let lapses = self.lapses();
        let lapse = lapses.get(&(armed.place.clone(), armed.seq))?;
        Some((lapse.since, lapse.why.clone()))
    }

    fn lapses(&self) -> MutexGuard<'_, BTreeMap<(Place, u64), Lapse>> {
        self.lapses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
