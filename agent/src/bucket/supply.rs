//! What a host spec needs out of the bucket, and whether it is on the disk: secrets and programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use engine::store::write_durably;
use sha2::{Digest as _, Sha256 as Digest};
use spec::host::{Arg, ArtifactSpec, CLIENT_KEYS, HostSpec, Phase, PhaseState};
use spec::id::{SecretName, Sha256};
use tokio::sync::watch;

use super::{Bucket, BucketError};
use crate::converge::PhaseNow;
use crate::site::Site;
use crate::weights::digest_of;

/// Before a key's digest, as dsgate reads it.
const DIGEST: &str = "sha256:";

/// How far the supplies of a host spec are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Supply {
    /// Nothing is known yet.
    Unknown,
    Fetching {
        generation: u64,
        what: String,
    },
    Failed {
        generation: u64,
        message: String,
    },
    Done {
        generation: u64,
        count: usize,
    },
    /// All of it is here; the host spec after it can't be taken up.
    Held {
        generation: u64,
        message: String,
    },
}

impl Supply {
    pub fn is_complete(&self, wanted: u64) -> bool {
        matches!(self, Self::Done { generation, .. } | Self::Held { generation, .. } if *generation == wanted)
    }
}

/// The rest of the agent's view of them.
#[derive(Debug, Clone)]
pub(crate) enum Supplies {
    /// The folder is the bucket: `dsctl` put everything there before it wrote the host spec.
    OnDisk,
    Mirrored(watch::Receiver<Supply>),
}

impl Supplies {
    /// Whether units of this generation may start.
    pub fn are_there(&self, generation: u64) -> bool {
        match self {
            Self::OnDisk => true,
            Self::Mirrored(now) => now.borrow().is_complete(generation),
        }
    }

    pub fn phase(&self, generation: u64) -> Option<PhaseNow> {
        let Self::Mirrored(now) = self else { return None };
        Some(phase_of(&now.borrow(), generation))
    }
}

fn phase_of(supply: &Supply, wanted: u64) -> PhaseNow {
    let line = |state, detail: String| PhaseNow::new(Phase::Programs, state, detail);
    match supply {
        Supply::Fetching { generation, what } if *generation == wanted => {
            line(PhaseState::Running, format!("fetching {what}"))
        }
        Supply::Failed { generation, message } if *generation == wanted => PhaseNow::failed(
            Phase::Programs,
            message,
            Vec::new(),
            "dsctl up puts them into the bucket again; the agent goes on by itself",
        ),
        Supply::Held { generation, message } if *generation == wanted => PhaseNow::failed(
            Phase::Programs,
            message,
            Vec::new(),
            "dsctl up with a dsctl that runs on this host; until then it goes on as it is",
        ),
        Supply::Done { generation, count } if *generation == wanted => {
            line(PhaseState::Done, format!("{count} objects of the bucket are here and checked"))
        }
        _ => line(PhaseState::Waiting, "the agent has just begun".to_owned()),
    }
}

/// Each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needs {
    secrets: BTreeSet<SecretName>,
    /// By digest and name.
    programs: BTreeMap<(Sha256, String), ArtifactSpec>,
}

impl Needs {
    pub fn of(spec: &HostSpec) -> Self {
        let named = spec.units.iter().flat_map(|unit| unit.args.iter().filter_map(secret_in));
        let in_files = spec.units.iter().flat_map(|unit| &unit.secrets);
        let asked = spec.first_token.iter().map(|probe| &probe.key);
        let told = spec.monitoring.iter().flat_map(|monitoring| monitoring.receiver_keys.keys());
        let programs = spec.units.iter().filter_map(|unit| unit.program.artifact());
        Self {
            secrets: named.chain(in_files).chain(asked).chain(told).cloned().collect(),
            programs: programs.map(|one| ((one.sha256.clone(), one.name.clone()), one.clone())).collect(),
        }
    }

    pub fn count(&self) -> usize {
        self.secrets.len() + self.programs.len()
    }

