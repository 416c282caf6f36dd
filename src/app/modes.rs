//! Modes that people set, above the policies: a chain in the store, and a file that works while the
//! store does not. The strictest wins.

mod file;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;

use self::file::ModeFile;
use super::core::Core;
use super::setup::Setup;
use crate::config::Config;
use crate::decide::{Reach, Switch, Switches};
use crate::domain::id::{Env, Service};
use crate::domain::policy::Mode;
use crate::store::{Created, Store, StoreError, chain, keys};
use crate::web::api::ModeSwitch;
use serde::{Deserialize, Serialize};

/// How long a read of the chain is good for: a switch works everywhere within 5 s.
const FRESH: Duration = Duration::from_secs(3);

/// One link: a switch set, or taken away.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Switched {
    switch: ModeSwitch,
    removed: bool,
}

/// Every switch that was ever set or taken away, oldest first.
///
/// # Errors
/// When the store can't be read.
pub(super) async fn history(store: &Store) -> Result<Vec<Switched>, StoreError> {
    let links = chain::read_from::<Switched>(store, &keys::mode(), 1).await?;
    Ok(links.into_iter().map(|(_, switched)| switched).collect())
}

/// The switches in force at a moment.
pub(super) fn in_force(history: &[Switched], at: Timestamp) -> Vec<ModeSwitch> {
    let mut switches: Vec<ModeSwitch> = Vec::new();
    for Switched { switch, removed } in history.iter().filter(|one| one.switch.at <= at) {
        switches.retain(|old| (&old.service, &old.env) != (&switch.service, &switch.env));
        if !removed {
            switches.push(switch.clone());
        }
    }
    switches
}

/// The switches people set.
#[derive(Debug)]
pub(crate) struct ModeStore {
    store: Store,
    read: Cache<(), Arc<Vec<ModeSwitch>>>,
    file: ModeFile,
}

impl ModeStore {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            read: Cache::builder().max_capacity(1).time_to_live(FRESH).build(),
            file: ModeFile::default(),
        }
    }

    /// The switches of the store.
    pub(crate) async fn switches(&self) -> Result<Arc<Vec<ModeSwitch>>, Arc<StoreError>> {
        let load = async { self.fold().await.map(|(_, switches)| Arc::new(switches)) };
        self.read.try_get_with((), load).await
    }

    /// The switches of the mode file, where one is configured.
    pub(crate) async fn of_file(&self, config: &Config, now: Timestamp) -> Arc<Vec<ModeSwitch>> {
        match &config.mode_file {
            Some(path) => self.file.switches(path, now).await,
            None => Arc::default(),
        }
    }

    async fn fold(&self) -> Result<(u64, Vec<ModeSwitch>), StoreError> {
        let history = history(&self.store).await?;
        let next = history.len() as u64 + 1;
        // What stands is in force, whatever its writer's clock said.
        Ok((next, in_force(&history, Timestamp::MAX)))
    }

    /// Sets a switch in the store, or takes it away.
    pub(crate) async fn set(&self, switch: ModeSwitch, removed: bool) -> Result<(), StoreError> {
        let change = Switched { switch, removed };
        loop {
            let (next, _) = self.fold().await?;
            if chain::append(&self.store, &keys::mode(), next, &change).await? == Created::Mine {
                self.read.invalidate_all();
                return Ok(());
            }
        }
    }
}

impl Core {
    /// Every switch people set: those of the mode file first.
    pub(super) async fn all_switches(
        &self,
        setup: &Setup,
    ) -> Result<Vec<ModeSwitch>, Arc<StoreError>> {
        let mut all = self.file_switches(setup).await.to_vec();
        all.extend(self.modes.switches().await?.iter().cloned());
        Ok(all)
    }

    async fn file_switches(&self, setup: &Setup) -> Arc<Vec<ModeSwitch>> {
        let now = self.ground.clock.now();
        self.modes.of_file(&setup.config, now).await
    }

    /// Every mode that applies to a service and env beside its policy's.
    pub(super) async fn switches_of(
        &self,
        setup: &Setup,
        service: Option<&Service>,
        env: Option<&Env>,
    ) -> Switches {
        let by_file = self.file_switches(setup).await;
        let set = self.modes.switches().await;
        let set = set.as_ref().map(|set| set.as_slice());
        let set = set.map_err(ToString::to_string);
        let mut switches = switches_among(&setup.config, &by_file, set, service, env);
        // Where two replicas could both win a key, nothing may be done.
        if !self.is_exclusive() {
            let words = "since two writers could win one key of the store";
            switches.set.push(Switch {
                reach: Reach::Everything,
                mode: Mode::Shadow,
                words: words.to_owned(),
            });
        }
        switches
    }
}

/// Every mode that the configuration and people, as far as they can be read, set for a service and
/// env.
pub(crate) fn switches_among(
    config: &Config,
    by_file: &[ModeSwitch],
    by_people: Result<&[ModeSwitch], String>,
    service: Option<&Service>,
    env: Option<&Env>,
) -> Switches {
    let mut switches = Switches::default();
    let mut add = |reach, mode, words: String| {
        switches.set.push(Switch { reach, mode, words });
    };
    if let Some(mode) = config.mode {
        add(Reach::Everything, mode, "by the configuration".to_owned());
    }
    let of_service = service
        .and_then(|service| config.services.get(service))
        .and_then(|config| config.mode);
    if let Some(mode) = of_service {
        add(Reach::Service, mode, "by the configuration".to_owned());
    }
    for switch in by_file.iter().chain(by_people.iter().copied().flatten()) {
        if let Some(reach) = reach(switch, service, env) {
            let words = format!("by {}: {}", switch.by, switch.reason);
            add(reach, switch.mode, words);
        }
    }
    switches.unreadable = by_people.err();
    switches
}

/// For what a switch counts among those of a service and env; None when it is for others.
fn reach(switch: &ModeSwitch, service: Option<&Service>, env: Option<&Env>) -> Option<Reach> {
    let of_env = switch.env.is_none() || switch.env.as_ref() == env;
    let of_service = switch.service.is_none() || switch.service.as_ref() == service;
    (of_env && of_service).then_some(match (&switch.service, &switch.env) {
        (Some(_), _) => Reach::Service,
        (None, Some(_)) => Reach::Env,
        (None, None) => Reach::Everything,
    })
}
