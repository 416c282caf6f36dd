//! What a canary rule must not be, as measured: each check names the mistake it was made for.

use super::group::{Group, HEARTBEAT, Rule};
use crate::prometheus::expr::{self, Selector, selectors};

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The mistake.
    pub what: String,
    /// What to write instead.
    pub hint: &'static str,
}

fn fault(what: impl Into<String>, hint: &'static str) -> Fault {
    Fault {
        what: what.into(),
        hint,
    }
}

/// Everything wrong with a group as it stands; its labels say which release it is about.
pub fn group(group: &Group) -> Vec<String> {
    let mut found = Vec::new();
    if group.name == HEARTBEAT || group.rules.is_empty() {
        found.push(format!("the group `{}` holds no rule", group.name));
    }
    let Some(release) = group.labels.get("release_id") else {
        found.push("its labels name no release".to_owned());
        return found;
    };
    for one in &group.rules {
        let faults = rule(one, release);
        found.extend(
            faults
                .into_iter()
                .map(|fault| format!("`{}`: {}", one.alert, fault.what)),
        );
    }
    found
}

/// Everything wrong with a rule about `release`.
pub fn rule(rule: &Rule, release: &str) -> Vec<Fault> {
    let Some(all) = selectors(&rule.expr) else {
        return vec![fault(
            "the expression's strings and brackets do not end",
            "vmalert would refuse it, and every other rule with it",
        )];
    };
    let mut found = scoped(&all, release);
    found.extend(silence(&rule.expr));
    let comparisons = Comparisons::of(&rule.expr);
    found.extend(filled_up(&rule.expr, &all, &comparisons));
    found.extend(quantile(&rule.expr, &comparisons));
    if comparisons.relative && !comparisons.floor {
        found.push(fault(
            "it compares with another series, and with no number beside it",
            "add `and <what is measured> > <number>`: twice nothing is nothing",
        ));
    }
    found
}

/// Every selector names service, env and a release; one at least names the watched one.
fn scoped(all: &[Selector], release: &str) -> Vec<Fault> {
    let mut found = Vec::new();
    for one in all {
        let names = |label: &str| one.matchers.iter().any(|(name, ..)| name == label);
        let missing: Vec<&str> = ["service", "env", "release_id"]
            .into_iter()
            .filter(|label| !names(label))
            .collect();
        if !missing.is_empty() {
            found.push(fault(
                format!(
                    "`{}` is selected without {}",
                    one.metric,
                    missing.join(", ")
                ),
                "write `{${canary}}` or `{${stable}}` behind every metric",
            ));
        }
    }
    if found.is_empty()
        && all
            .iter()
            .all(|one| one.equals("release_id") != Some(release))
    {
        found.push(fault(
            "nothing in it is about the release it watches",
            "select by `${canary}`",
        ));
    }
    found
}

/// `absent(sum(…))` and `absent(x > 1)` return no labels; a plain selector keeps its own.
fn silence(text: &str) -> Option<Fault> {
    let of = ["absent", "absent_over_time"];
    let mut asked = of.iter().flat_map(|function| expr::calls(text, function));
    let is_plain = |inside: &String| !inside.contains('(') && expr::comparisons(inside).is_empty();
    asked.any(|inside| !is_plain(&inside)).then(|| {
        fault(
            "`absent` of anything but a plain selector returns no labels",
            "`absent_over_time(metric{${canary}}[2m])`",
        )
    })
}

/// What is compared with what, on the outside of an expression.
#[derive(Debug, Default)]
struct Comparisons {
    /// With another series.
    relative: bool,
    /// With a number that stands beside it.
    floor: bool,
    /// With a number from one on: a count.
    counted: bool,
}

impl Comparisons {
    fn of(text: &str) -> Self {
        let mut found = Self::default();
        for one in expr::comparisons(text) {
            match one.line {
                None => found.relative = true,
                Some(line) => {
                    found.floor = true;
                    found.counted |= line >= 1.0 && !one.op.bad_is_low();
                }
            }
        }
        found
    }
}

/// A share of some of a metric's series has its numerator filled up and its events counted.
fn filled_up(text: &str, all: &[Selector], comparisons: &Comparisons) -> Vec<Fault> {
    let about = |one: &Selector| {
        let scope = ["service", "env", "release_id", "batch"];
        one.matchers
            .iter()
            .filter(|(name, ..)| !scope.contains(&name.as_str()))
            .count()
    };
    let is_part = |part: &Selector| {
        let whole = |other: &&Selector| other.metric == part.metric && about(other) < about(part);
        all.iter().any(|other| whole(&other))
    };
    let Some(part) = all
        .iter()
        .find(|one| is_part(one))
        .filter(|_| text.contains('/'))
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let packed: String = text.split_whitespace().collect();
    if !packed.contains("or0*") {
        found.push(fault(
            format!(
                "the share of `{}` is nothing, not 0, before the first event",
                part.metric
            ),
            "fill the numerator up: `… or 0 * <all of them>`",
        ));
    }
    if !comparisons.counted {
        found.push(fault(
            "a share without a number of events: one failure out of three is no evidence",
            "add `and <events> >= 10`",
        ));
    }
    found
}

/// A quantile needs `le` and some requests.
fn quantile(text: &str, comparisons: &Comparisons) -> Vec<Fault> {
    let mut found = Vec::new();
    let calls = expr::calls(text, "histogram_quantile");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let has = |inside: &str, word: &str| inside.split(|c| !is_word(c)).any(|one| one == word);
    if calls
        .iter()
        .any(|inside| has(inside, "by") && !has(inside, "le"))
    {
        found.push(fault(
            "`histogram_quantile` over an aggregation without `le`",
            "`sum by (le, …) (rate(…_bucket{…}[5m]))`",
        ));
    }
    if !calls.is_empty() && !comparisons.counted {
        found.push(fault(
            "a quantile without a number of requests: below 200 a p95 is noise",
            "add `and <requests> >= 200`",
        ));
    }
    found
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
