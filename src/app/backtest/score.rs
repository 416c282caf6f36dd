//! How good a policy is, by what people say should have been done.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Would;
use crate::domain::id::Service;

/// What should have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// A rollback.
    Yes,
    /// None.
    No,
}

/// What a person says of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Whose.
    pub service: Service,
    /// From here …
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// … to here.
    #[schemars(with = "String")]
    pub to: Timestamp,
    /// Whether something should have been rolled back in that time.
    pub rollback: Want,
}

/// Counts of labels, and what follows from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// Wanted, and would have been done.
    pub hits: usize,
    /// Wanted, and would not have been done.
    pub missed: Vec<Label>,
    /// Not wanted, and would have been done.
    pub wrong: Vec<Label>,
    /// Not wanted, and would not have been done.
    pub quiet: usize,
    /// Rollbacks in time that no label speaks about.
    pub unlabelled: usize,
    /// Hits among the labels with a rollback; None: there are none.
    pub precision: Option<f64>,
    /// Hits among the labels that want one; None: there are none.
    pub recall: Option<f64>,
}

/// Judges the rollbacks by the labels.
pub(super) fn score(labels: &[Label], would: &[Would]) -> Score {
    let speaks = |label: &Label, one: &Would| {
        label.service == one.service && label.from <= one.at && one.at <= label.to
    };
    let mut score = Score {
        hits: 0,
        missed: Vec::new(),
        wrong: Vec::new(),
        quiet: 0,
        unlabelled: would
            .iter()
            .filter(|one| !labels.iter().any(|label| speaks(label, one)))
            .count(),
        precision: None,
        recall: None,
    };
    for label in labels {
        let done = would.iter().any(|one| speaks(label, one));
        match (label.rollback, done) {
            (Want::Yes, true) => score.hits += 1,
            (Want::Yes, false) => score.missed.push(label.clone()),
            (Want::No, true) => score.wrong.push(label.clone()),
            (Want::No, false) => score.quiet += 1,
        }
    }
    score.precision = share(score.hits, score.wrong.len());
    score.recall = share(score.hits, score.missed.len());
    score
}

#[expect(clippy::cast_precision_loss, reason = "counts of labels are small")]
fn share(hits: usize, others: usize) -> Option<f64> {
    let all = hits + others;
    (all > 0).then(|| hits as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(service: &str, from: i64, rollback: Want) -> Label {
        Label {
            service: service.parse().unwrap(),
            from: Timestamp::from_second(from).unwrap(),
            to: Timestamp::from_second(from + 100).unwrap(),
            rollback,
        }
    }

    fn would(service: &str, at: i64) -> Would {
        Would {
            at: Timestamp::from_second(at).unwrap(),
            service: service.parse().unwrap(),
            env: "prod".parse().unwrap(),
            deployment: "D1".parse().unwrap(),
            release_id: format!("{service}@2").parse().unwrap(),
            target: None,
            scope: "full".to_owned(),
            rule: "r".to_owned(),
            shadow: false,
            alerts: Vec::new(),
            guards: Vec::new(),
            really: None,
        }
    }

    #[test]
    fn precision_and_recall_count_labels() {
        let labels = [
            label("cart", 0, Want::Yes),
            label("cart", 200, Want::Yes),
            label("cart", 400, Want::No),
            label("pay", 0, Want::No),
            label("pay", 200, Want::Yes),
        ];
        let score = score(
            &labels,
            &[
                would("cart", 50),
                would("cart", 60),
                would("cart", 450),
                would("pay", 900),
            ],
        );
        assert_eq!((score.hits, score.quiet, score.unlabelled), (1, 1, 1));
        assert_eq!(score.missed, [labels[1].clone(), labels[4].clone()]);
        assert_eq!(score.wrong, [labels[2].clone()]);
        assert_eq!(
            (score.precision, score.recall),
            (Some(0.5), Some(1.0 / 3.0))
        );
    }

    #[test]
    fn nothing_to_count_is_no_number() {
        let empty = score(&[label("cart", 0, Want::No)], &[]);
        assert_eq!((empty.precision, empty.recall), (None, None));
    }
}
