//! Two replicas race for the same keys, a thousand times: each create is read back, one wins.

use std::sync::Barrier;

use backstop::domain::secret::Secret;
use backstop::store::{Created, Store, StoreSettings, Write, open};

use crate::support::tools::{Tool, required_in_ci};
use crate::support::versitygw::{ACCESS_KEY, BUCKET, SECRET_KEY, VersityGw};

const ROUNDS: usize = 1000;

/// What a replica met in one round.
#[derive(Debug, PartialEq, Eq)]
struct Met {
    won: bool,
    /// Whose document it read back.
    reads: Option<String>,
}

/// One replica's rounds, on a runtime of its own; both set off at the barrier.
fn replica(store: &Store, me: &str, start: &Barrier) -> Vec<Met> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let round = |n: usize| {
        let key = format!("race/{n:010}.json");
        start.wait();
        runtime.block_on(async {
            let write = Write::new(&me).unwrap();
            let created = loop {
                // Nobody can tell in time on a machine that is busy: the same write again.
                if let Ok(created) = store.create_write(&key, &write).await {
                    break created;
                }
            };
            Met {
                won: created == Created::Mine,
                reads: store.get(&key).await.unwrap(),
            }
        })
    };
    (0..ROUNDS).map(round).collect()
}

/// How often each won.
fn race(settings: &StoreSettings) -> [usize; 2] {
    let start = Barrier::new(2);
    // Clients of their own, as two processes have them.
    let (one, two) = (open(settings).unwrap(), open(settings).unwrap());
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| replica(&one, "a", &start));
        let b = scope.spawn(|| replica(&two, "b", &start));
        (a.join().unwrap(), b.join().unwrap())
    });
    let mut wins = [0, 0];
    for (n, (a, b)) in a.iter().zip(&b).enumerate() {
        let winner = match (a.won, b.won) {
            (true, false) => "a",
            (false, true) => "b",
            both => panic!("round {n}: won {both:?}"),
        };
        wins[usize::from(b.won)] += 1;
        // Whoever lost reads the winner's document, not its own.
        for met in [a, b] {
            assert_eq!(met.reads.as_deref(), Some(winner), "round {n}");
        }
    }
    wins
}

#[test]
fn one_of_two_replicas_wins_each_key_of_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let wins = race(&StoreSettings {
        url: format!("file:{}", folder.path().display()),
        endpoint: None,
        region: None,
        keys: None,
    });
    println!("a directory: {ROUNDS} rounds, won {wins:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_replicas_wins_each_key_of_an_s3_bucket() {
    if !required_in_ci(Tool::VersityGw) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = VersityGw::start(folder.path()).await.unwrap();
    let settings = StoreSettings {
        url: format!("s3://{BUCKET}/backstop"),
        endpoint: Some(server.url().parse().unwrap()),
        region: Some("us-east-1".to_owned()),
        keys: Some((ACCESS_KEY.to_owned(), Secret::new(SECRET_KEY))),
    };
    let raced = tokio::task::spawn_blocking(move || race(&settings));
    let wins = raced.await.unwrap();
    println!("versitygw: {ROUNDS} rounds, won {wins:?}");
}
