//! `make bench-catalog`: how long the catalog takes to be read, how much memory it holds, and how fast
//! alerts find their release in it, with 10,000 releases and a growing number of records.
//!
//! Each size is read by a process of its own, so that its memory is its own; and by the gateway
//! itself, from its start to its first answer.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod fleet;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use backstop::config::load::{Secrets, load};
use backstop::domain::alert::{Alert, AlertStatus, Fingerprint, Labels, Source};
use backstop::domain::clock::{Clock as _, SystemClock};
use backstop::enrich::catalog::Catalog;
use backstop::enrich::ladder;
use backstop::store;

use crate::fleet::Asked;

/// Records, at the sizes that are compared.
const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];
/// What an alert says of whom it is about; None where it is not of the kind.
type Value = fn(&Asked) -> Option<String>;

/// Lookups of one kind in one round; the fastest of the rounds counts.
const LOOKUPS: u32 = 2_000;
const ROUNDS: usize = 7;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.as_slice() {
        [word, folder, records] if word == "read" => {
            runtime.block_on(read(Path::new(folder), records.parse()?))
        }
        [word, sizes @ ..] if word == "sizes" => {
            let sizes: Result<Vec<u32>, _> = sizes.iter().map(|one| one.parse()).collect();
            runtime.block_on(bench(&sizes?))
        }
        _ => runtime.block_on(bench(&SIZES)),
    }
}

async fn bench(sizes: &[u32]) -> anyhow::Result<()> {
    for size in sizes {
        let folder = tempfile::tempdir()?;
        let began = Instant::now();
        fleet::write(&folder.path().join("store"), *size, SystemClock.now())?;
        configure(folder.path())?;
        println!("{size} records, written in {:.1?}", began.elapsed());
        // A process of its own.
        let status = Command::new(std::env::current_exe()?)
            .arg("read")
            .args([folder.path().as_os_str(), size.to_string().as_ref()])
            .status()?;
        ensure!(status.success(), "reading {size} records failed");
        serve(folder.path()).await?;
    }
    Ok(())
}

fn configure(folder: &Path) -> anyhow::Result<()> {
    let mut text = format!(
        "store: {{url: \"file:{}\"}}\nservices:\n",
        folder.join("store").display()
    );
    for number in 0..fleet::SERVICES {
        let service = fleet::service(number)?;
        let deploy = "{pipeline: deploy-prod, env: prod, strategy: all, release: \"{parameters.release_id}\"}";
        writeln!(
            text,
            "  {service}: {{application: {service}, tag_prefix: v, deploy: [{deploy}]}}"
        )?;
    }
    Ok(std::fs::write(folder.join("backstop.yaml"), text)?)
}

/// Reads the catalog once, and looks alerts up in it.
async fn read(folder: &Path, records: u32) -> anyhow::Result<()> {
    let file = folder.join("backstop.yaml");
    let config =
        load(Some(&file), Secrets::Read).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    // The same names again, without writing.
    let asked = fleet::asked(records)?;
    let catalog = Catalog::new(
        store::open(&config.store)?,
        Arc::new(SystemClock),
        &config.timing,
    );
    let began = Instant::now();
    let read = catalog.refresh().await?;
    println!(
        "  read {} documents in {:.2?}, peak {} MiB",
        read.read,
        began.elapsed(),
        peak("self")?
    );
    ensure!(read.damaged.is_empty(), "{:?}", read.damaged);
    let view = catalog.view();
    let kinds: [(&str, &str, Value); 4] = [
        ("host", "instance", |one| {
            (!one.is_pod).then(|| format!("{}:9100", one.host))
        }),
        ("pod", "pod", |one| one.is_pod.then(|| one.host.to_string())),
        ("server group", "server_group", |one| {
            Some(one.host.to_string())
        }),
        ("version", "version", |one| Some(one.version.clone())),
    ];
    for (kind, label, value) in kinds {
        let alerts: Vec<(Alert, &Asked)> = asked
            .iter()
            .filter_map(|one| Some((alert(one, label, value(one)?), one)))
            .collect();
        for (alert, one) in &alerts {
            let found = ladder::resolve(alert, &view, &config.services);
            let context = found
                .context()
                .with_context(|| format!("{kind}: {found:?}"))?;
            ensure!(context.deployment.id == one.deployment, "{kind}: {found:?}");
        }
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for (alert, _) in alerts.iter().cycle().take(LOOKUPS as usize) {
                std::hint::black_box(ladder::resolve(alert, &view, &config.services));
            }
            best = best.min(began.elapsed());
        }
        let each = best.as_secs_f64() * 1e6 / f64::from(LOOKUPS);
        println!("  {kind}: {each:.2} µs a lookup");
    }
    let began = Instant::now();
    drop(catalog.refresh().await?);
    println!(
        "  read again, nothing new: {:.2?}, peak {} MiB",
        began.elapsed(),
        peak("self")?
    );
    Ok(())
}

fn alert(one: &Asked, label: &str, value: String) -> Alert {
    let pairs = [
        ("service", one.service.to_string()),
        ("env", "prod".to_owned()),
        (label, value),
    ];
    let labels: Labels = pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Alert {
        fingerprint: Fingerprint::of(&labels),
        status: AlertStatus::Firing,
        labels,
        annotations: Labels::new(),
        starts_at: SystemClock.now(),
        ends_at: None,
        generator_url: None,
        source: Source::Alertmanager,
    }
}

/// The gateway from its start until it lists an instance.
async fn serve(folder: &Path) -> anyhow::Result<()> {
    let free = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()?;
    let began = Instant::now();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(["serve", "--config.file"])
        .arg(folder.join("backstop.yaml"))
        .args(["--web.listen-address", &free.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let client = backstop::http::client(&backstop::http::Settings::default())?;
    let listed = async {
        loop {
            let url = format!("http://{free}/api/v1/instances?limit=1");
            let body = match client.get(url).send().await {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if body.contains("deployment_id") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_mins(2), listed).await;
    let (took, memory) = (began.elapsed(), peak(&gateway.id().to_string()));
    let began = Instant::now();
    let url = format!("http://{free}/api/v1/instances?limit=100");
    let body = client.get(url).send().await?.text().await?;
    println!(
        "  serve: first answer after {took:.2?}; a list of 100 in {:.2?} ({} bytes), peak {} MiB",
        began.elapsed(),
        body.len(),
        peak(&gateway.id().to_string())?
    );
    gateway.kill()?;
    gateway.wait()?;
    done.context("the gateway never listed an instance")?;
    memory.map(drop)
}

/// Peak resident memory in MiB.
fn peak(process: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(kilobytes.context("no VmHWM")?.parse::<u64>()? / 1024)
}
