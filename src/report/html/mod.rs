//! The record as one page: no script, no address that is fetched, pictures inside.
//!
//! It carries its own content security policy, so that it is as safe from a mailbox or a disk as
//! from our server. maud escapes every text; nothing from outside reaches the style or a link
//! that [`super::build`] has not checked.

mod decision;
mod logs;
mod metrics;
mod parts;

use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

use super::record::{Record, Standing};
use super::words;
use parts::{facts, hosts, pill, section, when};

const STYLE: &str = include_str!("report.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The page, complete: every picture of the record whose bytes are at hand is inside.
pub fn html(record: &Record) -> String {
    let header = &record.header;
    let title = format!(
        "Rollback report: {} {} in {}, revision {}",
        header.service,
        header.from.version(),
        header.env,
        header.revision
    );
    markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                (top(record))
                (clocks(record))
                (impact(record))
                (metrics::section(record))
                (decision::section(record))
                (change(record))
                (timeline(record))
                (logs::sections(record))
                (logs::hosts(record))
                (logs::messages(record))
                (follow_ups(record))
                (missing(record))
                (foot(record))
            } }
        }
    }
    .into_string()
}

fn tone(standing: Standing) -> &'static str {
    match standing {
        Standing::Recovered => "good",
        Standing::RollbackFailed | Standing::StillBad => "bad",
        Standing::Opened
        | Standing::Submitting
        | Standing::RollingBack
        | Standing::RolledBack
        | Standing::Superseded => "busy",
        Standing::Unknown | Standing::Unverified | Standing::Withdrawn | Standing::Abandoned => {
            "wait"
        }
    }
}

fn top(record: &Record) -> Markup {
    let header = &record.header;
    markup! {
        header class={ "top " (tone(header.standing)) } {
            div.over {
                span { "Rollback report · revision " (header.revision) }
                (pill(tone(header.standing), header.standing.words()))
                @if let Some(severity) = &header.severity {
                    span { "severity " b { (severity.line(40)) } }
                }
            }
            h1 {
                (header.service) " " (header.from.version()) " → " (header.target.version())
                " in " (header.env)
            }
            p.lead { (record.summary) }
            (facts(&[
                ("Incident", markup! { code { (header.incident) } }),
                ("Scope", markup! { (words::scope(&header.scope)) }),
                ("Deployment", markup! {
                    code { (header.deployment) }
                    @if let Some(strategy) = header.strategy { " (" (words::strategy(strategy)) ")" }
                }),
                ("Rollback execution", if let Some(id) = &header.execution { markup! { code { (id) } } } else { markup! { span.soft { "none known" } } }),
                ("Report made", when(Some(header.generated_at))),
            ]))
            @if let Some(old) = &header.supersedes {
                p.small { "This incident escalates " code { (old) } "." }
            }
            @if !record.links.is_empty() {
                ul.links { @for link in &record.links {
                    li { a href=(link.url) rel="noopener noreferrer" { (link.text) } }
                } }
            }
        }
    }
}

fn clocks(record: &Record) -> Markup {
    section(
        "Clocks",
        &markup! {
            div.laps { @for (name, meaning, lap) in record.laps.named() {
                div {
                    span { (name) }
                    @match lap.seconds {
                        Some(seconds) => b { (words::duration(seconds)) },
                        None => b.soft { "unknown" },
                    }
                    span { (meaning) }
                    @if let Some(why) = &lap.why { span { (why) } }
                }
            } }
            div.scroll { table.stack {
                thead { tr { th { "Moment" } th { "Time" } th { "Whose clock, or why unknown" } } }
                tbody { @for (name, clock) in record.clocks.named() {
                    tr { th { (name) } td { (when(clock.at)) } td.soft { (clock.note) } }
                } }
            } }
        },
    )
}

