//! `canary pull`: one rule file, as the gateway says it should be.
//!
//! For any vmalert, beside which it runs. The file is replaced as a whole or not at all, and only
//! by one that holds the heartbeat; whatever goes wrong, the last good one stays.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::canary::group::groups_in;
use crate::cli::exit::{Exit, Failure};
use crate::cli::gateway::{Gateway, GatewayArgs, base_url};
use crate::cli::output::{Out, OutputArgs, complain, count};
use crate::http::{self, Settings};

/// The file in the folder; vmalert's `-rule=DIR/*.yaml` finds it.
const NAME: &str = "backstop-canary.yaml";
/// Where the next one is written: no `*.yaml`, so no vmalert reads half of it.
const UNFINISHED: &str = ".backstop-canary.next";

/// `canary pull`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The folder that vmalert reads rules from; `backstop-canary.yaml` is written there.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A vmalert that is told to read its rules again after a change; may be given more than once.
    /// Without it, -configCheckInterval of vmalert decides.
    #[arg(long, value_name = "URL", value_parser = base_url)]
    vmalert: Vec<Url>,
    /// Pulls this far apart, until a signal.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = humantime::parse_duration,
        conflicts_with = "once"
    )]
    interval: Duration,
    /// One pull; its exit code says whether the file is as the gateway says.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut puller = Puller {
        gateway: Gateway::new(&args.gateway)?,
        http: http::client(&Settings {
            timeout: args.gateway.timeout,
            ..Settings::default()
        })?,
        stale: args.vmalert,
        vmalerts: Vec::new(),
        folder: args.to,
    };
    puller.vmalerts.clone_from(&puller.stale);
    let mut out = Out::new(args.output.output);
    if args.once {
        let pulled = puller.pull().await?;
        out.show(&pulled.document(), || pulled.text())?;
        return Ok(Exit::Ok.into());
    }
    let rounds = puller.keep_pulled(args.interval, &mut out);
    tokio::pin!(rounds);
    tokio::select! {
        ended = &mut rounds => ended?,
        ended = crate::cli::place::signal() => ended?,
    }
    Ok(Exit::Ok.into())
}

/// What one pull did.
#[derive(Debug)]
struct Pulled {
    path: PathBuf,
    groups: usize,
    changed: bool,
}

impl Pulled {
    fn document(&self) -> serde_json::Value {
        json!({"file": self.path, "groups": self.groups, "changed": self.changed})
    }

    fn text(&self) -> String {
        let change = if self.changed { "written" } else { "unchanged" };
        let groups = count(self.groups, "armed group");
        format!("{}: {groups}, {change}", self.path.display())
    }
}

struct Puller {
    gateway: Gateway,
    http: reqwest::Client,
    folder: PathBuf,
    vmalerts: Vec<Url>,
    /// Those that have not been told of the file as it is.
    stale: Vec<Url>,
}

impl Puller {
    async fn keep_pulled(&mut self, pause: Duration, out: &mut Out) -> io::Result<()> {
        let mut complained = String::new();
        loop {
            match self.pull().await {
                Ok(pulled) => {
                    if pulled.changed || !complained.is_empty() {
                        out.show(&pulled.document(), || pulled.text())?;
                    }
                    complained.clear();
                }
                // Said once; said again when it is another trouble.
                Err(failure) if failure.message != complained => {
                    complain(&format!("the last good rules stay: {failure}"));
                    complained = failure.message;
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks, compares, replaces, tells.
    ///
    /// # Errors
    /// With the exit code; the file is then as it was, or a vmalert was not told of it.
    async fn pull(&mut self) -> Result<Pulled, Failure> {
        let text = self.gateway.text(&["api", "v1", "canary", "rules.yaml"]);
        let text = text.await?;
        let groups = groups_in(&text).map_err(|why| {
            let text = format!("the gateway's rules can't be used: {why}");
            Failure::new(Exit::Unreachable, text)
        })?;
        let path = self.folder.join(NAME);
        let changed = fs::read(&path).ok().as_deref() != Some(text.as_bytes());
        if changed {
            replace(&self.folder, &path, &text).map_err(|error| {
                Failure::usage(format!("`{}` can't be written: {error}", path.display()))
            })?;
            self.stale.clone_from(&self.vmalerts);
        }
        self.tell().await?;
        Ok(Pulled {
            path,
            groups,
            changed,
        })
    }

    /// Lets each vmalert that has not heard of the file read its rules.
    async fn tell(&mut self) -> Result<(), Failure> {
        let mut failed = None;
        for vmalert in std::mem::take(&mut self.stale) {
            let mut url = vmalert.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop_if_empty().extend(["-", "reload"]);
            }
            let answer = self.http.get(url).send().await;
            let answer = answer.and_then(reqwest::Response::error_for_status);
            if let Err(error) = answer {
                let error = error.without_url();
                failed = Some(format!(
                    "vmalert at {vmalert} was not told to reload: {error}"
                ));
                self.stale.push(vmalert);
            }
        }
        failed.map_or(Ok(()), |text| Err(Failure::new(Exit::Unreachable, text)))
    }
}

/// Puts `text` at `path`, whole or not at all, and on disk before its name.
fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}
