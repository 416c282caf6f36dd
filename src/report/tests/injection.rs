//! Text from outside is shown, never obeyed.

use jiff::Timestamp;

use super::super::*;
use super::scene::recovered;
use crate::domain::notice::Link;

const PAYLOADS: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; background:url(//e.example)",
    "](javascript:alert(1)) [x](http://e.example)",
    "\n\n# Forged heading\n\n![p](http://e.example/p.png)",
    "| a | b |\n|---|---|\n@everyone #1",
    "```\n</pre></style><h1>out</h1>",
    "{{ 7*7 }} &lt;b&gt; <!-- --> \u{202e}evil",
];

/// An input in which every text that outsiders write is `text`.
fn poisoned(text: &str) -> Input {
    let mut input = recovered();
    let value: Text = text.into();
    let labels = [(text.to_owned(), text.to_owned())];
    for alert in &mut input.alerts {
        for name in ["alertname", "severity", "zone"] {
            alert.labels.insert(name.to_owned(), text.to_owned());
        }
        alert.labels.extend(labels.clone());
        alert
            .annotations
            .insert("summary".to_owned(), text.to_owned());
    }
    for release in input.from.iter_mut().chain(&mut input.target) {
        for field in [
            &mut release.tag,
            &mut release.version,
            &mut release.artifact_url,
            &mut release.checksum,
            &mut release.created_by,
        ] {
            text.clone_into(field);
        }
        release.commit = Some(text.to_owned());
    }
    let mark = input.mark.as_mut().unwrap();
    (mark.by, mark.reason) = (text.to_owned(), text.to_owned());
    let decision = &mut input.incident.opened.decision;
    decision.rule = Some(text.to_owned());
    for rule in &mut decision.rules {
        (rule.rule, rule.why) = (text.to_owned(), text.to_owned());
    }
    for guard in &mut decision.guards {
        guard.outcome = crate::domain::decision::Outcome::Hold(text.to_owned());
    }
    decision.evidence.as_mut().unwrap().verify = crate::domain::evidence::Verify::HoldsForOthers {
        expr: text.to_owned(),
        series: vec![text.to_owned()],
    };
    for entry in &mut input.incident.events {
        if let crate::domain::lane::LaneEvent::Finished { status, detail, .. } = &mut entry.event {
            (*status, *detail) = (text.to_owned(), text.to_owned());
        }
    }
    for log in [&mut input.deploy_log, &mut input.rollback_log] {
        let log = log.value_mut().unwrap();
        (log.pipeline, log.status) = (value.clone(), value.clone());
        for stage in &mut log.stages {
            (stage.name, stage.kind, stage.status) = (value.clone(), value.clone(), value.clone());
            stage.message = Some(value.clone());
        }
    }
    for metric in input.metrics.value_mut().unwrap() {
        (metric.title, metric.query, metric.source, metric.unit) =
            (value.clone(), value.clone(), value.clone(), value.clone());
        metric.chart_png = None;
        for series in &mut metric.series {
            *series = Series::new(
                labels.iter().map(|(a, b)| (a, b)),
                series.role,
                [(Timestamp::UNIX_EPOCH, f64::NAN)],
            );
        }
    }
    for line in input.messages.value_mut().unwrap() {
        line.status = value.clone();
    }
    for line in input.hosts.value_mut().unwrap() {
        line.before.as_mut().unwrap().error = Some(value.clone());
    }
    input.commits = Section::partial(
        text,
        vec![Commit {
            id: value.clone(),
            author: Some(value.clone()),
            title: value.clone(),
            at: None,
            url: Some(value.to_string()),
        }],
    );
    input.compare = Some(Link {
        text: text.to_owned(),
        url: "javascript:alert(2)".to_owned(),
    });
    input.links = vec![
        Link {
            text: text.to_owned(),
            url: "javascript:alert(1)".to_owned(),
        },
        Link {
            text: text.to_owned(),
            url: "data:text/html,<script>".to_owned(),
        },
        Link {
            text: text.to_owned(),
            url: "https://u:p@backstop.example.com/x?a=(b)\"><i>".to_owned(),
        },
    ];
    input
}

