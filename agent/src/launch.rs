//! From a unit's spec to a command line: what is only known on the host is filled in here.

use std::path::PathBuf;

use serde::Serialize;
use sha2::Digest;
use spec::host::{Arg, HostSpec, Program, UnitSpec, WeightsStatus};
use spec::id::WeightsName;

use crate::site::Site;
use crate::supervisor::Launch;

/// Why there is no command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Will be there when the weights are.
    Weights(WeightsName),
    /// Will not come by itself.
    Input(String),
}

/// What makes a unit the same unit: another digest in any part means stop and start.
#[derive(Serialize)]
struct Fingerprint<'a> {
    unit: &'a UnitSpec,
    args: &'a [String],
    /// Contents of the files that its command line names.
    files: Vec<&'a str>,
}

pub(crate) fn resolve(
    site: &Site,
    spec: &HostSpec,
    unit: &UnitSpec,
    weights: &[WeightsStatus],
) -> Result<Launch, Missing> {
    let args =
        unit.args.iter().map(|arg| resolve_arg(site, spec, unit, weights, arg)).collect::<Result<Vec<_>, _>>()?;
    let named = |name: &str| unit.args.iter().any(|arg| matches!(arg, Arg::File(file) if file == name));
    let files = spec.files.iter().filter(|file| named(&file.name)).map(|file| file.content.as_str()).collect();
    let shared = shared(site, spec, unit);
    let reads = unit.args.iter().filter_map(|arg| match arg {
        Arg::Weights(name) => weights.iter().find(|status| status.name == *name).map(|status| status.path.clone()),
        _ => None,
    });
    let whole = serde_json::to_vec(&Fingerprint { unit, args: &args, files })
        .map_err(|error| Missing::Input(format!("{}: {error}", unit.name)))?;
    Ok(Launch {
        program: match &unit.program {
            Program::Artifact(artifact) => site.home.artifact(&artifact.sha256, &artifact.name),
            Program::Installed(path) => path.clone(),
        },
        args,
        env: unit.env.clone(),
        log: site.host.log(unit.name.as_str()),
        fingerprint: hex::encode(sha2::Sha256::digest(whole)),
        reads: reads.collect(),
        shared,
        data: site.host.data(&unit.name),
        ports: unit.ports.clone(),
        stop_grace: unit.stop_grace.0,
    })
}

/// Secrets, files and the folder of the certificate that the unit names, and the secrets that its files name.
fn shared(site: &Site, spec: &HostSpec, unit: &UnitSpec) -> Vec<PathBuf> {
    let named = unit.args.iter().filter_map(|arg| match arg {
        Arg::Secret(name) => Some(site.secret(name)),
        Arg::File(name) if spec.files.iter().any(|file| file.name == *name) => Some(site.host.files().join(name)),
        // The folder, not the file: the next certificate is another file of the same name. The authority stays the agent's.
        Arg::Certificate(_) | Arg::CertificateKey => Some(site.host.certificate_folder()),
        _ => None,
    });
    let in_files = unit.secrets.iter().map(|name| site.secret(name));
    let mut all: Vec<PathBuf> = named.chain(in_files).collect();
    all.sort();
    all.dedup();
    all
}

fn resolve_arg(
    site: &Site,
    spec: &HostSpec,
    unit: &UnitSpec,
    weights: &[WeightsStatus],
    arg: &Arg,
) -> Result<String, Missing> {
    let path = match arg {
        Arg::Text(text) => return Ok(text.clone()),
        Arg::Weights(name) => match weights.iter().find(|status| status.name == *name) {
            Some(status) => status.path.clone(),
            None if spec.weights.iter().any(|wanted| wanted.name == *name) => {
                return Err(Missing::Weights(name.clone()));
            }
            None => return Err(Missing::Input(format!("unit {}: the host spec has no weights {name}", unit.name))),
        },
        Arg::Secret(name) => {
            let path = site.secret(name);
            if !path.is_file() {
                return Err(Missing::Input(format!(
                    "unit {}: secret {name} is missing at {}",
                    unit.name,
                    path.display()
                )));
            }
            path
        }
        Arg::File(name) => {
            if !spec.files.iter().any(|file| file.name == *name) {
                return Err(Missing::Input(format!("unit {}: the host spec has no file {name}", unit.name)));
            }
            site.host.files().join(name)
        }
        Arg::DataFolder => site.host.data(&unit.name),
        // Issued with the files, which every start waits for; a later one is taken up without a start.
        Arg::Certificate(_) => site.host.certificate(),
        Arg::CertificateKey => site.host.certificate_key(),
        // Written before any unit that reads it starts.
        Arg::Monitoring(path) => site.host.monitoring().join(path),
    };
    Ok(path.display().to_string())
}
