//! The record as Markdown, for pasting into an issue.

mod escape;

use std::fmt::Write as _;

use super::parts::{ExecutionLog, HostState, MetricSnapshot, Role, Section, Side};
use super::record::{Asked, Record, ReleaseFacts};
use super::text::Text;
use super::words;
use escape::{address, block, code, prose};

/// How many hosts and commits are listed; the record has all.
const LISTED: usize = 50;
/// How much of a log message a cell repeats.
const QUOTED: usize = 300;

/// The page. Text from outside can't become a heading, link, picture, mention or tag.
pub fn markdown(record: &Record) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    page.top(record);
    page.clocks(record);
    page.impact(record);
    page.metrics(record);
    page.decision(record);
    page.change(record);
    page.timeline(record);
    page.execution("Rollback log", &record.rollback_log);
    page.execution("Deployment log", &record.deploy_log);
    page.hosts(record);
    page.messages(record);
    page.follow_ups(record);
    page.missing(record);
    page.0
}

/// Reads one fact of a release.
type Field = fn(&ReleaseFacts) -> &Option<Text>;

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn heading(&mut self, title: &str) {
        self.line(&format!("\n## {title}\n"));
    }

    fn table(&mut self, columns: &[&str]) {
        self.line(&format!("| {} |", columns.join(" | ")));
        self.line(&format!("|{}", " --- |".repeat(columns.len())));
    }

    fn row(&mut self, cells: &[String]) {
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    fn partial<T>(&mut self, section: &Section<T>) {
        if let Some(why) = section.why() {
            self.line(&format!("> Partial: {}\n", prose(why.as_str())));
        }
    }

    fn top(&mut self, record: &Record) {
        let header = &record.header;
        self.line(&format!(
            "# Rollback report: {} {} → {} in {}\n",
            code(header.service.as_str()),
            code(header.from.version()),
            code(header.target.version()),
            code(header.env.as_str())
        ));
        self.line(&format!(
            "**{}** · revision {} · incident {} · {} · made {}\n",
            header.standing.words(),
            header.revision,
            code(header.incident.as_str()),
            words::scope(&header.scope),
            words::time(header.generated_at)
        ));
        self.line(&prose(record.summary.as_str()));
        if !record.links.is_empty() {
            let links: Vec<String> = record
                .links
                .iter()
                .map(|link| format!("[{}]({})", prose(link.text.as_str()), address(&link.url)))
                .collect();
            self.line(&format!("\n{}", links.join(" · ")));
        }
    }

    fn clocks(&mut self, record: &Record) {
        self.heading("Clocks");
        self.table(&["Moment", "Time", "Whose clock, or why unknown"]);
        for (name, clock) in record.clocks.named() {
            self.row(&[
                name.to_owned(),
                words::time_or_unknown(clock.at),
                prose(clock.note.as_str()),
            ]);
        }
        self.line("");
        self.table(&["Lap", "Took", "From → to"]);
        for (name, meaning, lap) in record.laps.named() {
            let took = match (lap.seconds, &lap.why) {
                (Some(seconds), _) => words::duration(seconds),
                (None, Some(why)) => format!("unknown: {}", prose(why.as_str())),
                (None, None) => "unknown".to_owned(),
            };
            self.row(&[name.to_owned(), took, meaning.to_owned()]);
        }
    }

    fn impact(&mut self, record: &Record) {
        let impact = &record.impact;
        self.heading("Impact");
        let exposed = impact
            .exposed
            .map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        let fleet = impact
            .fleet
            .map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        let share = impact.share.map_or_else(String::new, |share| {
            format!(" ({})", words::measured(share, &"ratio".into()))
        });
        self.line(&format!(
            "- Hosts that ran the accused release: {exposed} of {fleet}{share}"
        ));
        let still = if impact.over {
            ""
        } else {
            ", and still when this was written"
        };
        let lasted = impact.exposed_seconds.map_or_else(
            || "unknown".to_owned(),
            |s| format!("{}{still}", words::duration(s)),
        );
        self.line(&format!(
            "- Since {}, for {lasted}",
            words::time_or_unknown(impact.exposed_since)
        ));
        let hosts = host_list(&impact.in_scope);
        self.line(&format!(
            "- In this rollback: {}{hosts}",
            words::count(impact.in_scope.len(), "host", "hosts")
        ));
        if let Some(note) = &impact.note {
            self.line(&format!("- {}", prose(note.as_str())));
        }
    }

    fn metrics(&mut self, record: &Record) {
        self.heading("Metrics");
        self.partial(&record.metrics);
        for metric in record.metrics.value().into_iter().flatten() {
            self.metric(metric);
        }
    }

    fn metric(&mut self, metric: &MetricSnapshot) {
        self.line(&format!("### {}\n", prose(metric.title.as_str())));
        self.0.push_str(&block(metric.query.as_str()));
        let threshold = metric.threshold.map_or_else(
            || "unknown".to_owned(),
            |line| {
                let side = if line.bad == Side::Above {
                    "above"
                } else {
                    "below"
                };
                format!(
                    "bad {side} {}",
                    prose(&words::measured(line.value.0, &metric.unit))
                )
            },
        );
        self.line(&format!(
            "\nThreshold: {threshold}. {} to {}, step {}, answered by {}.\n",
            words::time(metric.from),
            words::time(metric.to),
            words::duration(metric.step.as_secs_f64()),
            prose(metric.source.as_str())
        ));
        self.table(&["Series", "First", "Highest", "Last"]);
        for series in metric.series.iter().take(LISTED) {
            let value = |value: Option<f64>| {
                value.map_or_else(
                    || "none".to_owned(),
                    |value| prose(&words::measured(value, &metric.unit)),
                )
            };
            let values = || series.points.iter().map(|point| point.1.0);
            let highest = values().filter(|value| value.is_finite()).reduce(f64::max);
            let role = if series.role == Role::Accused {
                "accused"
            } else {
                "rest"
            };
            let labels: Vec<String> = series
                .labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{value}\""))
                .collect();
            self.row(&[
                format!("{role} {}", code(&labels.join(", "))),
                value(values().next()),
                value(highest),
                value(values().next_back()),
            ]);
        }
        self.line("");
    }

    fn decision(&mut self, record: &Record) {
        let decision = &record.decision;
        self.heading("Decision");
        let asked = match &decision.asked {
            Asked::Rules => format!("the rules, mode {}", decision.mode.as_str()),
            Asked::Person { by, reason } => {
                format!("{}: {}", prose(by.as_str()), prose(reason.as_str()))
            }
        };
        self.line(&format!(
            "- Verdict: {} ({})",
            code(&decision.verdict),
            words::scope(&decision.scope)
        ));
        self.line(&format!("- Asked by {asked}"));
        if let Some(rule) = &decision.rule {
            self.line(&format!("- Rule: {}", code(rule.as_str())));
        }
        for alert in &record.alerts {
            self.line(&format!(
                "- Alert {} (severity {}) from {} since {}: {}",
                code(alert.name.as_str()),
                prose(alert.severity.as_str()),
                alert.source,
                words::time_or_unknown(alert.started),
                prose(alert.message.as_str())
            ));
        }
        if !decision.evidence.is_empty() {
            self.line("");
            self.table(&["Evidence", "Answer", "Detail"]);
            for row in &decision.evidence {
                let query = row
                    .query
                    .as_ref()
                    .map_or_else(String::new, |query| format!(" {}", code(query.as_str())));
                let value = row
                    .value
                    .map_or_else(String::new, |value| format!("; worst value {}", value.0));
                self.row(&[
                    prose(row.question.as_str()),
                    row.answer.as_str().to_owned(),
                    format!("{}{value}{query}", prose(row.detail.as_str())),
                ]);
            }
        }
        if !decision.guards.is_empty() {
            self.line("");
            self.table(&["Guard", "Answer", "Why"]);
            for row in &decision.guards {
                self.row(&[
                    row.guard.as_str().to_owned(),
                    row.answer.as_str().to_owned(),
                    prose(row.why.as_str()),
                ]);
            }
        }
    }

    fn change(&mut self, record: &Record) {
        self.heading("Change");
        let (bad, good) = (&record.change.from, &record.change.target);
        self.table(&["", "Bad release", "Back to"]);
        let text = |text: &Option<Text>| match text {
            Some(text) => code(text.as_str()),
            None => "unknown".to_owned(),
        };
        let rows: [(&str, Field); 6] = [
            ("Tag", |release| &release.tag),
            ("Commit", |release| &release.commit),
            ("Binary, SHA-256", |release| &release.checksum),
            ("Binary", |release| &release.artifact_url),
            ("Configuration, SHA-256", |release| &release.config_checksum),
            ("Published by", |release| &release.created_by),
        ];
        self.row(&[
            "Release".to_owned(),
            code(bad.id.as_str()),
            code(good.id.as_str()),
        ]);
        for (name, read) in rows {
            self.row(&[name.to_owned(), text(read(bad)), text(read(good))]);
        }
        self.row(&[
            "Published".to_owned(),
            words::time_or_unknown(bad.created_at),
            words::time_or_unknown(good.created_at),
        ]);
        self.line("");
        self.partial(&record.change.commits);
        for commit in record
            .change
            .commits
            .value()
            .into_iter()
            .flatten()
            .take(LISTED)
        {
            let author = commit.author.as_ref().map_or_else(String::new, |author| {
                format!(" ({})", prose(author.as_str()))
            });
            let id = match (&commit.url, commit.id.is_empty()) {
                (_, true) => String::new(),
                (None, false) => format!("{} ", code(&commit.short())),
                (Some(url), false) => {
                    format!("[{}]({}) ", prose(&commit.short()), address(url))
                }
            };
            self.line(&format!("- {id}{}{author}", prose(commit.title.as_str())));
        }
        if let Some(compare) = &record.change.compare {
            let text = prose(compare.text.as_str());
            self.line(&format!("\nAll of it: [{text}]({})", address(&compare.url)));
        }
    }

    fn timeline(&mut self, record: &Record) {
        self.heading("Timeline (UTC)");
        self.table(&["At", "Source", "What happened"]);
        for row in &record.timeline {
            self.row(&[
                words::time(row.at),
                prose(row.source.as_str()),
                prose(row.text.as_str()),
            ]);
        }
    }

    fn execution(&mut self, title: &str, log: &Section<ExecutionLog>) {
        self.heading(title);
        self.partial(log);
        let Some(log) = log.value() else { return };
        self.line(&format!(
            "{} of {}: **{}**, {} to {}\n",
            code(log.execution.as_str()),
            code(log.pipeline.as_str()),
            prose(log.status.as_str()),
            words::time_or_unknown(log.started),
            words::time_or_unknown(log.finished)
        ));
        self.table(&[
            "Stage",
            "Status",
            "Started",
            "Took",
            "Hosts",
            "What it said",
        ]);
        for stage in &log.stages {
            let took = stage.started.zip(stage.finished).map_or_else(
                || "unknown".to_owned(),
                |(from, to)| words::duration(words::seconds(from, to)),
            );
            let message = stage
                .message
                .as_ref()
                .map_or_else(String::new, |text| text.line(QUOTED));
            let hosts: Vec<String> = stage
                .hosts
                .iter()
                .take(LISTED)
                .map(|host| code(host.as_str()))
                .collect();
            self.row(&[
                prose(stage.name.as_str()),
                prose(stage.status.as_str()),
                words::time_or_unknown(stage.started),
                took,
                hosts.join(" "),
                prose(&message),
            ]);
        }
    }

    fn hosts(&mut self, record: &Record) {
        self.heading("Hosts");
        self.partial(&record.hosts);
        let Some(hosts) = record.hosts.value() else {
            return;
        };
        self.table(&["Host", "Batch", "Before", "After"]);
        for line in hosts.iter().take(LISTED) {
            let batch = line
                .batch
                .map_or_else(|| "unknown".to_owned(), |n| n.to_string());
            self.row(&[
                code(line.host.as_str()),
                batch,
                state(line.before.as_ref()),
                state(line.after.as_ref()),
            ]);
        }
        let more = hosts.len().saturating_sub(LISTED);
        if more > 0 {
            self.line(&format!("\n{more} more hosts are in the record."));
        }
    }

    fn messages(&mut self, record: &Record) {
        self.heading("Messages");
        self.partial(&record.messages);
        for line in record.messages.value().into_iter().flatten() {
            self.line(&format!(
                "- {} {}: {}, {}",
                words::time_or_unknown(Some(line.at)),
                code(line.channel.as_str()),
                words::notice(line.kind),
                prose(line.status.as_str())
            ));
        }
    }

    fn follow_ups(&mut self, record: &Record) {
        self.heading("Follow-ups");
        for item in &record.follow_ups {
            let mark = if item.done { 'x' } else { ' ' };
            self.line(&format!("- [{mark}] {}", prose(item.text.as_str())));
        }
    }

    fn missing(&mut self, record: &Record) {
        self.heading("What this revision does not know");
        if record.missing.is_empty() {
            self.line("Nothing is missing.");
        }
        for gap in &record.missing {
            self.line(&format!(
                "- {}: {}",
                prose(gap.what.as_str()),
                prose(gap.why.as_str())
            ));
        }
    }
}

fn host_list(hosts: &[crate::domain::id::Host]) -> String {
    let mut text = String::new();
    for (i, host) in hosts.iter().take(LISTED).enumerate() {
        let before = if i == 0 { ": " } else { ", " };
        // Writing to a String can't fail.
        let _infallible = write!(text, "{before}{}", code(host.as_str()));
    }
    let more = hosts.len().saturating_sub(LISTED);
    if more > 0 {
        let _infallible = write!(text, " and {more} more");
    }
    text
}

fn state(state: Option<&HostState>) -> String {
    let Some(state) = state else {
        return "unknown".to_owned();
    };
    let release = state
        .release_id
        .as_ref()
        .map_or_else(|| "release unknown".to_owned(), |id| code(id.version()));
    let error = state.error.as_ref().map_or_else(String::new, |error| {
        format!(": {}", prose(&error.line(QUOTED)))
    });
    format!("{release}, {}{error}", words::health(state.health))
}
