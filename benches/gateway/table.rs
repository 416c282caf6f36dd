//! What people read at the end.
#![expect(clippy::print_stdout, reason = "a benchmark says what it found")]

use std::path::Path;
use std::time::Duration;

use crate::figures::{Figures, Spread};
use crate::rounds::CELLS;
use crate::target::Kind;

const MIB: f64 = 1_048_576.0;

/// A goal of the design.
#[derive(Debug, Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn words(self, value: Option<f64>) -> String {
        let (met, word) = match (self, value) {
            (_, None) => return "not measured".to_owned(),
            (Self::AtMost(goal), Some(value)) => (value <= goal, format!("≤ {goal}")),
            (Self::AtLeast(goal), Some(value)) => (value >= goal, format!("≥ {goal}")),
        };
        format!("{word}: {}", if met { "met" } else { "NOT met" })
    }
}

/// Prints the tables.
pub(crate) fn print(figures: &Figures, rounds: usize, took: Duration, summary: &Path) {
    println!(
        "\nBackstop beside a bare axum + serde + reqwest forwarder: {rounds} interleaved rounds, \
         medians [min–max], {:.0} s in all.\n\
         `durable` appends to a log and flushes it (group commit) before it answers. All on \
         loopback without TLS, driver and vendor on the same cores.",
        took.as_secs_f64()
    );
    cells(figures);
    open_loop(figures);
    memory(figures);
    alone(figures);
    println!("\nRaw figures: {}", summary.display());
}

fn cells(figures: &Figures) {
    for (alerts, connections) in CELLS {
        println!("\n{alerts} alert(s) a webhook, {connections} connection(s), closed loop");
        println!(
            "  {:<8} {:>26} {:>26} {:>9} {:>9} {:>7}",
            "", "CPU µs/webhook", "webhooks/s", "p50 ms", "p99 ms", "calls"
        );
        for kind in Kind::ALL {
            let name = format!("{}/{alerts}x{connections}", kind.name());
            let figure = |what: &str| figures.spread(&format!("{name}/{what}"));
            println!(
                "  {:<8} {:>26} {:>26} {:>9} {:>9} {:>7}",
                kind.name(),
                spread(figure("cpu_us"), 1.0),
                spread(figure("per_second"), 1.0),
                median(figure("p50_ms")),
                median(figure("p99_ms")),
                median(figure("calls")),
            );
        }
        let ratio = |other: &str, what: &str| {
            let cell = format!("{alerts}x{connections}/{what}");
            figures.ratio(&format!("gateway/{cell}"), &format!("{other}/{cell}"))
        };
        let (cpu, speed) = (ratio("durable", "cpu_us"), ratio("durable", "per_second"));
        println!(
            "  CPU: {} × floor, {} × durable ({})",
            number(ratio("floor", "cpu_us")),
            number(cpu),
            Goal::AtMost(2.0).words(cpu),
        );
        let goal = if connections == 16 {
            format!(" ({})", Goal::AtLeast(0.5).words(speed))
        } else {
            String::new()
        };
        println!(
            "  webhooks/s: {} × floor, {} × durable{goal}",
            number(ratio("floor", "per_second")),
            number(speed),
        );
    }
}

fn open_loop(figures: &Figures) {
    println!("\nWebhook → vendor at 50/s, open loop, ms");
    for kind in Kind::ALL {
        let figure = |what: &str| figures.spread(&format!("{}/open/{what}_ms", kind.name()));
        let goals = match kind {
            Kind::Gateway => format!(
                "  (p50 {}; p99 {})",
                Goal::AtMost(2.0).words(figure("p50").map(|one| one.median)),
                Goal::AtMost(10.0).words(figure("p99").map(|one| one.median)),
            ),
            Kind::Floor | Kind::Durable => String::new(),
        };
        println!(
            "  {:<8} p50 {}, p99 {}{goals}",
            kind.name(),
            spread(figure("p50"), 1.0),
            spread(figure("p99"), 1.0),
        );
    }
}

fn memory(figures: &Figures) {
    println!("\nResident memory, MiB");
    for kind in Kind::ALL {
        let figure = |what: &str| figures.spread(&format!("{}/{what}_bytes", kind.name()));
        let mib = |what| figure(what).map(|one| one.median / MIB);
        let goals = match kind {
            Kind::Gateway => format!(
                "  (idle {}; peak {})",
                Goal::AtMost(20.0).words(mib("idle")),
                Goal::AtMost(80.0).words(mib("peak")),
            ),
            Kind::Floor | Kind::Durable => String::new(),
        };
        println!(
            "  {:<8} idle {}, peak {}{goals}",
            kind.name(),
            spread(figure("idle"), MIB),
            spread(figure("peak"), MIB),
        );
    }
}

fn alone(figures: &Figures) {
    let value = |name: &str| figures.spread(name).map(|one| one.median);
    let line = |what: &str, value: Option<f64>, unit: &str, goal: Option<Goal>| {
        let goal = goal.map_or(String::new(), |goal| format!("  ({})", goal.words(value)));
        println!("  {what}: {} {unit}{goal}", number(value));
    };
    println!("\nThe gateway alone");
    line(
        "chart 800×400, 5 × 240 points, warm, CPU",
        value("chart/cpu_ms"),
        "ms",
        Some(Goal::AtMost(10.0)),
    );
    let kilobytes = value("chart/bytes").map(|bytes| bytes / 1024.0);
    line("  its size", kilobytes, "KiB", Some(Goal::AtMost(40.0)));
    let many = "1,000 alerts in one webhook, judged and answered";
    let goal = Some(Goal::AtMost(20.0));
    line(
        &format!("{many}, a rule wants a rollback"),
        value("thousand/with_rule_ms"),
        "ms",
        goal,
    );
    line("  its CPU", value("thousand/with_rule_cpu_ms"), "ms", None);
    line(
        &format!("{many}, no rule"),
        value("thousand/no_rule_ms"),
        "ms",
        goal,
    );
    line("  its CPU", value("thousand/no_rule_cpu_ms"), "ms", None);
    for (place, suffix) in [("a directory (fsync)", ""), ("S3 (versitygw)", "_s3")] {
        let value = |what: &str, word: &str| value(&format!("{what}{suffix}/{word}_ms"));
        line(
            &format!("alert received → Gate asked, the store in {place}, p50"),
            value("asked", "p50"),
            "ms",
            Some(Goal::AtMost(50.0)),
        );
        line("  p99", value("asked", "p99"), "ms", None);
        line(
            "  one create there, p50",
            value("store", "create_p50"),
            "ms",
            None,
        );
        line("    p99", value("store", "create_p99"), "ms", None);
        line(
            "  Gate's yes → first report, p50",
            value("report", "p50"),
            "ms",
            None,
        );
        line(
            "    p99",
            value("report", "p99"),
            "ms",
            Some(Goal::AtMost(5000.0)),
        );
    }
}

fn spread(spread: Option<Spread>, unit: f64) -> String {
    let Some(Spread { median, min, max }) = spread else {
        return "-".to_owned();
    };
    let [median, min, max] = [median, min, max].map(|value| number(Some(value / unit)));
    format!("{median} [{min}–{max}]")
}

fn median(spread: Option<Spread>) -> String {
    number(spread.map(|one| one.median))
}

/// Three digits that count.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
