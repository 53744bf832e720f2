//! What things of a deployment are called, and how their ids are written: Google's own paths from `projects/` on, so that
//! an id alone leads to its thing.
//!
//! Names are the same for the same deployment and lineage: a create that comes twice meets what the first one made.

use std::fmt;

use engine::provider::{ProviderError, Token};
use engine::state::RemoteId;
use sha2::{Digest, Sha256};
use spec::id::DeploymentName;

const PREFIX: &str = "dsctl-";
const LINEAGE: usize = 8;
/// Of a machine's name: one that is replaced stands beside its successor.
const TOKEN: usize = 6;
const ACCOUNT_ID: usize = 16;
/// What the name of a bucket must not hold.
const NOT_IN_BUCKETS: [&str; 2] = ["google", "g00gle"];

/// `dsctl-DEPLOYMENT-LINEAGE`: network, subnet and router; at most 55 characters of the 63 that Google takes.
pub fn base(deployment: &DeploymentName, lineage: &str) -> String {
    let lineage: String = lineage.chars().filter(char::is_ascii_alphanumeric).take(LINEAGE).collect();
    format!("{PREFIX}{deployment}-{}", lineage.to_ascii_lowercase())
}

pub fn firewall(deployment: &DeploymentName, lineage: &str) -> String {
    format!("{}-gateway", base(deployment, lineage))
}

/// Of a machine and its boot disk.
pub fn machine(deployment: &DeploymentName, lineage: &str, token: &Token) -> String {
    format!("{}-{}", base(deployment, lineage), digest(&token.0, TOKEN))
}

/// Of a service account, in six to thirty characters: what comes before the at sign.
pub fn account_id(deployment: &DeploymentName, lineage: &str) -> String {
    format!("{PREFIX}{}", digest(&format!("{deployment} {lineage}"), ACCOUNT_ID))
}

/// A service account's e-mail address; a project of an organisation's domain is written the other way round.
pub fn email(account_id: &str, project: &str) -> String {
    let project = match project.split_once(':') {
        Some((domain, project)) => format!("{project}.{domain}"),
        None => project.to_owned(),
    };
    format!("{account_id}@{project}.iam.gserviceaccount.com")
}

/// Of a bucket, for all the world: the token makes it the only one, and one that nobody can take beforehand.
pub fn bucket(deployment: &DeploymentName, token: &Token) -> String {
    let token: String = token.0.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let is_refused = NOT_IN_BUCKETS.iter().any(|word| deployment.as_str().contains(word));
    let deployment = if is_refused { digest(deployment.as_str(), ACCOUNT_ID) } else { deployment.to_string() };
    format!("{PREFIX}{deployment}-{}", token.to_ascii_lowercase())
}

/// A filter of lists: what may be ours by its name.
pub fn ours() -> String {
    format!("name eq {PREFIX}.*")
}

/// How the name of each bucket of ours begins.
pub const fn prefix() -> &'static str {
    PREFIX
}

/// The first hex digits of a digest.
fn digest(text: &str, length: usize) -> String {
    hex::encode(Sha256::digest(text)).chars().take(length).collect()
}

/// The last part of a link: a name.
pub fn last(link: &str) -> &str {
    link.rsplit('/').next().unwrap_or(link)
}

/// A link from `projects/` on, as ids are written; what is no link stays as it is.
pub fn relative(link: &str) -> &str {
    link.find("projects/").map_or(link, |at| &link[at..])
}

/// Where in a project something lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Global,
    Region(String),
    Zone(String),
}

/// Something of Compute Engine: `projects/P/global/networks/N`, `projects/P/zones/Z/instances/N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub project: String,
    pub scope: Scope,
    /// E.g. `networks`.
    pub collection: String,
    pub name: String,
}

impl Path {
    pub fn global(project: &str, collection: &str, name: &str) -> Self {
        Self::new(project, Scope::Global, collection, name)
    }

    pub fn regional(project: &str, region: &str, collection: &str, name: &str) -> Self {
        Self::new(project, Scope::Region(region.to_owned()), collection, name)
    }

    pub fn zonal(project: &str, zone: &str, collection: &str, name: &str) -> Self {
        Self::new(project, Scope::Zone(zone.to_owned()), collection, name)
    }

