//! What every store must do; called with a fresh, empty one.

use std::sync::Arc;

use super::{Expect, Store, StoreError, Version};

/// Panics at the first thing that the store does otherwise.
pub async fn run(store: Arc<dyn Store>) {
    absent_then_present(&*store).await;
    only_the_expected_version_is_replaced(&*store).await;
    listing_is_sorted_and_by_prefix(&*store).await;
    bad_keys_are_refused(&*store).await;
    of_many_writers_each_round_has_one_winner(store).await;
}

async fn absent_then_present(store: &dyn Store) {
    assert!(store.get("a/b.json").await.expect("the store does it").is_none());
    let version = store.put_if("a/b.json", b"one", Expect::Absent).await.expect("the store does it");
    assert_eq!(store.get("a/b.json").await.expect("the store does it"), Some((b"one".to_vec(), version)));
    store.delete("a/b.json").await.expect("the store does it");
    store.delete("a/b.json").await.expect("the store does it");
    assert!(store.get("a/b.json").await.expect("the store does it").is_none());
}

async fn only_the_expected_version_is_replaced(store: &dyn Store) {
    let first = store.put_if("k", b"one", Expect::Absent).await.expect("the store does it");
    let conflict = store.put_if("k", b"two", Expect::Absent).await.expect_err("it is refused");
    assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
    let second = store.put_if("k", b"two", Expect::Version(first.clone())).await.expect("the store does it");
    let conflict = store.put_if("k", b"three", Expect::Version(first)).await.expect_err("it is refused");
    assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
    assert_eq!(store.get("k").await.expect("the store does it"), Some((b"two".to_vec(), second)));
    let absent = store.put_if("absent", b"x", Expect::Version(Version::of(b"y"))).await.expect_err("it is refused");
    assert!(matches!(absent, StoreError::Conflict { .. }), "{absent}");
}

async fn listing_is_sorted_and_by_prefix(store: &dyn Store) {
    for key in ["l/2", "l/1", "l/deep/3", "m/1"] {
        store.put_if(key, b"", Expect::Absent).await.expect("the store does it");
    }
    assert_eq!(store.list("l/").await.expect("the store does it"), ["l/1", "l/2", "l/deep/3"]);
    assert!(store.list("none/").await.expect("the store does it").is_empty());
}

async fn bad_keys_are_refused(store: &dyn Store) {
    for key in ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a b"] {
        let error = store.put_if(key, b"", Expect::Absent).await.expect_err("it is refused");
        assert!(matches!(error, StoreError::InvalidKey { .. }), "{key:?}: {error}");
    }
}

async fn of_many_writers_each_round_has_one_winner(store: Arc<dyn Store>) {
    store.put_if("counter", b"0", Expect::Absent).await.expect("the store does it");
    let writers: Vec<_> = (0..8).map(|_| tokio::spawn(add_until_done(store.clone(), 5))).collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    assert_eq!(store.get("counter").await.expect("it is read").expect("it is there").0, b"40");
}

async fn add_until_done(store: Arc<dyn Store>, mut left: u32) {
    while left > 0 {
        let (bytes, version) = store.get("counter").await.expect("it is read").expect("it is there");
        let next = String::from_utf8(bytes).expect("text").parse::<u32>().expect("a number") + 1;
        match store.put_if("counter", next.to_string().as_bytes(), Expect::Version(version)).await {
            Ok(_) => left -= 1,
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
