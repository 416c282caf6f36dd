//! What goes next, as a pure function of what waits and of the limit's window.
//!
//! Half of a window is for messages one by one. The other half is for what still comes after them:
//! it goes in steps, and with each step all that waits, as one message if it is several. So a storm
//! is told within the window in which it began, whatever its size.

use tokio::time::Instant;

use crate::notify::limit::Room;

/// What waits: how many messages are due, and the first of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    /// Messages that may go now.
    pub(super) count: usize,
    /// How many calls the first makes.
    pub(super) calls: u32,
    /// Part of the first is out: it goes on, with whatever room there is.
    pub(super) begun: bool,
    /// The first may not stand in a digest.
    pub(super) alone: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The first goes, in so many calls at most.
    One(u32),
    /// All go, merged.
    Merge,
    /// Not before then.
    Wait(Instant),
    /// Not before so many calls are free.
    WaitFor(u32),
}

/// Chooses. `merging`: a digest of this step went already and did not hold all.
pub(super) fn choose(due: Due, room: Room, merging: bool, now: Instant) -> Choice {
    let needed = due.calls.clamp(1, room.share);
    let reserve = room.share / 2;
    if due.begun {
        return match room.free {
            0 => Choice::WaitFor(1),
            free => Choice::One(free.min(needed)),
        };
    }
    // A message of more calls than a window has begins with an empty window.
    if !merging && room.free > reserve && needed <= room.free {
        return Choice::One(needed);
    }
    let single = due.count == 1 || due.alone;
    if single && needed > room.free {
        return Choice::WaitFor(needed);
    }
    let step = room.length / reserve.max(1);
    if let Some(at) = room.taken_at.map(|at| at + step)
        && at > now
        && !merging
    {
        return Choice::Wait(at);
    }
    match room.free {
        0 => Choice::WaitFor(1),
        _ if single => Choice::One(needed),
        _ => Choice::Merge,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn room(free: u32, share: u32, taken_at: Option<Instant>) -> Room {
        Room {
            free,
            share,
            length: MINUTE,
            taken_at,
        }
    }

    fn due(count: usize, calls: u32) -> Due {
        Due {
            count,
            calls,
            begun: false,
            alone: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_window_goes_one_by_one_and_the_rest_in_steps() {
        let now = Instant::now();
        let next = |due, free| choose(due, room(free, 20, Some(now)), false, now);
        assert_eq!(next(due(900, 1), 11), Choice::One(1));
        assert_eq!(next(due(900, 1), 10), Choice::Wait(now + MINUTE / 10));
        let later = now + MINUTE / 10;
        let next = |due, free| choose(due, room(free, 20, Some(now)), false, later);
        assert_eq!(next(due(900, 1), 10), Choice::Merge);
        assert_eq!(
            next(due(1, 1), 10),
            Choice::One(1),
            "one alone stays itself"
        );
        assert_eq!(next(due(900, 1), 0), Choice::WaitFor(1));
        let more = choose(due(300, 1), room(9, 20, Some(later)), true, later);
        assert_eq!(more, Choice::Merge, "what one digest did not hold");
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_of_a_message_are_had_before_its_first() {
        let now = Instant::now();
        let next = |due, free| choose(due, room(free, 20, None), false, now);
        assert_eq!(next(due(1, 15), 20), Choice::One(15));
        assert_eq!(next(due(1, 15), 14), Choice::WaitFor(15));
        assert_eq!(
            next(due(1, 50), 20),
            Choice::One(20),
            "a window is all there is"
        );
        assert_eq!(next(due(1, 50), 19), Choice::WaitFor(20));
        assert_eq!(
            next(due(2, 15), 14),
            Choice::Merge,
            "others do not wait for it"
        );
        let rest = Due {
            begun: true,
            ..due(9, 30)
        };
        assert_eq!(next(rest, 3), Choice::One(3), "what was begun goes on");
        assert_eq!(next(rest, 0), Choice::WaitFor(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_one_still_speaks() {
        let now = Instant::now();
        assert_eq!(
            choose(due(5, 1), room(1, 1, None), false, now),
            Choice::One(1)
        );
        assert_eq!(
            choose(due(5, 1), room(0, 1, Some(now)), false, now + MINUTE),
            Choice::WaitFor(1)
        );
    }
}