    fn new(project: &str, scope: Scope, collection: &str, name: &str) -> Self {
        Self { project: project.to_owned(), scope, collection: collection.to_owned(), name: name.to_owned() }
    }

    /// Of an id, or of a whole link.
    pub fn parse(link: &str) -> Result<Self, ProviderError> {
        let parts: Vec<&str> = relative(link).split('/').collect();
        let found = match parts[..] {
            ["projects", project, "global", collection, name] => Self::global(project, collection, name),
            ["projects", project, "regions", region, collection, name] => {
                Self::regional(project, region, collection, name)
            }
            ["projects", project, "zones", zone, collection, name] => Self::zonal(project, zone, collection, name),
            _ => return Err(ProviderError::permanent(link, "it is no path of Compute Engine")),
        };
        Ok(found)
    }

    pub fn id(&self) -> RemoteId {
        RemoteId(self.to_string())
    }

    /// Its region or its zone; empty for what is global.
    pub fn place(&self) -> &str {
        match &self.scope {
            Scope::Global => "",
            Scope::Region(place) | Scope::Zone(place) => place,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, scope, collection, name } = self;
        match scope {
            Scope::Global => write!(f, "projects/{project}/global/{collection}/{name}"),
            Scope::Region(region) => write!(f, "projects/{project}/regions/{region}/{collection}/{name}"),
            Scope::Zone(zone) => write!(f, "projects/{project}/zones/{zone}/{collection}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_name(text: &str) -> bool {
        let bytes = text.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes[bytes.len() - 1] != b'-'
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    }

    #[test]
    fn every_name_is_one_that_google_takes() {
        let (lineage, token) = ("00ff00ff00ff00ff", Token("a1b2c3d4e5f60718".to_owned()));
        for name in ["a", "default", &"a".repeat(40), "google-models"] {
            let deployment: DeploymentName = name.parse().unwrap();
            let all =
                [base(&deployment, lineage), firewall(&deployment, lineage), machine(&deployment, lineage, &token)];
            assert!(all.iter().all(|name| is_name(name)), "{all:?}");
            let account = account_id(&deployment, lineage);
            assert!(is_name(&account) && (6..=30).contains(&account.len()), "{account}");
            let bucket = bucket(&deployment, &token);
            assert!(is_name(&bucket) && bucket.len() >= 3 && !bucket.contains("google"), "{bucket}");
        }
    }

    #[test]
    fn names_are_the_lineages_and_a_machines_the_tokens() {
        let deployment: DeploymentName = "default".parse().unwrap();
        let token = |text: &str| Token(text.to_owned());
        assert_eq!(base(&deployment, "00ff00ff00ff00ff"), "dsctl-default-00ff00ff");
        assert_eq!(firewall(&deployment, "00ff00ff00ff00ff"), "dsctl-default-00ff00ff-gateway");
        let (one, other) = (machine(&deployment, "l", &token("1")), machine(&deployment, "l", &token("2")));
        assert_ne!(one, other);
        assert_eq!(one, machine(&deployment, "l", &token("1")));
        assert_ne!(account_id(&deployment, "1"), account_id(&deployment, "2"));
        assert_eq!(bucket(&deployment, &token("00ff00ff00ff00ff")), "dsctl-default-00ff00ff00ff00ff");
    }

    #[test]
    fn a_project_of_a_domain_has_its_address_turned_round() {
        assert_eq!(email("dsctl-1", "p"), "dsctl-1@p.iam.gserviceaccount.com");
        assert_eq!(email("dsctl-1", "example.com:p"), "dsctl-1@p.example.com.iam.gserviceaccount.com");
    }

    #[test]
    fn an_id_leads_to_its_path_and_back_and_a_link_too() {
        let all = [
            Path::global("p", "networks", "n"),
            Path::regional("p", "europe-west4", "subnetworks", "n"),
            Path::zonal("p", "europe-west4-a", "instances", "n"),
        ];
        for path in all {
            assert_eq!(Path::parse(&path.id().0).unwrap(), path);
            assert_eq!(Path::parse(&format!("https://www.googleapis.com/compute/v1/{path}")).unwrap(), path);
        }
        for bad in ["n", "projects/p/global/networks", "projects/p/zones/z/instances/n/more"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(last("https://x/zones/europe-west4-a"), "europe-west4-a");
    }
}
