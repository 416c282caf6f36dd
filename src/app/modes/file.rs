//! The mode file: switches for the moment when nothing else answers.
//!
//! One switch a line, `MODE [service=NAME] [env=NAME] [# why]`. It is read when a decision needs it,
//! so it works without a reload and without the store. No file: no switch. A file that can't be
//! read, or a line that is no switch, is `off` for everything: who reaches for this file means to
//! stop, and a typing mistake must not keep Backstop going.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;

use crate::domain::policy::Mode;
use crate::web::api::ModeSwitch;

/// How long a read is good for, so that a storm of alerts is not one of reads.
const FRESH: Duration = Duration::from_secs(1);
/// A disk that does not answer within this can't be read.
const PATIENCE: Duration = Duration::from_secs(1);
/// Said of a switch without words of its own.
const NO_REASON: &str = "no reason given";

/// The reader of the mode file.
#[derive(Debug)]
pub(super) struct ModeFile(Cache<PathBuf, Arc<Vec<ModeSwitch>>>);

impl Default for ModeFile {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(2).time_to_live(FRESH).build())
    }
}

impl ModeFile {
    /// The switches in the file at `path`, at most a second old.
    pub(super) async fn switches(&self, path: &Path, now: Timestamp) -> Arc<Vec<ModeSwitch>> {
        let read = async { Arc::new(read(path, now).await) };
        self.0.get_with(path.to_owned(), read).await
    }
}

async fn read(path: &Path, now: Timestamp) -> Vec<ModeSwitch> {
    let read = tokio::time::timeout(PATIENCE, tokio::fs::read_to_string(path)).await;
    let parsed = match read {
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Ok(Ok(text)) => parse(&text),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    };
    let lines = parsed.unwrap_or_else(|why| {
        tracing::error!("the mode file `{}` counts as off: {why}", path.display());
        let reason = format!("it can't be read ({why}), which counts as off");
        vec![Line {
            reason,
            ..Line::off()
        }]
    });
    let switch = |line: Line| ModeSwitch {
        service: line.service,
        env: line.env,
        mode: line.mode,
        by: format!("the mode file {}", path.display()),
        reason: line.reason,
        at: now,
    };
    lines.into_iter().map(switch).collect()
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    mode: Mode,
    service: Option<crate::domain::id::Service>,
    env: Option<crate::domain::id::Env>,
    reason: String,
}

impl Line {
    fn off() -> Self {
        Self {
            mode: Mode::Off,
            service: None,
            env: None,
            reason: NO_REASON.to_owned(),
        }
    }
}

/// The switches of a file; an empty one is `off`, as `touch` makes it.
fn parse(text: &str) -> Result<Vec<Line>, String> {
    if text.trim().is_empty() {
        return Ok(vec![Line::off()]);
    }
    let mut lines = Vec::new();
    for (number, text) in (1_usize..).zip(text.lines()) {
        let (words, reason) = text.split_once('#').unwrap_or((text, ""));
        if words.trim().is_empty() {
            continue;
        }
        let mut line = line(words).map_err(|why| format!("line {number}: {why}"))?;
        if !reason.trim().is_empty() {
            reason.trim().clone_into(&mut line.reason);
        }
        lines.push(line);
    }
    Ok(lines)
}

fn line(words: &str) -> Result<Line, String> {
    let mut words = words.split_whitespace();
    let mode = match words.next().unwrap_or_default() {
        "off" => Mode::Off,
        "shadow" => Mode::Shadow,
        "approve" => Mode::Approve,
        "enforce" => Mode::Enforce,
        other => return Err(format!("`{}` is no mode", other.escape_default())),
    };
    let mut line = Line {
        mode,
        ..Line::off()
    };
    for word in words {
        let bad = |error: crate::domain::id::InvalidId| error.to_string();
        match word.split_once('=') {
            Some(("service", name)) if line.service.is_none() => {
                line.service = Some(name.parse().map_err(bad)?);
            }
            Some(("env", name)) if line.env.is_none() => {
                line.env = Some(name.parse().map_err(bad)?);
            }
            Some(_) | None => return Err(format!("`{}` is not understood", word.escape_default())),
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn modes(text: &str) -> Vec<(Mode, Option<String>, Option<String>, String)> {
        let lines = parse(text).unwrap_or_else(|why| panic!("{why}"));
        let told = |line: Line| {
            let service = line.service.map(|service| service.to_string());
            let env = line.env.map(|env| env.to_string());
            (line.mode, service, env, line.reason)
        };
        lines.into_iter().map(told).collect()
    }

    #[test]
    fn a_line_is_a_switch() {
        let text = "# on call\noff service=shop # a drill\n\nshadow env=staging\n  off service=a env=prod\n";
        let some = |text: &str| Some(text.to_owned());
        let none = NO_REASON.to_owned();
        assert_eq!(
            modes(text),
            [
                (Mode::Off, some("shop"), None, "a drill".to_owned()),
                (Mode::Shadow, None, some("staging"), none.clone()),
                (Mode::Off, some("a"), some("prod"), none),
            ]
        );
        assert_eq!(modes("# nothing is set now\n"), []);
    }

    #[test]
    fn an_empty_file_is_off() {
        for text in ["", "\n", "  \n\n"] {
            assert_eq!(modes(text), [(Mode::Off, None, None, NO_REASON.to_owned())]);
        }
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_off_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mode");
        assert_eq!(read(&path, Timestamp::UNIX_EPOCH).await, []);
        for garbled in [
            &b"of"[..],
            b"off service=",
            b"enforce sevice=shop",
            b"enforce service=a service=b",
            b"enforce\noff\nOFF",
            b"\xff\xfe",
        ] {
            std::fs::write(&path, garbled).unwrap();
            let switches = read(&path, Timestamp::UNIX_EPOCH).await;
            let [one] = switches.as_slice() else {
                panic!("{switches:?}");
            };
            assert_eq!(
                (one.mode, &one.service, &one.env),
                (Mode::Off, &None, &None)
            );
            assert!(one.reason.contains("counts as off"), "{}", one.reason);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(read(&path, Timestamp::UNIX_EPOCH).await[0].mode, Mode::Off);
    }

    proptest! {
        #[test]
        fn any_text_is_switches_or_a_complaint(text in ".*") {
            if let Err(why) = parse(&text) {
                prop_assert!(why.starts_with("line "), "{}", why);
            }
        }
    }
}
