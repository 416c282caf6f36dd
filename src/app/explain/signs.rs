//! Who was there, from signs of life.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::app::presence::{self, Sign};
use crate::domain::clock;
use crate::explain::{self, Moment, Presence, Span, Step};

/// The newest time of which the signs may not be written yet.
const TO_COME: Duration = Duration::from_secs(presence::EVERY.as_secs() * 3 / 2);

/// What the signs say of the time around a moment.
pub(super) fn summed(
    signs: &[Sign],
    moment: &Moment,
    now: Timestamp,
    not_known: &mut Vec<String>,
) -> Presence {
    let window = Span {
        from: moment.from,
        to: moment.to,
    };
    let mut presence = Presence::default();
    let mut replicas = BTreeSet::new();
    let span = |sign: &Sign| Span {
        from: sign.from,
        to: sign.to,
    };
    for sign in signs.iter().filter(|sign| span(sign).meets(&window)) {
        replicas.insert(&sign.by);
        for (answer, n) in &sign.answers {
            *presence.answers.entry(answer.clone()).or_default() += n;
        }
        let about =
            |service: Option<&str>| service.is_none_or(|name| name == moment.service.as_str());
        let dropped = sign
            .dropped
            .iter()
            .filter(|dropped| window.holds(dropped.at) && about(dropped.service.as_deref()));
        presence.dropped.extend(dropped.map(|dropped| Step {
            at: dropped.at,
            what: dropped.what.clone(),
        }));
    }
    presence.replicas = replicas.len();
    let mut spans: Vec<Span> = signs.iter().map(span).collect();
    let all = explain::gaps(window, spans.clone());
    spans.push(Span {
        from: clock::before(now, TO_COME),
        to: now,
    });
    presence.gaps = explain::gaps(window, spans);
    if presence.gaps != all {
        let text = "who was there in the last minute: a sign of life is written once a minute";
        not_known.push(text.to_owned());
    }
    presence
}
