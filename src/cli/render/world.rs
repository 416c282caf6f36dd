//! The world a body is judged in: the store's, or one that a file describes.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::app::preview::{Ask, Scene, Stored};
use crate::chart::Fonts;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place;
use crate::config::Config;
use crate::config::problem::{Problem, listed};
use crate::domain::alert::Alert;
use crate::domain::clock::{ManualClock, SharedClock};
use crate::rehearsal;
use crate::store::Store;

/// Where the facts of a preview come from.
#[derive(Debug, clap::Args)]
pub(super) struct WorldArgs {
    /// Judge in the world that this file of rule tests describes (its `given`: releases,
    /// deployments, metrics, rules …) instead of in the store's.
    #[arg(long, value_name = "FILE")]
    given: Option<PathBuf>,
    /// Add the world of this test of the file.
    #[arg(long, value_name = "NAME", requires = "given")]
    test: Option<String>,
    /// Ask the configured metrics store, vmalerts and Spinnaker; without it nobody is asked and the
    /// message says so.
    #[arg(long, conflicts_with = "given")]
    online: bool,
}

/// A world to judge in.
pub(super) enum World {
    Stored(Box<Stored>),
    Written(Box<rehearsal::Written>),
}

impl World {
    /// The world at `at`. `secrets` tells whether they are there: without them a store of another
    /// machine can't be asked.
    pub(super) async fn read(
        args: &WorldArgs,
        config: &Config,
        secrets: Result<(), String>,
        at: Timestamp,
    ) -> Result<Self, Failure> {
        if let Some(path) = &args.given {
            return written(path, args.test.as_deref(), config, at).await;
        }
        if args.online
            && let Err(why) = &secrets
        {
            return Err(Failure::new(
                Exit::Findings,
                format!("--online needs the secrets: {why}"),
            ));
        }
        let ask = if args.online {
            Ask::Everybody
        } else {
            Ask::Nobody
        };
        let store = secrets.and_then(|()| store(config));
        let clock: SharedClock = ManualClock::at(at);
        let stored = Stored::read(config, store, ask, clock).await;
        let stored = stored.map_err(|why| Failure::new(Exit::Findings, why))?;
        Ok(Self::Stored(Box::new(stored)))
    }

    pub(super) async fn scene<'a>(&'a self, alerts: &[Alert], fonts: &'a Fonts) -> Scene<'a> {
        match self {
            Self::Stored(stored) => stored.scene(alerts, fonts).await,
            Self::Written(written) => written.scene(alerts, fonts).await,
        }
    }

    /// What was asked and nobody could answer, so that the messages lack it.
    pub(super) fn unanswered(&self) -> Vec<String> {
        match self {
            Self::Stored(_) => Vec::new(),
            Self::Written(written) => written
                .unanswered()
                .into_iter()
                .map(|query| format!("the file has no answer to `{query}`"))
                .collect(),
        }
    }
}

async fn written(
    path: &Path,
    test: Option<&str>,
    config: &Config,
    at: Timestamp,
) -> Result<World, Failure> {
    let name = path.display().to_string();
    let bytes = place::read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("`{name}` is not UTF-8 text")))?;
    let refused = |problems: Vec<Problem>| Failure::new(Exit::Findings, listed(&problems));
    let world = rehearsal::world((&name, &text), test, config, at);
    let mut world = world.map_err(refused)?;
    let played = world.play_to(at).await;
    played.map_err(|why| Failure::new(Exit::Findings, format!("{name}: {why}")))?;
    Ok(World::Written(Box::new(world)))
}

fn store(config: &Config) -> Result<Store, String> {
    let folder = config.store.url.strip_prefix("file:");
    // Opening would make the folder; a preview leaves nothing behind.
    if folder.is_some_and(|folder| !Path::new(folder.trim_start_matches("//")).is_dir()) {
        return Err(format!("there is no store at `{}`", config.store.url));
    }
    place::open_store(config).map_err(|failure| failure.message)
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}
