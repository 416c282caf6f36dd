//! Evidence in a word, for tests about something else.

use jiff::Timestamp;

use super::words::Word;
use crate::domain::evidence::{Attribution, Check, Evidence, Measured, Verify};

/// The expression of evidence that is only claimed.
const EXPR: &str = "(claimed by this test)";

/// What all asking would come to.
pub(super) fn of_word(word: Word, at: Timestamp) -> Evidence {
    let holds = || {
        Verify::Holds(Measured {
            expr: EXPR.to_owned(),
            from: "this test".to_owned(),
            value: 1.0,
            series: 1,
            at,
        })
    };
    let expr = || EXPR.to_owned();
    let verify = match word {
        Word::Holds | Word::BeganBefore | Word::OthersAreBad | Word::Gone => holds(),
        Word::No => Verify::DoesNotHold { expr: expr() },
        Word::HoldsForOthers => Verify::HoldsForOthers {
            expr: expr(),
            series: vec!["{instance=\"somebody-else\"}".to_owned()],
        },
        Word::NoData => Verify::NoData { expr: expr() },
        Word::SourceDown => Verify::SourceDown {
            reason: "out (in this test)".to_owned(),
        },
        Word::NoExpression => Verify::NoTrustedExpression {
            reason: "none is written in this test".to_owned(),
        },
    };
    let told = matches!(verify, Verify::Holds(_));
    let check = |failed: Option<Check>| match failed {
        Some(failed) => failed,
        None if told => Check::Pass("as this test claims".to_owned()),
        None => Check::Hold("not asked: the condition itself could not be verified".to_owned()),
    };
    let deny = |words: &str| Some(Check::Deny(words.to_owned()));
    let hold = |words: &str| Some(Check::Hold(words.to_owned()));
    let attribution = Attribution {
        began_after: check(match word {
            Word::BeganBefore => deny("bad since before the batch started"),
            _ => None,
        }),
        others_are_well: check(match word {
            Word::OthersAreBad => hold("others are as bad"),
            _ => None,
        }),
        still_running: check(match word {
            Word::Gone => deny("it is gone from there"),
            _ => None,
        }),
    };
    Evidence {
        verify,
        attribution,
        at,
    }
}
