//! Only rules that are loaded as they were written, evaluated twice and without an error, count.

use std::time::Duration;

use super::*;
use crate::canary::Rule;
use crate::domain::alert::Labels;
use crate::domain::id::{DeploymentId, LaneName, ReleaseId};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn group() -> Group {
    let rule = |alert: &str, expr: &str| Rule {
        alert: alert.to_owned(),
        expr: expr.to_owned(),
        for_: "0s".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    };
    Group {
        name: "canary/x".to_owned(),
        interval: "5s".to_owned(),
        eval_delay: None,
        params: BTreeMap::new(),
        labels: BTreeMap::new(),
        rules: vec![rule("A", "a\n  > 1"), rule("B", "b > 1")],
    }
}

fn loaded(evaluated: i64) -> Vec<RuleGroup> {
    let rule = |name: &str, query: &str| AlertingRule {
        name: name.to_owned(),
        query: query.to_owned(),
        labels: Labels::new(),
        for_: Duration::ZERO,
        healthy: Some(true),
        last_error: None,
        last_evaluation: Some(at(evaluated).to_string()),
    };
    vec![RuleGroup {
        name: "canary/x".to_owned(),
        file: String::new(),
        params: Vec::new(),
        has_headers: false,
        rules: vec![rule("A", "a > 1"), rule("B", "b > 1")],
    }]
}

fn seen(list: &[RuleGroup]) -> Sight {
    look(&group(), at(0), list)
}

#[test]
fn a_group_counts_when_every_rule_of_it_is_loaded_and_evaluated() {
    assert_eq!(seen(&loaded(10)), Sight::Evaluated(at(10)));
    assert_eq!(seen(&[]), Sight::Missing);
    let changed = |change: &dyn Fn(&mut RuleGroup)| {
        let mut list = loaded(10);
        change(&mut list[0]);
        seen(&list)
    };
    assert_eq!(
        changed(&|group| group.rules[1].query = "b > 2".into()),
        Sight::Other("B".into())
    );
    assert_eq!(
        changed(&|group| drop(group.rules.pop())),
        Sight::Other("B".into())
    );
    assert_eq!(
        changed(&|group| group.rules.push(group.rules[0].clone())),
        Sight::Other("it has more rules".into())
    );
    assert_eq!(
        changed(&|group| group.rules[0].last_error = Some("no".into())),
        Sight::Failing("A: no".into())
    );
    // The year 1 is how a rule without an evaluation is told; an older one is another group's.
    for before in ["0001-01-01T00:00:00Z", "2020-01-01T00:00:00Z", ""] {
        assert_eq!(
            changed(&|group| group.rules[0].last_evaluation = Some(before.into())),
            Sight::Waiting("A".into())
        );
    }
    // The oldest evaluation counts: a rule that hangs behind is not covered by the others.
    let later = |group: &mut RuleGroup| group.rules[0].last_evaluation = Some(at(20).to_string());
    assert_eq!(changed(&later), Sight::Evaluated(at(10)));
}

#[test]
fn proven_is_what_every_vmalert_evaluated_a_second_time() {
    let watch = Watch::default();
    let armed = armed();
    let judge = |a: Sight, b: Sight| watch.judge(&armed, &[("a".into(), a), ("b".into(), b)]);
    let waits = |a: Sight, b: Sight| judge(a, b).unwrap_err();
    assert_eq!(
        waits(Sight::Evaluated(at(1)), Sight::Missing),
        "vmalert a: the rules were evaluated once; vmalert b: the rules are not loaded"
    );
    assert_eq!(
        waits(Sight::Evaluated(at(2)), Sight::Evaluated(at(1))),
        "vmalert b: the rules were evaluated once"
    );
    // Away is no evaluation; failing begins anew.
    let away = Sight::Away("refused".into());
    assert_eq!(
        waits(away, Sight::Failing("A: no".into())),
        "vmalert a: it can't be asked: refused; vmalert b: an evaluation fails: A: no"
    );
    waits(Sight::Evaluated(at(3)), Sight::Evaluated(at(9)));
    assert_eq!(
        judge(Sight::Evaluated(at(4)), Sight::Evaluated(at(10))),
        Ok(vec!["a".into(), "b".into()])
    );
    assert!(watch.judge(&armed, &[]).is_err(), "nobody looked");
    watch.keep(|_| false);
    waits(Sight::Evaluated(at(9)), Sight::Evaluated(at(19)));
}

fn armed() -> Armed {
    let place = Place {
        lane: LaneName::new("checkout@prod").unwrap(),
        deployment: DeploymentId::new("01X").unwrap(),
        batch: 1,
    };
    Armed::begun(place, ReleaseId::new("checkout@2").unwrap(), group(), at(0))
}

#[test]
fn rules_that_were_proven_and_are_evaluated_no_more_are_told_once_and_once_that_they_are_back() {
    let (watch, armed) = (Watch::default(), armed());
    let fresh = Duration::from_secs(30);
    let look = |sight: Sight, now: i64| watch.again(&armed, &[("a".into(), sight)], at(now), fresh);
    let lapse = || watch.lapse(&armed);
    assert_eq!(look(Sight::Evaluated(at(100)), 130), None);
    assert_eq!(lapse(), None);

    // Gone for a moment: said to who asks, and to nobody else.
    assert_eq!(look(Sight::Missing, 140), None);
    let words = "vmalert a: the rules are not loaded";
    assert_eq!(lapse(), Some((at(140), words.into())));
    assert_eq!(look(Sight::Evaluated(at(150)), 150), None);
    assert_eq!(lapse(), None);

    // An evaluation that does not come again is none.
    assert_eq!(look(Sight::Evaluated(at(150)), 181), None);
    assert!(
        lapse()
            .unwrap()
            .1
            .starts_with("vmalert a: the last evaluation was at ")
    );
    assert_eq!(look(Sight::Failing("A: no".into()), 240), None);
    let lost = "vmalert a: an evaluation fails: A: no";
    assert_eq!(
        look(Sight::Failing("A: no".into()), 241),
        Some(Turn::Lost(lost.into()))
    );
    assert_eq!(look(Sight::Failing("A: no".into()), 500), None);
    assert_eq!(lapse(), Some((at(181), lost.into())));
    let back = Turn::Back(Duration::from_mins(7));
    assert_eq!(look(Sight::Evaluated(at(600)), 601), Some(back));
    assert_eq!(look(Sight::Evaluated(at(610)), 611), None);
}
