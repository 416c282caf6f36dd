//! Modes that people set, above the policies: a chain in the store, the strictest wins.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::core::Core;
use super::setup::Setup;
use crate::decide::Modes;
use crate::domain::id::{Env, Service};
use crate::domain::policy::Mode;
use crate::store::{Created, Store, StoreError, chain, keys};
use crate::web::api::ModeSwitch;
use serde::{Deserialize, Serialize};

/// How long a read of the chain is good for: a switch works everywhere within 5 s.
const FRESH: Duration = Duration::from_secs(3);

/// One link: a switch set, or taken away.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Change {
    switch: ModeSwitch,
    removed: bool,
}

/// The switches people set.
#[derive(Debug)]
pub(super) struct ModeStore {
    store: Store,
    read: Cache<(), Arc<Vec<ModeSwitch>>>,
}

impl ModeStore {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            read: Cache::builder().max_capacity(1).time_to_live(FRESH).build(),
        }
    }

    /// The switches in force.
    pub(super) async fn switches(&self) -> Result<Arc<Vec<ModeSwitch>>, Arc<StoreError>> {
        let load = async { self.fold().await.map(|(_, switches)| Arc::new(switches)) };
        self.read.try_get_with((), load).await
    }

    async fn fold(&self) -> Result<(u64, Vec<ModeSwitch>), StoreError> {
        let mut next = 1;
        let mut switches: Vec<ModeSwitch> = Vec::new();
        for (seq, change) in chain::read_from::<Change>(&self.store, &keys::mode(), 1).await? {
            next = seq + 1;
            switches.retain(|old| {
                (&old.service, &old.env) != (&change.switch.service, &change.switch.env)
            });
            if !change.removed {
                switches.push(change.switch);
            }
        }
        Ok((next, switches))
    }

    /// Sets a switch, or takes it away.
    pub(super) async fn set(&self, switch: ModeSwitch, removed: bool) -> Result<(), StoreError> {
        let change = Change { switch, removed };
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
    /// Every mode that applies to a service and env beside its policy's.
    pub(super) async fn modes_of(
        &self,
        setup: &Setup,
        service: Option<&Service>,
        env: Option<&Env>,
    ) -> Result<Modes, String> {
        let switches = self
            .modes
            .switches()
            .await
            .map_err(|error| error.to_string())?;
        let strictest = |fits: &dyn Fn(&ModeSwitch) -> bool| {
            switches
                .iter()
                .filter(|switch| fits(switch))
                .map(|switch| switch.mode)
                .min()
        };
        let global = strictest(&|switch| switch.service.is_none() && switch.env.is_none());
        // Where two replicas could both win a key, nothing may be done.
        let unsafe_store = (!self.is_exclusive()).then_some(Mode::Shadow);
        let of_service = service
            .and_then(|service| setup.config.services.get(service))
            .and_then(|config| config.mode);
        let switched = strictest(&|switch| {
            switch.service.is_some()
                && switch.service.as_ref() == service
                && (switch.env.is_none() || switch.env.as_ref() == env)
        });
        let of_env = strictest(&|switch| {
            switch.service.is_none() && switch.env.is_some() && switch.env.as_ref() == env
        });
        let min = |modes: [Option<Mode>; 3]| modes.into_iter().flatten().min();
        Ok(Modes {
            global: min([global, unsafe_store, setup.config.mode]),
            service: min([of_service, switched, None]),
            env: of_env,
        })
    }
}
