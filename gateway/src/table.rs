//! The route table in force: on disk first, then in memory; readers never wait.

use std::sync::Arc;

use arc_swap::ArcSwap;
use engine::store::{Expect, Store, StoreError};
use rollout::ports::TrafficError;
use spec::amount::Weight;
use spec::route::{RouteTable, RouteTableChange};
use tokio::sync::Mutex;

/// The table's file inside the data folder.
const KEY: &str = "route-table.json";

#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("the route table can't be kept")]
    Store(#[from] StoreError),
    #[error("{KEY} in the data folder is not a route table")]
    Unreadable(#[source] serde_json::Error),
    #[error("the route table is at generation {in_force}, not {expected}: look again")]
    Moved { in_force: u64, expected: u64 },
}

#[derive(Debug)]
pub struct Table {
    in_force: ArcSwap<RouteTable>,
    store: Arc<dyn Store>,
    /// One change at a time, from looking to writing.
    changing: Mutex<()>,
}

impl Table {
    /// Reads the table that was in force; without one, `initial` comes into force.
    pub async fn open(store: Arc<dyn Store>, initial: RouteTable) -> Result<Self, TableError> {
        let found = store.get(KEY).await?;
        let table = match &found {
            Some((bytes, _)) => serde_json::from_slice(bytes).map_err(TableError::Unreadable)?,
            None => initial,
        };
        let this = Self { in_force: ArcSwap::from_pointee(table.clone()), store, changing: Mutex::default() };
        if found.is_none() {
            this.put_in_force(table).await?;
        }
        Ok(this)
    }

    pub fn load(&self) -> Arc<RouteTable> {
        self.in_force.load_full()
    }

    /// The controller's change: see [`rollout::ports::Traffic::set_weight`].
    pub async fn set_weight(&self, candidate: Weight, generation: u64) -> Result<(), TrafficError> {
        let _changing = self.changing.lock().await;
        let now = self.load();
        if generation == now.generation && candidate == now.candidate {
            return Ok(());
        }
        if generation <= now.generation {
            return Err(TrafficError::Stale { in_force: now.generation, given: generation });
        }
        let table = RouteTable { generation, salt: now.salt.clone(), candidate };
        self.put_in_force(table).await.map_err(|error| TrafficError::Persist(std::io::Error::other(error)))
    }

    /// See [`rollout::ports::Traffic::withdraw_candidate`].
    pub async fn withdraw_candidate(&self) {
        let _changing = self.changing.lock().await;
        let now = self.load();
        self.in_force.store(Arc::new(RouteTable { candidate: Weight::NONE, ..(*now).clone() }));
    }

    /// A change by hand.
    pub async fn change(&self, change: &RouteTableChange) -> Result<Arc<RouteTable>, TableError> {
        let _changing = self.changing.lock().await;
        let now = self.load();
        if now.generation != change.expected_generation {
            return Err(TableError::Moved { in_force: now.generation, expected: change.expected_generation });
        }
        let table = RouteTable { generation: now.generation + 1, salt: now.salt.clone(), candidate: change.candidate };
        self.put_in_force(table).await?;
        Ok(self.load())
    }

    /// Another salt deals the sessions anew: a change like any other.
    pub async fn set_salt(&self, salt: &str) -> Result<(), TableError> {
        let _changing = self.changing.lock().await;
        let now = self.load();
        if now.salt == salt {
            return Ok(());
        }
        let table = RouteTable { generation: now.generation + 1, salt: salt.to_owned(), candidate: now.candidate };
        Ok(self.put_in_force(table).await?)
    }

    async fn put_in_force(&self, table: RouteTable) -> Result<(), StoreError> {
        let unwritable = |source: serde_json::Error| StoreError::Io { what: KEY.to_owned(), source: source.into() };
        let bytes = serde_json::to_vec_pretty(&table).map_err(unwritable)?;
        let expect = match self.store.get(KEY).await? {
            Some((_, version)) => Expect::Version(version),
            None => Expect::Absent,
        };
        self.store.put_if(KEY, &bytes, expect).await?;
        self.in_force.store(Arc::new(table));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::store::{DirectoryStore, MemoryStore};

    use super::*;

    fn initial() -> RouteTable {
        RouteTable { generation: 1, salt: "s".to_owned(), candidate: Weight::NONE }
    }

    fn percent(percent: u16) -> Weight {
        Weight::from_basis_points(percent * 100).unwrap()
    }

    #[tokio::test]
    async fn what_is_in_force_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(DirectoryStore::new(folder.path()));
        let table = Table::open(store.clone(), initial()).await.unwrap();
        table.set_weight(percent(10), 2).await.unwrap();
        let again = Table::open(store, initial()).await.unwrap();
        assert_eq!(*again.load(), RouteTable { generation: 2, salt: "s".to_owned(), candidate: percent(10) });
    }

    #[tokio::test]
    async fn a_generation_never_comes_back() {
        let table = Table::open(Arc::new(MemoryStore::default()), initial()).await.unwrap();
        table.set_weight(percent(10), 5).await.unwrap();
        table.set_weight(percent(10), 5).await.unwrap();
        for (weight, generation) in [(percent(11), 5), (percent(10), 4), (percent(0), 0)] {
            let error = table.set_weight(weight, generation).await.unwrap_err();
            assert!(matches!(error, TrafficError::Stale { in_force: 5, .. }), "{error}");
        }
        let moved = RouteTableChange { expected_generation: 4, candidate: percent(30) };
        let error = table.change(&moved).await.unwrap_err().to_string();
        assert!(error.contains("generation 5, not 4"), "{error}");
        let change = RouteTableChange { expected_generation: 5, candidate: percent(30) };
        assert_eq!(table.change(&change).await.unwrap().generation, 6);
        table.set_salt("s").await.unwrap();
        assert_eq!(table.load().generation, 6);
        table.set_salt("t").await.unwrap();
        assert_eq!((table.load().generation, table.load().salt.as_str()), (7, "t"));
    }

    #[tokio::test]
    async fn a_file_that_is_no_table_is_refused_by_name() {
        let store = Arc::new(MemoryStore::default());
        store.put_if(KEY, b"{}", Expect::Absent).await.unwrap();
        let error = Table::open(store, initial()).await.unwrap_err().to_string();
        assert!(error.contains("route-table.json"), "{error}");
    }

    #[tokio::test]
    async fn what_can_not_be_kept_does_not_come_into_force() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let table = Table::open(Arc::new(DirectoryStore::new(&root)), initial()).await.unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::write(&root, "in the way").unwrap();
        let error = table.set_weight(percent(10), 2).await.unwrap_err();
        assert!(matches!(error, TrafficError::Persist(_)), "{error}");
        assert_eq!(*table.load(), initial());
    }
}
