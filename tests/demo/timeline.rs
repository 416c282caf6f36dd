//! What the person in front of the screen reads: seconds, who, what.

use std::fmt::Display;
use std::io::Write as _;

use tokio::time::Instant;

/// Prints lines with the seconds since its start.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    started: Instant,
}

impl Timeline {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// One thing that happened: who did what.
    pub fn say(&self, who: &str, what: impl Display) {
        print(&format!("{:>7.1}s  {who:<12}  {what}", self.seconds()));
    }
}

/// A heading.
pub fn section(title: &str) {
    let rule = "-".repeat(title.chars().count());
    print(&format!("\n {title}\n {rule}"));
}

/// Text without a time.
pub fn note(text: impl Display) {
    print(&format!(" {text}"));
}

/// A closed pipe behind us (`make demo | head`) is no reason to end the demo.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}
