//! Folders and files: the bucket, its secrets, the artifacts by digest, what the weights cache must keep.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::{fs, os::unix::fs::PermissionsExt};

use engine::graph::Address;
use engine::provider::ProviderError;
use engine::store::{create_private_folder, write_durably};
use serde_json::Value;
use sha2::{Digest, Sha256 as Hasher};
use spec::id::{DeploymentName, SecretName, Sha256};
use spec::layout::{DeploymentLayout, HomeLayout};
use spec::weights::WeightsSpec;

use super::kind;
use super::record::{Record, Records, file_names};
use crate::secret::{self, Given, KeyChange, SecretText};

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ProviderError + '_ {
    move |error| ProviderError::permanent(path.display(), error)
}

pub fn make_bucket(layout: &DeploymentLayout) -> Result<(), ProviderError> {
    for folder in [layout.bucket().secrets(), layout.host().logs()] {
        create_private_folder(&folder).map_err(failed(&folder))?;
    }
    Ok(())
}

/// The bucket and what its host kept.
pub fn remove_bucket(layout: &DeploymentLayout) -> Result<(), ProviderError> {
    for folder in [layout.bucket().root(), layout.host().root()] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(folder)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn secret_name(address: &Address) -> Result<SecretName, ProviderError> {
    let name = address.as_str().split_once('.').map_or("", |(_, name)| name);
    name.parse().map_err(|error| ProviderError::permanent(address, error))
}

/// A generated secret that is there is kept: clients hold it. The user's own is written as it was given.
pub fn write_secret(
    layout: &DeploymentLayout,
    deployment: &DeploymentName,
    address: &Address,
    given: &Given,
) -> Result<(), ProviderError> {
    let path = layout.bucket().secret(&secret_name(address)?);
    let text = if secret::is_given(address) {
        secret::given(given, address)?.to_owned()
    } else if path.exists() {
        return Ok(());
    } else {
        secret::generated(address.name(), deployment)?
    };
    write_durably(&path, format!("{text}\n").as_bytes()).map_err(failed(&path))
}

/// Changes the keys of clients; the gateway follows the file.
pub fn rekey(
    layout: &DeploymentLayout,
    deployment: &DeploymentName,
    address: &Address,
    change: &Value,
) -> Result<(), ProviderError> {
    let change: KeyChange =
        serde_json::from_value(change.clone()).map_err(|error| ProviderError::permanent(address, error))?;
    let path = layout.bucket().secret(&secret_name(address)?);
    let present = fs::read_to_string(&path).map_err(failed(&path))?;
    let keys = secret::changed(&present, change, &secret::generated(address.name(), deployment)?);
    write_durably(&path, format!("{keys}\n").as_bytes()).map_err(failed(&path))
}

/// One up from the recorded revision when the key that was given is not the one that is kept.
pub fn key_revision(layout: &DeploymentLayout, secret: &str, given: Option<&SecretText>) -> Result<u64, ProviderError> {
    let address = Address::new(kind::SECRET, secret);
    let recorded = Records::of(layout).get(&address)?.and_then(|record| record.inputs["revision"].as_u64());
    let kept = fs::read_to_string(layout.bucket().secret(&secret_name(&address)?)).ok();
    let is_kept = given.is_none_or(|given| kept.as_deref().map(str::trim_end) == Some(given.reveal()));
    Ok(match recorded {
        None => 1,
        Some(revision) if is_kept => revision,
        Some(revision) => revision + 1,
    })
}

pub fn has_secret(layout: &DeploymentLayout, address: &Address) -> Result<bool, ProviderError> {
    Ok(layout.bucket().secret(&secret_name(address)?).is_file())
}

pub fn remove_secret(layout: &DeploymentLayout, address: &Address) -> Result<(), ProviderError> {
    let path = layout.bucket().secret(&secret_name(address)?);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
        _ => Ok(()),
    }
}

fn artifact(address: &Address, inputs: &Value) -> Result<(String, Sha256), ProviderError> {
    let name = address.as_str().split_once('.').map_or("", |(_, name)| name).to_owned();
    let digest = inputs["sha256"].as_str().unwrap_or_default();
    Ok((name, digest.parse().map_err(|error| ProviderError::permanent(address, error))?))
}

/// Copies a binary to its digest's folder; checked while it is copied, so that what runs is what was planned.
pub async fn copy_artifact(
    home: &HomeLayout,
    binaries: &Path,
    address: &Address,
    inputs: &Value,
) -> Result<(), ProviderError> {
    let (name, digest) = artifact(address, inputs)?;
    let (from, to, address) = (binaries.join(&name), home.artifact(&digest, &name), address.clone());
    let copied = tokio::task::spawn_blocking(move || copy_checked(&from, &to, &digest, &address)).await;
    copied.map_err(|error| ProviderError::permanent(&name, error))?
}

fn copy_checked(from: &Path, to: &Path, digest: &Sha256, address: &Address) -> Result<(), ProviderError> {
    if to.is_file() && digest_file(to).is_ok_and(|(found, _)| found == *digest) {
        return Ok(());
    }
    let bytes = fs::read(from).map_err(failed(from))?;
    if hex::encode(Hasher::digest(&bytes)) != digest.as_str() {
        let message = format!("{} changed since the plan was made", from.display());
        return Err(ProviderError::permanent(address, message));
    }
    write_durably(to, &bytes).map_err(failed(to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o500)).map_err(failed(to))
}

pub fn has_artifact(home: &HomeLayout, address: &Address, inputs: &Value) -> Result<bool, ProviderError> {
    let (name, digest) = artifact(address, inputs)?;
    Ok(home.artifact(&digest, &name).is_file())
}

/// Removed only when no other deployment runs it.
pub fn remove_artifact(
    home: &HomeLayout,
    own: &DeploymentName,
    address: &Address,
    record: &Record,
) -> Result<(), ProviderError> {
    let (name, digest) = artifact(address, &record.inputs)?;
    for name in deployments(home)?.iter().filter(|name| *name != own) {
        let used = Records::of(&home.deployment(name)).of_kind(kind::ARTIFACT)?;
        if used.iter().any(|(other, theirs)| other == address && theirs.inputs == record.inputs) {
            return Ok(());
        }
    }
    let path = home.artifact(&digest, &name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path)(error)),
        _ => {}
    }
    if let Some(folder) = path.parent() {
        // Not empty, or gone already: both are fine.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// The deployments on this machine; what `down` moved aside has no valid name.
pub fn deployments(home: &HomeLayout) -> Result<Vec<DeploymentName>, ProviderError> {
    let names = file_names(&home.deployments())?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The weights that each deployment on this machine needs: what a clean-up of the cache must keep.
pub fn pinned_weights(home: &HomeLayout) -> Result<BTreeMap<DeploymentName, Vec<WeightsSpec>>, ProviderError> {
    let mut all = BTreeMap::new();
    for name in deployments(home)? {
        let records = Records::of(&home.deployment(&name)).of_kind(kind::WEIGHTS)?;
        let pinned = records.into_iter().map(|(address, record)| {
            serde_json::from_value(record.inputs).map_err(|error| ProviderError::permanent(address, error))
        });
        all.insert(name, pinned.collect::<Result<_, _>>()?);
    }
    Ok(all)
}

/// Digest and size in bytes of a file.
pub fn digest_file(path: &Path) -> io::Result<(Sha256, u64)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
    let digest = hex::encode(hasher.finalize()).parse().map_err(io::Error::other)?;
    Ok((digest, size))
}
