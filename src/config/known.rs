//! What a configuration knows by name: lanes, and who hears.

use std::collections::BTreeSet;

use super::Config;
use crate::domain::alert::Alert;
use crate::domain::id::{ChannelName, Env, LaneName, Service};

impl Config {
    /// Who hears of an accusation: the rule's channels, else the default ones.
    pub fn audience(&self, rule_channels: &[ChannelName]) -> Vec<ChannelName> {
        if rule_channels.is_empty() {
            self.default_channels.clone()
        } else {
            rule_channels.to_vec()
        }
    }

    /// Service and env of a lane of ours.
    pub fn lane_parts(&self, lane: &LaneName) -> Option<(Service, Env)> {
        self.known_lanes()
            .find(|(service, env)| LaneName::of(service, env).as_ref() == Ok(lane))
    }

    /// Every service and env that a deploy pipeline names.
    pub fn known_lanes(&self) -> impl Iterator<Item = (Service, Env)> {
        self.services.iter().flat_map(|(service, config)| {
            let mut envs: Vec<_> = config
                .deploy
                .iter()
                .map(|pipeline| pipeline.env.clone())
                .collect();
            envs.sort();
            envs.dedup();
            envs.into_iter().map(|env| (service.clone(), env))
        })
    }

    /// Lanes of the services that alerts name in a label, as `<service>` or `<service>@<version>`.
    pub fn lanes_named_in(&self, alerts: &[Alert]) -> BTreeSet<LaneName> {
        let named: BTreeSet<&str> = alerts
            .iter()
            .flat_map(|alert| alert.labels.values())
            .map(|value| {
                value
                    .split_once('@')
                    .map_or(value.as_str(), |(service, _)| service)
            })
            .collect();
        self.known_lanes()
            .filter(|(service, _)| named.contains(service.as_str()))
            .filter_map(|(service, env)| LaneName::of(&service, &env).ok())
            .collect()
    }
}
