//! The gateway's certificate: issued on its host by the deployment's authority, and issued again in time.
//!
//! What is decided here is pure: names, record and time are arguments. Nothing reads a certificate; what one is for stands
//! in a record beside it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use engine::store::create_private_folder;
use jiff::{SignedDuration, Timestamp};
use rcgen::PKCS_ECDSA_P256_SHA256;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spec::certificate::{Reach, authority_name};
use spec::id::DeploymentName;
use spec::layout::HostLayout;
use sysinfo::{Networks, System};
use time::OffsetDateTime;

const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A third of its life: a host that can't renew for a month still serves.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A client's clock may be behind.
const HEAD_START: SignedDuration = SignedDuration::from_hours(1);

const BEGIN_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// RFC 1035, section 2.3.4: the longest name.
const LONGEST_NAME: usize = 253;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("the secret {0} holds no certificate authority")]
    NoAuthority(String),
    #[error("issuing the certificate: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("the certificate's time: {0}")]
    Time(#[from] time::error::ComponentRange),
    #[error("the certificate's record: {0}")]
    Record(#[from] serde_json::Error),
}

/// Names and addresses that a certificate is for.
pub(crate) type Names = BTreeSet<String>;

/// What a certificate was issued for; kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issued {
    pub names: Names,
    pub expires_at: Timestamp,
    /// SHA-256 of the authority's certificate.
    authority: String,
    /// SHA-256 of the certificate's file.
    certificate: String,
}

/// Why there must be another certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    NoneYet,
    OtherAuthority,
    OtherNames,
    Old,
}

impl Issued {
    /// None if the certificate serves on.
    pub fn reason_to_renew(&self, names: &Names, authority: &Authority, now: Timestamp) -> Option<Reason> {
        if self.authority != authority.digest() {
            return Some(Reason::OtherAuthority);
        }
        if self.names != *names {
            return Some(Reason::OtherNames);
        }
        (now.saturating_add(RENEW_BEFORE).unwrap_or(Timestamp::MAX) >= self.expires_at).then_some(Reason::Old)
    }
}

/// Who issues: the deployment's own authority.
pub(crate) struct Authority {
    key: KeyPair,
    certificate: String,
    deployment: DeploymentName,
}

impl Authority {
    pub fn read(path: &Path, deployment: &DeploymentName) -> Result<Self, CertificateError> {
        let text = fs::read_to_string(path).map_err(failed(path))?;
        let missing = || CertificateError::NoAuthority(path.display().to_string());
        let begin = text.find(BEGIN_CERTIFICATE).ok_or_else(missing)?;
        let (key, certificate) = text.split_at(begin);
        Ok(Self {
            key: KeyPair::from_pem(key).map_err(|_| missing())?,
            certificate: certificate.to_owned(),
            deployment: deployment.clone(),
        })
    }

    /// In PEM; whoever trusts it trusts what it issues.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.certificate))
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&authority_name(&self.deployment));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Issuer::new(params, &self.key)
    }

    /// A certificate with a key of its own, and its record. In PEM: certificate, then key.
    fn issue(&self, names: &Names, now: Timestamp) -> Result<(String, String, Issued), CertificateError> {
        let expires_at = now.saturating_add(LIFE).unwrap_or(Timestamp::MAX);
        let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
        params.distinguished_name = named("dsgate");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = moment(now.saturating_sub(HEAD_START).unwrap_or(Timestamp::MIN))?;
        params.not_after = moment(expires_at)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer())?.pem();
        let issued = Issued {
            names: names.clone(),
            expires_at,
            authority: self.digest(),
            certificate: hex::encode(Sha256::digest(&certificate)),
        };
        Ok((certificate, key.serialize_pem(), issued))
    }
}

/// Sees to it that the host has a certificate that serves for a while yet. Tells why it issued one, if it did.
pub(crate) fn renew(
    host: &HostLayout,
    authority: &Authority,
    names: &Names,
    now: Timestamp,
) -> Result<Option<Reason>, CertificateError> {
    let reason = match issued(host) {
        None => Some(Reason::NoneYet),
        Some(issued) => issued.reason_to_renew(names, authority, now),
    };
    if reason.is_some() {
        let (certificate, key, record) = authority.issue(names, now)?;
        // The record last: a certificate without its own is issued again.
        write(host, &host.certificate_key(), key.as_bytes())?;
        write(host, &host.certificate(), certificate.as_bytes())?;
        write(host, &host.certificate_record(), &serde_json::to_vec(&record)?)?;
    }
    Ok(reason)
}

