//! Messages of a delivery, and of what goes on without one: composed once, told to each channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use super::audience::audience_of;
use super::compose;
use super::core::Core;
use super::look::Look;
use super::picture::Shown;
use super::setup::Setup;
use crate::config::Config;
use crate::decide;
use crate::domain::alert::{Alert, AlertGroup, AlertStatus, Labels};
use crate::domain::context::{Context, Resolution};
use crate::domain::decision::Decision;
use crate::domain::id::ChannelName;
use crate::domain::notice::{Message, Notice, NoticeKind};
use crate::ingest::book::Expiry;
use crate::notify::{Broken, Delivery};
use crate::store::keys;

/// Left of the sender's patience when the last message is waited for.
const MARGIN: Duration = Duration::from_millis(300);

/// One message's share of a group: what is accused, what was decided, which alerts.
pub(super) struct Part<'a> {
    pub(super) resolution: Resolution,
    pub(super) decision: Option<Decision>,
    pub(super) channels: Vec<ChannelName>,
    pub(super) alerts: Vec<&'a Alert>,
    pub(super) covers: BTreeSet<String>,
    /// Where its episodes were told first.
    pub(super) thread: String,
}

impl Core {
    pub(super) async fn tell_parts(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        group: &AlertGroup,
        parts: Vec<Part<'_>>,
        deadline: Instant,
    ) -> Vec<Delivery> {
        let told = parts
            .into_iter()
            .map(|part| self.tell_part(setup, group, part, deadline));
        join_all(told).await.into_iter().flatten().collect()
    }

    async fn tell_part(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        group: &AlertGroup,
        part: Part<'_>,
        deadline: Instant,
    ) -> Vec<Delivery> {
        let audience: Vec<&ChannelName> = part
            .channels
            .iter()
            .filter(|name| {
                part.alerts.iter().any(|alert| alert.is_firing())
                    || setup
                        .config
                        .channels
                        .get(*name)
                        .is_some_and(|channel| channel.send_resolved)
            })
            .collect();
        // Most deliveries repeat what was told: no chart is drawn for them.
        let news: Vec<&ChannelName> = audience
            .iter()
            .copied()
            .filter(|name| !setup.notify.knows(name, &part.covers))
            .collect();
        let mut deliveries = vec![Delivery::Deduplicated; audience.len() - news.len()];
        if news.is_empty() || part.covers.is_empty() {
            return deliveries;
        }
        let looks = news
            .iter()
            .filter_map(|name| look_of(setup, name))
            .collect();
        let worded = self.notices_of(setup, group, &part, looks, deadline).await;
        let patience = deadline
            .saturating_duration_since(Instant::now())
            .saturating_sub(MARGIN);
        let sends = news.into_iter().filter_map(|channel| {
            let (notice, png) = worded.get(&look_of(setup, channel)?)?;
            let message = Message {
                channel: channel.clone(),
                notice: notice.clone(),
                covers: part.covers.clone(),
            };
            Some(setup.notify.tell(message, png.clone(), patience))
        });
        deliveries.extend(join_all(sends).await);
        deliveries
    }

    /// The notice of a part, with the chart as each of `looks` wants it.
    async fn notices_of(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        group: &AlertGroup,
        part: &Part<'_>,
        looks: BTreeSet<Look>,
        deadline: Instant,
    ) -> BTreeMap<Look, (Notice, Option<Bytes>)> {
        let now = self.ground.clock.now();
        let half = deadline.saturating_duration_since(Instant::now()) / 2;
        let patience = setup.config.timing.chart_deadline.min(half);
        let shown = match part.alerts.first() {
            Some(first) => {
                let context = part.resolution.context();
                self.picture(setup, first, context, looks, patience).await
            }
            None => looks
                .into_iter()
                .map(|look| (look, Shown::default()))
                .collect(),
        };
        shown
            .into_iter()
            .map(|(look, shown)| (look, notice_of(&setup.config, group, part, shown, now)))
            .collect()
    }

    /// An episode ended because nobody vouched for it any more: people who heard of it hear that.
    pub(super) async fn tell_expiry(&self, expiry: Expiry) {
        let setup = self.setup().clone();
        let now = self.ground.clock.now();
        let mut alert = Alert::clone(&expiry.last.alert);
        alert.status = AlertStatus::Resolved;
        let view = self.catalog.view();
        let resolution = crate::enrich::ladder::resolve(&alert, &view, &setup.config.services);
        let mut notice = Notice::blank(NoticeKind::Alert, &expiry.episode.to_string(), "", now);
        compose::with_alerts(&mut notice, [&alert]);
        compose::with_resolution(&mut notice, &resolution, now);
        notice.chart_missing = Some("the sender went silent".to_owned());
        let channels: Vec<ChannelName> =
            channels_for(&setup.config, &alert, &resolution, &Labels::new())
                .into_iter()
                .filter(|name| {
                    setup
                        .config
                        .channels
                        .get(name)
                        .is_some_and(|channel| channel.send_resolved)
                })
                .collect();
        self.tell_all(&setup, &channels, notice, &expiry.fact).await;
    }

