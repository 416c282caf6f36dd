//! Changes on disk, each whole or not at all and safe once it returns.
//!
//! All of them, and every program that is started, pass one seam, so that a test can break the
//! agent off anywhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

/// Told before each change; an error is what the change then comes to.
pub trait Seam: Send + Sync + std::fmt::Debug {
    /// `what` is about to be done.
    ///
    /// # Errors
    /// Where a test wants one.
    fn before(&self, what: &'static str) -> io::Result<()>;
}

/// What production has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unbroken;

impl Seam for Unbroken {
    fn before(&self, _: &'static str) -> io::Result<()> {
        Ok(())
    }
}

/// The one way to change files.
#[derive(Debug, Clone)]
pub(super) struct Disk(pub(super) Arc<dyn Seam>);

impl Disk {
    /// Makes a folder and those above it.
    pub(super) fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.0.before("make a folder")?;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(mode).create(path)?;
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    /// Replaces a file; only its owner may read it.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let next = path.with_extension("next");
        self.0.before("write a file")?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.rename(&next, path)
    }

    /// Moves a file, folder or link onto another name.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.before("rename")?;
        fs::rename(from, to)?;
        for parent in [to.parent(), from.parent()].into_iter().flatten() {
            self.sync_dir(parent)?;
        }
        Ok(())
    }

    /// Makes a link, in place of one that is there.
    pub(super) fn link(&self, target: &Path, at: &Path) -> io::Result<()> {
        self.remove(at)?;
        self.0.before("make a link")?;
        symlink(target, at)?;
        at.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    /// Removes a file, a link or a whole folder; nothing there is fine.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let about = match fs::symlink_metadata(path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.0.before("remove")?;
        if about.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
    }

    /// Makes what was done in a folder outlast a power cut.
    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.before("sync a folder")?;
        File::open(path)?.sync_all()
    }
}
