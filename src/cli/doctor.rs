//! `doctor`: this machine and all the gateway depends on, asked once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use super::output::{Out, OutputArgs};
use super::place::ConfigArgs;
use super::probe::{self, Probe, Verdict};
use crate::config::load::Secrets;
use crate::config::{Config, Spinnaker};
use crate::domain::clock::{Clock as _, SystemClock};
use crate::http;

/// Between our clock and another one: more is worth a word.
const CLOCK_WARN: Duration = Duration::from_secs(5);
/// A directory whose fsync takes longer makes every decision slow.
const SLOW_FSYNC: Duration = Duration::from_millis(100);

/// `doctor`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// How many rounds writers race for a key, 16 in each; every create is read back and timed.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    store_race: u16,
    /// Let a warning fail it.
    #[arg(long)]
    deny_warnings: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load(Secrets::Read)?;
    let http = http::client(&http::Settings::default())?;
    let (mut probes, clock, anonymous) = tokio::join!(
        probe::all(&config, usize::from(args.store_race)),
        clock(&config, &http),
        anonymous_webhook(config.spinnaker.as_ref()),
    );
    if let Some(folder) = config.store.url.strip_prefix("file:") {
        let folder = PathBuf::from(folder.trim_start_matches("//"));
        probes.push(tokio::task::spawn_blocking(move || fsync(&folder)).await?);
    }
    probes.push(clock);
    probes.extend(anonymous);
    let text = || {
        let lines: Vec<String> = probes.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    Out::new(args.output.output).show(&probes, text)?;
    Ok(probe::verdict(&probes, args.deny_warnings).into())
}

/// Writes, syncs, renames and removes a file as the store does.
fn fsync(folder: &Path) -> Probe {
    let name = "directory";
    let began = Instant::now();
    if let Err(error) = write_through(folder) {
        let text = format!("`{}` can't be written through: {error}", folder.display());
        return Probe::new(name, Verdict::Fail, text);
    }
    let took = began.elapsed();
    let text = format!("write, fsync and rename took {} ms", took.as_millis());
    if took > SLOW_FSYNC {
        Probe::new(name, Verdict::Warn, text)
            .hint("every decision waits for a few of these; use a faster disk")
    } else {
        Probe::new(name, Verdict::Ok, text)
    }
}

fn write_through(folder: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let unique = uuid::Uuid::new_v4().simple();
    let (first, second) = (
        folder.join(format!(".doctor-{unique}")),
        folder.join(format!(".doctor-{unique}-renamed")),
    );
    let written = (|| {
        let mut file = std::fs::File::create_new(&first)?;
        file.write_all(b"doctor")?;
        file.sync_all()?;
        std::fs::rename(&first, &second)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    let removed = std::fs::remove_file(if second.exists() { &second } else { &first });
    written.and(removed)
}

fn client_with(tls: http::Tls) -> Result<reqwest::Client, http::BuildError> {
    http::client(&http::Settings {
        tls,
        ..http::Settings::default()
    })
}

/// Our clock beside those of the systems we talk to.
async fn clock(config: &Config, http: &reqwest::Client) -> Probe {
    let name = "clock";
    let metrics = config.metrics.as_ref().map(|metrics| &metrics.url);
    let vmalerts = config.vmalert.iter().map(|vmalert| &vmalert.url);
    let plain = metrics.into_iter().chain(vmalerts);
    let gate = config.spinnaker.as_ref().and_then(|spinnaker| {
        let http = client_with(spinnaker.tls.clone()).ok()?;
        Some((&spinnaker.gate, http))
    });
    let places = plain.map(|url| (url, http.clone())).chain(gate);
    let offsets = join_all(places.map(async |(url, http)| offset(&http, url).await)).await;
    let offsets: Vec<(String, i64)> = offsets.into_iter().flatten().collect();
    let worst = offsets.iter().max_by_key(|(_, seconds)| seconds.abs());
    let Some((place, seconds)) = worst else {
        let text = "nothing that answers tells its time";
        return Probe::new(name, Verdict::Skipped, text);
    };
    let apart = Duration::from_secs(seconds.unsigned_abs());
    let text = format!(
        "{}s apart from {place}, the farthest of {}",
        apart.as_secs(),
        offsets.len()
    );
    let hint = "run a time service on every host; replicas assume `timing.skew` at most";
    if apart > config.timing.skew {
        Probe::new(name, Verdict::Fail, text).hint(hint)
    } else if apart > CLOCK_WARN {
        Probe::new(name, Verdict::Warn, text).hint(hint)
    } else {
        Probe::new(name, Verdict::Ok, text)
    }
}

/// How far the `Date` of an answer is from our clock; whole seconds are all it tells.
async fn offset(http: &reqwest::Client, url: &Url) -> Option<(String, i64)> {
    let answer = http.get(url.clone()).send().await.ok()?;
    let now: Timestamp = SystemClock.now();
    let date = answer.headers().get("date")?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let place = url.host_str().unwrap_or("?").to_owned();
    Some((place, now.as_second() - date.as_second()))
}

/// Whether anybody may post to Gate's webhooks, as its default is. The event goes to a source that
/// no pipeline listens to.
async fn anonymous_webhook(settings: Option<&Spinnaker>) -> Option<Probe> {
    let name = "gate webhooks";
    let settings = settings?;
    let http = match client_with(settings.tls.anonymous()) {
        Ok(http) => http,
        Err(error) => return Some(Probe::new(name, Verdict::Fail, error.to_string())),
    };
    let mut url = settings.gate.clone();
    let source = format!("backstop-doctor-{}", uuid::Uuid::new_v4().simple());
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .extend(["webhooks", "webhook", &source]);
    let empty = serde_json::Map::new();
    let probe = match http.post(url).json(&empty).send().await {
        Ok(answer) if answer.status().is_success() => Probe::new(
            name,
            Verdict::Warn,
            "open to everybody: a POST without login was accepted",
        )
        .hint("set `security.webhooks.default-auth-enabled: true` in Gate, or keep the path from others"),
        Ok(answer) if matches!(answer.status().as_u16(), 300..=399 | 401 | 403) => {
            Probe::new(name, Verdict::Ok, "closed to those without a login")
        }
        Ok(answer) => {
            let text = format!("can't tell: the answer was {}", answer.status().as_u16());
            Probe::new(name, Verdict::Skipped, text)
        }
        Err(error) => match http::CallError::from(error) {
            refused if refused.kind == http::CallErrorKind::Auth => {
                Probe::new(name, Verdict::Ok, "closed to those without a certificate")
            }
            error => Probe::new(name, Verdict::Unreachable, error.to_string()),
        },
    };
    Some(probe)
}
