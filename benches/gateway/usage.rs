//! CPU and memory of another process, as the kernel counts them.

use std::time::Duration;

use anyhow::Context as _;

/// The kernel shows times to programs in hundredths of a second on every Linux there is.
const TICKS_PER_SECOND: u64 = 100;

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// CPU time a process has used, all its threads, past ones too.
///
/// # Errors
/// When it is gone.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read its times")?;
    // The name may hold anything; what follows its last parenthesis are numbers.
    let (_, fields) = stat.rsplit_once(')').context("no process name")?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let mut next = || {
        times
            .next()
            .context("no time")?
            .parse::<u64>()
            .context("a time")
    };
    let ticks = next()? + next()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Its resident memory, now and at most.
///
/// # Errors
/// When it is gone.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read its size")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
        kilobytes
            .map(|kilobytes: u64| kilobytes * 1024)
            .with_context(|| format!("no {name}"))
    };
    Ok(Memory {
        now: field("VmRSS:")?,
        peak: field("VmHWM:")?,
    })
}
