use std::time::Duration;

use super::*;

const RATE: Rate = Rate {
    count: 1,
    per: Duration::from_mins(30),
};
const BUDGET: Budget = Budget {
    per_service: RATE,
    overall: Rate {
        count: 3,
        per: Duration::from_mins(10),
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn grant(service: &str, second: i64, escalation: bool) -> Grant {
    Grant {
        incident: format!("{service}@prod-{second}").parse().unwrap(),
        service: service.parse().unwrap(),
        escalation,
        at: at(second),
    }
}

fn fits(grants: &[Grant], service: &str, escalation: bool, second: i64) -> bool {
    let view = BudgetView {
        grants: grants.to_vec(),
    };
    view.check(&BUDGET, &service.parse().unwrap(), escalation, at(second))
        .is_ok()
}

#[test]
fn a_service_has_one_per_half_hour() {
    let used = [grant("cart", 0, false)];
    assert!(!fits(&used, "cart", false, 1799));
    assert!(fits(&used, "cart", false, 1800));
    assert!(fits(&used, "checkout", false, 1));
}

#[test]
fn an_escalation_is_outside_the_service_budget_and_inside_the_overall_one() {
    let used = [grant("cart", 0, false), grant("cart", 1, true)];
    assert!(fits(&used, "cart", true, 2));
    assert!(fits(&[grant("cart", 1, true)], "cart", false, 2));
    let used = [
        grant("cart", 0, false),
        grant("a", 1, false),
        grant("b", 2, false),
    ];
    assert!(!fits(&used, "cart", true, 3));
    assert!(!fits(&used, "c", false, 599));
    assert!(fits(&used, "c", false, 600));
}

#[test]
fn the_refusal_says_what_is_used_up() {
    let view = BudgetView {
        grants: vec![grant("cart", 0, false)],
    };
    let why = view.check(&BUDGET, &"cart".parse().unwrap(), false, at(1));
    assert_eq!(
        why.unwrap_err(),
        "1 automatic rollbacks of cart within 30m, the budget is 1"
    );
}
