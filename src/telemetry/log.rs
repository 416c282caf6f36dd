//! Log lines to stderr.
//!
//! A thread writes them from a bounded queue: when stderr's reader stops, lines are dropped and
//! counted; the gateway itself never waits for one.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::log_format::Lines;

/// Lines waiting for stderr.
const QUEUE: usize = 4_096;
/// How long the last lines may take at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `ts=… level=… msg="…" key=value`
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "logfmt" => Ok(Self::Logfmt),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(text.to_owned())),
        }
    }
}

/// Logging that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The word after `--log.format`.
    #[error("`{0}` is no log format: use logfmt or json")]
    Format(String),
    /// The words after `--log.level`.
    #[error("`{level}` is no log level: use error, warn, info, debug or trace")]
    Level {
        /// As given.
        level: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody did so before.
    #[error("logging is set up already")]
    Twice,
    /// No thread to write with.
    #[error("the log's thread can't be started")]
    Thread(#[source] io::Error),
}

/// Keep it until the end: dropping it writes the last lines.
#[derive(Debug)]
pub struct LogGuard {
    done: Option<Receiver<()>>,
    queue: Queue,
}

impl LogGuard {
    /// How many lines nobody read in time.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // A full queue means that stderr is stuck: then there is nothing to wait for.
        if self.queue.lines.try_send(Line::Last).is_ok()
            && let Some(done) = self.done.take()
        {
            let _disconnected_or_late: Result<(), RecvTimeoutError> = done.recv_timeout(FLUSH);
        }
    }
}

/// Sets up logging to stderr for the whole process. `level` is a word or a list of
/// `target=level`.
///
/// # Errors
/// When the level is none, or logging was set up before.
pub fn init(level: &str, format: LogFormat) -> Result<LogGuard, LogError> {
    let filter = EnvFilter::try_new(level).map_err(|source| LogError::Level {
        level: level.to_owned(),
        source,
    })?;
    let (queue, done) = Queue::to(io::stderr()).map_err(LogError::Thread)?;
    let lines = Lines::new(format);
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(lines)
        .fmt_fields(lines)
        .with_writer(queue.clone());
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(|_| LogError::Twice)?;
    Ok(LogGuard {
        done: Some(done),
        queue,
    })
}

enum Line {
    Text(Vec<u8>),
    Last,
}

/// Where lines go.
#[derive(Debug, Clone)]
struct Queue {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn to(mut out: impl Write + Send + 'static) -> io::Result<(Self, Receiver<()>)> {
        let (lines, waiting) = mpsc::sync_channel(QUEUE);
        let (finished, done) = mpsc::channel();
        let write = move || {
            while let Ok(Line::Text(line)) = waiting.recv() {
                // There is nowhere to say that stderr is gone.
                let _gone = out.write_all(&line);
            }
            let _gone = out.flush();
            let _nobody_waits = finished.send(());
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(write)?;
        let dropped = Arc::default();
        Ok((Self { lines, dropped }, done))
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Line::Text(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_stuck_reader_costs_lines_and_not_time() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                let _released = self.0.recv();
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = mpsc::channel();
        let (mut queue, done) = Queue::to(Stuck(stuck)).unwrap();
        for _ in 0..QUEUE + 100 {
            queue.write_all(b"x\n").unwrap();
        }
        // One line may be in the writer's hands.
        assert!(queue.dropped.load(Ordering::Relaxed) >= 99);
        drop(release);
        drop(queue);
        done.recv_timeout(Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);
        impl Write for Page {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(line);
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let (mut queue, done) = Queue::to(page.clone()).unwrap();
        queue.write_all(b"bye\n").unwrap();
        drop(LogGuard {
            done: Some(done),
            queue,
        });
        assert_eq!(*page.0.lock().unwrap(), b"bye\n");
    }
}
