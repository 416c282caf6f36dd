//! Plain pages: readable on a telephone, without a script, every text escaped.

pub(super) mod approve;

use std::fmt::Display;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};

use super::api::{DeploymentState, Page, ReleaseRecord};
use super::routes::explain::Raw;
use crate::config::channel::Locale;
use crate::domain::decision::Decision;
use crate::domain::lane::{Incident, LaneEntry};
use crate::explain::{self, Explanation};

/// The only style sheet.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#888}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:64rem;padding:1rem}
input{box-sizing:border-box;max-width:100%}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid var(--line);padding:.35rem .6rem .35rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500}
.note{color:var(--soft)}.bad{color:#c22;font-weight:600}
pre{overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
@media(max-width:40rem){thead{display:none}tr{display:block;border-bottom:1px solid var(--line);padding:.5rem 0}
td{border:0;display:block;padding:.1rem 0}th[scope=row]{display:none}td[data-name]:before{content:attr(data-name) ': ';color:var(--soft)}}
";

fn frame(title: &str, body: &Markup) -> Markup {
    frame_in(Locale::En, title, body)
}

fn frame_in(locale: Locale, title: &str, body: &Markup) -> Markup {
    let lang = match locale {
        Locale::En => "en",
        Locale::ZhCn => "zh-CN",
    };
    html! {
        (DOCTYPE)
        html lang=(lang) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Backstop" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                (body)
            }
        }
    }
}

/// Incidents, deployments and releases.
pub(super) fn front(
    incidents: &Page<Incident>,
    deployments: &Page<DeploymentState>,
    releases: &Page<ReleaseRecord>,
) -> Markup {
    let body = html! {
        h1 { "Backstop" }
        p { a href="/explain" { "Why did nothing happen?" } }
        h2 { "Incidents" }
        (freshness(incidents))
        @if incidents.items.is_empty() { p.note { "None." } } @else {
            table {
                thead { tr { th { "Incident" } th { "Opened" } th { "What" } th { "From → to" } th { "State" } } }
                tbody { @for incident in &incidents.items { (incident_row(incident)) } }
            }
        }
        h2 { "Deployments" }
        (freshness(deployments))
        @if deployments.items.is_empty() { p.note { "None." } } @else {
            table {
                thead { tr { th { "Release" } th { "Env" } th { "Status" } th { "Started" } th { "Deployment" } } }
                tbody {
                    @for deployment in deployments.items.iter().map(|one| &one.deployment) {
                        tr {
                            td { (deployment.release_id) }
                            td data-name="Env" { (deployment.env) }
                            td data-name="Status" { (word(&deployment.status)) }
                            td data-name="Started" { (time(deployment.started_at)) }
                            td.note data-name="Deployment" { (deployment.id) }
                        }
                    }
                }
            }
        }
        h2 { "Releases" }
        (freshness(releases))
        @if releases.items.is_empty() { p.note { "None." } } @else {
            table {
                thead { tr { th { "Release" } th { "Created" } th { "By" } th { "Commit" } } }
                tbody {
                    @for release in releases.items.iter().map(|one| &one.release) {
                        tr {
                            td { (release.id) }
                            td data-name="Created" { (time(Some(release.created_at))) }
                            td data-name="By" { (release.created_by) }
                            td.note data-name="Commit" { (or_dash(release.commit.as_ref())) }
                        }
                    }
                }
            }
        }
    };
    frame("Releases and incidents", &body)
}

fn incident_row(incident: &Incident) -> Markup {
    let opened = &incident.opened;
    html! {
        tr {
            td { a href=(format!("/incidents/{}", incident.id)) { (incident.id) } }
            td data-name="Opened" { (time(Some(incident.opened_at))) }
            td data-name="What" { (opened.scope) " of " (opened.service) " in " (opened.env) }
            td data-name="From → to" { (opened.release_id) " → " (opened.target) }
            td data-name="State" { (state(incident)) }
        }
    }
}

