//! An artifact becomes a folder; what could reach out of it, or grow without end, is refused.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use super::disk::Seam;
use crate::domain::hex;

/// Longest path in an artifact, bytes.
const LONGEST_PATH: usize = 1_024;

/// What an artifact may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// Why an artifact was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// It holds what it may not.
    #[error("the artifact holds `{path}`: {why}")]
    Refused { path: String, why: &'static str },
    /// It is larger than allowed.
    #[error("the artifact holds more than {limit} {what}")]
    TooMuch { limit: u64, what: &'static str },
    /// Reading or writing failed.
    #[error("the artifact can't be unpacked: {0}")]
    Io(#[from] io::Error),
}

/// Unpacks a gzip-compressed tar into the empty folder `to`. All of it is on disk afterwards.
pub(super) fn tar_gz(
    archive: &Path,
    to: &Path,
    limits: Limits,
    seam: &dyn Seam,
) -> Result<(), UnpackError> {
    let plain = MultiGzDecoder::new(BufReader::new(File::open(archive)?));
    // Headers and padding count too: a bomb of empty entries ends here.
    let whole = limits
        .bytes
        .saturating_add(limits.files.saturating_mul(1_024));
    let mut archive = Archive::new(plain.take(whole.saturating_add(1)));
    let mut left = limits;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let named = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        let path = inside(&named)?;
        left.files = left.files.checked_sub(1).ok_or(UnpackError::TooMuch {
            limit: limits.files,
            what: "files",
        })?;
        if path.as_os_str().is_empty() {
            continue;
        }
        no_link_above(to, &path)?;
        let at = to.join(&path);
        match kind {
            EntryType::Directory => make_dirs(to, &path, seam)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if let Some(parent) = path.parent() {
                    make_dirs(to, parent, seam)?;
                }
                let mode = entry.header().mode()? & 0o777;
                left.bytes = write_file(&mut entry, &at, mode, left.bytes, limits.bytes, seam)?;
            }
            EntryType::Symlink => {
                if let Some(parent) = path.parent() {
                    make_dirs(to, parent, seam)?;
                }
                let target = entry.link_name()?.map(Cow::into_owned);
                let target = target.unwrap_or_default();
                stays_inside(&path, &target)?;
                seam.before("unpack a link")?;
                symlink(&target, &at)?;
            }
            _ => return Err(refused(&named, "only files, folders and links are taken")),
        }
    }
    Ok(sync_tree(to)?)
}

/// Puts one program into the empty folder `to`.
pub(super) fn one_file(
    artifact: &Path,
    to: &Path,
    name: &str,
    mode: u32,
    seam: &dyn Seam,
) -> Result<(), UnpackError> {
    let at = to.join(name);
    let size = fs::metadata(artifact)?.len();
    write_file(&mut File::open(artifact)?, &at, mode, size, size, seam)?;
    Ok(sync_tree(to)?)
}

fn refused(path: &Path, why: &'static str) -> UnpackError {
    UnpackError::Refused {
        path: path.to_string_lossy().escape_debug().take(200).collect(),
        why,
    }
}

/// A path as a place below the folder.
fn inside(path: &Path) -> Result<PathBuf, UnpackError> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(refused(path, "its path is too long"));
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused(path, "its path leads out")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused(path, "its path is absolute"));
            }
        }
    }
    Ok(plain)
}

/// A link's target, from the link's folder, never climbs above the top.
fn stays_inside(path: &Path, target: &Path) -> Result<(), UnpackError> {
    let mut depth = path.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| refused(path, "the link leads out"))?;
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused(path, "the link is absolute"));
            }
        }
    }
    Ok(())
}

/// Nothing is written through a link: whatever a target seems to be, it can lead elsewhere.
fn no_link_above(to: &Path, path: &Path) -> Result<(), UnpackError> {
    let mut above = to.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        above.push(part);
        if fs::symlink_metadata(&above).is_ok_and(|about| about.is_symlink()) {
            return Err(refused(path, "it would be written through a link"));
        }
    }
    Ok(())
}

fn make_dirs(to: &Path, path: &Path, seam: &dyn Seam) -> Result<(), UnpackError> {
    let at = to.join(path);
    if fs::symlink_metadata(&at).is_ok_and(|about| about.is_dir()) {
        return Ok(());
    }
    seam.before("unpack a folder")?;
    Ok(fs::create_dir_all(at)?)
}

/// Writes one file and says how many bytes are left.
fn write_file(
    from: &mut impl Read,
    at: &Path,
    mode: u32,
    left: u64,
    limit: u64,
    seam: &dyn Seam,
) -> Result<u64, UnpackError> {
    seam.before("unpack a file")?;
    let mut options = OpenOptions::new();
    // Never over another: a second entry of that name, or a link.
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(at)?;
    let written = io::copy(&mut from.take(left.saturating_add(1)), &mut file)?;
    let left = left.checked_sub(written).ok_or(UnpackError::TooMuch {
        limit,
        what: "bytes",
    })?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.flush()?;
    file.sync_all()?;
    Ok(left)
}