    /// Whether all of it is on the disk, the programs with their own digests: the bucket is not asked.
    pub fn are_on_disk(&self, site: &Site) -> bool {
        self.secrets.iter().all(|name| site.secret(name).is_file())
            && self.programs.values().all(|program| is_right(site, program))
    }

    /// Brings what is missing or wrong; `tell` hears of each object before it is fetched.
    pub async fn bring(&self, site: &Site, bucket: &Bucket, mut tell: impl FnMut(&str)) -> Result<(), BucketError> {
        for name in &self.secrets {
            tell(&format!("secret {name}"));
            bring_secret(site, bucket, name).await?;
        }
        for program in self.programs.values() {
            tell(&program.name);
            bring_program(site, bucket, program).await?;
        }
        Ok(())
    }
}

fn secret_in(arg: &Arg) -> Option<&SecretName> {
    match arg {
        Arg::Secret(name) => Some(name),
        Arg::Certificate(certificate) => Some(&certificate.authority),
        Arg::Text(_) | Arg::Weights(_) | Arg::File(_) | Arg::DataFolder | Arg::CertificateKey | Arg::Monitoring(_) => {
            None
        }
    }
}

fn is_right(site: &Site, program: &ArtifactSpec) -> bool {
    let path = site.home.artifact(&program.sha256, &program.name);
    path.is_file() && digest_of(&path, &mut |_| Ok(())).is_ok_and(|found| found == program.sha256)
}

/// Not fetched if it is here with its own digest.
pub(super) async fn bring_program(site: &Site, bucket: &Bucket, program: &ArtifactSpec) -> Result<(), BucketError> {
    if is_right(site, program) {
        return Ok(());
    }
    let path = site.home.artifact(&program.sha256, &program.name);
    let key = format!("artifacts/{}/{}", program.sha256, program.name);
    bucket.fetch(&key, &program.sha256, &path).await
}

/// Whoever reads the host's disk learns no client's key: the gateway needs no more than their digests.
fn at_rest(name: &SecretName, value: Vec<u8>) -> Vec<u8> {
    if name.as_str() != CLIENT_KEYS {
        return value;
    }
    let text = String::from_utf8_lossy(&value);
    let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let digest = |key: &str| format!("{DIGEST}{}\n", hex::encode(Digest::digest(key)));
    keys.map(|key| if key.starts_with(DIGEST) { format!("{key}\n") } else { digest(key) })
        .collect::<String>()
        .into_bytes()
}

async fn bring_secret(site: &Site, bucket: &Bucket, name: &SecretName) -> Result<(), BucketError> {
    let value = at_rest(name, bucket.get(&format!("secrets/{name}")).await?);
    let path = site.secret(name);
    if fs::read(&path).is_ok_and(|there| there == value) {
        return Ok(());
    }
    let written = if name.as_str() == CLIENT_KEYS && path.is_file() {
        write_over(&path, &value)
    } else {
        write_durably(&path, &value)
    };
    written.map_err(|source| BucketError::Disk { what: format!("writing secret {name}"), source })
}

/// Into the same file: the gateway, which follows it, sees this one file of the folder and no other that takes its place. Half of
/// it, after a power cut, is refused by the gateway and brought again at the next start.
fn write_over(path: &Path, value: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(value)?;
    file.set_len(value.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_keys_go_into_the_same_file() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "sha256:longer than what comes\n").unwrap();
        let before = fs::metadata(file.path()).unwrap().ino();
        write_over(file.path(), b"sha256:00\n").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "sha256:00\n");
        assert_eq!(fs::metadata(file.path()).unwrap().ino(), before);
    }

    #[test]
    fn keys_of_clients_are_kept_as_their_digests_and_nothing_else_is_touched() {
        let kept = at_rest(&CLIENT_KEYS.parse().unwrap(), b"# ours\nabc\n\nsha256:00\n".to_vec());
        // Of "abc", as FIPS 180-2 gives it.
        let wanted = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nsha256:00\n";
        assert_eq!(String::from_utf8(kept).unwrap(), wanted);
        assert_eq!(at_rest(&"daemon-key".parse().unwrap(), b"abc\n".to_vec()), b"abc\n");
    }
}
