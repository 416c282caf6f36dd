//! Guards that ask what people want: the kill switch, the mode, and their yes.

use super::super::facts::Switches;
use std::time::Duration;

use super::{Case, Code, Finding};
use crate::domain::clock;
use crate::domain::decision::Consent;
use crate::domain::lane::{Answer, Approval, Settled, newest_approval};
use crate::domain::policy::{self, Expiry, Mode};

/// Nobody switched it off, for everything, the service or the environment. One `off` is enough,
/// and what can't be read may be one.
pub(in super::super) fn kill_switch(switches: &Switches) -> Finding {
    if let Some(off) = switches.off() {
        return Finding::deny(
            Code::Off,
            format!("switched off for {} {}", off.reach.as_str(), off.words),
        );
    }
    if let Some(reason) = &switches.unreadable {
        return Finding::hold(
            Code::Unreadable,
            format!("the kill switch and the modes set by people can't be read: {reason}"),
        );
    }
    Finding::pass("nobody switched it off")
}

/// The policy's mode and those above it; the strictest wins. `off` above it is the kill switch.
pub(super) fn mode(case: &Case<'_>) -> Finding {
    let of_policy = case.policy.guards.mode;
    let mut set = vec![format!("{} by {}", of_policy.as_str(), case.policy.file)];
    let above = &case.facts.switches.set;
    let above = above.iter().filter(|switch| switch.mode != Mode::Off);
    let mut strictest = of_policy;
    for switch in above {
        strictest = strictest.min(switch.mode);
        set.push(format!(
            "{} for {} {}",
            switch.mode.as_str(),
            switch.reach.as_str(),
            switch.words
        ));
    }
    let words = format!("the mode is {} ({})", strictest.as_str(), set.join(", "));
    match strictest {
        Mode::Off => Finding::deny(Code::Off, format!("{words}: nothing automatic is done")),
        Mode::Shadow => Finding::pass_as(
            Code::Shadow,
            format!("{words}: it is said and recorded, nothing is done"),
        ),
        Mode::Approve | Mode::Enforce => Finding::pass(words),
    }
}