/// The entries of a folder and all below it, sorted by path; links are not followed.
fn walk(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for path in walk(folder)? {
        if fs::symlink_metadata(&path)?.is_dir() {
            File::open(path)?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

/// SHA-256 over all a folder holds: names, kinds, modes, contents, targets.
pub(super) fn digest(folder: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for path in walk(folder)? {
        let name = path.strip_prefix(folder).unwrap_or(&path);
        let about = fs::symlink_metadata(&path)?;
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        if about.is_symlink() {
            hash.update(b"l");
            hash.update(fs::read_link(&path)?.as_os_str().as_encoded_bytes());
            hash.update([0]);
        } else if about.is_dir() {
            hash.update(b"d");
        } else {
            hash.update(b"f");
            hash.update(about.permissions().mode().to_be_bytes());
            hash.update(about.len().to_be_bytes());
            hash_file(&path, &mut hash)?;
        }
    }
    Ok(hex(&hash.finalize()))
}

/// SHA-256 of a file's bytes.
pub(super) fn checksum(file: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash_file(file, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

fn hash_file(path: &Path, hash: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 => hash.update(bytes),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::super::disk::Unbroken;
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 10_000,
        files: 10,
    };

    /// An entry: its path, kind, target of a link or content.
    type Entry<'a> = (&'a str, EntryType, &'a str);

    fn unpacked(entries: &[Entry<'_>], limits: Limits) -> (tempfile::TempDir, Result<(), String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar.gz");
        let gz = GzEncoder::new(File::create(&file).unwrap(), Compression::fast());
        let mut tar = Builder::new(gz);
        for (path, kind, text) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            // The checked setters refuse what hostile archives hold.
            let name = header.as_old_mut();
            name.name[..path.len()].copy_from_slice(path.as_bytes());
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if is_link {
                name.linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            let content = if is_link { "" } else { *text };
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        let to = folder.path().join("to");
        fs::create_dir(&to).unwrap();
        let outcome = tar_gz(&file, &to, limits, &Unbroken);
        (folder, outcome.map_err(|error| error.to_string()))
    }

    #[test]
    fn files_folders_and_links_inside_are_unpacked_without_special_rights() {
        let (folder, outcome) = unpacked(
            &[
                ("./bin/", EntryType::Directory, ""),
                ("./bin/app", EntryType::Regular, "program"),
                ("run", EntryType::Symlink, "bin/app"),
                ("bin/up", EntryType::Symlink, "../run"),
            ],
            LIMITS,
        );
        outcome.unwrap();
        let to = folder.path().join("to");
        assert_eq!(fs::read_to_string(to.join("bin/up")).unwrap(), "program");
        let mode = fs::metadata(to.join("bin/app"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
        let before = digest(&to).unwrap();
        assert_eq!(before, digest(&to).unwrap());
        fs::write(to.join("bin/app"), "another").unwrap();
        assert_ne!(before, digest(&to).unwrap());
    }

    #[test]
    fn nothing_reaches_out_of_the_folder() {
        let cases: [&[Entry<'_>]; 9] = [
            &[("../x", EntryType::Regular, "x")],
            &[("a/../../x", EntryType::Regular, "x")],
            &[("/etc/x", EntryType::Regular, "x")],
            &[("l", EntryType::Symlink, "/etc/passwd")],
            &[("l", EntryType::Symlink, "../x")],
            &[("a/l", EntryType::Symlink, "../../x")],
            &[
                ("l", EntryType::Symlink, "d"),
                ("l/x", EntryType::Regular, "x"),
            ],
            &[("h", EntryType::Link, "/etc/passwd")],
            &[("f", EntryType::Fifo, "")],
        ];
        for entries in cases {
            let (folder, outcome) = unpacked(entries, LIMITS);
            let why = outcome.unwrap_err();
            assert!(
                why.starts_with("the artifact holds `"),
                "{entries:?}: {why}"
            );
            let outside = ["x", "d"].map(|name| folder.path().join(name).exists());
            assert_eq!(outside, [false, false], "{entries:?}");
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        for second in [EntryType::Regular, EntryType::Symlink] {
            let (_folder, outcome) = unpacked(
                &[("a", EntryType::Regular, "x"), ("a", second, "y")],
                LIMITS,
            );
            assert!(outcome.is_err());
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limits() {
        let zeros = "0".repeat(6_000);
        let (folder, outcome) = unpacked(
            &[
                ("a", EntryType::Regular, &zeros),
                ("b", EntryType::Regular, &zeros),
            ],
            LIMITS,
        );
        assert_eq!(
            outcome.unwrap_err(),
            "the artifact holds more than 10000 bytes"
        );
        let b = fs::metadata(folder.path().join("to/b")).unwrap().len();
        assert!(b <= 4_001, "{b}");
        let many: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        let many: Vec<Entry<'_>> = many
            .iter()
            .map(|name| (name.as_str(), EntryType::Directory, ""))
            .collect();
        let (_folder, outcome) = unpacked(&many, LIMITS);
        assert_eq!(
            outcome.unwrap_err(),
            "the artifact holds more than 10 files"
        );
    }
}
