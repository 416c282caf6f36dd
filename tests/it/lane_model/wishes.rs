//! What alerts and people wish for: rollbacks until they are told that it is safe, batches until
//! they hear no; and a person who gives up whatever is open.

use std::sync::Arc;
use std::time::Duration;

use backstop::act::engine::{BatchOutcome, BatchPost, OpenOutcome};
use backstop::domain::decision::{Decision, Scope, Verdict};
use backstop::domain::id::IncidentId;
use backstop::domain::lane::{Illegal, LaneEvent, Opened, Origin};
use backstop::domain::policy::Mode;

use super::people::{self, RULE, Standing};
use super::replica::{Living, Replica, any};
use super::world::{self, World};

fn wish(world: &World, service: &str, scope: Scope) -> Opened {
    let mut decision = decision();
    decision.rule = world.people.map(|_| RULE.to_owned());
    Opened {
        service: service.parse().expect("an id"),
        env: "prod".parse().expect("an id"),
        deployment: world::deployment(service),
        release_id: world::release(service, 2),
        scope,
        hosts: vec!["h1".parse().expect("an id")],
        target: world::release(service, 1),
        origin: Origin::Automatic,
        decision,
        thread: "t".into(),
        channels: Vec::new(),
        alerts: Vec::new(),
        supersedes: None,
        approval: None,
    }
}

fn decision() -> Decision {
    Decision {
        at: world::epoch(),
        verdict: Verdict::Rollback(Scope::Full),
        shadow: false,
        mode: Mode::Enforce,
        rule: None,
        rules: Vec::new(),
        guards: Vec::new(),
        service: None,
        env: None,
        lane: None,
        deployment: None,
        release_id: None,
        phase: None,
        scope: None,
        hosts: Vec::new(),
        target: None,
        alerts: std::collections::BTreeSet::new(),
        evidence: None,
        recheck_at: None,
        incident: None,
        consent: None,
        escalates: None,
        suspects: Vec::new(),
    }
}

/// Two peers tell two replicas about the batch; later somebody wishes for everything. In every
/// second world another service goes bad too.
pub(super) fn wishes(world: &Arc<World>, living: &Living) {
    let [story, other] = world::SERVICES;
    for _ in 0..2 {
        wish_later(world, living, 2_000, story, Scope::Batch([1].into()));
    }
    if world.chance(50) {
        wish_later(world, living, 90_000, story, Scope::Full);
    }
    if world.chance(50) {
        wish_later(world, living, 60_000, other, Scope::Batch([1].into()));
    }
}

