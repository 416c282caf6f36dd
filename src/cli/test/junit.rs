//! Results as `JUnit` XML, the form that CI systems read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::seconds;
use crate::rehearsal::Outcome;

/// One suite per file.
pub(super) fn of(outcomes: &[(Outcome, Duration)]) -> String {
    let mut suites: BTreeMap<&str, Vec<&(Outcome, Duration)>> = BTreeMap::new();
    for one in outcomes {
        suites.entry(&one.0.file).or_default().push(one);
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (file, cases) in suites {
        let failed = cases.iter().filter(|(one, _)| !one.passed()).count();
        let took = cases.iter().map(|(_, took)| *took).sum();
        add(
            &mut xml,
            format_args!(
                "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{}\">\n",
                escaped(file),
                cases.len(),
                seconds(took)
            ),
        );
        for (outcome, took) in cases {
            case(&mut xml, outcome, *took);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, outcome: &Outcome, took: Duration) {
    add(
        xml,
        format_args!(
            "    <testcase classname=\"{}\" name=\"{}\" file=\"{0}\" line=\"{}\" time=\"{}\"",
            escaped(&outcome.file),
            escaped(&outcome.name),
            outcome.line,
            seconds(took)
        ),
    );
    if outcome.passed() {
        xml.push_str("/>\n");
        return;
    }
    xml.push_str(">\n");
    let message = outcome
        .failures
        .first()
        .map_or("", |one| one.message.as_str());
    let text: Vec<String> = outcome.failures.iter().map(ToString::to_string).collect();
    add(
        xml,
        format_args!(
            "      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
            escaped(message),
            escaped(&text.join("\n"))
        ),
    );
}

fn add(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _infallible = xml.write_fmt(text);
}

/// Text that is safe in XML, as content and in quotes; characters XML has no place for are shown
/// as a replacement.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_document() {
        let outcome = Outcome {
            name: "a \"<b>\" & \u{1}".to_owned(),
            file: "x.yaml".to_owned(),
            line: 3,
            failures: Vec::new(),
        };
        let xml = of(&[(outcome, Duration::from_millis(5))]);
        assert!(
            xml.contains("name=\"a &quot;&lt;b&gt;&quot; &amp; \u{fffd}\""),
            "{xml}"
        );
        assert!(xml.contains("tests=\"1\" failures=\"0\""), "{xml}");
    }
}
