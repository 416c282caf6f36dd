//! Holds over a store that lies once at any create.

use super::*;
use crate::act::fixtures::decision;
use crate::domain::decision::Verdict;
use crate::store::liar::each_lie;

fn held(rule: &str, episode: &str) -> Held {
    let decision = Decision {
        verdict: Verdict::Hold,
        rule: Some(rule.to_owned()),
        ..decision()
    };
    Held {
        since: decision.at,
        decision,
        thread: "t".into(),
        channels: Vec::new(),
        episodes: [episode.to_owned()].into(),
        pending: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_written_once_by_two_replicas_and_ends_once() {
    each_lie(|liar| async move {
        let (lane, deployment) = ("checkout@prod".parse().unwrap(), "d1".parse().unwrap());
        let (a, b) = (Holds::new(liar.store()), Holds::new(liar.truth()));
        let put = async |holds: &Holds, why: &str| {
            holds
                .put(&lane, &deployment, "r", held(why, "e"))
                .await
                .unwrap();
        };
        tokio::join!(put(&a, "first"), put(&b, "first"));
        put(&a, "second").await;
        let hold = a.open().await.unwrap().pop().unwrap();
        assert_eq!(hold.held.decision.rule.as_deref(), Some("second"));
        let ended = || HoldLink::Ended {
            at: hold.held.since,
            why: "w".into(),
            episodes: hold.held.episodes.clone(),
        };
        let (mine, theirs) = tokio::join!(a.append(&hold, ended()), b.append(&hold, ended()));
        assert_ne!(mine.unwrap(), theirs.unwrap(), "one of them ended it");
        tokio::time::sleep(Duration::from_secs(30)).await;
        let links = liar.truth().list("holds").await.unwrap();
        assert_eq!(links.len(), 3, "{links:?}");
        assert!(b.open().await.unwrap().is_empty());
    })
    .await;
}
