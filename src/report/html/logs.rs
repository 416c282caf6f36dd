//! Executions stage by stage, hosts before and after, and what was said to people.

use maud::{Markup, html as markup};

use super::super::parts::{ExecutionLog, HostState, Section, StageLine};
use super::super::record::Record;
use super::super::text::Text;
use super::super::words;
use super::parts::{self, facts, partial, pill, when};

/// A page is read by people: more hosts are in the record only.
const HOSTS: usize = 200;

pub(super) fn sections(record: &Record) -> Markup {
    markup! {
        (execution("Rollback log", &record.rollback_log))
        (execution("Deployment log", &record.deploy_log))
    }
}

fn tone(status: &Text) -> &'static str {
    match status.as_str() {
        "SUCCEEDED" => "good",
        "TERMINAL" | "STOPPED" | "FAILED_CONTINUE" => "bad",
        "RUNNING" => "busy",
        _ => "wait",
    }
}

fn execution(title: &str, log: &Section<ExecutionLog>) -> Markup {
    parts::section(
        title,
        &markup! {
            (partial(log.why()))
            @if let Some(log) = log.value() {
                (facts(&[
                    ("Execution", markup! { code { (log.execution) } }),
                    ("Pipeline", markup! { (log.pipeline) }),
                    ("Status", pill(tone(&log.status), &log.status.line(40))),
                    ("Started", when(log.started)),
                    ("Ended", when(log.finished)),
                ]))
                @if !log.stages.is_empty() {
                    div.scroll { table.stack {
                        thead { tr { th { "Stage" } th { "Status" } th { "Started" } th.num { "Took" } th { "What it said" } } }
                        tbody { @for stage in &log.stages { (stage_row(stage)) } }
                    } }
                }
            }
        },
    )
}

fn stage_row(stage: &StageLine) -> Markup {
    let took = stage
        .started
        .zip(stage.finished)
        .map(|(from, to)| words::duration(words::seconds(from, to)));
    markup! {
        tr {
            td { b { (stage.name) } " " span.soft { (stage.kind) } }
            td { (pill(tone(&stage.status), &stage.status.line(40))) }
            td { (when(stage.started)) }
            td.num data-l="took" { (took.as_deref().unwrap_or("unknown")) }
            td {
                @if let Some(message) = stage.message.as_ref().filter(|text| !text.is_empty()) {
                    @if message.as_str().len() > 160 || message.as_str().contains('\n') {
                        details { summary { (message.line(80)) } pre { (message) } }
                    } @else { (message) }
                }
                @if !stage.hosts.is_empty() {
                    div.small.soft { (parts::hosts(&stage.hosts, 8)) }
                }
            }
        }
    }
}

pub(super) fn hosts(record: &Record) -> Markup {
    let lines = record.hosts.value().map_or(&[][..], Vec::as_slice);
    let more = lines.len().saturating_sub(HOSTS);
    parts::section(
        "Hosts",
        &markup! {
            (partial(record.hosts.why()))
            @if !lines.is_empty() {
                div.scroll { table.stack {
                    thead { tr { th { "Host" } th { "Batch" } th { "Before" } th { "After" } } }
                    tbody { @for line in lines.iter().take(HOSTS) {
                        tr {
                            th.mono { (line.host) }
                            td data-l="batch" { @match line.batch { Some(n) => (n), None => span.soft { "unknown" } } }
                            td data-l="before" { (state(line.before.as_ref())) }
                            td data-l="after" { (state(line.after.as_ref())) }
                        }
                    } }
                } }
                @if more > 0 { p.soft { (more) " more hosts are in the record." } }
            } @else if record.hosts.why().is_none() { p.soft { "No host is known." } }
        },
    )
}

fn state(state: Option<&HostState>) -> Markup {
    let Some(state) = state else {
        return markup! { span.soft { "unknown" } };
    };
    markup! {
        @match &state.release_id {
            Some(id) => code { (id.version()) },
            None => span.soft { "release unknown" },
        }
        " " span.soft { (words::health(state.health))
            @if let Some(status) = state.status { ", " (words::status(status)) } }
        @if let Some(error) = &state.error { div.small { (error) } }
    }
}

pub(super) fn messages(record: &Record) -> Markup {
    let lines = record.messages.value().map_or(&[][..], Vec::as_slice);
    parts::section(
        "Messages",
        &markup! {
            (partial(record.messages.why()))
            @if !lines.is_empty() {
                table.stack {
                    thead { tr { th { "Channel" } th { "At" } th { "About" } th { "Status" } } }
                    tbody { @for line in lines {
                        tr {
                            th { (line.channel) }
                            td { (when(Some(line.at))) }
                            td { (words::notice(line.kind)) }
                            td { (line.status) }
                        }
                    } }
                }
            } @else if record.messages.why().is_none() { p.soft { "None was sent." } }
        },
    )
}
