//! A key of the user's own that disk and bucket are encrypted by, in place of the cloud's.

use serde::{Deserialize, Serialize};

use crate::deployment::Cloud;

/// Its form is checked; whether there is such a key, the cloud says when it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionKey {
    /// In full, as the cloud writes it.
    pub name: String,
    /// Where in the cloud it lies: a region, or something wider.
    pub location: String,
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEncryptionKey {
    #[error("a key of your own is for gcp only yet; on {0} the cloud's own keys encrypt disk and storage")]
    NotOn(Cloud),
    #[error("\"{0}\" is no key of Cloud KMS: projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY")]
    Form(String),
}

impl EncryptionKey {
    /// Reads what the user wrote for a deployment on `cloud`.
    pub fn read(cloud: Cloud, given: &str) -> Result<Self, InvalidEncryptionKey> {
        match cloud {
            Cloud::Gcp => of_cloud_kms(given).ok_or_else(|| InvalidEncryptionKey::Form(given.to_owned())),
            Cloud::Local | Cloud::Aws | Cloud::Azure => Err(InvalidEncryptionKey::NotOn(cloud)),
        }
    }
}

/// Without a version: new data is encrypted by whichever is the key's first one then.
fn of_cloud_kms(given: &str) -> Option<EncryptionKey> {
    let parts: Vec<&str> = given.split('/').collect();
    let ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key] = parts.as_slice() else {
        return None;
    };
    let is_small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_of_project = |byte: u8| is_small(byte) || matches!(byte, b'.' | b':');
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_well = is_made_of(project, is_of_project)
        && is_made_of(location, is_small)
        && is_made_of(ring, is_of_name)
        && is_made_of(key, is_of_name);
    is_well.then(|| EncryptionKey { name: given.to_owned(), location: (*location).to_owned() })
}

fn is_made_of(part: &str, is_taken: impl Fn(u8) -> bool) -> bool {
    !part.is_empty() && part.len() <= 63 && part.bytes().all(is_taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "projects/p-1/locations/europe-west4/keyRings/Ring_1/cryptoKeys/key-1";

    #[test]
    fn a_key_of_cloud_kms_says_where_it_lies() {
        let key = EncryptionKey::read(Cloud::Gcp, KEY).unwrap();
        assert_eq!((key.name.as_str(), key.location.as_str()), (KEY, "europe-west4"));
        assert!(EncryptionKey::read(Cloud::Gcp, &KEY.replace("p-1", "example.com:p")).is_ok());
    }

    #[test]
    fn what_is_no_key_is_told_what_one_looks_like() {
        for bad in [
            "",
            "key-1",
            "projects/p/locations/l/keyRings/r",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "projects/p/locations/EU/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r r/cryptoKeys/k",
            "//cloudkms.googleapis.com/projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "arn:aws:kms:eu-west-1:1:key/2",
        ] {
            let error = EncryptionKey::read(Cloud::Gcp, bad).unwrap_err();
            assert_eq!(error, InvalidEncryptionKey::Form(bad.to_owned()));
            assert!(error.to_string().contains("/keyRings/RING/cryptoKeys/KEY"), "{error}");
        }
    }

    #[test]
    fn on_other_clouds_there_is_none_yet() {
        for cloud in [Cloud::Local, Cloud::Aws, Cloud::Azure] {
            assert_eq!(EncryptionKey::read(cloud, KEY), Err(InvalidEncryptionKey::NotOn(cloud)));
        }
    }
}