fn impact(record: &Record) -> Markup {
    let impact = &record.impact;
    let exposed = match (impact.exposed, impact.fleet) {
        (Some(exposed), Some(fleet)) => {
            format!("{exposed} of {}", words::count(fleet, "host", "hosts"))
        }
        (Some(exposed), None) => words::count(exposed, "host", "hosts"),
        (None, _) => "unknown".to_owned(),
    };
    let percent = impact.share.map(|share| (share * 100.0).clamp(0.0, 100.0));
    let share = impact
        .share
        .map(|share| words::measured(share, &"ratio".into()));
    section(
        "Impact",
        &markup! {
            @if let Some(percent) = percent {
                div.share role="img" aria-label={ "share of the fleet: " (share.as_deref().unwrap_or("unknown")) } {
                    i style=(format!("width:{percent:.1}%")) {}
                }
            }
            (facts(&[
                ("Ran the accused release", markup! {
                    (exposed) @if let Some(share) = &share { " (" (share) ")" }
                }),
                ("Running there since", when(impact.exposed_since)),
                ("For", markup! {
                    @match impact.exposed_seconds {
                        Some(seconds) => {
                            (words::duration(seconds))
                            @if !impact.over { span.soft { " and still, when this was written" } }
                        },
                        None => span.soft { "unknown" },
                    }
                }),
            ]))
            p.small {
            span.soft { "In this rollback: " }
            (words::count(impact.in_scope.len(), "host", "hosts"))
            @if !impact.in_scope.is_empty() { ": " (hosts(&impact.in_scope, 40)) }
        }
        @if let Some(note) = &impact.note { p.note { (note) } }
        },
    )
}

fn change(record: &Record) -> Markup {
    let (bad, good) = (&record.change.from, &record.change.target);
    let text = |text: &Option<super::Text>| {
        if let Some(text) = text {
            markup! { code { (text) } }
        } else {
            markup! { span.soft { "unknown" } }
        }
    };
    let reversible = |reversible: Option<bool>| match reversible {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "unknown",
    };
    let rows = [
        (
            "Version",
            markup! { code { (bad.version) } },
            markup! { code { (good.version) } },
        ),
        ("Tag", text(&bad.tag), text(&good.tag)),
        ("Commit", text(&bad.commit), text(&good.commit)),
        ("Binary, SHA-256", text(&bad.checksum), text(&good.checksum)),
        ("Binary", text(&bad.artifact_url), text(&good.artifact_url)),
        (
            "Configuration, SHA-256",
            text(&bad.config_checksum),
            text(&good.config_checksum),
        ),
        ("Published", when(bad.created_at), when(good.created_at)),
        (
            "Published by",
            text(&bad.created_by),
            text(&good.created_by),
        ),
        (
            "Reversible",
            markup! { (reversible(bad.reversible)) },
            markup! { (reversible(good.reversible)) },
        ),
    ];
    section(
        "Change",
        &markup! {
            div.scroll { table.stack {
                thead { tr { th { "" } th { "Bad release" } th { "Back to" } } }
                tbody { @for (name, bad, good) in rows {
                    tr { th { (name) } td data-l="bad" { (bad) } td data-l="back to" { (good) } }
                } }
            } }
            h3 { "Commits in between" }
            (parts::partial(record.change.commits.why()))
            @match record.change.commits.value() {
                Some(commits) if commits.is_empty() => p.soft { "None." },
                Some(commits) => ul { @for commit in commits {
                    li {
                        @if !commit.id.is_empty() {
                            @match &commit.url {
                                Some(url) => a href=(url) rel="noopener noreferrer" { code { (commit.short()) } },
                                None => code { (commit.short()) },
                            } " "
                        }
                        (commit.title)
                        @if let Some(author) = &commit.author { span.soft { " · " (author) } }
                        @if let Some(at) = commit.at { span.soft { " · " (when(Some(at))) } }
                    }
                } },
                None => {},
            }
            @if let Some(compare) = &record.change.compare {
                p { "All of it: " a href=(compare.url) rel="noopener noreferrer" { (compare.text) } }
            }
        },
    )
}

fn timeline(record: &Record) -> Markup {
    section(
        "Timeline",
        &markup! {
            ol.tl { @for row in &record.timeline {
                li { (when(Some(row.at))) span.soft { (row.source) } span { (row.text) } }
            } }
        },
    )
}

fn follow_ups(record: &Record) -> Markup {
    section(
        "Follow-ups",
        &markup! {
            ul.todo { @for item in &record.follow_ups {
                li.done[item.done] { (item.text) }
            } }
        },
    )
}

fn missing(record: &Record) -> Markup {
    section(
        "What this revision does not know",
        &markup! {
            @if record.missing.is_empty() { p.soft { "Nothing is missing." } }
            @else { table.stack { tbody { @for gap in &record.missing {
                tr { th { (gap.what) } td { (gap.why) } }
            } } } }
        },
    )
}

fn foot(record: &Record) -> Markup {
    markup! {
        footer {
            "Made by Backstop from facts alone. All times are UTC (+00:00). What looks like a secret is shown as "
            code { "***" } ". The record with every raw point is "
            code { "record.json" } " (format " (record.format) ") of incident "
            code { (record.header.incident) } ", revision " (record.header.revision) "."
        }
    }
}
