//! What is the user's own and secret, read where the deployment says it is: the old API's key, the gateway's certificate, keys of those who are told of alerts.

use std::collections::BTreeMap;
use std::path::Path;

use providers::host_plan;
use providers::local::graph;
use providers::secret::{Given, GivenCertificate, SecretText};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use spec::deployment::Cloud;
use spec::layout::DeploymentLayout;
use spec::monitoring::ReceiverKind;
use spec::resolved::{KeySource, ResolvedBaseline, ResolvedSpec, ResolvedTls};

use crate::exit::Failure;

/// Reads it all, before anything is done.
pub fn given(spec: &ResolvedSpec, layout: &DeploymentLayout) -> Result<Given, Failure> {
    Ok(Given {
        baseline_key: baseline_key(spec, layout)?,
        spare_key: spare_key(spec, layout)?,
        certificate: certificate(&spec.tls)?,
        receivers: receiver_keys(spec, layout)?,
    })
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
fn has_kept(secret: &str, spec: &ResolvedSpec, layout: &DeploymentLayout) -> Result<bool, Failure> {
    if spec.cloud != Cloud::Local {
        return Ok(true);
    }
    Ok(layout.bucket().secret(&secret.parse().map_err(Failure::failed)?).is_file())
}

fn baseline_key(spec: &ResolvedSpec, layout: &DeploymentLayout) -> Result<Option<SecretText>, Failure> {
    let Some(ResolvedBaseline::Api(api)) = &spec.baseline else { return Ok(None) };
    let Some(found) = read("baseline", &api.key, || has_kept(graph::BASELINE_KEY, spec, layout))? else {
        return Ok(None);
    };
    found.word("API key").map(Some)
}

fn spare_key(spec: &ResolvedSpec, layout: &DeploymentLayout) -> Result<Option<SecretText>, Failure> {
    let Some(api) = &spec.spare else { return Ok(None) };
    let has_kept = || has_kept(host_plan::SPARE_KEY, spec, layout);
    read("spare", &api.key, has_kept)?.map(|found| found.word("API key")).transpose()
}

fn receiver_keys(
    spec: &ResolvedSpec,
    layout: &DeploymentLayout,
) -> Result<BTreeMap<&'static str, SecretText>, Failure> {
    let mut keys = BTreeMap::new();
    for (kind, source) in host_plan::receiver_keys(spec) {
        let field = format!("monitoring.receivers.{}", kind.as_str());
        if let Some(found) = read(&field, &source, || has_kept(kind.secret(), spec, layout))? {
            keys.insert(kind.secret(), receiver_key(kind, &found)?);
        }
    }
    Ok(keys)
}

fn receiver_key(kind: ReceiverKind, found: &Found) -> Result<SecretText, Failure> {
    match kind {
        ReceiverKind::Slack => {
            let url = found.word("URL of an incoming webhook")?;
            if !["https://", "http://"].iter().any(|scheme| url.reveal().starts_with(scheme)) {
                return Err(found.refused("URL of an incoming webhook: https://hooks.slack.com/services/... is wanted"));
            }
            Ok(url)
        }
        ReceiverKind::PagerDuty => found.word("integration key"),
        ReceiverKind::Email => found.line("password"),
        ReceiverKind::Webhook => found.word("token"),
    }
}

/// What was read from where a field says it is.
struct Found {
    field: String,
    place: String,
    text: String,
}

impl Found {
    fn refused(&self, lacking: &str) -> Failure {
        Failure::usage(format!("{}: {} holds no {lacking}", self.field, self.place))
    }

    fn word(&self, what: &str) -> Result<SecretText, Failure> {
        let text = self.text.trim();
        if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(self.refused(&format!("{what}: one line without spaces is wanted")));
        }
        Ok(SecretText::new(text))
    }

    /// Spaces inside it are part of it.
    fn line(&self, what: &str) -> Result<SecretText, Failure> {
        let text = self.text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(self.refused(&format!("{what}: one line is wanted")));
        }
        Ok(SecretText::new(text))
    }
}

/// None without a key, and where the variable is not set though a value is kept: at night, from another shell, that one
/// goes on to serve.
fn read(
    field: &str,
    source: &KeySource,
    has_kept: impl FnOnce() -> Result<bool, Failure>,
) -> Result<Option<Found>, Failure> {
    let found = |place: String, text: String| Ok(Some(Found { field: field.to_owned(), place, text }));
    match source {
        KeySource::None => Ok(None),
        KeySource::Environment(name) => match std::env::var(name) {
            Ok(text) => found(format!("environment variable {name}"), text),
            Err(std::env::VarError::NotPresent) if has_kept()? => Ok(None),
            Err(std::env::VarError::NotPresent) => Err(not_set(field, name)),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Failure::usage(format!("{field}.key_env: environment variable {name} is not UTF-8")))
            }
        },
        KeySource::File(path) => {
            let refused = |error| Failure::usage(format!("{field}.key_file: {}: {error}", path.display()));
            found(path.display().to_string(), std::fs::read_to_string(path).map_err(refused)?)
        }
    }
}

/// Of a variable that holds a key.
pub fn not_set(field: &str, variable: &str) -> Failure {
    Failure::usage(format!("{field}.key_env: environment variable {variable} is not set"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use spec::deployment::CertificateWish;

    use super::*;

    #[test]
    fn a_key_is_of_its_kind_or_refused_by_its_field() {
        let key = |kind, text: &str| {
            let (field, place) = ("monitoring.receivers.x".to_owned(), "/keys/x".to_owned());
            receiver_key(kind, &Found { field, place, text: text.to_owned() })
        };
        for (kind, wrong, right) in [
            (ReceiverKind::Slack, "T0/B0/secret", "https://hooks.slack.com/services/T0/B0/secret\n"),
            (ReceiverKind::PagerDuty, "two words", "0123456789abcdef"),
            (ReceiverKind::Email, "two\nlines", "a pass phrase\n"),
            (ReceiverKind::Webhook, " \n", "token"),
        ] {
            let message = key(kind, wrong).unwrap_err().message;
            assert!(message.starts_with("monitoring.receivers.x: /keys/x holds no "), "{message}");
            assert!(!message.contains("secret"), "{message}");
            assert_eq!(key(kind, right).unwrap().reveal(), right.trim());
        }
    }

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
