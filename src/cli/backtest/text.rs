//! A backtest for people: what would have been done, then why the rest was not, then its limits.

use jiff::tz::TimeZone;

use crate::app::backtest::{Backtest, Label, Really, Score, Would};
use crate::cli::output::count;
use crate::domain::moment::shown;
use crate::explain::Page;

/// Lines of one list.
const MAX_LINES: usize = 200;

/// All of it, times in `zone`.
pub(super) fn text(result: &Backtest, zone: &TimeZone) -> String {
    let mut page = Page::new(zone);
    page.line(&format!(
        "{} to {}: {}",
        shown(result.span.from, zone),
        shown(result.span.to, zone),
        count(result.alerts, "alert")
    ));
    page.line(&format!(
        "\nRollbacks these rules would have made: {}",
        result.would.len()
    ));
    for would in result.would.iter().take(MAX_LINES) {
        page.would(would);
    }
    let missed: Vec<&Really> = result.really.iter().filter(|one| !one.replayed).collect();
    page.line(&format!(
        "\nRollbacks that really happened: {}, of which these rules would not have made: {}",
        result.really.len(),
        missed.len()
    ));
    for one in missed.into_iter().take(MAX_LINES) {
        page.really(one);
    }
    if !result.quiet.is_empty() {
        page.line("\nAlerts without a rollback, and why");
    }
    for quiet in result.quiet.iter().take(MAX_LINES) {
        let service = quiet
            .service
            .as_ref()
            .map_or("(no service)", |service| service.as_str());
        page.line(&format!(
            "  {:>5}  {service}: {}",
            quiet.count, quiet.example
        ));
    }
    if let Some(score) = &result.score {
        page.score(score);
    }
    if !result.gaps.is_empty() {
        page.line("\nNothing was recorded, so what fired then is not known");
    }
    for gap in result.gaps.iter().take(MAX_LINES) {
        let (from, to) = (page.time(gap.from), page.time(gap.to));
        page.line(&format!("  {from} to {to}"));
    }
    if !result.notes.is_empty() {
        page.line("\nTo be known");
    }
    for note in &result.notes {
        page.line(&format!("  {note}"));
    }
    page.into_text()
}

impl Page<'_> {
    fn would(&mut self, would: &Would) {
        let at = self.time(would.at);
        let target = would.target.as_ref().map_or("?", |target| target.as_str());
        let shadow = if would.shadow { " (mode shadow)" } else { "" };
        self.line(&format!(
            "  {at} {} in {}: {} of {} -> {target}{shadow}",
            would.service, would.env, would.scope, would.release_id
        ));
        self.line(&format!(
            "    deployment {}; rule {}; {}",
            would.deployment,
            would.rule,
            would.alerts.join(", ")
        ));
        let really = match &would.really {
            Some(really) => self.how(really),
            None => "nothing was rolled back".to_owned(),
        };
        self.line(&format!("    really: {really}"));
        let unknown: Vec<&str> = would
            .guards
            .iter()
            .filter(|guard| guard.outcome == "not replayed")
            .map(|guard| guard.guard.as_str())
            .collect();
        self.line(&format!("    not replayed: {}", unknown.join(", ")));
    }

    fn how(&self, really: &Really) -> String {
        let at = really
            .at
            .map_or_else(String::new, |at| format!(" at {}", self.time(at)));
        match &really.incident {
            Some(incident) => format!("incident {incident}{at}"),
            None => format!("rolled back elsewhere{at}"),
        }
    }

    fn really(&mut self, really: &Really) {
        let how = self.how(really);
        self.line(&format!(
            "  {} in {}: {} (deployment {}), {how}",
            really.service, really.env, really.release_id, really.deployment
        ));
    }

    fn score(&mut self, score: &Score) {
        let share = |share: Option<f64>, hits: usize, others: usize| match share {
            Some(share) => format!("{share:.2} ({hits} of {})", hits + others),
            None => "nothing to count".to_owned(),
        };
        let precision = share(score.precision, score.hits, score.wrong.len());
        let recall = share(score.recall, score.hits, score.missed.len());
        self.line(&format!(
            "\nLabels: precision {precision}, recall {recall}; rightly quiet {}, rollbacks without a label {}",
            score.quiet, score.unlabelled
        ));
        self.labels("missed", &score.missed);
        self.labels("wrong", &score.wrong);
    }

    fn labels(&mut self, word: &str, labels: &[Label]) {
        for label in labels.iter().take(MAX_LINES) {
            let (from, to) = (self.time(label.from), self.time(label.to));
            self.line(&format!("  {word}: {} from {from} to {to}", label.service));
        }
    }
}
