//! The rooms around an engine: guards, planner, recovery, reports and messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backstop::act::lane::LaneStore;
use backstop::act::seams::{
    Answer, Escalator, Followup, Followups, Objection, Planner, Question, Recheck, RecoveryProbe,
    Reporter,
};
use backstop::domain::decision::Scope;
use backstop::domain::lane::{Incident, Opened, Plan};
use backstop::store::keys;

use super::people::{self, Standing};
use super::replica::{Life, Living};
use super::world::World;

/// Guards, planner, recovery, reports and messages.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
    pub(super) lanes: LaneStore,
    pub(super) living: Living,
}

#[async_trait]
impl Recheck for Rooms {
    async fn recheck(&self, _: &Incident) -> Result<(), Objection> {
        self.life.pass().await;
        self.world.wait_up_to(100).await;
        if self.world.fault(10) {
            return Err(Objection::NotNow("evidence pending".into()));
        }
        if self.world.fault(2) {
            return Err(Objection::Never("well again".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Planner for Rooms {
    async fn plan(&self, incident: &Incident, attempt: u32) -> Result<Plan, Objection> {
        let parameters = [
            ("incident", incident.id.to_string()),
            ("attempt", attempt.to_string()),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value));
        Ok(Plan {
            application: "checkout".into(),
            pipeline: format!("rollback-{}", incident.opened.scope.kind()),
            scope: incident.opened.scope.clone(),
            hosts: incident.opened.hosts.clone(),
            from: incident.opened.release_id.clone(),
            target: incident.opened.target.clone(),
            parameters: BTreeMap::from(parameters),
            admission: self.world.admission,
            task: None,
        })
    }
}

#[async_trait]
impl Escalator for Rooms {
    async fn escalation(&self, incident: &Incident) -> Result<Option<Opened>, Objection> {
        self.life.pass().await;
        self.world.wait_up_to(100).await;
        if self.world.fault(20) {
            return Err(Objection::NotNow("the phase can't be read".into()));
        }
        // The same rule for every replica.
        let wants_all = incident.opened_at.as_millisecond() % 2 == 0;
        if !wants_all {
            return Ok(None);
        }
        let mut wider = Opened {
            scope: Scope::Full,
            supersedes: Some(incident.id.clone()),
            approval: None,
            ..incident.opened.clone()
        };
        if self.world.people.is_none() {
            return Ok(Some(wider));
        }
        match people::standing(&self.world, &self.living, &self.lanes, &wider).await {
            Ok(Standing::Given(consent)) => wider.approval = Some(consent),
            Ok(Standing::Asked) => return Err(Objection::NotNow("people are asked".into())),
            Ok(Standing::No) => return Err(Objection::Never("they said no".into())),
            Err(error) => return Err(Objection::NotNow(error.to_string())),
        }
        Ok(Some(wider))
    }
}

#[async_trait]
impl RecoveryProbe for Rooms {
    fn question(&self, _: &Incident) -> Option<Question> {
        Some(Question {
            for_: Duration::from_secs(4),
            within: Duration::from_secs(20),
        })
    }

    async fn ask(&self, incident: &Incident) -> Answer {
        self.world.wait_up_to(100).await;
        // The same truth for every replica: it depends on the incident's end alone.
        let end = incident
            .finished
            .as_ref()
            .map_or(0, |end| end.at.as_millisecond());
        match end % 3 {
            0 => Answer::Good("0.1 %".into()),
            1 => Answer::Bad("7 %".into()),
            _ => Answer::Empty("no samples".into()),
        }
    }
}

#[async_trait]
impl Reporter for Rooms {
    async fn write(&self, incident: &Incident, revision: u32) -> Result<(), String> {
        self.life.pass().await;
        let slow = self.world.fault(20);
        if slow {
            self.world.count("reports: slow sources");
        }
        let longest = if slow { 20_000 } else { 500 };
        self.world.wait_up_to(longest).await;
        if self.world.fault(10) {
            return Err("no template".into());
        }
        let key = keys::report(&incident.id, revision, "record.json");
        let written = self.lanes.store().create(&key, &incident.id).await;
        written.map(drop).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Followups for Rooms {
    async fn tell(&self, incident: &Incident, followup: &Followup) -> Result<(), String> {
        self.world.wait_up_to(50).await;
        if self.world.fault(10) {
            return Err("no outbox".into());
        }
        self.world.hear(&incident.id, followup.name());
        Ok(())
    }
}
