//! What a resource leaves beside itself: its token and the inputs it was made from.

use std::path::{Path, PathBuf};
use std::{fs, io};

use engine::graph::Address;
use engine::provider::{ProviderError, Token};
use engine::store::write_durably;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::layout::DeploymentLayout;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub token: Token,
    pub inputs: Value,
}

/// The records of one deployment.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    pub fn of(layout: &DeploymentLayout) -> Self {
        Self { folder: layout.root().join("records") }
    }

    pub fn get(&self, address: &Address) -> Result<Option<Record>, ProviderError> {
        match fs::read(self.path(address)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| ProviderError::permanent(self.path(address).display(), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ProviderError::permanent(self.path(address).display(), error)),
        }
    }

    pub fn put(&self, address: &Address, token: &Token, inputs: &Value) -> Result<(), ProviderError> {
        let record = Record { token: token.clone(), inputs: inputs.clone() };
        let path = self.path(address);
        let bytes = serde_json::to_vec_pretty(&record).map_err(|error| ProviderError::permanent(address, error))?;
        write_durably(&path, &bytes).map_err(|error| ProviderError::permanent(path.display(), error))
    }

    /// New inputs under the old token.
    pub fn update(&self, address: &Address, inputs: &Value) -> Result<(), ProviderError> {
        let token = self.get(address)?.map_or_else(|| Token(String::new()), |record| record.token);
        self.put(address, &token, inputs)
    }

    pub fn remove(&self, address: &Address) -> Result<(), ProviderError> {
        match fs::remove_file(self.path(address)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ProviderError::permanent(self.path(address).display(), error))
            }
            _ => Ok(()),
        }
    }

    /// All records of a kind. One that can't be read is an error: who asks is about to remove what nobody needs.
    pub fn of_kind(&self, kind: &str) -> Result<Vec<(Address, Record)>, ProviderError> {
        let mut found = Vec::new();
        for name in file_names(&self.folder)? {
            let Some((of, rest)) = name.strip_suffix(".json").and_then(|name| name.split_once('.')) else { continue };
            if of == kind {
                let address = Address::new(of, rest);
                found.extend(self.get(&address)?.map(|record| (address, record)));
            }
        }
        Ok(found)
    }

    fn path(&self, address: &Address) -> PathBuf {
        self.folder.join(format!("{address}.json"))
    }
}

/// Names in a folder; none if there is no such folder.
pub(super) fn file_names(folder: &Path) -> Result<Vec<String>, ProviderError> {
    let failed = |error: io::Error| ProviderError::permanent(folder.display(), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
}
