//! One vendor in every kind of trouble; the others must not notice.
//!
//! Figures: `BACKSTOP_CHAOS_ROUNDS=5 BACKSTOP_CHAOS_MESSAGES=100`, alone on the machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use backstop::notify::{Delivery, Notify};
use backstop::store::Store;
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::bots::{Bots, message, replica};
use super::count;
use crate::support::chat::Time;

/// The deadline of a webhook.
const PATIENCE: Duration = Duration::from_secs(8);
/// So much that no limit is met.
const PLENTY: u32 = 1_000_000;
/// Every channel.
const KINDS: [&str; 4] = ["dingtalk", "email", "slack", "wecom"];

/// What is wrong with a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Blackhole,
    Reset,
    Trickle,
    Status500,
    Status429,
    Busy,
    Late,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Blackhole,
    Trouble::Reset,
    Trouble::Trickle,
    Trouble::Status500,
    Trouble::Status429,
    Trouble::Busy,
    Trouble::Late,
];

/// A vendor in trouble, on a port of its own.
async fn troubled(trouble: Trouble) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(answer(stream, trouble).await) });
        }
    });
    address.to_string()
}

async fn answer(mut stream: TcpStream, trouble: Trouble) -> std::io::Result<()> {
    if trouble == Trouble::Reset {
        // What is not read is answered with a reset.
        return stream.readable().await;
    }
    if trouble == Trouble::Blackhole {
        std::future::pending::<()>().await;
    }
    let mut request = [0; 4096];
    let _some = stream.read(&mut request).await?;
    let body = r#"{"errcode":-1,"errmsg":"busy","ok":false,"error":"internal_error"}"#;
    let head = match trouble {
        Trouble::Status500 => "500 Internal Server Error",
        Trouble::Status429 => "429 Too Many Requests\r\nretry-after: 2",
        _ => "200 OK",
    };
    let answer = format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    match trouble {
        Trouble::Late => tokio::time::sleep(Duration::from_secs(12)).await,
        Trouble::Trickle => {
            for byte in answer.bytes() {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        _ => {}
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Tells `messages` to every channel; how long each channel took that is not `victim`.
async fn round(notify: &Notify, tag: &str, messages: u32, victim: Option<&str>) -> Vec<Duration> {
    let told = (0..messages).map(async |n| {
        tokio::time::sleep(Duration::from_millis(20) * n).await;
        let told = KINDS.iter().map(async |kind| {
            let began = Instant::now();
            let name = format!("{tag}{n}");
            let delivery = notify.tell(message(kind, &name), None, PATIENCE).await;
            let took = began.elapsed();
            assert!(took < PATIENCE + Duration::from_secs(2), "{kind}: {took:?}");
            if Some(*kind) == victim {
                assert_eq!(delivery, Delivery::Pending, "{kind} {tag}");
                return None;
            }
            assert_eq!(delivery, Delivery::Delivered, "{kind} beside {victim:?}");
            Some(took)
        });
        join_all(told).await
    });
    join_all(told)
        .await
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[(took.len() - 1) * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_in_trouble_is_nobody_elses_trouble() {
    let rounds = count("BACKSTOP_CHAOS_ROUNDS", 1);
    let messages = count("BACKSTOP_CHAOS_MESSAGES", 3);
    let bots = Bots::start(&Time::scaled(1_000_000)).await;
    // The store is not what is slow here.
    let shared = Store::in_memory();
    let limits = KINDS.map(|kind| (kind, PLENTY));
    let room = |addresses: &BTreeMap<&'static str, String>| {
        replica(&shared, addresses, &limits, (1, Duration::from_mins(1)))
    };
    let healthy = room(&bots.addresses());
    let mut quiet = Vec::new();
    let mut beside: BTreeMap<Trouble, Vec<Duration>> = BTreeMap::new();
    for turn in 0..rounds {
        for trouble in TROUBLES {
            let address = troubled(trouble).await;
            for victim in KINDS {
                let mut addresses = bots.addresses();
                let scheme = if victim == "email" { "smtp" } else { "http" };
                addresses.insert(victim, format!("{scheme}://{address}"));
                let notify = room(&addresses);
                let tag = format!("{trouble:?}{victim}{turn}x");
                quiet.extend(round(&healthy, &format!("Quiet{tag}"), messages, None).await);
                let took = round(&notify, &tag, messages, Some(victim)).await;
                beside.entry(trouble).or_default().extend(took);
                notify.retire();
            }
        }
    }
    let quiet = p99(quiet);
    for (trouble, took) in beside {
        let with = p99(took);
        println!("p99 beside {trouble:?}: {with:?}, else {quiet:?}");
        if rounds >= 5 {
            assert!(
                with <= quiet * 3 / 2,
                "{trouble:?}: {with:?} beside {quiet:?}"
            );
        }
    }
}
