//! A vmalert rule group, and the file that holds them.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The group that is always there: its evaluations show that the set is loaded, and a set without
/// it is not ours.
pub const HEARTBEAT: &str = "backstop-canary";

/// A rule group in the words of vmalert; what 1.79 does not know is left out unless it is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Its name; alerts carry it as `alertgroup`.
    pub name: String,
    /// How often it is evaluated, such as `5s`.
    pub interval: String,
    /// How far in the past it is evaluated; only newer vmalerts know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_delay: Option<String>,
    /// Query parameters of its expressions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Vec<String>>,
    /// Labels on every alert of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// An alerting rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Its name; alerts carry it as `alertname`.
    pub alert: String,
    /// Its expression.
    pub expr: String,
    /// How long it must hold, such as `15s`.
    #[serde(rename = "for")]
    pub for_: String,
    /// Labels on its alerts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Text for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct File<'a> {
    groups: Vec<&'a Group>,
}

/// The heartbeat: evaluated as often as the rest, and never true.
fn heartbeat(interval: Duration) -> Group {
    Group {
        name: HEARTBEAT.to_owned(),
        interval: duration(interval),
        eval_delay: None,
        params: BTreeMap::new(),
        labels: BTreeMap::new(),
        rules: vec![Rule {
            alert: "BackstopCanaryHeartbeat".to_owned(),
            expr: "vector(0) > 0".to_owned(),
            for_: duration(Duration::ZERO),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }],
    }
}

/// The rule file: the heartbeat, then `groups` by name, one of each name. The same groups give the
/// same bytes, whatever their order.
///
/// # Errors
/// When they can't be written as YAML.
pub fn file(groups: &[Group], interval: Duration) -> Result<String, serde_saphyr::ser::Error> {
    let by_name: BTreeMap<&str, &Group> = groups
        .iter()
        .map(|group| (group.name.as_str(), group))
        .collect();
    let heartbeat = heartbeat(interval);
    let groups = std::iter::once(&heartbeat).chain(by_name.into_values());
    serde_saphyr::to_string(&File {
        groups: groups.collect(),
    })
}

/// Whether `text` is a rule file of ours: it holds the heartbeat. Says how many other groups.
///
/// # Errors
/// Why it must not be loaded, in words.
pub fn groups_in(text: &str) -> Result<usize, String> {
    #[derive(Deserialize)]
    struct Whole {
        groups: Vec<Group>,
    }
    let file: Whole = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if file.groups.iter().all(|group| group.name != HEARTBEAT) {
        return Err(format!("the group `{HEARTBEAT}` is missing"));
    }
    Ok(file.groups.len() - 1)
}

/// A duration as both vmalert and Prometheus read it; never two units.
pub fn duration(of: Duration) -> String {
    match of.subsec_millis() {
        0 => format!("{}s", of.as_secs()),
        _ => format!("{}ms", of.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Group {
        Group {
            labels: BTreeMap::from([("batch".to_owned(), "1".to_owned())]),
            rules: vec![Rule {
                alert: "A".to_owned(),
                expr: "a{b=\"1\"} > 2\n  and c: > 1".to_owned(),
                for_: "90s".to_owned(),
                labels: BTreeMap::new(),
                annotations: BTreeMap::from([("s".to_owned(), "{{ $value }}: x".to_owned())]),
            }],
            ..heartbeat(Duration::from_secs(5))
        }
        .named(name)
    }

    impl Group {
        fn named(self, name: &str) -> Self {
            Self {
                name: name.to_owned(),
                ..self
            }
        }
    }

    #[test]
    fn a_file_is_never_empty_and_its_bytes_do_not_depend_on_the_order() {
        let interval = Duration::from_secs(5);
        let text = file(&[group("b"), group("a")], interval).unwrap();
        assert_eq!(text, file(&[group("a"), group("b")], interval).unwrap());
        assert_eq!(groups_in(&text), Ok(2));
        assert!(text.contains("batch: \"1\""), "{text}");
        let whole: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            whole["groups"][1],
            serde_json::to_value(group("a")).unwrap()
        );

        assert_eq!(groups_in(&file(&[], interval).unwrap()), Ok(0));
        assert!(groups_in("groups: []").is_err());
        assert!(groups_in("").is_err());
    }

    #[test]
    fn durations_have_one_unit() {
        assert_eq!(duration(Duration::from_secs(90)), "90s");
        assert_eq!(duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(duration(Duration::ZERO), "0s");
    }
}
