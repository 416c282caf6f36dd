//! `backtest`: the rollbacks these rules would have made, beside what really happened.

mod text;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::exit::{Exit, Failure};
use super::explain::{zone, zone_or_local};
use super::output::{Out, OutputArgs};
use super::place::{self, ConfigArgs};
use crate::app::backtest::{self, BacktestError, Label, Progress, Range, Witnesses};
use crate::config::Config;
use crate::config::load::Secrets;
use crate::domain::clock::{self, Clock as _, SystemClock};
use crate::domain::id::Service;
use crate::domain::moment;
use crate::http;
use crate::prometheus::{Ask, Client, PromError, RuleList, RuleSource};

/// The finest step: below it stores repeat samples.
const FINEST: Duration = Duration::from_secs(5);
/// The longest wait for one answer about the past.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two lines of progress.
const PAUSE: Duration = Duration::from_millis(500);

/// `backtest`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// From here: RFC 3339, `2026-11-22 14:02`, `-7d`.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// To here.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "now",
        allow_hyphen_values = true
    )]
    to: String,
    /// Between two looks at the recorded alerts, and at what is held.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    step: Duration,
    /// Only this service.
    #[arg(long, value_name = "NAME")]
    service: Option<Service>,
    /// What should have been done: a list of `{service, from, to, rollback: yes|no}`. Gives
    /// precision and recall, and exit code 1 when a label is not met.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// An expression that has data whenever the metrics store recorded at all: where it has none,
    /// history has a gap.
    #[arg(long, value_name = "EXPR", default_value = "count(up)")]
    alive: String,
    /// The zone of times without an offset, and of those that are shown; left out: this machine's.
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<TimeZone>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (zone, _) = zone_or_local(args.time_zone.as_ref());
    let range = range(&args, SystemClock.now(), &zone)?;
    let labels = args.labels.as_deref().map(labels).transpose()?;
    let config = args.config.load(Secrets::Read)?;
    let witnesses = witnesses(&config)?;
    let ticker = Ticker::new(&range);
    let told = backtest::run(
        &config,
        &witnesses,
        &range,
        labels.as_deref(),
        &|progress| ticker.show(progress),
    )
    .await;
    ticker.clear();
    let result = told.map_err(|error| failed(&error))?;
    let met = result
        .score
        .as_ref()
        .is_none_or(|score| score.missed.is_empty() && score.wrong.is_empty());
    Out::new(args.output.output).show(&result, || text::text(&result, &zone))?;
    Ok(if met { Exit::Ok } else { Exit::Findings }.into())
}

fn range(args: &Args, now: Timestamp, zone: &TimeZone) -> Result<Range, Failure> {
    let read = |name: &str, text: &str| {
        moment::parse(text, now, zone).map_err(|error| Failure::usage(format!("{name}: {error}")))
    };
    let (from, to) = (read("--from", &args.from)?, read("--to", &args.to)?);
    if from >= to {
        return Err(Failure::usage("--from is not before --to"));
    }
    if to > now {
        return Err(Failure::usage("--to is yet to come"));
    }
    if args.step < FINEST || args.step > clock::since(to, from) {
        return Err(Failure::usage(
            "--step is at least 5s, and shorter than the range",
        ));
    }
    // On the grid of the step, so that two runs look at the same moments.
    let step = i64::try_from(args.step.as_secs()).unwrap_or(i64::MAX);
    let grid = |at: Timestamp| Timestamp::from_second(at.as_second().div_euclid(step) * step);
    let out_of_range = |_| Failure::usage("--from or --to is out of range");
    Ok(Range {
        from: grid(from).map_err(out_of_range)?,
        to: grid(to).map_err(out_of_range)?,
        step: Duration::from_secs(args.step.as_secs()),
        service: args.service.clone(),
        alive: args.alive.clone(),
    })
}

fn labels(file: &Path) -> Result<Vec<Label>, Failure> {
    let text = String::from_utf8(place::read(file)?)
        .map_err(|_| Failure::usage(format!("`{}` is not text", file.display())))?;
    let labels: Vec<Label> = serde_saphyr::from_str(&text)
        .map_err(|error| Failure::usage(format!("`{}`: {error}", file.display())))?;
    if labels.is_empty() {
        return Err(Failure::usage(format!("`{}` has no label", file.display())));
    }
    match labels.iter().find(|label| label.from >= label.to) {
        Some(bad) => Err(Failure::usage(format!(
            "`{}`: the label of {} from {} ends before it begins",
            file.display(),
            bad.service,
            bad.from
        ))),
        None => Ok(labels),
    }
}

fn witnesses(config: &Config) -> Result<Witnesses, Failure> {
    let Some(metrics) = &config.metrics else {
        return Err(
            Failure::usage("no metrics store is configured: nobody recorded alerts")
                .next("`metrics.url` of the configuration names it"),
        );
    };
    let http = http::client(&http::Settings {
        timeout: PATIENCE,
        ..http::Settings::default()
    })
    .map_err(|error| Failure::usage(error.to_string()))?;
    let mut metrics = metrics.clone();
    metrics.timeout = PATIENCE;
    let list = |vmalert| -> Arc<dyn RuleList> { Arc::new(RuleSource::new(http.clone(), vmalert)) };
    Ok(Witnesses {
        store: place::open_store(config)?,
        rules: config.vmalert.iter().map(list).collect(),
        metrics: {
            let client: Arc<dyn Ask> = Arc::new(Client::new(http.clone(), &metrics));
            client
        },
    })
}

fn failed(error: &BacktestError) -> Failure {
    match error {
        BacktestError::Store(error) => place::store_failed(error),
        BacktestError::Metrics(PromError::Refused { .. }) => Failure::usage(error.to_string())
            .next("is --alive an expression, and `metrics.url` the query address?"),
        BacktestError::Metrics(_) => Failure::new(Exit::Unreachable, error.to_string())
            .next("`backstop doctor` asks the metrics store once"),
    }
}

/// One line on a terminal, written over and over.
struct Ticker {
    from: Timestamp,
    to: Timestamp,
    last: Option<Mutex<Option<Instant>>>,
}

impl Ticker {
    fn new(range: &Range) -> Self {
        Self {
            from: range.from,
            to: range.to,
            last: std::io::stderr().is_terminal().then(Mutex::default),
        }
    }

    fn show(&self, progress: Progress) {
        let Some(last) = &self.last else { return };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        let (word, at, found) = match progress {
            Progress::Reading(at) => ("reading", at, String::new()),
            Progress::Replaying(at, n) => ("replaying", at, format!(", {n} rollbacks")),
        };
        let whole = clock::since(self.to, self.from).as_secs().max(1);
        let percent = clock::since(at, self.from).as_secs() * 100 / whole;
        Self::write(&format!("\r{word} {at} ({percent} %{found})\u{1b}[K"));
    }

    fn clear(&self) {
        if self.last.is_some() {
            Self::write("\r\u{1b}[K");
        }
    }

    fn write(text: &str) {
        let mut stderr = std::io::stderr().lock();
        if let Err(error) = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush())
        {
            tracing::debug!("stderr can't be written: {error}");
        }
    }
}
