//! People: asked before a rollback where the rules want that, slow, of two minds, twice, late, and
//! answering anywhere.

use std::sync::Arc;
use std::time::Duration;

use backstop::act::approvals::{self, Replied, Reply};
use backstop::act::lane::LaneStore;
use backstop::domain::clock;
use backstop::domain::id::ApprovalId;
use backstop::domain::lane::{Answer, Asked, Opened, Settled, Via, newest_approval};
use backstop::store::StoreError;

use super::replica::{Living, any};
use super::world::{self, World};

/// The rule that wants people asked, where one does.
pub(super) const RULE: &str = "checkout.yaml: back";
/// How long a question stands.
const STANDS: Duration = Duration::from_secs(40);

/// How it stands with a wish that needs a yes.
pub(super) enum Standing {
    /// People are being asked.
    Asked,
    /// This may be named.
    Given(ApprovalId),
    /// Somebody said no, or nobody said anything and that is none.
    No,
}

/// Looks at the question of a wish, and asks it, or lets it expire, where that is due. What is
/// seen here may be old when it is acted on.
pub(super) async fn standing(
    world: &Arc<World>,
    living: &Living,
    lanes: &LaneStore,
    wish: &Opened,
) -> Result<Standing, StoreError> {
    let name = world::lane(wish.service.as_str());
    let lane = lanes.refresh(&name).await?;
    let now = world.clock(0).now();
    if let Some(newest) = newest_approval(&lane.approvals, &wish.deployment, RULE) {
        let covers = newest.covers(&wish.scope, &wish.target);
        let fresh = newest.good_until().is_some_and(|until| until >= now);
        if world.fault(15) {
            // Whatever became of it: the lane knows better.
            return Ok(Standing::Given(newest.id.clone()));
        }
        match newest.outcome {
            Settled::Open if covers => {
                approvals::tend(lanes, &newest.id, now).await?;
                return Ok(Standing::Asked);
            }
            Settled::Denied(_) => return Ok(Standing::No),
            Settled::Expired if !newest.consents() => return Ok(Standing::No),
            _ if newest.consents() && newest.used_by.is_none() && covers && fresh => {
                return Ok(Standing::Given(newest.id.clone()));
            }
            _ => {}
        }
    }
    let lane = approvals::ask(lanes, &name, asked(world, wish)).await?;
    if let Some(newest) = newest_approval(&lane.approvals, &wish.deployment, RULE)
        && world.is_new(&newest.id)
    {
        answers(world, living, &newest.id);
    }
    Ok(Standing::Asked)
}

fn asked(world: &World, wish: &Opened) -> Asked {
    let wish = wish.clone();
    Asked {
        service: wish.service,
        env: wish.env,
        deployment: wish.deployment,
        release_id: wish.release_id,
        rule: RULE.to_owned(),
        scope: wish.scope,
        hosts: wish.hosts,
        target: wish.target,
        decision: wish.decision,
        thread: wish.thread,
        channels: wish.channels,
        expires: clock::after(world.clock(0).now(), STANDS),
        then: world.people.expect("a world whose rules ask people"),
    }
}

/// Up to three people answer, some too late, some through two replicas at once; the sweep lets it
/// expire when its time is over; a no may be taken back.
fn answers(world: &Arc<World>, living: &Living, id: &ApprovalId) {
    let stands = u64::try_from(STANDS.as_millis()).expect("small");
    for n in 0..world.below(4) {
        let answer = Answer {
            by: format!("person {n}"),
            via: Via::Token,
            reason: "as they saw it".to_owned(),
        };
        let said = if world.chance(65) {
            Reply::Approve(answer)
        } else {
            Reply::Deny(answer)
        };
        let after = Duration::from_millis(world.below(stands + stands / 4));
        let times = 1 + u32::from(world.chance(30));
        for _ in 0..times {
            answer_later(world, living, id, said.clone(), after);
        }
    }
    let over = STANDS + Duration::from_millis(world.below(15_000));
    answer_later(world, living, id, Reply::Expire, over);
    if world.chance(20) {
        let clear = Reply::Clear(Answer {
            by: "oncall".to_owned(),
            via: Via::Token,
            reason: "it was the wrong release".to_owned(),
        });
        let after = over + Duration::from_millis(world.below(30_000));
        answer_later(world, living, id, clear, after);
    }
}

/// Says it, after a while, until somebody hears it.
fn answer_later(
    world: &Arc<World>,
    living: &Living,
    id: &ApprovalId,
    said: Reply,
    after: Duration,
) {
    let (world, living, id) = (Arc::clone(world), Arc::clone(living), id.clone());
    world.begin();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        loop {
            if let Some(replica) = any(&world, &living) {
                let heard = answer(&world, replica.engine.lanes(), &id, &said);
                match replica.life.unless_it_dies(heard).await {
                    Some(Ok(true)) => break,
                    Some(Ok(false) | Err(_)) => {}
                    None => world.count("people: answers cut off by a crash"),
                }
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        world.end();
    });
}

/// Says it once, and holds what is heard against what others heard. Whether it is settled.
async fn answer(
    world: &World,
    lanes: &LaneStore,
    id: &ApprovalId,
    said: &Reply,
) -> Result<bool, StoreError> {
    let now = world.clock(0).now();
    approvals::tend(lanes, id, now).await?;
    match approvals::reply(lanes, id, said, now).await? {
        Replied::NotAsked => {
            world.violate(format!("{id} is forgotten"));
            Ok(true)
        }
        Replied::Recorded(stands) | Replied::Settled(stands) => {
            if !stands.is_open() {
                world.settle(id, &stands.outcome);
            }
            Ok(!stands.is_open())
        }
    }
}
