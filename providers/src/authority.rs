//! A deployment's certificate authority: made once, by whoever makes the deployment, and kept as a secret of it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use spec::certificate::authority_name;
use spec::id::DeploymentName;
use time::{Duration, OffsetDateTime};

/// Ten years. A deployment that lives longer must be made anew.
const LIFE: Duration = Duration::days(3653);
/// A client's clock may be behind.
const HEAD_START: Duration = Duration::days(1);

/// Key and certificate in PEM, in this order; one that nobody had before.
pub fn generated(deployment: &DeploymentName) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params(deployment, OffsetDateTime::now_utc()).self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()).trim_end().to_owned())
}

fn params(deployment: &DeploymentName, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, authority_name(deployment));
    // It signs what hosts show, and no further authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (now - HEAD_START, now + LIFE);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deployment_has_one_of_its_own() {
        let name: DeploymentName = "default".parse().unwrap();
        let (one, other) = (generated(&name).unwrap(), generated(&name).unwrap());
        assert_ne!(one, other);
        let at = |text: &str| one.find(text).unwrap_or_else(|| panic!("no {text}"));
        assert!(at("-----BEGIN PRIVATE KEY-----") < at("-----BEGIN CERTIFICATE-----"));
        assert!(KeyPair::from_pem(&one).is_ok(), "the key is found first");
    }

    #[test]
    fn it_is_called_after_its_deployment_and_signs_no_other_authority() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let params = params(&"default".parse().unwrap(), now);
        assert_eq!(params.distinguished_name.get(&DnType::CommonName), Some(&"dsctl default".into()));
        assert_eq!(params.is_ca, IsCa::Ca(BasicConstraints::Constrained(0)));
        assert!(params.not_before < now && params.not_after > now + Duration::days(3650));
    }
}
