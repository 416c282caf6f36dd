//! The loop that hands out what waits, as the limit, the breaker and the workers allow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::choose::{Choice, Due, choose};
use super::job::Form;
use super::{Courier, Fate, Job};
use crate::domain::notice::{Message, Notice};
use crate::notify::breaker::Gate;
use crate::notify::channel::Outgoing;
use crate::notify::digest;
use crate::notify::limit::Slots;
use crate::notify::pressing;

/// Whoever waits for a message that can't go within this time is told that it is owed.
const SOON: Duration = Duration::from_secs(2);
/// The loop looks again after this long at the latest.
const AT_LATEST: Duration = Duration::from_mins(1);

/// Why messages wait, most often.
const AT_LIMIT: &str = "the channel is at its limit";

/// What the loop does next.
enum Step {
    /// One message goes.
    One(Box<Job>, Slots),
    /// Several go as one, with so many lines.
    Merged(Vec<Job>, usize, Slots),
    /// Nothing before then; `why` for those who wait. None: something in flight ends sooner.
    Wait(Option<(Instant, &'static str)>),
}

/// Messages that wait, and how far the digests of the current step may go.
#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// While digests of one step are made: how many free calls must be left.
    floor: Option<u32>,
}

impl Courier {
    /// Runs while anything waits.
    pub(super) async fn pump(self: Arc<Self>) {
        let mut waiting = Waiting::default();
        loop {
            if !self.collect(&mut waiting) {
                return;
            }
            match self.next(&mut waiting) {
                Step::One(job, slots) => {
                    let threads = vec![job.message.notice.thread.clone()];
                    self.fly(threads, Arc::clone(&self).send_one(*job, slots));
                }
                Step::Merged(jobs, named, slots) => {
                    let threads = jobs.iter().map(|job| job.message.notice.thread.clone());
                    let threads = threads.collect();
                    self.fly(threads, Arc::clone(&self).send_merged(jobs, named, slots));
                }
                Step::Wait(until) => {
                    self.give_up(&mut waiting, until);
                    let until = until.map_or(Instant::now() + AT_LATEST, |(until, _)| until);
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = self.wake.notified() => {}
                    }
                }
            }
        }
    }

    /// Fetches what came in. False: nothing waits, and the loop has ended.
    fn collect(&self, waiting: &mut Waiting) -> bool {
        let mut inbox = self.inbox();
        waiting.jobs.append(&mut inbox.jobs);
        if waiting.jobs.is_empty() {
            inbox.pumping = false;
            return false;
        }
        true
    }

    /// Sends on a task of its own messages of `threads`.
    fn fly(
        self: &Arc<Self>,
        threads: Vec<String>,
        sending: impl Future<Output = ()> + Send + 'static,
    ) {
        self.breaker().begin();
        for thread in &threads {
            *self.inbox().threads.entry(thread.clone()).or_default() += 1;
        }
        // `next` saw a free one, and only this loop takes them.
        let worker = Arc::clone(&self.workers).try_acquire_owned();
        let courier = Arc::clone(self);
        self.means.tasks.spawn(async move {
            sending.await;
            drop(worker);
            courier.landed(&threads);
            courier.wake.notify_one();
        });
    }

    /// Messages of `threads` are no longer being sent.
    fn landed(&self, threads: &[String]) {
        let mut inbox = self.inbox();
        for thread in threads {
            if let Some(count) = inbox.threads.get_mut(thread) {
                *count -= 1;
                if *count == 0 {
                    inbox.threads.remove(thread);
                }
            }
        }
    }

    fn next(&self, waiting: &mut Waiting) -> Step {
        if let Some(until) = self.means.limit.parked_until() {
            return Step::Wait(Some((until, "the channel is parked")));
        }
        match self.breaker().gate() {
            Gate::Open | Gate::Probe => {}
            Gate::Shut(at) => return Step::Wait(Some((at, "the channel fails"))),
            Gate::Probing => return Step::Wait(None),
        }
        if self.workers.available_permits() == 0 {
            return Step::Wait(None);
        }
        let now = Instant::now();
        let jobs = &mut waiting.jobs;
        let count = self.due_first(jobs, now);
        let Some(first) = jobs.first().filter(|_| count > 0) else {
            waiting.floor = None;
            let later = jobs.iter().map(|job| job.not_before);
            let next = later.filter(|at| *at > now).min();
            return Step::Wait(next.map(|at| (at, "it failed and is tried again")));
        };
        let due = Due {
            count,
            calls: self.calls(first),
            begun: first.is_begun(),
            alone: first.form != Form::Full,
        };
        self.take(waiting, due, now)
    }

