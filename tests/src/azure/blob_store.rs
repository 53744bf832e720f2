//! What lies in containers: blobs with their earlier versions, and blocks that belong to none yet.

use std::collections::BTreeMap;

use axum::body::Bytes;
use jiff::Timestamp;

/// A blob as it was at one time.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub id: String,
    pub body: Bytes,
    pub metadata: Vec<(String, String)>,
    pub kind: String,
    pub etag: String,
    pub modified: Timestamp,
    pub is_current: bool,
}

type Keys = BTreeMap<String, Vec<Version>>;
type Name = (String, String);

#[derive(Debug, Default)]
pub(super) struct Blobs {
    containers: BTreeMap<Name, Keys>,
    /// Staged, by container, key and block.
    blocks: BTreeMap<(Name, String), BTreeMap<String, Bytes>>,
    /// Settings of an account's service, as they were put.
    pub services: BTreeMap<String, String>,
    ticks: u64,
}

fn name(account: &str, container: &str) -> Name {
    (account.to_owned(), container.to_owned())
}

impl Blobs {
    pub fn forget_account(&mut self, account: &str) {
        self.containers.retain(|(of, _), _| of != account);
        self.blocks.retain(|((of, _), _), _| of != account);
        self.services.remove(account);
    }

    pub fn forget_container(&mut self, account: &str, container: &str) {
        self.containers.remove(&name(account, container));
        self.blocks.retain(|(of, _), _| *of != name(account, container));
    }

    /// All versions of a key, the oldest first.
    pub fn versions(&self, account: &str, container: &str, key: &str) -> &[Version] {
        let keys = self.containers.get(&name(account, container));
        keys.and_then(|keys| keys.get(key)).map_or(&[], Vec::as_slice)
    }

    pub fn current(&self, account: &str, container: &str, key: &str) -> Option<&Version> {
        self.versions(account, container, key).iter().find(|version| version.is_current)
    }

    /// Keys with all their versions.
    pub fn keys(&self, account: &str, container: &str) -> impl Iterator<Item = (&String, &Vec<Version>)> {
        self.containers.get(&name(account, container)).into_iter().flatten()
    }

    /// A stamp that nothing before it had: entity tags and versions are made of it.
    pub fn tick(&mut self) -> (String, String, Timestamp) {
        self.ticks += 1;
        let now = Timestamp::now();
        let id = format!("{}.{:07}Z", now.strftime("%Y-%m-%dT%H:%M:%S"), self.ticks);
        (id, format!("0x8DE{:012X}", self.ticks), now)
    }

    /// What was there stays as an earlier version, or goes.
    pub fn put(&mut self, account: &str, container: &str, key: &str, version: Version, keeps_versions: bool) {
        let keys = self.containers.entry(name(account, container)).or_default();
        let versions = keys.entry(key.to_owned()).or_default();
        if keeps_versions {
            versions.iter_mut().for_each(|version| version.is_current = false);
        } else {
            versions.retain(|version| !version.is_current);
        }
        versions.push(version);
    }

    /// By nobody that is asked who they are; what was there stays as an earlier version.
    pub fn write(&mut self, account: &str, container: &str, key: &str, body: Bytes) {
        let (id, etag, modified) = self.tick();
        let kind = "application/octet-stream".to_owned();
        let version = Version { id, body, metadata: Vec::new(), kind, etag, modified, is_current: true };
        self.put(account, container, key, version, true);
    }

    /// Without versions the blob goes; with them it stays as an earlier one.
    pub fn remove_current(&mut self, account: &str, container: &str, key: &str, keeps_versions: bool) {
        self.change(account, container, key, |versions| {
            if keeps_versions {
                versions.iter_mut().for_each(|version| version.is_current = false);
            } else {
                versions.retain(|version| !version.is_current);
            }
        });
    }

    pub fn remove_version(&mut self, account: &str, container: &str, key: &str, id: &str) {
        self.change(account, container, key, |versions| versions.retain(|version| version.id != id));
    }

    fn change(&mut self, account: &str, container: &str, key: &str, change: impl FnOnce(&mut Vec<Version>)) {
        let Some(keys) = self.containers.get_mut(&name(account, container)) else { return };
        if let Some(versions) = keys.get_mut(key) {
            change(versions);
        }
        keys.retain(|_, versions| !versions.is_empty());
    }

    pub fn stage(&mut self, account: &str, container: &str, key: &str, block: &str, body: Bytes) {
        let blocks = self.blocks.entry((name(account, container), key.to_owned())).or_default();
        blocks.insert(block.to_owned(), body);
    }

    /// The blocks together, in this order; none if one is missing.
    pub fn commit(&mut self, account: &str, container: &str, key: &str, blocks: &[String]) -> Option<Bytes> {
        let staged = self.blocks.remove(&(name(account, container), key.to_owned())).unwrap_or_default();
        let parts = blocks.iter().map(|block| staged.get(block)).collect::<Option<Vec<_>>>()?;
        Some(parts.into_iter().flatten().copied().collect::<Vec<u8>>().into())
    }
}