/// The record of the certificate that is there; none if one of both is missing, or not the other's.
fn issued(host: &HostLayout) -> Option<Issued> {
    let issued: Issued = serde_json::from_slice(&fs::read(host.certificate_record()).ok()?).ok()?;
    let certificate = hex::encode(Sha256::digest(fs::read(host.certificate()).ok()?));
    (issued.certificate == certificate && host.certificate_key().is_file()).then_some(issued)
}

/// Whole or not at all. Whoever may look into the folder may read the file from its first moment on: a gateway that runs as
/// a user of its own follows it.
fn write(host: &HostLayout, path: &Path, bytes: &[u8]) -> Result<(), CertificateError> {
    let folder = host.certificate_folder();
    create_private_folder(&folder).map_err(failed(&folder))?;
    let written = || {
        let is_shared = fs::metadata(&folder)?.permissions().mode() & 0o040 != 0;
        let mut beside = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder)?;
        beside.write_all(bytes)?;
        let mode = if is_shared { 0o640 } else { 0o600 };
        beside.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        beside.as_file().sync_all()?;
        beside.persist(path)?;
        fs::File::open(&folder)?.sync_all()
    };
    written().map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CertificateError + '_ {
    move |source| CertificateError::Io { path: path.display().to_string(), source }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn moment(at: Timestamp) -> Result<OffsetDateTime, time::error::ComponentRange> {
    OffsetDateTime::from_unix_timestamp(at.as_second())
}

/// What this machine is called just now, as far as clients may call it so.
pub(crate) fn names_of_host(reach: Reach, public: Option<IpAddr>) -> Names {
    match reach {
        Reach::Loopback => names(None, [], None),
        Reach::Network | Reach::Public(_) => {
            let networks = Networks::new_with_refreshed_list();
            let addresses: Vec<IpAddr> =
                networks.values().flat_map(|network| network.ip_networks()).map(|network| network.addr).collect();
            names(System::host_name(), addresses, public)
        }
    }
}

/// Pure: the names that a certificate can hold and that lead here from elsewhere, beside those of loopback.
fn names(host: Option<String>, addresses: impl IntoIterator<Item = IpAddr>, public: Option<IpAddr>) -> Names {
    let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let host = host.map(|name| name.to_lowercase()).filter(|name| is_name(name));
    let addresses = addresses.into_iter().chain(public).filter(|address| leads_here(*address));
    loopback.into_iter().chain(host).chain(addresses.map(|address| address.to_string())).collect()
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && is_plain && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}

