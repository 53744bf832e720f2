//! What Google's services need to use a key of the user's own, and what to say when they may not. dsctl gives no such right:
//! whose key it is decides who uses it, and its project is often another one.

use super::error::{Denied, Why};

const ROLE: &str = "roles/cloudkms.cryptoKeyEncrypterDecrypter";

/// Which service encrypts; each does it as a service agent of the deployment's project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypts {
    /// Disks: Compute Engine.
    Disk,
    /// Objects: Cloud Storage.
    Bucket,
}

/// A denial with the command that lifts it, where it is for lack of that right.
pub fn with_grant(denied: Denied, encrypts: Encrypts, key: Option<&str>, project: &str) -> Denied {
    match key {
        Some(key) if denied.why == Why::NoKey => {
            Denied { error: denied.error.with_next(grant(encrypts, key, project)), ..denied }
        }
        _ => denied,
    }
}

/// Only the project's number is in an agent's name, and nothing that dsctl may ask says it.
fn grant(encrypts: Encrypts, key: &str, project: &str) -> String {
    match encrypts {
        Encrypts::Disk => format!(
            "gcloud kms keys add-iam-policy-binding {key} --role={ROLE} --member=serviceAccount:service-$(gcloud projects \
             describe {project} --format='value(projectNumber)')@compute-system.iam.gserviceaccount.com"
        ),
        Encrypts::Bucket => format!("gcloud storage service-agent --project={project} --authorize-cmek={key}"),
    }
}

/// Where it is not known which key it was.
pub fn look() -> String {
    format!(
        "gcloud kms keys get-iam-policy KEY (Google's service agents need {ROLE}: `docs/operations.md` has the commands)"
    )
}

#[cfg(test)]
mod tests {
    use engine::provider::{ErrorKind, ProviderError};

    use super::*;

    const KEY: &str = "projects/k/locations/europe-west4/keyRings/r/cryptoKeys/k";

    fn told(why: Why, encrypts: Encrypts, key: Option<&str>) -> Option<String> {
        let error = ProviderError::new(ErrorKind::Credentials, "x", "m").with_next("as before");
        with_grant(Denied { why, error }, encrypts, key, "p").error.next
    }

    #[test]
    fn each_service_has_its_command_with_key_and_project() {
        let bucket = told(Why::NoKey, Encrypts::Bucket, Some(KEY)).unwrap();
        assert_eq!(bucket, format!("gcloud storage service-agent --project=p --authorize-cmek={KEY}"));
        let disk = told(Why::NoKey, Encrypts::Disk, Some(KEY)).unwrap();
        assert!(disk.starts_with(&format!("gcloud kms keys add-iam-policy-binding {KEY} --role={ROLE} ")), "{disk}");
        assert!(
            disk.contains("$(gcloud projects describe p --format='value(projectNumber)')@compute-system."),
            "{disk}"
        );
    }

    #[test]
    fn what_was_denied_for_another_reason_or_without_a_key_stays_as_it_is() {
        assert_eq!(told(Why::Other, Encrypts::Disk, Some(KEY)).as_deref(), Some("as before"));
        assert_eq!(told(Why::NoKey, Encrypts::Bucket, None).as_deref(), Some("as before"));
    }
}