    /// A channel refuses for good, or its vendor shut it for minutes: people hear of it through the
    /// others, once a day, or once for each time it is shut.
    pub(super) async fn tell_broken(&self, broken: Broken) {
        let setup = self.setup().clone();
        let now = self.ground.clock.now();
        let thread = format!("backstop/channel/{}", broken.channel);
        let mut notice = Notice::blank(
            NoticeKind::OwnTrouble,
            &thread,
            match broken.until {
                Some(_) => "a vendor shut a channel for minutes",
                None => "a channel refuses messages",
            },
            now,
        );
        "critical".clone_into(&mut notice.severity);
        let Broken {
            channel,
            code,
            detail,
            fix,
            until,
        } = &broken;
        let mut said = format!("channel `{channel}` answers {code}: {detail}");
        if let Some(fix) = fix {
            said = format!("{said}. What to do: {fix}");
        }
        let (said, times) = match until {
            Some(until) => {
                let end = until.strftime("%H:%M:%S UTC");
                let said = format!("{said}; it gets nothing until {end}, and then all it is owed");
                (said, until.to_string())
            }
            None => (said, keys::day(now)),
        };
        notice.context_missing = Some(said);
        let fact = format!("{thread}/{code}/{times}");
        let default = setup.config.default_channels.iter();
        let others = default.chain(setup.notify.channels());
        for other in others.filter(|name| **name != broken.channel) {
            let other = std::slice::from_ref(other);
            let told = self.tell_all(&setup, other, notice.clone(), &fact).await;
            // One that hears of it is enough; one that only may is not.
            let heard =
                |told: &Delivery| matches!(told, Delivery::Delivered | Delivery::Deduplicated);
            if told.iter().any(heard) {
                return;
            }
        }
    }

    /// Tells a notice to channels; the fact's name keeps it from being told twice.
    pub(super) async fn tell_all(
        &self,
        setup: &Setup,
        channels: &[ChannelName],
        notice: Notice,
        fact: &str,
    ) -> Vec<Delivery> {
        let sends = channels.iter().map(|channel| {
            let message = Message {
                channel: channel.clone(),
                notice: notice.clone(),
                covers: [fact.to_owned()].into(),
            };
            setup
                .notify
                .tell(message, None, setup.config.timing.webhook_deadline)
        });
        join_all(sends).await
    }
}

/// How a channel wants its charts; None: there is no such channel.
fn look_of(setup: &Setup, name: &ChannelName) -> Option<Look> {
    setup.config.channels.get(name).map(Look::of)
}

/// The facts of a part's message, and its chart's bytes.
pub(super) fn notice_of(
    config: &Config,
    group: &AlertGroup,
    part: &Part<'_>,
    shown: Shown,
    now: Timestamp,
) -> (Notice, Option<Bytes>) {
    let mut notice = Notice::blank(NoticeKind::Alert, &part.thread, "", now);
    compose::with_alerts(&mut notice, part.alerts.iter().copied());
    compose::with_resolution(&mut notice, &part.resolution, now);
    notice.truncated = group.truncated;
    notice.route_labels.clone_from(&group.route_labels);
    notice.metric = shown.metric;
    notice.chart = shown.chart;
    notice.chart_missing = shown.missing;
    if let Some(decision) = &part.decision {
        compose::with_decision(&mut notice, decision);
    }
    notice.links = compose::links(config, notice.incident.as_ref(), None);
    (notice, shown.png)
}

/// Who was told that this alert fires, and so hears that it ended.
pub(super) fn channels_for(
    config: &Config,
    alert: &Alert,
    resolution: &Resolution,
    route_labels: &Labels,
) -> Vec<ChannelName> {
    let policy = resolution
        .service()
        .and_then(|service| decide::policy_for(&config.policies, service));
    let phase = resolution
        .context()
        .map(|context: &Context| context.deployment.phase(alert.starts_at));
    let rule = policy.and_then(|policy| decide::select_rule(policy, &alert.labels, phase));
    let alerts = std::iter::once(alert);
    audience_of(config, rule, resolution, alerts, route_labels)
}
