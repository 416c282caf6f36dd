//! Says whether an alert would get through, before one has to.
//!
//! Every few minutes a synthetic alert goes into Alertmanager and must come back through our own
//! door to a decision in shadow ([`subject`]). Which did is known to all replicas ([`journal`]);
//! when none has for too long, people are paged, once, and hear when it is over. While all is well
//! nobody hears anything.

mod journal;
mod subject;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::journal::{Back, Event, Journal, Sender};
use super::core::Core;
use super::setup::Setup;
use crate::config::{SELF_TEST_SERVICE, SelfTest};
use crate::domain::alert::{Alert, AlertGroup, AlertStatus, Labels};
use crate::domain::clock;
use crate::domain::id::ChannelName;
use crate::domain::notice::{Notice, NoticeKind};
use crate::http::CallErrorKind;
use crate::notify::Delivery;
use crate::prometheus::PostedAlert;
use crate::store::Store;
use crate::telemetry::metrics::SelfTestFailure;

/// The label that makes an alert a self-test, with its sender's name.
const LABEL: &str = "backstop_self_test";
/// The label that makes each one new to Alertmanager.
const ROUND: &str = "self_test_round";
/// Bounds of how often the journal is looked at.
const LOOKS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(15);

/// What a gateway keeps of the self-test.
#[derive(Debug)]
pub(super) struct SelfTests {
    journal: Journal,
    /// The newest round of each sender that is in hand or done here.
    rounds: Mutex<BTreeMap<Sender, String>>,
    /// Refused requests, as counted at the last look.
    refused: AtomicU64,
}

