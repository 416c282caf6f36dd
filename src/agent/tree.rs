//! The folder of one service: `releases/<id>`, `current`, and the agent's own `.backstop/`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::unpack;
use crate::domain::id::ReleaseId;

/// A lock that is held is asked for so often, so far apart.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What is known of an unpacked release: what it was made from, and what it was then.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    artifact: String,
    config: Option<String>,
    tree: String,
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    disk: Disk,
    root: PathBuf,
}

/// Held while an agent works on a root.
#[derive(Debug)]
pub(super) struct RootLock(#[expect(dead_code, reason = "the lock goes with the file")] File);

impl Tree {
    pub(super) fn new(disk: Disk, root: &Path) -> Self {
        Self {
            disk,
            root: root.to_owned(),
        }
    }

    /// Makes the folders that are missing.
    pub(super) fn prepare(&self) -> io::Result<()> {
        self.disk.make_dir(&self.root.join("releases"), 0o755)?;
        self.disk.make_dir(&self.own(), 0o700)?;
        self.disk.make_dir(&self.own().join("manifests"), 0o700)
    }

    /// One agent a root.
    pub(super) fn lock(&self) -> io::Result<RootLock> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.own().join("lock"))?;
        // A program that is just being started shares the lock of an agent that is gone for a moment.
        let mut tries = LOCK_TRIES;
        while tries > 0 && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            tries -= 1;
            std::thread::sleep(LOCK_PAUSE);
        }
        match file.try_lock() {
            Ok(()) => Ok(RootLock(file)),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("another agent works on `{}`", self.root.display()),
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The agent's own folder.
    pub(super) fn own(&self) -> PathBuf {
        self.root.join(".backstop")
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where an artifact arrives.
    pub(super) fn incoming(&self, what: &str) -> PathBuf {
        self.own().join(format!("incoming.{what}"))
    }

    /// Where it is unpacked.
    pub(super) fn staging(&self) -> PathBuf {
        self.own().join("staging")
    }

    pub(super) fn release(&self, id: &ReleaseId) -> PathBuf {
        self.root.join("releases").join(id.as_str())
    }

    fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    fn manifest(&self, id: &ReleaseId) -> PathBuf {
        self.own().join("manifests").join(format!("{id}.json"))
    }

    /// The release that `current` leads to; None: there is no `current`.
    ///
    /// # Errors
    /// When it is no link, or leads somewhere else: it is not ours then.
    pub(super) fn linked(&self) -> io::Result<Option<ReleaseId>> {
        let target = match fs::read_link(self.current()) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let text = format!("`{}` is no link: {error}", self.current().display());
                return Err(io::Error::other(text));
            }
        };
        let releases = self.root.join("releases");
        let below = self.root.join(&target);
        let name = below.strip_prefix(&releases).ok().and_then(Path::to_str);
        name.and_then(|name| ReleaseId::new(name).ok())
            .map(Some)
            .ok_or_else(|| {
                let text = format!(
                    "`current` leads to `{}`, which is no release",
                    target.display()
                );
                io::Error::other(text)
            })
    }

    /// Whether the release is here as it was unpacked from these files. Reads all of it.
    pub(super) fn is_whole(&self, id: &ReleaseId, artifact: &str, config: Option<&str>) -> bool {
        let Ok(text) = fs::read(self.manifest(id)) else {
            return false;
        };
        let Ok(known) = serde_json::from_slice::<Manifest>(&text) else {
            return false;
        };
        known.artifact == artifact
            && known.config.as_deref() == config
            && unpack::digest(&self.release(id)).is_ok_and(|tree| tree == known.tree)
    }

    /// An empty folder to unpack into.
    pub(super) fn fresh_staging(&self) -> io::Result<PathBuf> {
        let staging = self.staging();
        self.disk.remove(&staging)?;
        self.disk.make_dir(&staging, 0o755)?;
        Ok(staging)
    }

    /// What was unpacked becomes the release.
    pub(super) fn stage(
        &self,
        id: &ReleaseId,
        artifact: &str,
        config: Option<&str>,
    ) -> io::Result<()> {
        let (staging, release) = (self.staging(), self.release(id));
        let manifest = Manifest {
            artifact: artifact.to_owned(),
            config: config.map(str::to_owned),
            tree: unpack::digest(&staging)?,
        };
        let trash = self.own().join("trash");
        self.disk.remove(&trash)?;
        // One that is there is not whole, or another.
        if release.exists() {
            self.disk.remove(&self.manifest(id))?;
            self.disk.rename(&release, &trash)?;
        }
        self.disk.rename(&staging, &release)?;
        let text = serde_json::to_vec(&manifest)?;
        self.disk.write(&self.manifest(id), &text)?;
        self.disk.remove(&trash)
    }

    /// Makes the link by which [`Self::go_back`] needs no room on disk.
    pub(super) fn prepare_way_back(&self, id: &ReleaseId) -> io::Result<()> {
        let target = Path::new("releases").join(id.as_str());
        self.disk.link(&target, &self.own().join("back"))
    }

    /// `current` leads to the release, from one instant to the next.
    pub(super) fn switch(&self, id: &ReleaseId) -> io::Result<()> {
        let next = self.own().join("next");
        let target = Path::new("releases").join(id.as_str());
        self.disk.link(&target, &next)?;
        self.disk.rename(&next, &self.current())
    }

    /// `current` leads to the release before again.
    pub(super) fn go_back(&self, id: &ReleaseId) -> io::Result<()> {
        if self.linked().ok().flatten().as_ref() == Some(id) {
            return Ok(());
        }
        let back = self.own().join("back");
        let ready = fs::read_link(&back).is_ok_and(|target| target.ends_with(id.as_str()));
        if ready {
            return self.disk.rename(&back, &self.current());
        }
        self.switch(id)
    }

    /// Nothing ran before: there is no `current` again.
    pub(super) fn unlink(&self) -> io::Result<()> {
        self.disk.remove(&self.current())
    }

    /// Removes leftovers of orders, and all but the newest `keep` releases; those in `needed` stay.
    pub(super) fn prune(&self, keep: usize, needed: &[&ReleaseId]) -> io::Result<()> {
        for what in ["artifact", "config"] {
            self.disk.remove(&self.incoming(what))?;
        }
        self.disk.remove(&self.staging())?;
        self.disk.remove(&self.own().join("trash"))?;
        let linked = self.linked()?;
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join("releases"))? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| ReleaseId::new(name).ok());
            // What is not named like a release is not ours.
            if let Some(id) = id {
                found.push((entry.metadata()?.modified()?, id));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        let is_needed = |id: &ReleaseId| linked.as_ref() == Some(id) || needed.contains(&id);
        let mut kept = found.iter().filter(|(_, id)| is_needed(id)).count();
        for (_, id) in found.iter().filter(|(_, id)| !is_needed(id)) {
            if kept < keep {
                kept += 1;
                continue;
            }
            self.disk.remove(&self.manifest(id))?;
            self.disk.remove(&self.release(id))?;
        }
        Ok(())
    }
}
