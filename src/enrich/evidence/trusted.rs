//! Which expressions may be asked: the policy rule's own, or those of configured vmalerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Accusation;
use crate::domain::alert::{Alert, Labels};
use crate::domain::id::ReleaseId;
use crate::prometheus::{AlertingRule, RuleGroup};

/// A vmalert's name with its rules, or why it can't be asked.
pub(in crate::enrich) type RuleList = (String, Result<Arc<Vec<RuleGroup>>, String>);

/// One trusted expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trusted {
    pub(super) expr: String,
    /// `policy`, or the vmalert it was read from.
    pub(super) from: String,
    /// Query parameters that belong to it.
    pub(super) params: Vec<(String, String)>,
    /// The release the rule itself says it is about (its labels are not in any series).
    pub(super) release_id: Option<ReleaseId>,
}

/// One thing to verify: it holds when all of `all` hold. More than one only where several rules of
/// one name can't be told apart by the alert's labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) all: Vec<Trusted>,
}

impl Question {
    pub(super) fn of_policy(expr: &str) -> Self {
        Self {
            all: vec![Trusted {
                expr: expr.to_owned(),
                from: "policy".into(),
                params: Vec::new(),
                release_id: None,
            }],
        }
    }
}

/// What the search came to.
#[derive(Debug, PartialEq)]
pub(super) enum Search {
    /// Any of these may hold.
    Found(Vec<Question>),
    /// The lists could be read, and name none.
    Nothing(String),
    /// A list that could name one can't be read.
    Down(String),
}

/// Looks the accusation's alerts up in the rule lists by (`alertgroup`, `alertname`).
pub(super) fn search(accusation: &Accusation<'_>, lists: &[RuleList]) -> Search {
    let mut questions: BTreeMap<(&str, &str), Question> = BTreeMap::new();
    let mut reasons = Vec::new();
    for alert in accusation.alerts {
        let key = (alert.label("alertgroup").unwrap_or(""), alert.name());
        if questions.contains_key(&key) {
            continue;
        }
        match find(alert, lists) {
            Ok(all) => {
                questions.insert(key, Question { all });
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if !questions.is_empty() {
        return Search::Found(questions.into_values().collect());
    }
    let down = |(name, rules): &RuleList| {
        let error = rules.as_ref().err()?;
        Some(format!(
            "vmalert `{name}` can't be asked for its rules: {error}"
        ))
    };
    match lists.iter().find_map(down) {
        Some(reason) => Search::Down(reason),
        None => Search::Nothing(reasons.pop().unwrap_or_else(|| "no alert".into())),
    }
}

/// The rules an alert can come from, the same expression once.
pub(in crate::enrich) fn rules_of<'a>(
    alert: &'a Alert,
    lists: &'a [RuleList],
) -> impl Iterator<Item = (&'a str, &'a RuleGroup, &'a AlertingRule)> {
    let group = alert.label("alertgroup");
    lists
        .iter()
        .filter_map(|(name, rules)| Some((name.as_str(), rules.as_ref().ok()?)))
        .flat_map(|(name, groups)| groups.iter().map(move |one| (name, one)))
        .filter(move |(_, one)| group.is_none_or(|group| one.name == group))
        .flat_map(|(name, one)| one.rules.iter().map(move |rule| (name, one, rule)))
        .filter(|(_, _, rule)| rule.name == alert.name() && fits(&rule.labels, &alert.labels))
}

fn find(alert: &Alert, lists: &[RuleList]) -> Result<Vec<Trusted>, String> {
    let mut found: Vec<Trusted> = Vec::new();
    let mut tenant = None;
    for (source, group, rule) in rules_of(alert, lists) {
        if group.has_headers {
            // Asked without them, the answer would be another tenant's.
            tenant = Some(format!(
                "group `{}` sends headers that are not known here",
                group.name
            ));
            continue;
        }
        let trusted = Trusted {
            expr: rule.query.clone(),
            from: format!("vmalert {source}"),
            params: group
                .params
                .iter()
                .filter(|(name, _)| may_add(name))
                .cloned()
                .collect(),
            release_id: rule
                .labels
                .get("release_id")
                .and_then(|id| ReleaseId::new(id).ok()),
        };
        let same = |one: &Trusted| one.expr == trusted.expr && one.params == trusted.params;
        if !found.iter().any(same) {
            found.push(trusted);
        }
    }
    if found.is_empty() {
        return Err(tenant.unwrap_or_else(|| {
            let group = alert.label("alertgroup").unwrap_or("(any group)");
            format!(
                "no configured vmalert has a rule `{}` in `{group}`",
                alert.name()
            )
        }));
    }
    Ok(found)
}

/// Whether an alert can carry a rule's labels: none of them contradicts. Templates can't be
/// compared, and a label may be missing, because relabelling can drop it on the way.
fn fits(rule: &Labels, alert: &Labels) -> bool {
    rule.iter().all(|(name, value)| {
        value.contains("{{") || alert.get(name).is_none_or(|carried| carried == value)
    })
}

/// Parameters of a group that narrow its queries; what steers time and caches is ours to say.
fn may_add(name: &str) -> bool {
    matches!(
        name,
        "extra_label" | "extra_filters" | "extra_filters[]" | "max_lookback"
    )
}
