//! Who may write: a lease with a holder, a heartbeat and an expiry, kept in the store by compare-and-swap.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Expect, Store, StoreError, Version};

const KEY: &str = "lease.json";

/// How long a lease lives without a heartbeat.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// Who holds a lease, for the one who is kept waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is doing, e.g. `dsctl up`.
    pub command: String,
    pub host: String,
    pub pid: u32,
    /// The process's start, seconds since 1970: tells it from a later one with the same number.
    pub started: u64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {} on {})", self.command, self.pid, self.host)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    holder: Holder,
    expires_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("locked by {holder} until {expires_at}")]
    Held { holder: Holder, expires_at: Timestamp },
    #[error("the lease was lost: another holder took it after it expired")]
    Lost,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("lease.json: not a lease: {0}")]
    Unreadable(#[source] serde_json::Error),
}

/// A lease that is held. Release it; a holder that dies is waited out, or known dead by `is_dead`.
#[derive(Debug)]
pub struct HeldLease {
    store: Arc<dyn Store>,
    holder: Holder,
    version: Version,
    /// Its holder before us never gave it back.
    before: Option<Holder>,
}

impl HeldLease {
    /// Takes the lease if it is free, expired, or held by one that `is_dead` knows to be gone.
    pub async fn acquire(
        store: Arc<dyn Store>,
        holder: Holder,
        now: Timestamp,
        is_dead: impl Fn(&Holder) -> bool,
    ) -> Result<Self, LeaseError> {
        let mut before = None;
        let expect = match store.get(KEY).await? {
            None => Expect::Absent,
            Some((bytes, version)) => {
                let lease: Lease = serde_json::from_slice(&bytes).map_err(LeaseError::Unreadable)?;
                if lease.expires_at > now && !is_dead(&lease.holder) {
                    return Err(LeaseError::Held { holder: lease.holder, expires_at: lease.expires_at });
                }
                before = (!is_given_back(&lease)).then_some(lease.holder);
                Expect::Version(version)
            }
        };
        let bytes = lease_bytes(&holder, now)?;
        match store.put_if(KEY, &bytes, expect).await {
            Ok(version) => Ok(Self { store, holder, version, before }),
            Err(StoreError::Conflict { .. }) => Err(Self::who_won(&*store).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// The holder before, if it never gave the lease back: it may only be paused, so its way must be barred
    /// ([`crate::apply::Engine::fence`]) before anything is done.
    pub fn taken_from(&self) -> Option<&Holder> {
        self.before.as_ref()
    }

    async fn who_won(store: &dyn Store) -> Result<LeaseError, LeaseError> {
        let Some((bytes, _)) = store.get(KEY).await? else { return Ok(LeaseError::Lost) };
        let lease: Lease = serde_json::from_slice(&bytes).map_err(LeaseError::Unreadable)?;
        Ok(LeaseError::Held { holder: lease.holder, expires_at: lease.expires_at })
    }

    /// Lives on for another [`LIFETIME`]; [`LeaseError::Lost`] if somebody took it meanwhile.
    pub async fn heartbeat(&mut self, now: Timestamp) -> Result<(), LeaseError> {
        let bytes = lease_bytes(&self.holder, now)?;
        match self.store.put_if(KEY, &bytes, Expect::Version(self.version.clone())).await {
            Ok(version) => {
                self.version = version;
                Ok(())
            }
            Err(StoreError::Conflict { .. }) => Err(LeaseError::Lost),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the lease back, unless it was lost.
    pub async fn release(mut self) -> Result<(), LeaseError> {
        // Expired at once instead of deleted: a delete has no compare-and-swap.
        let long_ago = Timestamp::UNIX_EPOCH;
        match self.heartbeat(long_ago).await {
            Err(LeaseError::Lost) => Ok(()),
            other => other,
        }
    }
}

/// Who holds the lease, and until when; none if it is free or expired.
pub async fn holder(store: &dyn Store, now: Timestamp) -> Result<Option<(Holder, Timestamp)>, LeaseError> {
    let Some((bytes, _)) = store.get(KEY).await? else { return Ok(None) };
    let lease: Lease = serde_json::from_slice(&bytes).map_err(LeaseError::Unreadable)?;
    Ok((lease.expires_at > now).then_some((lease.holder, lease.expires_at)))
}

/// Ends a lease that is not ours. Its holder, if it lives, can write no more: its next heartbeat fails, and so does each of
/// its writes that meets one of the next holder's.
pub async fn unlock(store: &dyn Store) -> Result<(), LeaseError> {
    let Some((bytes, version)) = store.get(KEY).await? else { return Ok(()) };
    let lease: Lease = serde_json::from_slice(&bytes).map_err(LeaseError::Unreadable)?;
    let ended = serde_json::to_vec(&Lease { expires_at: Timestamp::UNIX_EPOCH, ..lease });
    store.put_if(KEY, &ended.map_err(LeaseError::Unreadable)?, Expect::Version(version)).await?;
    Ok(())
}

/// What [`HeldLease::release`] leaves; a lease that expired, or that [`unlock`] ended, was not given back.
fn is_given_back(lease: &Lease) -> bool {
    Timestamp::UNIX_EPOCH.checked_add(LIFETIME).is_ok_and(|given_back| lease.expires_at == given_back)
}

fn lease_bytes(holder: &Holder, now: Timestamp) -> Result<Vec<u8>, LeaseError> {
    let expires_at = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
    serde_json::to_vec(&Lease { holder: holder.clone(), expires_at }).map_err(LeaseError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn holder(pid: u32) -> Holder {
        Holder { command: "dsctl up".to_owned(), host: "here".to_owned(), pid, started: 1 }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[tokio::test]
    async fn of_two_one_holds_it_and_the_other_hears_who() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let first = HeldLease::acquire(store.clone(), holder(1), at(0), |_| false).await.unwrap();
        let error = HeldLease::acquire(store.clone(), holder(2), at(1), |_| false).await.unwrap_err();
        assert!(error.to_string().starts_with("locked by dsctl up (process 1 on here) until"), "{error}");
        first.release().await.unwrap();
        HeldLease::acquire(store, holder(2), at(2), |_| false).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_slept_past_its_expiry_can_not_go_on() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let mut sleeper = HeldLease::acquire(store.clone(), holder(1), at(0), |_| false).await.unwrap();
        sleeper.heartbeat(at(20)).await.unwrap();
        assert!(HeldLease::acquire(store.clone(), holder(2), at(40), |_| false).await.is_err());
        let _second = HeldLease::acquire(store.clone(), holder(2), at(51), |_| false).await.unwrap();
        assert!(matches!(sleeper.heartbeat(at(52)).await, Err(LeaseError::Lost)));
    }

    #[tokio::test]
    async fn the_dead_are_not_waited_for() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let _dead = HeldLease::acquire(store.clone(), holder(1), at(0), |_| false).await.unwrap();
        HeldLease::acquire(store, holder(2), at(1), |holder| holder.pid == 1).await.unwrap();
    }
}