/// How it stands with people's yes.
enum Standing<'a> {
    /// None is needed.
    Free(&'static str),
    /// They must be asked; the words say why what they said before is not enough.
    Ask(String),
    /// They are being asked.
    Open(&'a Approval),
    /// They agreed, or silence counts as that.
    Given(&'a Approval),
    /// Nobody answered, and that is no yes.
    Silent(&'a Approval),
    /// One of them said no.
    Denied(&'a Approval, &'a Answer),
}

/// What a question without times of its own in the rule goes by.
const BY_MODE: policy::Approval = policy::Approval {
    expires: Duration::from_mins(15),
    then: Expiry::Hold,
};

/// The times of a question. In mode `approve` silence is never a yes.
fn times(case: &Case<'_>) -> policy::Approval {
    let times = case.rule.approval.unwrap_or(BY_MODE);
    match case.mode {
        Mode::Approve => policy::Approval {
            then: Expiry::Hold,
            ..times
        },
        _ => times,
    }
}

fn standing<'a>(case: &Case<'a>) -> Result<Standing<'a>, Finding> {
    let (context, lane) = case.accused_lane()?;
    let rule = case.facts.accusation.rule_name().unwrap_or_default();
    let newest = newest_approval(lane.approvals, &context.deployment.id, &rule);
    if let Some(denied) = newest
        && let Settled::Denied(answer) = &denied.outcome
    {
        return Ok(Standing::Denied(denied, answer));
    }
    match case.mode {
        Mode::Off | Mode::Shadow => {
            return Ok(Standing::Free("nothing is done, so nobody is asked"));
        }
        Mode::Enforce if case.rule.approval.is_none() => {
            return Ok(Standing::Free("neither mode nor rule asks for a person"));
        }
        Mode::Approve | Mode::Enforce => {}
    }
    let Some(newest) = newest else {
        return Ok(Standing::Ask(String::new()));
    };
    let ask = |why: &str| Ok(Standing::Ask(format!("; `{}` {why}", newest.id)));
    let (Ok(scope), Ok(target)) = (&case.scope, &case.target) else {
        return ask("can't be held against what is not known yet");
    };
    let covers = newest.covers(scope, target);
    match newest.outcome {
        Settled::Open if covers => Ok(Standing::Open(newest)),
        Settled::Open => ask("asks for less, or another release"),
        // Silence may have been a yes when the rule acted by itself; in mode `approve` it is none.
        Settled::Expired if !newest.consents() || case.mode == Mode::Approve => {
            let since = newest.settled_at.zip(case.facts.held_since);
            if since.is_some_and(|(silent, held)| held > silent) {
                return ask("was about an earlier accusation");
            }
            Ok(Standing::Silent(newest))
        }
        Settled::Approved(_) | Settled::Expired if newest.used_by.is_some() => {
            ask("has served an incident")
        }
        Settled::Approved(_) | Settled::Expired if !covers => {
            ask("covers less, or another release")
        }
        Settled::Approved(_) | Settled::Expired
            if newest.good_until().is_none_or(|until| until < case.now()) =>
        {
            ask("was given too long ago")
        }
        Settled::Approved(_) | Settled::Expired => Ok(Standing::Given(newest)),
        Settled::Cleared(_) | Settled::Denied(_) | Settled::Lapsed(_) | Settled::Replaced(_) => {
            ask(newest.outcome.as_str())
        }
    }
}

/// A person agreed, where the mode or the rule asks for one. In `shadow` nothing is done, so
/// nobody is asked. A denial binds in every mode.
pub(super) fn approval(case: &Case<'_>) -> Finding {
    let standing = match standing(case) {
        Ok(standing) => standing,
        Err(finding) => return finding,
    };
    match standing {
        Standing::Free(words) => Finding::pass(words),
        Standing::Ask(why) if case.mode == Mode::Approve => Finding::hold(
            Code::ModeAsks,
            format!("the mode is approve: a person must agree{why}"),
        ),
        Standing::Ask(why) => Finding::hold(
            Code::RuleAsks,
            format!("the rule wants a person to agree{why}"),
        ),
        Standing::Open(open) => Finding::hold_until(
            open.asked.expires,
            Code::Asked,
            format!(
                "people are asked until {}, as `{}`",
                open.asked.expires.strftime("%H:%M:%S UTC"),
                open.id
            ),
        ),
        Standing::Given(given) => Finding::pass(match given.answer() {
            Some(answer) => format!("{} agreed (`{}`): {}", answer.by, given.id, answer.reason),
            None => format!(
                "nobody answered `{}`, which the rule takes for a yes",
                given.id
            ),
        }),
        Standing::Silent(silent) => Finding::hold_for_person(
            Code::NoAnswer,
            format!("nobody answered `{}` in time: a person must act", silent.id),
        ),
        Standing::Denied(denied, answer) => Finding::deny(
            Code::Denied,
            format!(
                "{} said no (`{}`): {}; that binds this deployment and rule until it is cleared",
                answer.by, denied.id, answer.reason
            ),
        ),
    }
}

/// What the decision records: whom it asked, or that they are to be asked because nothing else
/// (`only`) stands in the way.
pub(in crate::decide) fn consent(case: &Case<'_>, only: bool) -> Option<Consent> {
    match standing(case).ok()? {
        Standing::Ask(_) if only => {
            let times = times(case);
            Some(Consent::Ask {
                until: clock::after(case.now(), times.expires),
                then: times.then,
            })
        }
        Standing::Open(open) => Some(Consent::Asked(open.id.clone())),
        Standing::Given(given) => Some(Consent::Given(given.id.clone())),
        _ => None,
    }
}