/// The tags of a page, without attributes' values.
fn tags(page: &str) -> Vec<&str> {
    page.split('<')
        .skip(1)
        .map(|part| part.split(['>', ' ']).next().unwrap())
        .collect()
}

#[test]
fn no_payload_becomes_a_tag_or_attribute_of_the_page() {
    let allowed = [
        "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "main", "section", "header",
        "footer", "div", "span", "p", "b", "i", "h1", "h2", "h3", "dl", "dt", "dd", "ul", "ol",
        "li", "a", "table", "thead", "tbody", "tr", "th", "td", "time", "code", "pre", "details",
        "summary", "figure", "img",
    ];
    for payload in PAYLOADS {
        let page = html(&record(poisoned(payload)));
        // `<style>` holds no `<`, but for the one of its printed links.
        let page = page.split_once("</style>").unwrap().1;
        for tag in tags(page) {
            assert!(
                allowed.contains(&tag.trim_start_matches('/')),
                "{payload:?} made <{tag}"
            );
        }
        assert_eq!(page.matches("<h1").count(), 1);
        assert_eq!(page.matches("<img").count(), 0, "no chart was drawn");
        assert!(!page.contains("javascript:alert(1)\"") && !page.contains("href=\"data:"));
        assert_eq!(
            page.matches("href=").count(),
            1 + payload.matches("href=").count()
        );
        assert!(page.contains("href=\"https://backstop.example.com/x?a=(b)"));
        assert!(!page.contains('\u{202e}'));
    }
}

#[test]
fn payloads_are_shown_literally() {
    let page = html(&record(poisoned(PAYLOADS[0])));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains("<script"));
}

/// Code spans and escaped characters taken away: what is left is obeyed.
fn obeyed(markdown: &str) -> String {
    let mut out = String::new();
    let mut fence: Option<usize> = None;
    for line in markdown.lines() {
        let ticks = line.len() - line.trim_start_matches('`').len();
        match fence {
            Some(open) if ticks >= open && line.len() == ticks => fence = None,
            Some(_) => {}
            None if ticks >= 3 && line.len() == ticks => fence = Some(ticks),
            None => {
                out.push_str(&without_spans(line));
                out.push('\n');
            }
        }
    }
    assert_eq!(fence, None, "a fence stays open");
    out
}

fn without_spans(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            rest = rest.get(2..).unwrap_or_default();
        } else if c == '`' {
            let ticks = rest.len() - rest.trim_start_matches('`').len();
            let inside = &rest[ticks..];
            let mut end = 0;
            loop {
                end += inside[end..].find('`').expect("a code span stays open");
                let run = inside[end..].len() - inside[end..].trim_start_matches('`').len();
                if run == ticks {
                    break;
                }
                end += run;
            }
            rest = &inside[end + ticks..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

#[test]
fn no_payload_becomes_markdown() {
    let clean = obeyed(&markdown(&record(recovered())));
    let headings = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
    for payload in PAYLOADS {
        let page = obeyed(&markdown(&record(poisoned(payload))));
        assert_eq!(headings(&page), headings(&clean), "{payload:?}");
        for part in ["<", "![", "](http:", "@e", "`"] {
            assert!(!page.contains(part), "{payload:?} left {part:?}");
        }
        assert_eq!(page.matches("](").count(), 1, "{payload:?}");
        assert!(page.contains("](https://backstop.example.com/x?a=%28b%29"));
        for (n, line) in page
            .lines()
            .enumerate()
            .filter(|(_, line)| line.starts_with('|'))
        {
            assert!(line.ends_with('|'), "line {n}: {line}");
        }
    }
}
