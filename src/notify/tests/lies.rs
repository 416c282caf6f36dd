//! The ledger over a store that lies once at any create.

use std::time::Duration;

use super::world::{Vendor, World, message, tell};
use crate::notify::Delivery;
use crate::store::Store;
use crate::store::liar::{Liar, Lie, each_lie};

#[tokio::test(start_paused = true)]
async fn no_message_is_lost_and_none_is_sent_twice() {
    each_lie(|liar| async move {
        let world = |store: Store| World {
            store,
            ..World::new()
        };
        let vendor = Vendor::scripted(&[]);
        let (deceived, other) = (world(liar.store()), world(liar.truth()));
        let (one, two) = (deceived.replica(&vendor), other.replica(&vendor));
        tokio::join!(
            tell(&one, message(&["a"])),
            tell(&two, message(&["a", "b"]))
        );
        // What was on its way arrives; what is still owed is sent once its claim is old.
        for _ in 0..3 {
            deceived.pass(Duration::from_secs(31)).await;
            one.sweep_once().await.unwrap();
        }
        let mut told: Vec<String> = vendor.taken().concat();
        told.sort();
        assert_eq!(told, ["a", "b"]);
        assert_eq!(
            tell(&one, message(&["b", "a"])).await,
            Delivery::Deduplicated
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_went_out_alone_is_not_sent_again_from_an_entry_that_stands_all_the_same() {
    let liar = Liar::new(Lie::NobodyCanTell, 0);
    let world = World {
        store: liar.store(),
        ..World::new()
    };
    let vendor = Vendor::scripted(&[]);
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Delivered);
    assert!(liar.has_lied());
    liar.can_tell_again();
    let named = liar.truth().list("ledger").await.unwrap();
    assert_eq!(named.len(), 1, "the entry stands: {named:?}");
    world.pass(Duration::from_secs(31)).await;
    notify.sweep_once().await.unwrap();
    world.settle().await;
    assert_eq!(vendor.taken().concat(), ["a"]);
    let named = liar.truth().list("ledger").await.unwrap();
    let ended = named.iter().any(|name| name.ends_with("end.json"));
    assert!(ended, "{named:?}");
}
