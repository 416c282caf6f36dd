//! Users of `--web.config.file`: names and bcrypt hashes, as Prometheus has them.
//!
//! A hash takes tens of milliseconds on purpose, so it is worked out off the async threads, two at
//! a time, and a login that was right once is remembered by its digest.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::domain::secret::Secret;

/// Hashes worked out at once.
const AT_ONCE: usize = 2;
/// Right logins remembered.
const REMEMBERED: usize = 100;
/// Compared with for a name that is not there, so that the time does not tell.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuLGnlJLhPZkXxvGDBwjrMeVgB4w5EHmW";

type Login = [u8; 32];

/// The users.
#[derive(Debug)]
pub(super) struct Logins {
    users: BTreeMap<String, Secret>,
    right: Mutex<HashSet<Login>>,
    free: Semaphore,
}

impl Logins {
    pub(super) fn new(users: BTreeMap<String, Secret>) -> Self {
        Self {
            users,
            right: Mutex::default(),
            free: Semaphore::new(AT_ONCE),
        }
    }

    /// Whether this is a user of ours with the right password.
    pub(super) async fn check(&self, user: &str, password: &str) -> bool {
        let login: Login = Sha256::new()
            .chain_update(u64::try_from(user.len()).unwrap_or(u64::MAX).to_be_bytes())
            .chain_update(user)
            .chain_update(password)
            .finalize()
            .into();
        if self.remembered().contains(&login) {
            return true;
        }
        let Ok(_permit) = self.free.acquire().await else {
            return false;
        };
        let known = self.users.get(user).cloned();
        let (hash, is_known) =
            known.map_or_else(|| (Secret::new(NOBODY), false), |hash| (hash, true));
        let password = Secret::new(password);
        let verify = move || bcrypt::verify(password.expose(), hash.expose());
        let right = match tokio::task::spawn_blocking(verify).await {
            Ok(Ok(right)) => right && is_known,
            Ok(Err(error)) => {
                tracing::error!(%error, user.name = user, "the hash of a user can't be used");
                false
            }
            Err(_) => false,
        };
        if right {
            let mut remembered = self.remembered();
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(login);
        }
        right
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashSet<Login>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_hash_is_a_hash_and_takes_as_long_as_one() {
        assert_eq!(bcrypt::verify("x", NOBODY).ok(), Some(false));
        assert!(NOBODY.starts_with("$2b$10$"));
    }
}
