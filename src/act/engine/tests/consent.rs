use super::*;
use crate::act::approvals::{self, Reply};
use crate::domain::clock;
use crate::domain::id::ApprovalId;
use crate::domain::lane::{Answer as PersonsAnswer, Asked, Opened, Via};
use crate::domain::policy::Expiry;

const STANDS: Duration = Duration::from_mins(15);

/// A wish, and a question about it that a person has just said yes to.
async fn agreed(site: &Site) -> Opened {
    let wish = wish("d1", Scope::Full);
    let asked = Asked {
        service: wish.service.clone(),
        env: wish.env.clone(),
        deployment: wish.deployment.clone(),
        release_id: wish.release_id.clone(),
        rule: "checkout.yaml: back".into(),
        scope: wish.scope.clone(),
        hosts: Vec::new(),
        target: wish.target.clone(),
        decision: wish.decision.clone(),
        thread: "t".into(),
        channels: Vec::new(),
        expires: clock::after(site.clock.now(), STANDS),
        then: Expiry::Hold,
    };
    let lanes = site.engine.lanes();
    let asked = approvals::ask(lanes, &lane(), asked).await.unwrap();
    let id: ApprovalId = asked.approvals[0].id.clone();
    let yes = Reply::Approve(PersonsAnswer {
        by: "oncall".into(),
        via: Via::Token,
        reason: "seen".into(),
    });
    let now = site.clock.now();
    approvals::reply(lanes, &id, &yes, now).await.unwrap();
    Opened {
        approval: Some(id),
        ..wish
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_agreed_to_is_sent() {
    let site = Site::new(memory());
    site.engine.open(agreed(&site).await).await;
    let incident = site.until_closed().await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
}

#[tokio::test(start_paused = true)]
async fn a_yes_that_ran_out_before_anything_was_sent_withdraws() {
    let site = Site::new(memory());
    site.spinnaker.deploys("d1");
    site.room.objects(Objection::NotNow("frozen".into()));
    let OpenOutcome::Opened(id) = site.engine.open(agreed(&site).await).await else {
        panic!("it opens");
    };
    tokio::time::sleep(Duration::from_mins(14)).await;
    assert_eq!(site.incident(&id).await.ending, None);
    let incident = site.until_closed().await;
    assert_eq!(incident.ending, Some(Ending::Withdrawn));
    assert_eq!(site.spinnaker.triggers(), 0);
    let held = clock::since(incident.closed_at.unwrap(), incident.opened_at);
    assert!(held < STANDS + Duration::from_mins(1), "{held:?}");
}
