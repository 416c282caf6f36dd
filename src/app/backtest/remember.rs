//! A rollback of the replay, as its own lane and budget remember it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::act::budget::Grant;
use crate::act::lane::{Appended, LaneStore};
use crate::app::judge::Judgement;
use crate::domain::clock;
use crate::domain::id::{ExecutionId, IncidentId, LaneName, ReplicaId};
use crate::domain::lane::{Ending, LaneEvent, Opened, Origin, Plan};

/// Writes the rollback into the replay's own lane, from its opening to a good end, so that
/// cooldown and budget count it.
///
/// # Errors
/// Why the lane does not take it.
pub(super) async fn remember(
    lanes: &LaneStore,
    judgement: &Judgement,
    at: Timestamp,
) -> Result<Grant, String> {
    let opened = opened(judgement).ok_or("nothing was wanted")?;
    let service = opened.service.clone();
    let lane = LaneName::of(&opened.service, &opened.env).map_err(|error| error.to_string())?;
    let event = LaneEvent::Opened(Box::new(opened.clone()));
    let Some(seq) = append(lanes, &lane, event).await? else {
        return Err("the lane has an open incident".to_owned());
    };
    let incident = IncidentId::of(&lane, seq).map_err(|error| error.to_string())?;
    let execution =
        ExecutionId::new(format!("replayed-{seq}")).map_err(|error| error.to_string())?;
    for event in life(&incident, &execution, &opened, lanes.me(), at) {
        let name = event.as_str();
        if append(lanes, &lane, event).await?.is_none() {
            return Err(format!("`{name}` is not legal"));
        }
    }
    Ok(Grant {
        incident,
        service,
        escalation: false,
        at,
    })
}

async fn append(
    lanes: &LaneStore,
    lane: &LaneName,
    event: LaneEvent,
) -> Result<Option<u64>, String> {
    let appended = lanes.append_with(lane, |_| Some(event.clone()));
    match appended.await {
        Ok(Appended::Won { seq, .. }) => Ok(Some(seq)),
        Ok(Appended::Declined { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn opened(judgement: &Judgement) -> Option<Opened> {
    let decision = &judgement.decision;
    let context = judgement.resolution.context()?;
    Some(Opened {
        service: context.service.clone(),
        env: context.env.clone(),
        deployment: context.deployment.id.clone(),
        release_id: context.release_id.clone(),
        scope: decision.scope.clone()?,
        hosts: decision.hosts.clone(),
        target: decision.target.clone()?,
        origin: Origin::Automatic,
        decision: decision.clone(),
        thread: String::new(),
        channels: Vec::new(),
        alerts: Vec::new(),
        supersedes: None,
        approval: None,
    })
}

/// What follows an opening when all goes well.
fn life(
    incident: &IncidentId,
    execution: &ExecutionId,
    opened: &Opened,
    me: &ReplicaId,
    at: Timestamp,
) -> Vec<LaneEvent> {
    let (incident, execution, attempt) = (incident.clone(), execution.clone(), 1);
    let plan = Plan {
        application: opened.service.to_string(),
        pipeline: "replayed".to_owned(),
        scope: opened.scope.clone(),
        hosts: opened.hosts.clone(),
        from: opened.release_id.clone(),
        target: opened.target.clone(),
        parameters: BTreeMap::new(),
        admission: true,
        task: None,
    };
    vec![
        LaneEvent::Claimed {
            incident: incident.clone(),
            owner: me.clone(),
            until: clock::after(at, Duration::from_hours(1)),
        },
        LaneEvent::Submitting {
            incident: incident.clone(),
            attempt,
            plan,
        },
        LaneEvent::Submitted {
            incident: incident.clone(),
            attempt,
            execution: execution.clone(),
        },
        LaneEvent::Admitted {
            incident: incident.clone(),
            attempt,
            execution: execution.clone(),
        },
        LaneEvent::Finished {
            incident: incident.clone(),
            execution,
            status: "SUCCEEDED".to_owned(),
            succeeded: true,
            detail: "replayed".to_owned(),
        },
        LaneEvent::Recovery {
            incident: incident.clone(),
            ending: Ending::Recovered,
            detail: "replayed: what would have followed is not recorded".to_owned(),
        },
        LaneEvent::Closed {
            incident,
            ending: Ending::Recovered,
            why: "replayed".to_owned(),
        },
    ]
}