/// Addresses of one link mean nothing without naming the link.
fn leads_here(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !(address.is_loopback() || address.is_link_local() || address.is_unspecified()),
        IpAddr::V6(address) => !(address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use rcgen::{BasicConstraints, IsCa};

    use super::*;

    /// As a deployment's maker writes it: key and certificate.
    pub fn write_authority(path: &Path, deployment: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("dsctl {deployment}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{}{}", key.serialize_pem(), certificate.pem())).unwrap();
    }

    struct Host {
        _folder: tempfile::TempDir,
        layout: HostLayout,
        secret: PathBuf,
    }

    impl Host {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (layout, secret) = (HostLayout::new(folder.path().join("host")), folder.path().join("secrets/tls-ca"));
            write_authority(&secret, "demo");
            Self { _folder: folder, layout, secret }
        }

        fn authority(&self) -> Authority {
            Authority::read(&self.secret, &"demo".parse().unwrap()).unwrap()
        }

        fn renew(&self, names: &Names, now: Timestamp) -> Option<Reason> {
            renew(&self.layout, &self.authority(), names, now).unwrap()
        }
    }

    fn loopback() -> Names {
        names_of_host(Reach::Loopback, None)
    }

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + number * 86_400).unwrap()
    }

    #[test]
    fn a_certificate_is_issued_once_and_again_in_its_last_third() {
        let host = Host::new();
        assert_eq!(host.renew(&loopback(), day(0)), Some(Reason::NoneYet));
        let first = fs::read(host.layout.certificate()).unwrap();
        for number in [0, 1, 59] {
            assert_eq!(host.renew(&loopback(), day(number)), None, "day {number}");
        }
        assert_eq!(host.renew(&loopback(), day(60)), Some(Reason::Old));
        assert_ne!(fs::read(host.layout.certificate()).unwrap(), first);
        assert_eq!(host.renew(&loopback(), day(61)), None, "ninety more days");
    }

    #[test]
    fn other_names_and_another_authority_are_another_certificate() {
        let host = Host::new();
        host.renew(&loopback(), day(0));
        let moved = names(Some("gpu-1".to_owned()), ["10.0.0.7".parse().unwrap()], None);
        assert_eq!(host.renew(&moved, day(0)), Some(Reason::OtherNames));
        assert_eq!(host.renew(&moved, day(0)), None);
        write_authority(&host.secret, "demo");
        assert_eq!(host.renew(&moved, day(0)), Some(Reason::OtherAuthority));
    }

    #[test]
    fn what_is_damaged_is_issued_again() {
        let host = Host::new();
        host.renew(&loopback(), day(0));
        fs::write(host.layout.certificate(), "half").unwrap();
        assert_eq!(host.renew(&loopback(), day(0)), Some(Reason::NoneYet));
        fs::remove_file(host.layout.certificate_key()).unwrap();
        assert_eq!(host.renew(&loopback(), day(0)), Some(Reason::NoneYet));
        fs::write(host.layout.certificate_record(), "{}").unwrap();
        assert_eq!(host.renew(&loopback(), day(0)), Some(Reason::NoneYet));
    }

    #[test]
    fn the_key_is_for_those_who_may_look_into_its_folder_and_the_authoritys_stays_where_it_was() {
        let host = Host::new();
        host.renew(&loopback(), day(0));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&host.layout.certificate_key()), 0o600);
        fs::set_permissions(host.layout.certificate_folder(), fs::Permissions::from_mode(0o2750)).unwrap();
        assert_eq!(host.renew(&loopback(), day(60)), Some(Reason::Old));
        assert_eq!(mode(&host.layout.certificate_key()), 0o640, "a unit of its own user reads it");
        assert_eq!(mode(&host.layout.certificate_folder()), 0o750, "the folder stays shared");
        let authority = fs::read_to_string(&host.secret).unwrap();
        let told = host.authority().certificate().to_owned();
        assert!(authority.contains("PRIVATE KEY") && !told.contains("PRIVATE KEY"));
        assert!(told.starts_with(BEGIN_CERTIFICATE));
    }

    #[test]
    fn names_are_those_that_lead_here_from_elsewhere() {
        let addresses = ["127.0.0.1", "10.0.0.7", "169.254.1.1", "fe80::1", "::1", "2001:db8::7"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let found = names(Some("GPU-1.internal".to_owned()), addresses, "203.0.113.9".parse().ok());
        let expected = ["localhost", "127.0.0.1", "::1", "gpu-1.internal", "10.0.0.7", "2001:db8::7", "203.0.113.9"];
        assert_eq!(found, expected.map(str::to_owned).into());
        for bad in ["", "a_b", "-a", "a..b", "ü"] {
            assert_eq!(names(Some(bad.to_owned()), [], None), loopback(), "{bad:?}");
        }
        assert_eq!(names_of_host(Reach::Loopback, "203.0.113.9".parse().ok()), loopback());
    }

    #[test]
    fn a_secret_that_is_no_authority_is_refused_by_name() {
        let host = Host::new();
        for text in ["", "dsk-00", "-----BEGIN CERTIFICATE-----\n"] {
            fs::write(&host.secret, text).unwrap();
            let error = Authority::read(&host.secret, &"demo".parse().unwrap()).err().unwrap().to_string();
            assert!(error.contains("tls-ca") && error.contains("no certificate authority"), "{error}");
        }
    }
}
