//! What messages are routed and people are called by: severity, service, env, the service's owner,
//! and labels an operator put on Alertmanager's route. Nothing an alert says of itself beside
//! those decides.

use std::collections::BTreeMap;

use super::Config;
use super::matcher::parse_matchers;
use super::place::At;
use super::raw::RawRoute;
use super::validate::Checker;
use crate::domain::alert::Labels;
use crate::domain::id::{ChannelName, Env, Service};
use crate::domain::policy::Matcher;

/// Names that matchers of routes and mentions may use, beside `route_<label>`.
const NAMES: [&str; 4] = ["severity", "service", "env", "owner"];

/// One entry of `routes:`.
#[derive(Debug, Clone)]
pub struct Route {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// Who is told then.
    pub channels: Vec<ChannelName>,
}

/// Owners of services, as `services.<name>.owner` says.
pub type Owners = BTreeMap<Service, String>;

/// What matchers of routes and mentions see of a message.
pub fn traits(
    severity: &str,
    service: Option<&Service>,
    env: Option<&Env>,
    owner: Option<&str>,
    route_labels: &Labels,
) -> Labels {
    let named = [
        ("severity", Some(severity)),
        ("service", service.map(Service::as_str)),
        ("env", env.map(Env::as_str)),
        ("owner", owner),
    ];
    let route = route_labels.iter();
    let route = route.map(|(name, value)| (format!("route_{name}"), value.clone()));
    named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .chain(route)
        .collect()
}

impl Config {
    /// The team a service belongs to.
    pub fn owner(&self, service: &Service) -> Option<&str> {
        self.services.get(service)?.owner.as_deref()
    }

    /// Owners of services, for what outlives a look at the configuration.
    pub fn owners(&self) -> Owners {
        let owner = |(service, config): (&Service, &super::ServiceConfig)| {
            Some((service.clone(), config.owner.clone()?))
        };
        self.services.iter().filter_map(owner).collect()
    }

    /// Who hears of something no rule names channels for: the channels of every route that
    /// matches, else the default ones.
    pub fn routed(&self, traits: &Labels) -> Vec<ChannelName> {
        let mut channels: Vec<ChannelName> = Vec::new();
        for route in &self.routes {
            if route.matchers.iter().all(|matcher| matcher.matches(traits)) {
                let more = route.channels.iter();
                let more = more.filter(|one| !channels.contains(one)).cloned();
                channels.extend(more.collect::<Vec<_>>());
            }
        }
        if channels.is_empty() {
            self.default_channels.clone()
        } else {
            channels
        }
    }
}

/// A channel as `routes:` names it, with its place.
type Named = (At<String>, ChannelName);

/// Reads `routes:`; whether the channels exist is looked at later.
pub(super) fn read(checker: &mut Checker<'_>, raw: &[RawRoute]) -> Vec<(Route, Vec<Named>)> {
    let route = |raw: &RawRoute| {
        let named: Vec<Named> = raw
            .channels
            .iter()
            .filter_map(|at| checker.parse(at).map(|name| (at.clone(), name)))
            .collect();
        let route = Route {
            matchers: matchers(checker, &raw.matchers),
            channels: named.iter().map(|(_, name)| name.clone()).collect(),
        };
        (route, named)
    };
    raw.iter().map(route).collect()
}

/// Reads matchers of a route or a mention.
pub(super) fn matchers(checker: &mut Checker<'_>, raw: &[At<String>]) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    for at in raw {
        let parsed = checker
            .with(at, |text| parse_matchers(text))
            .unwrap_or_default();
        for matcher in &parsed {
            if !NAMES.contains(&matcher.name.as_str()) && !matcher.name.starts_with("route_") {
                let message = format!(
                    "`{}` decides nothing here: severity, service, env, owner, or route_NAME for a label of \
                     Alertmanager's route",
                    matcher.name
                );
                checker.problem(at, message);
            }
        }
        matchers.extend(parsed);
    }
    matchers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_alert_says_of_itself_is_not_among_the_traits() {
        let service = Service::new("checkout").unwrap();
        let route = [("team".to_owned(), "night".to_owned())].into();
        let seen = traits("critical", Some(&service), None, Some("payments"), &route);
        let seen: Vec<(&str, &str)> = seen.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("owner", "payments"),
                ("route_team", "night"),
                ("service", "checkout"),
                ("severity", "critical")
            ]
        );
    }
}
