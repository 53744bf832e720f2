//! What is the user's own and secret, read where the deployment says it is: the old API's key, the gateway's certificate.

use std::path::Path;

use providers::local::graph;
use providers::secret::{Given, GivenCertificate, SecretText};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use spec::deployment::Cloud;
use spec::layout::DeploymentLayout;
use spec::resolved::{KeySource, ResolvedBaseline, ResolvedSpec, ResolvedTls};

use crate::exit::Failure;

/// Reads it all, before anything is done.
pub fn given(spec: &ResolvedSpec, layout: &DeploymentLayout) -> Result<Given, Failure> {
    Ok(Given { baseline_key: baseline_key(spec, layout)?, certificate: certificate(&spec.tls)? })
}

fn certificate(tls: &ResolvedTls) -> Result<Option<GivenCertificate>, Failure> {
    let ResolvedTls::Given(files) = tls else { return Ok(None) };
    let (chain, chain_refused) = pem("gateway.certificate.chain_file", &files.chain_file)?;
    let (key, key_refused) = pem("gateway.certificate.key_file", &files.key_file)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| chain_refused(&format!("its PEM can't be read: {error}")))?;
    if certificates.is_empty() {
        return Err(chain_refused("holds no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let private = private.map_err(|_| key_refused("holds no private key in PEM"))?;
    // Not shown to anybody here: only whether the one is the other's is looked at, before a machine is paid for.
    CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider())
        .map_err(|error| key_refused(&format!("is not the key of the first certificate in chain_file: {error}")))?;
    Ok(Some(GivenCertificate { chain: SecretText::new(chain.trim()), key: SecretText::new(key.trim()) }))
}

/// What stands in a file, and how it is refused.
fn pem(field: &str, path: &Path) -> Result<(String, impl Fn(&str) -> Failure), Failure> {
    let place = format!("{field}: {}", path.display());
    let refused = move |why: &str| Failure::usage(format!("{place}: {why}"));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((text, refused)),
        Err(error) => Err(refused(&error.to_string())),
    }
}

/// On a cloud it shows later, when the record is read.
fn has_kept_key(spec: &ResolvedSpec, layout: &DeploymentLayout) -> Result<bool, Failure> {
    if spec.cloud != Cloud::Local {
        return Ok(true);
    }
    Ok(layout.bucket().secret(&graph::BASELINE_KEY.parse().map_err(Failure::failed)?).is_file())
}

/// Reads the baseline's API key from where the spec says it is.
fn baseline_key(spec: &ResolvedSpec, layout: &DeploymentLayout) -> Result<Option<SecretText>, Failure> {
    let Some(ResolvedBaseline::Api { key, .. }) = &spec.baseline else { return Ok(None) };
    let (place, text) = match key {
        KeySource::None => return Ok(None),
        // A repair at night, from another shell: the key that is kept goes on to serve.
        KeySource::Environment(name) if std::env::var_os(name).is_none() && has_kept_key(spec, layout)? => {
            return Ok(None);
        }
        KeySource::Environment(name) => {
            let place = format!("environment variable {name}");
            (
                place.clone(),
                std::env::var(name).map_err(|_| Failure::usage(format!("baseline.key_env: {place} is not set")))?,
            )
        }
        KeySource::File(path) => {
            let place = path.display().to_string();
            (
                place.clone(),
                std::fs::read_to_string(path)
                    .map_err(|error| Failure::usage(format!("baseline.key_file: {place}: {error}")))?,
            )
        }
    };
    let text = text.trim();
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Failure::usage(format!("baseline: {place} holds no API key: one line without spaces is wanted")));
    }
    Ok(Some(SecretText::new(text)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use spec::deployment::CertificateWish;

    use super::*;

    #[test]
    fn a_certificate_is_read_or_refused_by_its_field() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let wish = ResolvedTls::Given(CertificateWish { chain_file: chain.clone(), key_file: key.clone() });
        let refused = |field: &str, why: &str| {
            let message = certificate(&wish).unwrap_err().message;
            assert!(
                message.starts_with(&format!("gateway.certificate.{field}: ")) && message.contains(why),
                "{message}"
            );
        };
        refused("chain_file", "No such file");
        let [own, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let pem = CertificateParams::new(["llm.example.org".to_owned()]).unwrap().self_signed(&own).unwrap().pem();
        std::fs::write(&chain, own.serialize_pem()).unwrap();
        std::fs::write(&key, &pem).unwrap();
        refused("chain_file", "no certificate in PEM");
        std::fs::write(&chain, &pem).unwrap();
        refused("key_file", "no private key in PEM");
        std::fs::write(&key, other.serialize_pem()).unwrap();
        refused("key_file", "is not the key of the first certificate");
        std::fs::write(&key, own.serialize_pem()).unwrap();
        let given = certificate(&wish).unwrap().unwrap();
        assert_eq!(given.chain.reveal(), pem.trim());
        assert!(certificate(&ResolvedTls::Issued).unwrap().is_none());
    }
}
