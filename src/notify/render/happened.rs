//! What happened to an incident, in the channel's language.

use super::Voice;
use super::value::local;
use super::words::Words;
use crate::domain::notice::Happened;

/// A sentence without the detail.
pub(super) fn told(happened: &Happened, voice: &Voice, w: &Words) -> String {
    let words = match happened {
        Happened::Attempt(attempt) => return w.attempt.replace("{n}", &attempt.to_string()),
        Happened::Revision(revision) => return w.revision.replace("{n}", &revision.to_string()),
        Happened::Asked {
            question,
            until,
            then_done,
        } => {
            let until = local(*until, &voice.time_zone).unwrap_or_default();
            let then = if *then_done { w.then_done } else { w.then_held };
            let words = w.person_must.replace("{until}", &until);
            return words.replace("{then}", then).replace("{id}", question);
        }
        Happened::Recovered => w.recovered,
        Happened::StillBad => w.still_bad,
        Happened::Unverified => w.unverified,
        Happened::CantStop => w.cant_stop,
        Happened::Spinnaker => w.spinnaker_away,
        Happened::Unknown => w.sent_unknown,
        Happened::Held => w.held_long,
        Happened::Withdrawn => w.withdrawn,
        Happened::NotSent => w.not_sent,
        Happened::StillRunning => w.still_running,
        Happened::Waits => w.waits_for_people,
        Happened::Unchecked => w.unchecked,
        Happened::Failed => w.rollback_failed,
        Happened::NotRecovered => w.not_recovered,
    };
    words.to_owned()
}