/// One incident, with its timeline and links to its reports.
pub(super) fn incident(incident: &Incident) -> Markup {
    let opened = &incident.opened;
    let decision = &opened.decision;
    let body = html! {
        p { a href="/" { "Backstop" } }
        h1 { "Incident " (incident.id) }
        table {
            tbody {
                (fact("State", &state(incident)))
                (fact("Service", &opened.service))
                (fact("Environment", &opened.env))
                (fact("Scope", &opened.scope))
                (fact("From", &opened.release_id))
                (fact("Back to", &opened.target))
                (fact("Deployment", &opened.deployment))
                (fact("Opened", &time(Some(incident.opened_at))))
                (fact("Attempt", &incident.attempt))
                (fact("Execution", &or_dash(incident.execution.as_ref())))
                (fact("Why", &decision.why()))
            }
        }
        p {
            "Report: "
            @for file in ["report.html", "report.md", "report.json"] {
                a href=(format!("/incidents/{}/{file}", incident.id)) { (file) } " "
            }
        }
        p { a href=(format!("/explain?incident={}", incident.id)) { "Every rule, guard and hold behind it" } }
        h2 { "Guards" }
        (guards(decision))
        h2 { "Hosts" }
        p { @for host in &opened.hosts { (host) " " } }
        h2 { "Timeline" }
        table { tbody { @for entry in &incident.events { (timeline_row(entry)) } } }
    };
    frame(&format!("Incident {}", incident.id), &body)
}

fn guards(decision: &Decision) -> Markup {
    html! {
        table {
            thead { tr { th { "Guard" } th { "Says" } th { "Because" } } }
            tbody {
                @for verdict in &decision.guards {
                    tr {
                        td { (verdict.guard.as_str()) }
                        td data-name="Says" { (verdict.outcome.as_str()) }
                        td data-name="Because" { (verdict.outcome.reason()) }
                    }
                }
            }
        }
    }
}

/// A question, and its answer when there is one.
pub(super) fn explain(asked: &Raw, answer: Option<&Explanation>) -> Markup {
    let zone = TimeZone::get(&asked.time_zone).unwrap_or(TimeZone::UTC);
    let field = |name: &str, label: &str, value: &str, hint: &str| {
        html! { p { label { (label) " " input name=(name) value=(value) placeholder=(hint); } } }
    };
    let body = html! {
        p { a href="/" { "Backstop" } }
        h1 { "Why?" }
        form method="get" action="/explain" {
            (field("service", "Service", &asked.service, "checkout"))
            (field("env", "Environment", &asked.env, "prod"))
            (field("at", "At", &asked.at, "14:02, -2h, 2026-11-22T14:02:00Z"))
            (field("window", "Before and after", &asked.window, "5m"))
            (field("time_zone", "Time zone", &asked.time_zone, "UTC"))
            p { button { "Explain" } }
        }
        @if let Some(answer) = answer {
            h2 { (answer.answer) }
            pre { (explain::text(answer, &zone)) }
        }
    };
    frame("Why", &body)
}

fn timeline_row(entry: &LaneEntry) -> Markup {
    let (name, detail) = explain::event_words(entry);
    html! {
        tr {
            td { (time(Some(entry.at))) }
            td data-name="Event" { (name) }
            td data-name="Detail" { (detail) }
        }
    }
}

fn fact(name: &str, value: &dyn Display) -> Markup {
    html! { tr { th scope="row" { (name) } td data-name=(name) { (value.to_string()) } } }
}

fn freshness<T>(page: &Page<T>) -> Markup {
    html! {
        @if page.stale { p.bad { "Not read lately: as of " (time(Some(page.as_of))) } }
        @if page.more { p.note { "The newest " (page.items.len()) "; the API lists more." } }
    }
}

fn state(incident: &Incident) -> String {
    match &incident.ending {
        Some(ending) => word(ending),
        None => word(&incident.stage),
    }
}

/// The word a value is written as in JSON.
fn word<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let word = value.as_str().or_else(|| value.get("stage")?.as_str());
    word.unwrap_or("-").replace('_', " ")
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn or_dash<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), T::to_string)
}
