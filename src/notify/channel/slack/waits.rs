//! Slack's 429 counts for a method and a workspace: what one channel was told, all of them heed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A workspace, and a method of its API.
type Key = (String, &'static str);

/// Until when which method of which workspace has to wait. Shared by channels, kept over reloads.
#[derive(Debug, Default)]
pub struct Waits(Mutex<HashMap<Key, Instant>>);

impl Waits {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a method has to wait yet.
    pub(super) fn left(&self, workspace: &str, method: &'static str) -> Option<Duration> {
        let until = self.lock().get(&(workspace.to_owned(), method)).copied()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Slack said wait.
    pub(super) fn set(&self, workspace: &str, method: &'static str, by: Duration) {
        let until = Instant::now() + by;
        self.lock().insert((workspace.to_owned(), method), until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_for_its_method_and_workspace_alone() {
        let waits = Waits::default();
        waits.set("a", "chat.update", Duration::from_secs(30));
        assert_eq!(
            waits.left("a", "chat.update"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(waits.left("a", "chat.postMessage"), None);
        assert_eq!(waits.left("b", "chat.update"), None);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(waits.left("a", "chat.update"), None);
    }
}