    /// Sorts what may go now to the front, most pressing first, and counts it. A message waits for
    /// the one before it in its thread: nobody hears that an alert ended before he heard of it.
    fn due_first(&self, jobs: &mut [Job], now: Instant) -> usize {
        let inbox = self.inbox();
        let mut held: BTreeMap<String, Timestamp> = BTreeMap::new();
        for job in jobs.iter().filter(|job| job.not_before > now) {
            let notice = &job.message.notice;
            let at = held.entry(notice.thread.clone()).or_insert(notice.at);
            *at = notice.at.min(*at);
        }
        let is_held = |job: &Job| {
            let notice = &job.message.notice;
            let behind = held.get(&notice.thread).is_some_and(|at| *at <= notice.at);
            job.not_before > now || behind || inbox.threads.contains_key(&notice.thread)
        };
        jobs.sort_by_cached_key(|job| {
            let place = pressing::place(&job.message.notice);
            (is_held(job), !job.is_begun(), place)
        });
        jobs.partition_point(|job| !is_held(job))
    }

    fn take(&self, waiting: &mut Waiting, due: Due, now: Instant) -> Step {
        let limit = &self.means.limit;
        let wait = |at| Step::Wait(Some((at, AT_LIMIT)));
        match choose(due, limit.room(), waiting.floor.is_some(), now) {
            Choice::Wait(at) => wait(at),
            Choice::WaitFor(calls) => {
                waiting.floor = None;
                wait(limit.free_at(calls))
            }
            Choice::One(calls) => match limit.take(calls) {
                Some(slots) => Step::One(Box::new(waiting.jobs.remove(0)), slots),
                None => wait(limit.free_at(calls)),
            },
            Choice::Merge => self.merge(waiting, due.count),
        }
    }

    /// Takes as many of the first `count` as one digest names; the last of a step takes all, and
    /// counts what it can't name.
    fn merge(&self, waiting: &mut Waiting, count: usize) -> Step {
        let limit = &self.means.limit;
        let mergeable = |job: &Job| !job.is_begun() && job.form == Form::Full;
        let count = waiting
            .jobs
            .iter()
            .take(count)
            .take_while(|job| mergeable(job))
            .count();
        let messages: Vec<&Message> = waiting
            .jobs
            .iter()
            .take(count)
            .map(|job| &job.message)
            .collect();
        let calls = |count: usize, named: usize| {
            let notice = digest::of(messages.get(..count)?, named, self.means.list.as_ref())?;
            Some(self.calls_of(&notice))
        };
        let Some(base) = calls(1, 1) else {
            return Step::Wait(None);
        };
        let free = limit.room().free;
        let floor = *waiting.floor.get_or_insert(free / 2);
        let fits = |at: &usize| calls(*at, usize::MAX).is_some_and(|calls| calls <= base);
        let whole = most(count, fits);
        let is_last = whole == count || free.saturating_sub(base) <= floor;
        let (taken, named) = if is_last {
            waiting.floor = None;
            let fits = |named: &usize| calls(count, *named).is_some_and(|calls| calls <= base);
            (
                count,
                if whole == count {
                    usize::MAX
                } else {
                    most(count, fits)
                },
            )
        } else {
            (whole, usize::MAX)
        };
        let Some(slots) = limit.take(base) else {
            waiting.floor = None;
            return Step::Wait(Some((limit.free_at(base), AT_LIMIT)));
        };
        let jobs = waiting.jobs.drain(..taken).collect();
        Step::Merged(jobs, named, slots)
    }

    /// How many calls a message makes.
    fn calls(&self, job: &Job) -> u32 {
        self.means.notifier.parts(&Outgoing {
            chart_png: job.chart.as_deref(),
            resume: job.progress.as_ref(),
            ..Outgoing::of(&job.message.notice, "")
        })
    }

    fn calls_of(&self, notice: &Notice) -> u32 {
        self.means.notifier.parts(&Outgoing::of(notice, ""))
    }

    /// Tells those who wait that it takes longer, and lets go of what its sender still has.
    fn give_up(&self, waiting: &mut Waiting, until: Option<(Instant, &'static str)>) {
        let now = Instant::now();
        let retired = self.inbox().retired;
        let kept = std::mem::take(&mut waiting.jobs)
            .into_iter()
            .filter_map(|mut job| {
                let (at, why) = match until {
                    Some((at, why)) => (at.max(job.not_before), why),
                    // Something in flight ends first; nobody knows when.
                    None => (job.not_before, "others go first"),
                };
                let late = job.until.is_some_and(|until| until < at.max(now));
                if late || at > now + SOON || retired {
                    job.answer(Fate::Owed(why.to_owned()));
                }
                if late || retired {
                    self.release(&job);
                    return None;
                }
                Some(job)
            });
        waiting.jobs = kept.collect();
    }
}

/// The most of 1..=`all` that `fits`, at least 1; what fits does so for all less.
fn most(all: usize, fits: impl Fn(&usize) -> bool) -> usize {
    let (mut yes, mut no) = (1, all + 1);
    // Usually all do.
    if fits(&all) {
        return all;
    }
    while no - yes > 1 {
        let middle = yes.midpoint(no);
        if fits(&middle) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    yes
}

#[cfg(test)]
mod tests {
    use super::most;

    #[test]
    fn the_most_that_fits_is_found() {
        for limit in 1..40 {
            assert_eq!(most(40, |n| *n <= limit), limit);
        }
        assert_eq!(most(40, |_| true), 40);
        assert_eq!(most(40, |_| false), 1, "one is always tried");
    }
}
