//! More groups than the bots may tell of, against bots that refuse and ban.
//!
//! Full length: `BACKSTOP_STORM_GROUPS=1000 BACKSTOP_STORM_SPEED=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use backstop::domain::notice::Message;
use backstop::notify::{Delivery, Notify};
use backstop::store::Store;
use futures::future::join_all;
use regex::Regex;

use super::bots::{Bots, LIMITS, message, replica};
use super::count;
use crate::support::chat::{self, Time};
use crate::support::eventually::eventually;

/// The storm, and the vendors' minute, in their time.
const STORM: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_mins(1);

/// What a reader of one bot's group knows.
#[derive(Debug, Default)]
struct Known {
    named: BTreeSet<String>,
    twice: usize,
    counted: usize,
}

impl Known {
    fn all(&self) -> usize {
        self.named.len() + self.counted
    }
}

fn known(messages: &[chat::Message]) -> Known {
    let name = Regex::new(r"Storm\d{4}").unwrap();
    let more = Regex::new(r"\+(\d+) more alerts").unwrap();
    let mut known = Known::default();
    for message in messages {
        let names: BTreeSet<&str> = name
            .find_iter(&message.text)
            .map(|at| at.as_str())
            .collect();
        for name in names {
            known.twice += usize::from(!known.named.insert(name.to_owned()));
        }
        for count in more.captures_iter(&message.text) {
            known.counted += count[1].parse::<usize>().unwrap();
        }
    }
    known
}

/// Tells it until it is safe, as an Alertmanager does.
async fn tell(replica: &Notify, message: Message) {
    loop {
        let told = replica.tell(message.clone(), None, Duration::from_secs(8));
        match told.await {
            Delivery::Delivered | Delivery::Pending | Delivery::Deduplicated => return,
            // A store on a busy machine may be late.
            Delivery::Lost(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            Delivery::Refused(why) => panic!("{why}"),
        }
    }
}

async fn storm(replicas: &[Notify], groups: u32, within: Duration) {
    let told = (0..groups).map(async |n| {
        tokio::time::sleep(within * n / groups).await;
        let replica = &replicas[n as usize % replicas.len()];
        let name = format!("Storm{n:04}");
        let told = LIMITS
            .iter()
            .map(|(channel, _)| tell(replica, message(channel, &name)));
        join_all(told).await;
    });
    join_all(told).await;
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what a long run is for"
)]
async fn a_storm_over(count_of_replicas: u32) {
    let speed = count("BACKSTOP_STORM_SPEED", 10);
    let groups = count("BACKSTOP_STORM_GROUPS", 300);
    let time = Time::scaled(speed);
    let bots = Bots::start(&time).await;
    let shared = Store::in_memory();
    let (addresses, window) = (bots.addresses(), MINUTE / speed);
    let replicas: Vec<Notify> = (0..count_of_replicas)
        .map(|_| replica(&shared, &addresses, &LIMITS, (count_of_replicas, window)))
        .collect();
    let began = Instant::now();
    storm(&replicas, groups, STORM / speed).await;
    let mut last = BTreeMap::new();
    let all = eventually(Duration::from_secs(150), "all to be told", || {
        for (vendor, messages) in bots.messages() {
            if known(&messages).all() >= groups as usize {
                last.entry(vendor)
                    .or_insert_with(|| began.elapsed() * speed);
            }
        }
        std::future::ready((last.len() == LIMITS.len()).then_some(()))
    })
    .await;
    for (vendor, messages) in bots.messages() {
        let known = known(&messages);
        println!(
            "{vendor}, {count_of_replicas} replica(s): {groups} groups, {} calls, {} named, {} \
             counted, {} twice, the last after {:?} of the vendor's time",
            messages.len(),
            known.named.len(),
            known.counted,
            known.twice,
            last.get(vendor),
        );
        assert_eq!((known.all(), known.twice), (groups as usize, 0), "{vendor}");
    }
    all.unwrap();
    for (vendor, refused) in bots.refusals() {
        assert_eq!(refused, 0, "{vendor} was called too often");
    }
    if speed == 1 {
        for (vendor, last) in last {
            assert!(last <= MINUTE, "{vendor}: {last:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_told_by_one_replica_without_a_ban() {
    a_storm_over(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_told_by_two_replicas_without_a_ban() {
    a_storm_over(2).await;
}
