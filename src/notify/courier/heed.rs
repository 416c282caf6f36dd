//! What a failed sending means for its channel: a pause, a ban, or a target that somebody must mend.
//! Whoever can mend it hears of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Courier;
use crate::domain::clock::after;
use crate::notify::Broken;
use crate::notify::channel::{Class, SendError};

/// A target that refuses for good is asked again after this long: somebody may have mended it.
const BROKEN_PAUSE: Duration = Duration::from_mins(5);
/// Other replicas hear of parkings at least this long.
const TOLD_PARKING: Duration = Duration::from_secs(30);
/// People hear, through another channel, of parkings at least this long: a vendor's ban.
const BAN: Duration = Duration::from_mins(5);
/// Two parkings of a target that end within this time are one.
const SAME_PARKING: Duration = Duration::from_mins(1);

impl Courier {
    /// What a failure means for the channel; what it means for the message is decided apart.
    pub(super) async fn heed(&self, error: &SendError) {
        match error.class {
            Class::Retry | Class::MaybeSent => {
                if self.breaker().failed() {
                    self.broken(&error.code, &error.detail, error.fix);
                }
                return;
            }
            Class::Wait(by) => self.park(by, error).await,
            Class::Broken => {
                self.means.limit.park(Instant::now() + BROKEN_PAUSE);
                self.broken(&error.code, &error.detail, error.fix);
            }
            Class::Permanent | Class::More => {}
        }
        self.breaker().answered();
    }

    /// It refuses for good, or has failed for long: people hear of it.
    pub(super) fn broken(&self, code: &str, detail: &str, fix: Option<&'static str>) {
        let name = &self.means.name;
        tracing::error!(channel.name = %name, code, detail, "channel `{name}` does not take messages: {code}: {detail}");
        self.say(code, detail, fix, None);
    }

    fn say(&self, code: &str, detail: &str, fix: Option<&'static str>, until: Option<Timestamp>) {
        self.means.ear.broken(Broken {
            channel: self.means.name.clone(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            fix,
            until,
        });
    }

    /// Waits as the vendor says. A ban is told to people, once, by whoever learns of it first.
    async fn park(&self, by: Duration, error: &SendError) {
        let means = &self.means;
        let code = &error.code;
        let end = Instant::now() + by;
        let known = means.limit.parked_until();
        let known = known.is_some_and(|until| until + SAME_PARKING >= end);
        means.limit.park(end);
        tracing::warn!(channel.name = %means.name, code, "channel `{}` waits {by:?}, as its vendor says", means.name);
        if by < TOLD_PARKING {
            return;
        }
        let until = after(means.clock.now(), by);
        if let Err(error) = means.parking.write(&means.target, until, code).await {
            means
                .ear
                .store_trouble("telling others that a channel is parked", &error);
        }
        if by >= BAN && !known {
            let until = Some(self.first_end(until).await);
            self.say(code, &error.detail, error.fix, until);
        }
    }

    /// When the parking that is on ends: of several that replicas wrote, the first. So they all
    /// name it alike.
    async fn first_end(&self, until: Timestamp) -> Timestamp {
        let means = &self.means;
        let now = means.clock.now();
        // Without the store this replica is alone in what it knows.
        let all = means.parking.all().await.unwrap_or_default();
        let ours = all
            .into_iter()
            .filter(|(target, _)| *target == means.target);
        let ends = ours.map(|(_, end)| end).filter(|end| *end > now);
        ends.min().unwrap_or(until)
    }
}
