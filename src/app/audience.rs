//! Who hears of alerts: the channels their rule names, else those of the routes.

use crate::config::{Config, route};
use crate::domain::alert::{Alert, Labels};
use crate::domain::context::Resolution;
use crate::domain::id::ChannelName;
use crate::domain::policy::Rule;

/// Who hears of `alerts`, which accuse the same; `route_labels` are those of their group. Each
/// alert is routed by its own severity, so that whoever hears of its end heard of it.
pub(crate) fn audience_of<'a>(
    config: &Config,
    rule: Option<&Rule>,
    resolution: &Resolution,
    alerts: impl Iterator<Item = &'a Alert>,
    route_labels: &Labels,
) -> Vec<ChannelName> {
    if let Some(rule) = rule.filter(|rule| !rule.channels.is_empty()) {
        return rule.channels.clone();
    }
    let (service, env) = (resolution.service(), resolution.env());
    let owner = service.and_then(|service| config.owner(service));
    let mut channels = Vec::new();
    for alert in alerts {
        let traits = route::traits(alert.severity(), service, env, owner, route_labels);
        for channel in config.routed(&traits) {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
    }
    channels
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::config::load::{Secrets, load};
    use crate::domain::alert::{AlertStatus, Fingerprint, Source};
    use crate::domain::id::Service;

    fn alert(severity: &str) -> Alert {
        let labels: Labels = [("alertname", "A"), ("severity", severity)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        Alert {
            fingerprint: Fingerprint::of(&labels),
            labels,
            status: AlertStatus::Firing,
            annotations: Labels::new(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: None,
            source: Source::Alertmanager,
        }
    }

    #[test]
    fn whoever_hears_that_an_alert_ended_heard_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        for name in ["all", "night"] {
            let text = format!("name: {name}\nwecom: {{key: {{env: K}}}}\n");
            write(&format!("channels/{name}.yaml"), &text);
        }
        let main = "default_channels: [all]\nroutes: [{matchers: [severity=critical], channels: [night]}]\n";
        let config = load(Some(&write("backstop.yaml", main)), Secrets::Unread).unwrap();
        let resolution = Resolution::Unavailable {
            service: Service::new("checkout").ok(),
            env: None,
            reason: String::new(),
        };
        let heard = |alerts: &[Alert]| {
            audience_of(&config, None, &resolution, alerts.iter(), &Labels::new())
        };
        let (bad, mild) = (alert("critical"), alert("warning"));
        let both = heard(&[bad.clone(), mild.clone()]);
        for alert in [bad, mild] {
            let hears_the_end = heard(&[alert]);
            assert_eq!(hears_the_end.len(), 1);
            assert!(both.contains(&hears_the_end[0]), "{both:?}");
        }
    }
}
