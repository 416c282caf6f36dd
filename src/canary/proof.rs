//! What a vmalert says it evaluates, compared with what it should.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::armed::{Armed, Place};
use super::group::Group;
use crate::prometheus::{AlertingRule, RuleGroup};

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

/// What this replica saw before: a second evaluation is one after the first it saw.
#[derive(Debug, Default)]
pub struct Watch(Mutex<BTreeMap<(Place, u64, String), Timestamp>>);

impl Watch {
    /// Takes in one look at every canary vmalert; Ok when each has evaluated the rules twice.
    ///
    /// # Errors
    /// In words, what each of the others waits for.
    pub fn judge(&self, armed: &Armed, sights: &[(String, Sight)]) -> Result<Vec<String>, String> {
        let mut firsts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
                Sight::Away(why) => format!("it can't be asked: {why}"),
                Sight::Missing => "the rules are not loaded".to_owned(),
                Sight::Other(rule) => format!("other rules are loaded ({rule})"),
                Sight::Waiting(rule) => format!("`{rule}` was not evaluated yet"),
                Sight::Failing(error) => format!("an evaluation fails: {error}"),
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
        let mut firsts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        firsts.retain(|(place, ..), _| wanted(place));
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
