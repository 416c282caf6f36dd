use super::*;
use crate::domain::decision::Scope;

fn order() -> Order {
    Order {
        incident: "checkout@prod-7".parse().unwrap(),
        attempt: 2,
        plan: Plan {
            application: "checkout".into(),
            pipeline: "rollback-full".into(),
            scope: Scope::Full,
            hosts: Vec::new(),
            from: "checkout@2".parse().unwrap(),
            target: "checkout@1".parse().unwrap(),
            parameters: BTreeMap::from([("release".to_owned(), "checkout@1".to_owned())]),
            admission: true,
            task: None,
        },
    }
}

fn answer(id: &str) -> Seen {
    let mut parameters = order().plan.parameters;
    // Orca fills in defaults of its own.
    parameters.insert("dryRun".into(), "false".into());
    Seen {
        id: id.parse().unwrap(),
        application: "checkout".into(),
        pipeline: "rollback-full".into(),
        correlation_id: Some("bs-checkout@prod-7-2".into()),
        event_id: Some("bs-checkout@prod-7-2".into()),
        parameters,
        built_at: None,
        status: "RUNNING".into(),
        terminal: false,
        succeeded: false,
        failure: None,
        waiting: Waiting::No,
        reach: Reach::Unclear,
    }
}

#[test]
fn an_execution_is_ours_when_everything_agrees() {
    assert!(order().is_answered_by(&answer("E1")));
    for keep in [true, false] {
        let mut one_id = answer("E1");
        if keep {
            one_id.event_id = None;
        } else {
            one_id.correlation_id = None;
        }
        assert!(order().is_answered_by(&one_id));
    }
}

#[test]
fn an_execution_that_differs_anywhere_is_not_ours() {
    let differs: [fn(&mut Seen); 6] = [
        |seen| seen.application = "cart".into(),
        |seen| seen.pipeline = "rollback-batch".into(),
        |seen| seen.correlation_id = Some("bs-checkout@prod-7-1".into()),
        |seen| seen.event_id = Some("bs-checkout@prod-7-22".into()),
        |seen| {
            seen.correlation_id = None;
            seen.event_id = None;
        },
        |seen| {
            seen.parameters
                .insert("release".into(), "checkout@0".into());
        },
    ];
    for (n, differ) in differs.iter().enumerate() {
        let mut seen = answer("E1");
        differ(&mut seen);
        assert!(!order().is_answered_by(&seen), "difference {n}");
        assert_eq!(adopt(&order(), vec![seen]), None);
    }
    let mut lacks = answer("E1");
    lacks.parameters.clear();
    assert!(!order().is_answered_by(&lacks));
}

#[test]
fn of_several_the_oldest_that_runs_is_adopted() {
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    let mut ended = answer("E1");
    (ended.terminal, ended.built_at) = (true, at(1));
    let mut young = answer("E2");
    young.built_at = at(3);
    let mut old = answer("E3");
    old.built_at = at(2);
    let all = vec![ended.clone(), young, old];
    assert_eq!(adopt(&order(), all).unwrap().id.as_str(), "E3");
    assert_eq!(adopt(&order(), vec![ended]).unwrap().id.as_str(), "E1");
    assert_eq!(adopt(&order(), Vec::new()), None);
}
