use proptest::prelude::*;

use super::*;

fn split(expr: &str) -> Option<(String, &'static str, f64)> {
    split_threshold(expr).map(|(lhs, op, line)| (lhs, op.as_str(), line))
}

#[test]
fn a_comparison_with_a_number_is_split() {
    let cases = [
        ("ratio > 0.05", "ratio", ">", 0.05),
        (
            r#"http_error_ratio{service="check>out"} >= 5e-2"#,
            r#"http_error_ratio{service="check>out"}"#,
            ">=",
            0.05,
        ),
        ("(rate(x) < -1Ki)", "rate(x)", "<", -1024.0),
        ("0.9 > avg(up)", "avg(up)", "<", 0.9),
        ("x > bool 3", "x", ">", 3.0),
        (
            "sum(a > 1) by (b) == 2 # why > 3",
            "sum(a > 1) by (b)",
            "==",
            2.0,
        ),
        (
            "(\n (a / b) # \"quoted\n) > 0.05\n and sum(a) >= 10",
            "(\n (a / b) \n)",
            ">",
            0.05,
        ),
        (
            r#"WITH (n(r) = sum(x{id=r})) n("a") > 4 and n("b") > 2"#,
            r#"WITH (n(r) = sum(x{id=r})) n("a")"#,
            ">",
            4.0,
        ),
        ("up and on (job) x != 1", "x", "!=", 1.0),
    ];
    for (expr, lhs, op, line) in cases {
        assert_eq!(split(expr), Some((lhs.to_owned(), op, line)), "{expr}");
    }
}

#[test]
fn what_is_held_against_another_series_has_no_line() {
    let found = measured("new > 2 * clamp_min(old, 0.001) and errors >= 10").unwrap();
    assert_eq!(
        (found.lhs.as_str(), found.op, found.line),
        ("new", Op::Greater, None)
    );
}

#[test]
fn what_is_not_understood_stays_whole() {
    for expr in [
        "",
        "up",
        "a > 1 or b > 2",
        "a default 0 > 3",
        "absent(up == 1)",
        "x{a=\"} > 1",
        "(x > 1",
        "x) > 1",
        "x >",
        "> 1",
        "a unless b > 1",
    ] {
        assert_eq!(split(expr), None, "{expr}");
    }
    assert_eq!(
        measured(&format!("{}x > 1{}", "(".repeat(5000), ")".repeat(5000))),
        None
    );
}

#[test]
fn a_rule_of_one_release_can_be_asked_of_the_others() {
    assert_eq!(
        about_others(
            r#"sum(e{service="s", release_id = 's@2',batch="1"}) / n{release_id="s@2"}"#,
            "release_id",
            "s@2",
            &["batch"]
        )
        .as_deref(),
        Some(r#"sum(e{service="s", release_id!="s@2",batch=~".*"}) / n{release_id!="s@2"}"#)
    );
    for expr in [
        r#"x{release_id="s@1"}"#,
        r#"x{other_release_id="s@2"}"#,
        r#"x{a="release_id=\"s@2\""}"#,
        r#"x{release_id!="s@2"}"#,
        r#"x{release_id=~"s@2"}"#,
        "release_id == 2",
    ] {
        assert_eq!(about_others(expr, "release_id", "s@2", &[]), None, "{expr}");
    }
}

#[test]
fn a_hostile_label_value_stays_a_value() {
    assert_eq!(
        matcher_value("x\"} or vector(1) #"),
        "x\\\"} or vector(1) #"
    );
    assert_eq!(matcher_value("a\\\n\u{7}"), "a\\\\\\n\\u0007");
}

proptest! {
    #[test]
    fn splitting_never_panics(text in "\\PC*") {
        drop(measured(&text));
        drop(about_others(&text, "a", "b", &["c"]));
    }

    #[test]
    fn splitting_text_of_the_language_never_panics_and_keeps_brackets_whole(
        text in "(a|é|[0-9]|>|<|=|!|\\(|\\)|\\{|\\}|\\[|\"|'|`|\\\\|#|\n| and | or |WITH |bool |on){0,24}",
    ) {
        if let Some(found) = measured(&text) {
            prop_assert!(scan::top_level(&found.lhs).is_some());
        }
        drop(about_others(&text, "a", "0", &["é"]));
    }

    #[test]
    fn an_escaped_value_ends_where_it_should(value in "\\PC*") {
        let query = format!("x{{a=\"{}\"}}", matcher_value(&value));
        // Nothing of it stands outside of the braces.
        let outside = scan::top_level(&query).unwrap();
        prop_assert_eq!(outside.len(), 1);
    }
}
