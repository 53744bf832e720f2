//! A store in a local folder: one file a key, written beside and renamed into place, synced before it is said to be there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::memory::is_as_expected;
use super::{Expect, Store, StoreError, Version, check_key};

/// The writers' mutual exclusion between processes; not a key, since keys can't begin with a dot.
const LOCK_FILE: &str = ".lock";

#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
}

impl DirectoryStore {
    /// The folder is made at the first write, readable by its owner only.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn write(&self, key: &str, bytes: &[u8], expect: &Expect) -> Result<Version, StoreError> {
        let _lock = self.lock()?;
        let path = self.root.join(key);
        let found = read(&path)?.map(|bytes| Version::of(&bytes));
        if !is_as_expected(found.as_ref(), expect) {
            return Err(StoreError::Conflict { key: key.to_owned() });
        }
        write_durably(&path, bytes).map_err(|source| io_error("writing", &path, source))?;
        Ok(Version::of(bytes))
    }

    fn lock(&self) -> Result<File, StoreError> {
        create_private_folder(&self.root).map_err(|source| io_error("making", &self.root, source))?;
        let path = self.root.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| io_error("opening", &path, source))?;
        file.lock().map_err(|source| io_error("locking", &path, source))?;
        Ok(file)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let path = self.root.join(key);
        match fs::remove_file(&path) {
            Ok(()) => sync_folder_of(&path).map_err(|source| io_error("syncing", &path, source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(io_error("removing", &path, source)),
        }
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        check_key(key)?;
        let path = self.root.join(key);
        blocking(move || Ok(read(&path)?.map(|bytes| (bytes.clone(), Version::of(&bytes))))).await
    }

    async fn put_if(&self, key: &str, bytes: &[u8], expect: Expect) -> Result<Version, StoreError> {
        check_key(key)?;
        let (store, key, bytes) = (self.clone(), key.to_owned(), bytes.to_vec());
        blocking(move || store.write(&key, &bytes, &expect)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || {
            let mut keys = Vec::new();
            list_into(&root, "", &mut keys)?;
            keys.retain(|key| key.starts_with(&prefix));
            keys.sort();
            Ok(keys)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || store.remove(&key)).await
    }
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(error) => {
            Err(StoreError::Io { what: "waiting for the file system".to_owned(), source: io::Error::other(error) })
        }
    }
}

fn io_error(verb: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("{verb} {}", path.display()), source }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("reading", path, source)),
    }
}

fn list_into(folder: &Path, prefix: &str, keys: &mut Vec<String>) -> Result<(), StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error("listing", folder, source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| io_error("listing", folder, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let key = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list_into(&entry.path(), &key, keys)?;
        } else {
            keys.push(key);
        }
    }
    Ok(())
}

/// Makes a folder and those above it, readable by their owner only.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file so that after a power cut it is there whole or not at all; readable by its owner only.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_private_folder(folder)?;
    let mut beside = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    beside.persist(path)?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn conforms() {
        let folder = tempfile::tempdir().unwrap();
        super::super::conformance::run(Arc::new(DirectoryStore::new(folder.path().join("store")))).await;
    }

    #[tokio::test]
    async fn what_a_crash_left_beside_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(folder.path());
        store.put_if("a/b", b"1", Expect::Absent).await.unwrap();
        fs::write(folder.path().join("a/.new-x"), b"half").unwrap();
        assert_eq!(store.list("").await.unwrap(), ["a/b"]);
    }

    #[tokio::test]
    async fn others_can_not_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(folder.path().join("store"));
        store.put_if("a/b", b"1", Expect::Absent).await.unwrap();
        for path in ["store", "store/a"] {
            let mode = fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path}");
        }
        let mode = fs::metadata(folder.path().join("store/a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}
