//! A written world as a scene: what a body would come to in it, and how that is worded.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::file::RawTest;
use super::given::RawGiven;
use super::lanes::steps;
use super::offset::{Offset, Span};
use super::script::{Reading, Test};
use super::world::World;
use crate::app::preview::Scene;
use crate::chart::Fonts;
use crate::config::Config;
use crate::config::place::At;
use crate::config::problem::{Problem, read_yaml};
use crate::domain::alert::Alert;
use crate::domain::clock::SharedClock;
use crate::domain::policy::Mode;
use crate::enrich::evidence::Prober;

/// A file of `rules/tests/`, of which only the world is wanted; it may hold no test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWorld {
    #[serde(default)]
    rule_files: Vec<At<String>>,
    #[serde(default)]
    policy_mode: Option<Mode>,
    #[serde(default)]
    start: Option<Timestamp>,
    #[serde(default)]
    interval: Option<Span>,
    #[serde(default)]
    given: RawGiven,
    #[serde(default)]
    tests: Vec<RawTest>,
}

/// A world that a file describes, at one moment.
pub(crate) struct Written {
    world: World,
    prober: Prober,
}

/// Reads the world of a file of rule tests: its `given`, and that of the test of this name. Offsets
/// count from the file's `start`; without one from `at`, the moment that is looked at.
///
/// # Errors
/// Every problem of the file.
pub(crate) fn world(
    (file, text): (&str, &str),
    test: Option<&str>,
    config: &Config,
    at: Timestamp,
) -> Result<Written, Vec<Problem>> {
    let raw: RawWorld = read_yaml(file, text)?;
    let chosen = match test {
        None => None,
        Some(name) => {
            let found = raw.tests.iter().find(|test| test.name.value == name);
            Some(found.ok_or_else(|| {
                let problem = Problem::of_file(file, format!("there is no test `{name}`"));
                vec![problem]
            })?)
        }
    };
    let mut reading = Reading::of(file);
    let mut config = config.clone();
    if !raw.rule_files.is_empty() {
        config.policies = reading.policies(&raw.rule_files, &config.root);
    }
    let mode = chosen.and_then(|test| test.policy_mode).or(raw.policy_mode);
    let start = chosen.and_then(|test| test.start).or(raw.start);
    let nothing = RawGiven::default();
    let own = chosen.map_or(&nothing, |test| &test.given);
    let test = reading.world(
        (&raw.given, own),
        mode,
        start.unwrap_or(at),
        raw.interval,
        &config,
    );
    let test = reading.done(test)?;
    Ok(Written::of(&test))
}

impl Written {
    fn of(test: &Test) -> Self {
        let earliest = test.given.incidents.iter().map(|one| one.opened);
        let grants = test.given.grants.iter().map(|grant| grant.at);
        let begin = earliest.chain(grants).min().unwrap_or(Offset::START);
        let world = World::new(test, begin.min(Offset::START).after(test.start));
        let clock: SharedClock = Arc::<crate::domain::clock::ManualClock>::clone(&world.clock);
        let prober = world.prober(clock);
        Self { world, prober }
    }

    /// Lets everything happen that has by `at`.
    ///
    /// # Errors
    /// When the file's world can't be, in words.
    pub(crate) async fn play_to(&mut self, at: Timestamp) -> Result<(), String> {
        let told = |error: crate::store::StoreError| error.to_string();
        let mut waiting: BTreeMap<(Timestamp, usize), _> = BTreeMap::new();
        for (n, (when, step)) in steps(&self.world)?.into_iter().enumerate() {
            waiting.insert((when, n), step);
        }
        let mut n = waiting.len();
        while let Some(next) = waiting.first_entry().filter(|next| next.key().0 <= at) {
            let ((when, _), step) = next.remove_entry();
            self.world.move_to(when).await.map_err(told)?;
            for (when, step) in self.world.take(step).await? {
                waiting.insert((when, n), step);
                n += 1;
            }
        }
        self.world.move_to(at).await.map_err(told)
    }

    /// The scene for these alerts.
    pub(crate) async fn scene<'a>(&'a self, alerts: &[Alert], fonts: &'a Fonts) -> Scene<'a> {
        let lanes = self.world.config.lanes_named_in(alerts);
        Scene {
            config: &self.world.config,
            sources: &self.world,
            prober: &self.prober,
            view: self.world.view(lanes).await,
            blind: None,
            fonts,
        }
    }

    /// Expressions that were asked and that the file does not answer.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        self.world
            .metrics
            .as_ref()
            .map_or_else(Vec::new, |metrics| metrics.unanswered())
    }
}