impl SelfTests {
    pub(super) fn new(store: Store) -> Self {
        Self {
            journal: Journal::new(store),
            rounds: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether this copy is the first of its round here.
    fn is_new(&self, from: Sender, round: &str) -> bool {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.insert(from, round.to_owned()).as_deref() != Some(round)
    }
}

/// Whose self-test an alert is; None for every other alert.
fn sender_of(alert: &Alert) -> Option<Sender> {
    if alert.label("service") != Some(SELF_TEST_SERVICE) {
        return None;
    }
    match alert.label(LABEL)? {
        "gateway" => Some(Sender::Gateway),
        "vmalert" => Some(Sender::Vmalert),
        _ => None,
    }
}

/// Takes the self-test's alerts out of a delivery, each in its group.
pub(super) fn split_off(groups: Vec<AlertGroup>) -> (Vec<AlertGroup>, Vec<AlertGroup>) {
    let mut tests = Vec::new();
    let mut others = Vec::new();
    for mut group in groups {
        let (test, other): (Vec<Alert>, Vec<Alert>) = group
            .alerts
            .drain(..)
            .partition(|alert| sender_of(alert).is_some());
        // A group that never had an alert is still somebody's delivery.
        let stays = !other.is_empty() || test.is_empty();
        if !test.is_empty() {
            tests.push(AlertGroup {
                alerts: test,
                ..group.clone()
            });
        }
        if stays {
            group.alerts = other;
            others.push(group);
        }
    }
    (tests, others)
}

impl Core {
    /// Judges the self-test's alerts of a group, each round once; their sender need not wait.
    pub(super) fn take_self_tests(self: &Arc<Self>, group: AlertGroup) {
        let core = Arc::clone(self);
        self.ground.tasks.spawn(async move {
            for alert in group.alerts.iter().filter(|alert| alert.is_firing()) {
                let round = alert.label(ROUND).unwrap_or_default();
                if let Some(from) = sender_of(alert)
                    && core.self_tests.is_new(from, round)
                {
                    core.take_self_test(from, &group, alert).await;
                }
            }
        });
    }

    async fn take_self_test(&self, from: Sender, group: &AlertGroup, alert: &Alert) {
        let setup = self.setup().clone();
        let judged = self.judge_self_test(&setup, group, alert).await;
        let at = self.ground.clock.now();
        let event = match judged {
            Ok(()) => Event::Passed {
                at,
                from,
                by: self.ground.me.clone(),
            },
            Err(unfit) => {
                self.numbers
                    .self_test_failed(from.as_str(), SelfTestFailure::NotDecided);
                let why = format!("it reaches the gateway, and comes to no decision: {unfit}");
                tracing::warn!("a self-test came to no decision: {unfit}");
                Event::Failed { at, from, why }
            }
        };
        let back = self.self_tests.journal.add(at, event).await;
        self.show_self_test(from);
        if let Some(back) = back {
            self.tell_back(&setup, back).await;
        }
    }

    /// Posts, tails the journal and pages, until `stop`.
    pub(super) async fn keep_self_testing(&self, stop: CancellationToken) {
        let mut posted = None;
        loop {
            let setup = self.setup().clone();
            let config = setup.config.self_test.as_ref();
            let every = config.map_or(*LOOKS.end(), |config| config.every);
            if let Some(config) = config {
                let round = round_of(self.ground.clock.now(), config.every);
                self.look_at_self_tests(&setup, config).await;
                if posted.replace(round) != Some(round) {
                    self.post_self_test(&setup, config, round).await;
                }
            }
            let look = (every / 20).clamp(*LOOKS.start(), *LOOKS.end());
            let slept = stop.run_until_cancelled(tokio::time::sleep(look)).await;
            if slept.is_none() {
                return;
            }
        }
    }

    /// Gives Alertmanager the alert of a round, unless another replica does.
    async fn post_self_test(&self, setup: &Setup, config: &SelfTest, round: Timestamp) {
        let now = self.ground.clock.now();
        let journal = &self.self_tests.journal;
        match journal.take_round(round, &self.ground.me, now).await {
            Ok(true) => {}
            Ok(false) => return,
            // Without the store everybody posts: one too many is better than none.
            Err(error) => tracing::debug!("who posts the self-test can't be told: {error}"),
        }
        let Some(alertmanager) = &setup.alertmanager else {
            return;
        };
        let alert = PostedAlert {
            labels: labels(round),
            annotations: Labels::from([(
                "summary".to_owned(),
                "Backstop's self-test: no person need look".to_owned(),
            )]),
            starts_at: now,
            ends_at: clock::after(now, config.every),
        };
        if let Err(error) = alertmanager.post(&alert).await {
            let unreachable = matches!(
                error.kind,
                CallErrorKind::Network | CallErrorKind::Timeout | CallErrorKind::Server
            );
            let (failure, words) = if unreachable {
                (SelfTestFailure::Unreachable, "can't be reached")
            } else {
                (SelfTestFailure::Refused, "does not take the alert")
            };
            let from = Sender::Gateway;
            self.numbers.self_test_failed(from.as_str(), failure);
            tracing::warn!("alertmanager {words} for the self-test: {error}");
            let why = format!("Alertmanager {words}: {error}");
            let event = Event::Failed { at: now, from, why };
            journal.add(now, event).await;
        }
    }

    /// Takes in what other replicas know, and pages when nothing has come through for too long.
    async fn look_at_self_tests(&self, setup: &Setup, config: &SelfTest) {
        let now = self.ground.clock.now();
        match self.self_tests.journal.refresh(now).await {
            Ok(back) => {
                for back in back {
                    self.tell_back(setup, back).await;
                }
            }
            Err(error) => tracing::debug!("self-tests of other replicas can't be read: {error}"),
        }
        self.look_for_refusals(config, now).await;
        let mut senders = vec![Sender::Gateway];
        senders.extend(config.vmalert.then_some(Sender::Vmalert));
        for from in senders {
            let since = self.show_self_test(from);
            let standing = self.self_tests.journal.standing(from);
            if clock::since(now, since) < config.missing_after {
                continue;
            }
            if standing.paged.is_none() {
                self.page_self_test(setup, config, from, since).await;
            }
            // vmalert's way goes through Alertmanager, too: one page is enough.
            return;
        }
    }

    /// Tells the other replicas that this one refuses requests while an alert is awaited: the load
    /// balancer chose it, and whoever pages may be another one.
    async fn look_for_refusals(&self, config: &SelfTest, now: Timestamp) {
        let from = Sender::Gateway;
        let refused = self.numbers.auth_failures();
        let before = self.self_tests.refused.swap(refused, Ordering::Relaxed);
        let awaited = clock::since(now, self.show_self_test(from)) > config.every;
        if awaited && refused > before {
            let why = "Alertmanager has it, and requests are refused here for who sent them: has \
                       Alertmanager's receiver the right token?"
                .to_owned();
            let event = Event::Failed { at: now, from, why };
            self.self_tests.journal.add(now, event).await;
        }
    }

    /// Shows since when a sender's alerts have not come through, or the start when none did yet.
    fn show_self_test(&self, from: Sender) -> Timestamp {
        let passed = self.self_tests.journal.standing(from).passed;
        let since = passed.map_or(self.started_at, |passed| passed.max(self.started_at));
        let shown = passed.unwrap_or(self.started_at);
        self.numbers
            .self_test_passed(from.as_str(), shown.as_second());
        since
    }

    async fn page_self_test(
        &self,
        setup: &Setup,
        config: &SelfTest,
        from: Sender,
        since: Timestamp,
    ) {
        let now = self.ground.clock.now();
        let why = self.why_missing(setup, from).await;
        let silent =
            humantime::format_duration(Duration::from_secs(clock::since(now, since).as_secs()));
        let words = format!(
            "no self-test alert of {} has come through for {silent}: {why}. Real alerts may not \
             come through either",
            from.as_str()
        );
        tracing::error!("{words}");
        // Replicas that never saw one started at different times: they agree on a window.
        let standing = self.self_tests.journal.standing(from);
        let name = standing
            .passed
            .unwrap_or_else(|| round_of(now, config.missing_after));
        let fact = format!("{}/missing/{}", thread(from), name.as_millisecond());
        let told = self
            .tell_self_test(setup, from, AlertStatus::Firing, &words, &fact)
            .await;
        let lost = told.iter().any(|told| matches!(told, Delivery::Lost(_)));
        if lost && !told.iter().any(is_safe) {
            // Nobody knows: the next look tries again.
            return;
        }
        let event = Event::Paged { at: now, from };
        self.self_tests.journal.add(now, event).await;
    }

    async fn tell_back(&self, setup: &Setup, back: Back) {
        let from = back.from;
        let words = format!("self-test alerts of {} come through again", from.as_str());
        tracing::info!("{words}");
        let fact = format!("{}/back/{}", thread(from), back.paged.as_millisecond());
        self.tell_self_test(setup, from, AlertStatus::Resolved, &words, &fact)
            .await;
    }

    async fn tell_self_test(
        &self,
        setup: &Setup,
        from: Sender,
        status: AlertStatus,
        words: &str,
        fact: &str,
    ) -> Vec<Delivery> {
        let subject = match status {
            AlertStatus::Firing => "the self-test does not come through",
            AlertStatus::Resolved => "the self-test comes through again",
        };
        let now = self.ground.clock.now();
        let mut notice = Notice::blank(NoticeKind::OwnTrouble, &thread(from), subject, now);
        notice.status = status;
        "critical".clone_into(&mut notice.severity);
        notice.context_missing = Some(words.to_owned());
        notice.links = Self::links(setup, None, None);
        let config = setup.config.self_test.as_ref();
        let own: &[ChannelName] = config.map_or(&[], |config| &config.channels);
        let channels = setup.config.audience(own);
        self.tell_all(setup, &channels, notice, fact).await
    }

    /// Where the way is broken, as far as it can be told from here.
    async fn why_missing(&self, setup: &Setup, from: Sender) -> String {
        let standing = self.self_tests.journal.standing(from);
        if let Some(why) = standing.failed {
            return why;
        }
        match from {
            Sender::Gateway => self.alertmanagers_word(setup).await,
            Sender::Vmalert => {
                let down = setup.prober.unreachable_rule_lists().await;
                if down.is_empty() {
                    "the gateway's own come through, so it is vmalert: does it evaluate \
                     self-test.yml, and send to Alertmanager?"
                        .to_owned()
                } else {
                    format!("vmalert can't be reached: {}", down.join("; "))
                }
            }
        }
    }

    /// What Alertmanager itself says of the alerts it was given.
    async fn alertmanagers_word(&self, setup: &Setup) -> String {
        let Some(alertmanager) = &setup.alertmanager else {
            return "none is sent".to_owned();
        };
        let known = match alertmanager.alerts(LABEL, Sender::Gateway.as_str()).await {
            Ok(known) => known,
            Err(error) => return format!("Alertmanager can't be asked what became of it: {error}"),
        };
        let Some(newest) = known.last() else {
            return "Alertmanager took it and does not know it any more".to_owned();
        };
        if let Some(silence) = newest.status.silenced_by.first() {
            return format!("silence {silence} in Alertmanager covers it");
        }
        if let Some(by) = newest.status.inhibited_by.first() {
            return format!("alert {by} in Alertmanager inhibits it");
        }
        let receivers = newest.receivers.iter().map(|one| one.name.as_str());
        let receivers = receivers.collect::<Vec<_>>().join(", ");
        format!(
            "Alertmanager has it for receiver {receivers}, and nothing arrives: is that ours, and \
             does its address lead here?"
        )
    }
}

/// Whether somebody has the message, or will get it.
fn is_safe(told: &Delivery) -> bool {
    matches!(
        told,
        Delivery::Delivered | Delivery::Pending | Delivery::Deduplicated
    )
}

/// The thread of one sender's pages.
fn thread(from: Sender) -> String {
    format!("backstop/self-test/{}", from.as_str())
}

/// When the round of `now` began: rounds are the same on every replica.
fn round_of(now: Timestamp, every: Duration) -> Timestamp {
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
    let began = now.as_millisecond().div_euclid(every).saturating_mul(every);
    Timestamp::from_millisecond(began).unwrap_or(now)
}

/// The labels of a round's alert.
fn labels(round: Timestamp) -> Labels {
    let round = round.as_millisecond().to_string();
    let release = subject::accused_release();
    [
        ("alertname", "BackstopSelfTest"),
        (LABEL, Sender::Gateway.as_str()),
        (ROUND, &round),
        ("service", SELF_TEST_SERVICE),
        ("env", subject::ENV),
        ("release_id", &release),
        ("batch", "1"),
        ("severity", "none"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(pairs: &[(&str, &str)]) -> Alert {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels: Labels = pairs.iter().map(own).collect();
        Alert {
            fingerprint: crate::domain::alert::Fingerprint::of(&labels),
            status: AlertStatus::Firing,
            labels,
            annotations: Labels::new(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: None,
            source: crate::domain::alert::Source::Alertmanager,
        }
    }

    #[test]
    fn a_real_services_alert_is_no_self_test_whatever_label_it_carries() {
        let of = |pairs: &[(&str, &str)]| sender_of(&alert(pairs));
        let ours = ("service", SELF_TEST_SERVICE);
        assert_eq!(of(&[ours, (LABEL, "gateway")]), Some(Sender::Gateway));
        assert_eq!(of(&[ours, (LABEL, "vmalert")]), Some(Sender::Vmalert));
        assert_eq!(of(&[("service", "checkout"), (LABEL, "gateway")]), None);
        assert_eq!(of(&[(LABEL, "gateway")]), None);
        assert_eq!(of(&[ours]), None);
        assert_eq!(of(&[ours, (LABEL, "somebody")]), None);
    }

    #[test]
    fn self_tests_leave_their_group_and_the_others_stay() {
        let own = alert(&[("service", SELF_TEST_SERVICE), (LABEL, "gateway")]);
        let other = alert(&[("service", "checkout")]);
        let group = |alerts: &[&Alert]| AlertGroup {
            source: crate::domain::alert::Source::Alertmanager,
            key: "g".to_owned(),
            receiver: String::new(),
            group_labels: Labels::new(),
            route_labels: Labels::new(),
            alerts: alerts.iter().map(|one| (*one).clone()).collect(),
            truncated: 2,
            external_url: None,
            received_at: Timestamp::UNIX_EPOCH,
        };
        let (tests, others) = split_off(vec![group(&[&own, &other]), group(&[&own])]);
        assert_eq!(tests, [group(&[&own]), group(&[&own])]);
        assert_eq!(others, [group(&[&other])]);
        let (tests, others) = split_off(vec![group(&[])]);
        assert_eq!((tests.len(), others), (0, vec![group(&[])]));
    }

    #[test]
    fn rounds_are_the_same_wherever_the_clock_is_read_in_them() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let five = Duration::from_mins(5);
        let began = at("2026-11-22T12:05:00Z");
        assert_eq!(round_of(began, five), began);
        assert_eq!(round_of(at("2026-11-22T12:09:59.9Z"), five), began);
        assert_ne!(round_of(at("2026-11-22T12:10:00Z"), five), began);
    }
}
