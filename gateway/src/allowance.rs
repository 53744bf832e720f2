//! The one place where keys are held to their limits: a permit before anything is sent, settled when the last attempt ended.
//!
//! ```text
//! request --reserve--> Permit --charge (each attempt, fallbacks too)--> dropped: settled
//!                        or 429 with a time to wait
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::store::{Expect, Store, StoreError, Version};
use jiff::Timestamp;
use spec::metric::key;
use spec::route::TokenPrice;
use spec::virtual_key::VirtualKey;
use tokio_util::sync::CancellationToken;

use crate::account::{Account, Exceeded, Spending, Use};
use crate::cost::Usage;
use crate::keys::KnownKey;
use crate::metrics::Metrics;

/// What keys have spent, inside the data folder.
const KEY: &str = "spending.json";

/// A crash forgets what was spent since the last time.
const KEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    #[error("what keys have spent can't be kept")]
    Store(#[from] StoreError),
    #[error("{KEY} in the data folder does not say what keys have spent")]
    Unreadable(#[source] serde_json::Error),
}

#[derive(Debug)]
pub struct Allowances {
    accounts: Mutex<HashMap<Arc<str>, Account>>,
    store: Arc<dyn Store>,
    /// Of what is kept; None if nothing is.
    version: tokio::sync::Mutex<Option<Version>>,
    is_changed: std::sync::atomic::AtomicBool,
    metrics: Arc<Metrics>,
}

impl Allowances {
    /// With what was spent before.
    pub async fn open(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Result<Self, SpendingError> {
        let found = store.get(KEY).await?;
        let kept: BTreeMap<String, Spending> = match &found {
            Some((bytes, _)) => serde_json::from_slice(bytes).map_err(SpendingError::Unreadable)?,
            None => BTreeMap::new(),
        };
        let accounts =
            kept.into_iter().map(|(name, spending)| (Arc::from(name), Account::that_spent(spending))).collect();
        let version = tokio::sync::Mutex::new(found.map(|(_, version)| version));
        Ok(Self { accounts: Mutex::new(accounts), store, version, is_changed: false.into(), metrics })
    }

    /// A permit for a request that may take so much at the most.
    pub fn reserve(self: &Arc<Self>, known: &Arc<KnownKey>, most: Estimate) -> Result<Arc<Permit>, Exceeded> {
        if let Some(limits) = &known.limits {
            let mut accounts = self.accounts();
            let account = accounts.entry(Arc::clone(&known.id)).or_default();
            if let Err(exceeded) = account.reserve(limits, most.whole(), Timestamp::now()) {
                self.metrics.count(&key::REFUSED, &[&known.id, exceeded.limit()], 1);
                return Err(exceeded);
            }
        }
        self.metrics.count(&key::REQUESTS, &[&known.id], 1);
        Ok(Arc::new(Permit { allowances: Arc::clone(self), known: Arc::clone(known), most, used: Mutex::default() }))
    }

    fn settle(&self, known: &KnownKey, limits: &VirtualKey, most: Use, used: Use) {
        let mut accounts = self.accounts();
        let account = accounts.entry(Arc::clone(&known.id)).or_default();
        if account.settle(limits, most, used, Timestamp::now()) {
            self.is_changed.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until `stop`, and once more then.
    pub async fn keep_on(&self, stop: CancellationToken) {
        loop {
            let is_over = stop.run_until_cancelled(tokio::time::sleep(KEEP_EVERY)).await.is_none();
            self.keep_or_log().await;
            if is_over {
                return;
            }
        }
    }

    /// Whoever comes while another keeps waits until that is done.
    pub async fn keep_or_log(&self) {
        let mut version = self.version.lock().await;
        if !self.is_changed.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.keep(&mut version).await {
            self.is_changed.store(true, std::sync::atomic::Ordering::Relaxed);
            tracing::error!(error = crate::describe(&error), "what keys have spent is not kept; it is tried again");
        }
    }

    async fn keep(&self, version: &mut Option<Version>) -> Result<(), SpendingError> {
        let spending: BTreeMap<String, Spending> = {
            let accounts = self.accounts();
            accounts.iter().filter_map(|(name, account)| Some((name.to_string(), account.spending?))).collect()
        };
        let bytes = serde_json::to_vec_pretty(&spending).map_err(SpendingError::Unreadable)?;
        let expect = version.clone().map_or(Expect::Absent, Expect::Version);
        let put = match self.store.put_if(KEY, &bytes, expect).await {
            // This process alone writes it: somebody edited it, or an earlier write failed at its very end.
            Err(StoreError::Conflict { .. }) => {
                let there = self.store.get(KEY).await?.map(|(_, version)| version);
                self.store.put_if(KEY, &bytes, there.map_or(Expect::Absent, Expect::Version)).await
            }
            put => put,
        };
        *version = Some(put?);
        Ok(())
    }
}

/// What a request may take at the most, as far as it can be known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    pub prompt: u64,
    pub completion: u64,
    /// At the dearest of the prices that it may come to.
    pub dollars: f64,
}

impl Estimate {
    pub fn of(prompt: u64, completion: u64, prices: impl Iterator<Item = TokenPrice>) -> Self {
        let dollars = prices.map(|price| price.dollars(prompt, completion)).fold(0.0, f64::max);
        Self { prompt, completion, dollars }
    }

    const fn whole(self) -> Use {
        Use { tokens: self.prompt.saturating_add(self.completion), dollars: self.dollars }
    }
}

/// Held by all attempts of a request.
#[derive(Debug)]
pub struct Permit {
    allowances: Arc<Allowances>,
    known: Arc<KnownKey>,
    most: Estimate,
    used: Mutex<Use>,
}

impl Permit {
    /// What an attempt came to. One that does not say it is taken to have used all that it might have, or as many tokens as pieces
    /// came where these are more.
    pub fn charge(&self, usage: Option<Usage>, pieces: u64, price: Option<TokenPrice>) {
        let most = Usage { prompt: self.most.prompt, completion: self.most.completion.max(pieces) };
        let usage = usage.unwrap_or(most);
        let dollars = price.map_or(0.0, |price| price.dollars(usage.prompt, usage.completion));
        let metrics = &self.allowances.metrics;
        metrics.count(&key::TOKENS, &[&self.known.id, "prompt"], usage.prompt);
        metrics.count(&key::TOKENS, &[&self.known.id, "completion"], usage.completion);
        metrics.add_dollars(&key::DOLLARS, &[&self.known.id], dollars);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.tokens = used.tokens.saturating_add(usage.prompt.saturating_add(usage.completion));
        used.dollars += dollars;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limits) = &self.known.limits {
            let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
            self.allowances.settle(&self.known, limits, self.most.whole(), used);
        }
    }
}
