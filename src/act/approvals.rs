//! Questions to people, asked and answered: appends to a lane that one answer wins.

use std::sync::Arc;

use jiff::Timestamp;

use super::lane::LaneStore;
use crate::domain::id::{ApprovalId, LaneName};
use crate::domain::lane::{Answer, Approval, Asked, Illegal, LaneEvent, LaneState};
use crate::store::StoreError;

/// What is said about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A person says yes.
    Approve(Answer),
    /// A person says no.
    Deny(Answer),
    /// A person takes a no back.
    Clear(Answer),
    /// Its time is over.
    Expire,
    /// Nothing is left to ask.
    Lapse(String),
}

impl Reply {
    fn event(&self, approval: &ApprovalId) -> LaneEvent {
        let approval = approval.clone();
        match self {
            Self::Approve(answer) => LaneEvent::Approved {
                approval,
                answer: answer.clone(),
            },
            Self::Deny(answer) => LaneEvent::Denied {
                approval,
                answer: answer.clone(),
            },
            Self::Clear(answer) => LaneEvent::Cleared {
                approval,
                answer: answer.clone(),
            },
            Self::Expire => LaneEvent::Expired { approval },
            Self::Lapse(why) => LaneEvent::Lapsed {
                approval,
                why: why.clone(),
            },
        }
    }
}

/// What became of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Replied {
    /// It stands.
    Recorded(Box<Approval>),
    /// The question is settled otherwise; this is how it stands.
    Settled(Box<Approval>),
    /// There is no such question.
    NotAsked,
}

/// Asks people, unless they are being asked as much already or one of them said no. The lane
/// afterwards.
///
/// # Errors
/// When the store can't be reached or the outcome is unknown: asking again is harmless.
pub async fn ask(
    lanes: &LaneStore,
    lane: &LaneName,
    asked: Asked,
) -> Result<Arc<LaneState>, StoreError> {
    let event = LaneEvent::Asked(Box::new(asked));
    let appended = lanes.append_with(lane, |_| Some(event.clone())).await?;
    Ok(Arc::clone(appended.lane()))
}

/// Settles a question: the first reply to be appended wins. One that expires before its time is
/// left open.
///
/// # Errors
/// When the store can't be reached or the outcome is unknown.
pub async fn reply(
    lanes: &LaneStore,
    id: &ApprovalId,
    reply: &Reply,
    now: Timestamp,
) -> Result<Replied, StoreError> {
    let Some(lane) = id.lane() else {
        return Ok(Replied::NotAsked);
    };
    let event = reply.event(id);
    let too_early =
        |approval: &Approval| matches!(reply, Reply::Expire) && now < approval.asked.expires;
    let mut illegal = None;
    let appended = lanes.append_with(&lane, |state| {
        illegal = state.check(lanes.me(), &event).err();
        let early = state.approval(id).is_some_and(too_early);
        (!early).then(|| event.clone())
    });
    let appended = appended.await?;
    let Some(approval) = appended.lane().approval(id).cloned() else {
        return Ok(Replied::NotAsked);
    };
    let approval = Box::new(approval);
    Ok(match illegal {
        _ if appended.is_won() => Replied::Recorded(approval),
        Some(Illegal::NotAsked(_)) => Replied::NotAsked,
        _ => Replied::Settled(approval),
    })
}

/// Expires a question whose time is over; whether it is still open.
///
/// # Errors
/// When the store can't be reached or the outcome is unknown.
pub async fn tend(lanes: &LaneStore, id: &ApprovalId, now: Timestamp) -> Result<bool, StoreError> {
    let Some(lane) = id.lane() else {
        return Ok(false);
    };
    let state = lanes.refresh(&lane).await?;
    match state.approval(id) {
        Some(open) if open.is_open() && now >= open.asked.expires => {
            reply(lanes, id, &Reply::Expire, now).await?;
            Ok(false)
        }
        open => Ok(open.is_some_and(Approval::is_open)),
    }
}

#[cfg(test)]
mod tests;
