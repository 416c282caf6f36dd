//! Each mistake is found, and what ships makes none.

use std::collections::BTreeMap;

use super::*;

const SCOPE: &str = r#"service="s",env="p",release_id="s@2",batch="1""#;
const STABLE: &str = r#"service="s",env="p",release_id="s@1""#;

fn faults(expr: &str) -> Vec<String> {
    let expr = expr.replace("$c", SCOPE).replace("$s", STABLE);
    let rule = Rule {
        alert: "A".to_owned(),
        expr,
        for_: "0s".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    };
    let found = super::rule(&rule, "s@2");
    found.into_iter().map(|fault| fault.what).collect()
}

#[test]
fn a_series_that_is_selected_without_its_release_is_refused() {
    for (expr, words) in [
        (
            "up > 0",
            "`up` is selected without service, env, release_id",
        ),
        (
            r#"sum(x{service="s",env="p"}) > 1"#,
            "`x` is selected without release_id",
        ),
        ("x{$s} > 1", "nothing in it is about the release it watches"),
        ("x{$c", "the expression's strings and brackets do not end"),
    ] {
        assert_eq!(faults(expr), [words], "{expr}");
    }
    assert_eq!(faults("x{$c} > 1"), [""; 0]);
}

#[test]
fn silence_is_asked_of_plain_selectors_only() {
    let words = "`absent` of anything but a plain selector returns no labels";
    for expr in [
        "absent(sum(x{$c}))",
        "absent(x{$c} == 1)",
        "absent_over_time(rate(x{$c}[1m])[5m:])",
    ] {
        assert_eq!(faults(expr), [words], "{expr}");
    }
    assert_eq!(faults("absent_over_time(x{$c}[2m]) or x{$c} == 0"), [""; 0]);
}

#[test]
fn a_share_is_filled_up_counted_and_has_a_floor() {
    let share = "sum(e{$c,code=~\"5..\"}) / sum(e{$c})";
    let filled = "(sum(e{$c,code=~\"5..\"}) or 0 * sum(e{$c})) / sum(e{$c})";
    let count = "sum(e{$c,code=~\"5..\"}) >= 10";
    let of = |expr: String| faults(&expr).len();
    assert_eq!(of(format!("{share} > 0.1 and {count}")), 1);
    assert_eq!(of(format!("{filled} > 0.1")), 1);
    assert_eq!(of(format!("{filled} > 0.1 and {count}")), 0);
    let relative = format!("{filled} > 2 * sum(x{{$s}}) and sum(y{{$c}}) > sum(y{{$s}})");
    assert_eq!(of(relative), 2);
}

#[test]
fn a_quantile_keeps_le_and_counts_its_requests() {
    let quantile =
        |by: &str| format!("histogram_quantile(0.95, sum by ({by}) (x_bucket{{$c}})) > 0.3");
    let of = |expr: String| faults(&expr).len();
    assert_eq!(of(quantile("job")), 2);
    assert_eq!(of(quantile("le, job")), 1);
    assert_eq!(of(quantile("le") + " and sum(x_count{$c}) >= 200"), 0);
}