fn wish_later(
    world: &Arc<World>,
    living: &Living,
    within_ms: u64,
    service: &'static str,
    scope: Scope,
) {
    let (world, living) = (Arc::clone(world), Arc::clone(living));
    world.begin();
    tokio::spawn(async move {
        world.wait_up_to(within_ms).await;
        // Comes again on every 503, and on a lane that is busy, for a while.
        for _ in 0..60 {
            if let Some(replica) = any(&world, &living) {
                let wish = wish(&world, service, scope.clone());
                let heard = Box::pin(wished(&world, &living, &replica, wish));
                if replica.life.unless_it_dies(heard).await == Some(true) {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        world.end();
    });
}

/// One look at a wish, as at a hold; whether it needs no other.
async fn wished(world: &Arc<World>, living: &Living, replica: &Replica, mut wish: Opened) -> bool {
    let lanes = replica.engine.lanes();
    let Ok(lane) = lanes.refresh(&world::lane(wish.service.as_str())).await else {
        return false;
    };
    let open = lane.open.as_ref();
    wish.supersedes = if wish.scope == Scope::Full && world.chance(50) {
        // Whatever is open, ended or not: the lane knows better.
        open.map(|open| open.id.clone())
    } else {
        lane.gives_way(&wish)
    };
    if world.people.is_some() {
        if open.is_some_and(|open| {
            open.opened.deployment == wish.deployment && open.scope().covers(&wish.scope)
        }) {
            return true;
        }
        match lane.check(lanes.me(), &LaneEvent::Opened(Box::new(wish.clone()))) {
            Err(Illegal::Busy(_) | Illegal::NotEnded(_)) => return false,
            Err(Illegal::TakenBack(_) | Illegal::PersonMustAct(_)) => return true,
            _ => {}
        }
        match people::standing(world, living, lanes, &wish).await {
            Ok(Standing::Given(consent)) => wish.approval = Some(consent),
            Ok(Standing::Asked) | Err(_) => return false,
            Ok(Standing::No) if world.chance(30) => {
                world.count("people: rollbacks by hand after a no");
                wish.origin = Origin::Manual {
                    by: "oncall".into(),
                    reason: "all the same".into(),
                    key: format!("by hand, {}", wish.service),
                };
            }
            Ok(Standing::No) => return true,
        }
    }
    match replica.engine.open(wish.clone()).await {
        OpenOutcome::Opened(_) | OpenOutcome::Merged(_) => true,
        OpenOutcome::Refused(why) => {
            hold_against(world, replica, &wish, &why).await;
            why.contains("already") || why.contains("person")
        }
        OpenOutcome::Unknown => false,
    }
}

/// Nobody is sent away because of an incident that does what they wish.
async fn hold_against(world: &World, replica: &Replica, wish: &Opened, why: &str) {
    let named: Option<IncidentId> = why.split('`').nth(1).and_then(|id| id.parse().ok());
    let lane = replica
        .engine
        .lanes()
        .refresh(&world::lane(wish.service.as_str()))
        .await;
    let (Some(named), Ok(lane), true) = (named, lane, why.contains("is not over")) else {
        return;
    };
    let does_it = lane.incident(&named).is_some_and(|busy| {
        busy.opened.deployment == wish.deployment && busy.scope().covers(&wish.scope)
    });
    if does_it && wish.supersedes.as_ref() != Some(&named) {
        world.violate(format!("{named} does what was wished, which was refused"));
    }
}

/// The accused deployment goes on with its batches until it hears no.
pub(super) async fn batches(world: Arc<World>, living: Living) {
    let [story, _] = world::SERVICES;
    world.begin();
    for n in 1..4 {
        let post = BatchPost {
            lane: world::lane(story),
            deployment: world::deployment(story),
            release_id: world::release(story, 2),
            n,
            of: Some(3),
            hosts: vec!["h1".parse().expect("an id")],
        };
        for _ in 0..30 {
            if let Some(replica) = any(&world, &living)
                && let posted = replica.engine.batch_started(post.clone())
                && let Some(Ok(outcome)) = replica.life.unless_it_dies(posted).await
            {
                if matches!(outcome, BatchOutcome::Refused(_)) {
                    world.end();
                    return;
                }
                break;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        world.wait_up_to(6_000).await;
    }
    world.end();
}

/// A person gives up whatever is open.
pub(super) async fn gives_up(world: Arc<World>, living: Living) {
    world.begin();
    world.wait_up_to(60_000).await;
    let [story, other] = world::SERVICES;
    let service = if world.chance(70) { story } else { other };
    for _ in 0..10 {
        if let Some(replica) = any(&world, &living)
            && let given_up = give_up(&replica, service, |_| true)
            && replica.life.unless_it_dies(given_up).await == Some(true)
        {
            break;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    world.end();
}

/// Where nothing is let in, what may have been sent is for the person who is paged to settle: they
/// look, and give the incident up.
pub(super) async fn on_call(world: Arc<World>, living: Living) {
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        for service in world::SERVICES {
            if let Some(replica) = any(&world, &living) {
                let paged = |incident: &IncidentId| world.was_told(incident, "page-not-sent");
                let given_up = give_up(&replica, service, paged);
                replica.life.unless_it_dies(given_up).await;
            }
        }
    }
}

/// Gives the open incident up, if there is one of that kind; whether it is given up now.
async fn give_up(replica: &Replica, service: &str, which: impl Fn(&IncidentId) -> bool) -> bool {
    let engine = &replica.engine;
    let lane = engine.lanes().refresh(&world::lane(service)).await;
    let open = lane
        .ok()
        .and_then(|lane| lane.open.as_ref().map(|open| open.id.clone()));
    match open.filter(which) {
        Some(open) => engine.abandon(&open, "oncall", "by hand").await.is_ok(),
        None => false,
    }
}
