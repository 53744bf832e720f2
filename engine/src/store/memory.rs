//! A store that forgets: the fake beside the trait.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Expect, Store, StoreError, Version, check_key};

#[derive(Debug, Default)]
pub struct MemoryStore {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryStore {
    fn values(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        check_key(key)?;
        Ok(self.values().get(key).map(|bytes| (bytes.clone(), Version::of(bytes))))
    }

    async fn put_if(&self, key: &str, bytes: &[u8], expect: Expect) -> Result<Version, StoreError> {
        check_key(key)?;
        let mut values = self.values();
        let found = values.get(key).map(|bytes| Version::of(bytes));
        if !is_as_expected(found.as_ref(), &expect) {
            return Err(StoreError::Conflict { key: key.to_owned() });
        }
        values.insert(key.to_owned(), bytes.to_vec());
        Ok(Version::of(bytes))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.values().keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        self.values().remove(key);
        Ok(())
    }
}

pub(super) fn is_as_expected(found: Option<&Version>, expect: &Expect) -> bool {
    match expect {
        Expect::Absent => found.is_none(),
        Expect::Version(version) => found == Some(version),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn conforms() {
        super::super::conformance::run(Arc::new(MemoryStore::default())).await;
    }
}
