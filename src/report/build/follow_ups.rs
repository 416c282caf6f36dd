//! What is done, and what people have to do.

use super::super::input::Input;
use super::super::record::{FollowUp, Impact, Standing};
use super::super::text::Text;
use super::super::words::{count, time_or_unknown};
use crate::domain::release::MarkKind;

pub(super) fn list(input: &Input, standing: Standing, impact: &Impact) -> Vec<FollowUp> {
    let opened = &input.incident.opened;
    let mut list = urgent(input, standing);
    list.push(marked(input));
    if standing != Standing::Withdrawn {
        list.push(done(format!(
            "Deployment {} gets no further batch.",
            opened.deployment
        )));
    }
    let left = impact
        .exposed
        .unwrap_or_default()
        .saturating_sub(impact.in_scope.len());
    if left > 0 {
        list.push(to_do(format!(
            "{} outside this rollback also got {}: decide whether to take it back there as well.",
            count(left, "host", "hosts"),
            opened.release_id
        )));
    }
    if input
        .from
        .as_ref()
        .is_some_and(|release| !release.reversible)
    {
        list.push(to_do(format!(
            "{} is marked irreversible: check the data it has written.",
            opened.release_id
        )));
    }
    list.push(to_do("Contributing factors (owner, text):".to_owned()));
    list.push(to_do(
        "Why it was not found before production (owner, text):".to_owned(),
    ));
    list.push(to_do("The fix and its release (owner, link):".to_owned()));
    list
}

fn urgent(input: &Input, standing: Standing) -> Vec<FollowUp> {
    let opened = &input.incident.opened;
    let text = match standing {
        Standing::RollbackFailed => format!(
            "A person must act now: the rollback failed, so affected hosts may run {}, {} or neither.",
            opened.release_id, opened.target
        ),
        Standing::Unknown => {
            "Look in Spinnaker whether the rollback runs; the gateway keeps asking.".to_owned()
        }
        Standing::Unverified => {
            "Check by hand that the service is well; the metrics could not say.".to_owned()
        }
        Standing::StillBad => {
            "The rollback did not help: look for a cause outside this release.".to_owned()
        }
        Standing::Abandoned => "Check by hand what runs on the affected hosts.".to_owned(),
        _ => return Vec::new(),
    };
    vec![to_do(text)]
}

fn marked(input: &Input) -> FollowUp {
    let id = &input.incident.opened.release_id;
    match &input.mark {
        Some(mark) if mark.kind == MarkKind::Bad && mark.release_id == *id => {
            let by = Text::from(mark.by.as_str());
            let at = time_or_unknown(Some(mark.at));
            done(format!(
                "{id} was marked bad at {at} by {}: it is no target of a rollback any more.",
                by.line(80)
            ))
        }
        _ => to_do(format!(
            "{id} was not marked bad when this report was made; \"backstop release mark bad\" does so."
        )),
    }
}

fn done(text: String) -> FollowUp {
    FollowUp {
        done: true,
        text: text.into(),
    }
}

fn to_do(text: String) -> FollowUp {
    FollowUp {
        done: false,
        text: text.into(),
    }
}
