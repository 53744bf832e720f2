//! An append-only record of intent and outcome, on any [`Store`].
//!
//! One key a record, `PREFIX/000001.json`, made with [`Expect::Absent`]: a second writer that believes it is alone
//! gets a conflict instead of a fork. Each record carries the digest of the one before it, so that a record that was
//! changed or removed later shows.

use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{Expect, Store, StoreError, Version};

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{key}: not a journal record: {source}")]
    Unreadable { key: String, source: serde_json::Error },
    #[error("{key}: does not follow the record before it: a record was changed or is missing")]
    Broken { key: String },
}

/// One record as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record<E> {
    /// Counted from 1.
    pub sequence: u64,
    pub at: Timestamp,
    /// Digest of the record before; empty for the first.
    pub before: String,
    pub event: E,
}

/// A journal whose events are of type `E`.
#[derive(Debug)]
pub struct Journal<E> {
    store: Arc<dyn Store>,
    prefix: String,
    last: u64,
    last_digest: String,
    events: PhantomData<fn(E) -> E>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Reads and checks all records under a prefix, e.g. `journal`.
    pub async fn open(store: Arc<dyn Store>, prefix: &str) -> Result<(Self, Vec<Record<E>>), JournalError> {
        let mut journal =
            Self { store, prefix: prefix.to_owned(), last: 0, last_digest: String::new(), events: PhantomData };
        let mut records = Vec::new();
        for key in journal.store.list(&format!("{prefix}/")).await? {
            if let Some((bytes, version)) = journal.store.get(&key).await? {
                records.push(journal.accept(&key, &bytes, &version)?);
            }
        }
        Ok((journal, records))
    }

    /// Appends an event; it is durable when this returns. [`StoreError::Conflict`] means that another writer is at work.
    pub async fn append(&mut self, at: Timestamp, event: E) -> Result<Record<E>, JournalError> {
        let record = Record { sequence: self.last + 1, at, before: self.last_digest.clone(), event };
        let key = self.key(record.sequence);
        let bytes =
            serde_json::to_vec(&record).map_err(|source| JournalError::Unreadable { key: key.clone(), source })?;
        let version = self.store.put_if(&key, &bytes, Expect::Absent).await?;
        self.last = record.sequence;
        self.last_digest = version.to_string();
        Ok(record)
    }

    fn key(&self, sequence: u64) -> String {
        format!("{}/{sequence:06}.json", self.prefix)
    }

    fn accept(&mut self, key: &str, bytes: &[u8], version: &Version) -> Result<Record<E>, JournalError> {
        let record: Record<E> =
            serde_json::from_slice(bytes).map_err(|source| JournalError::Unreadable { key: key.to_owned(), source })?;
        if record.sequence != self.last + 1 || record.before != self.last_digest || key != self.key(record.sequence) {
            return Err(JournalError::Broken { key: key.to_owned() });
        }
        self.last = record.sequence;
        self.last_digest = version.to_string();
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    async fn with_records(count: u32) -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::default());
        let (mut journal, before) = Journal::<u32>::open(store.clone(), "journal").await.unwrap();
        assert!(before.is_empty());
        for event in 1..=count {
            journal.append(Timestamp::UNIX_EPOCH, event).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn what_was_appended_is_read_again_in_order() {
        let store = with_records(12).await;
        let (mut journal, records) = Journal::<u32>::open(store, "journal").await.unwrap();
        assert_eq!(records.iter().map(|record| record.event).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
        assert_eq!(journal.append(Timestamp::UNIX_EPOCH, 13).await.unwrap().sequence, 13);
    }

    #[tokio::test]
    async fn of_two_writers_one_learns_that_it_is_not_alone() {
        let store = with_records(2).await;
        let (mut first, _) = Journal::<u32>::open(store.clone(), "journal").await.unwrap();
        let (mut second, _) = Journal::<u32>::open(store, "journal").await.unwrap();
        first.append(Timestamp::UNIX_EPOCH, 3).await.unwrap();
        let error = second.append(Timestamp::UNIX_EPOCH, 3).await.unwrap_err();
        assert!(matches!(error, JournalError::Store(StoreError::Conflict { .. })), "{error}");
    }

    #[tokio::test]
    async fn a_changed_or_missing_record_shows() {
        let store = with_records(3).await;
        store.delete("journal/000002.json").await.unwrap();
        let error = Journal::<u32>::open(store, "journal").await.unwrap_err();
        assert!(matches!(&error, JournalError::Broken { key } if key == "journal/000003.json"), "{error}");

        let store = with_records(3).await;
        let (bytes, version) = store.get("journal/000002.json").await.unwrap().unwrap();
        let forged = String::from_utf8(bytes).unwrap().replace("\"event\":2", "\"event\":9");
        store.put_if("journal/000002.json", forged.as_bytes(), Expect::Version(version)).await.unwrap();
        let error = Journal::<u32>::open(store, "journal").await.unwrap_err();
        assert!(matches!(&error, JournalError::Broken { key } if key == "journal/000003.json"), "{error}");
    }
}
