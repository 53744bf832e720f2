//! What is the user's own and secret, read where the deployment says it is: the old API's key, the gateway's certificate.

use std::path::Path;

use providers::local::graph;
use providers::secret::{Given, GivenCertificate, SecretText};
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
    let chain = pem("gateway.certificate.chain_file", &files.chain_file, "CERTIFICATE")?;
    let key = pem("gateway.certificate.key_file", &files.key_file, "PRIVATE KEY")?;
    Ok(Some(GivenCertificate { chain, key }))
}

/// Whether the one is the other's is found out by dsgate, which is not started with a pair that is none.
fn pem(field: &str, path: &Path, what: &str) -> Result<SecretText, Failure> {
    let failed = |why: String| Failure::usage(format!("{field}: {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let is_begin = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{what}-----"));
    if !text.lines().any(is_begin) {
        return Err(failed(format!("holds no {} in PEM", what.to_lowercase())));
    }
    Ok(SecretText::new(text.trim()))
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
    use spec::deployment::CertificateWish;

    use super::*;

    #[test]
    fn a_certificate_is_read_or_refused_by_its_field() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let wish = ResolvedTls::Given(CertificateWish { chain_file: chain.clone(), key_file: key.clone() });
        let refused = || certificate(&wish).unwrap_err().message;
        assert!(refused().starts_with("gateway.certificate.chain_file: "), "{}", refused());
        std::fs::write(&chain, "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n").unwrap();
        std::fs::write(&key, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert!(refused().contains("key_file") && refused().ends_with("no private key in PEM"), "{}", refused());
        for kind in ["EC PRIVATE KEY", "PRIVATE KEY"] {
            std::fs::write(&key, format!("-----BEGIN {kind}-----\ny\n")).unwrap();
            let given = certificate(&wish).unwrap().unwrap();
            assert!(given.chain.reveal().contains('x') && given.key.reveal().contains('y'));
        }
        assert!(certificate(&ResolvedTls::Issued).unwrap().is_none());
    }
}
