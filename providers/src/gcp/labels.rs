//! Whose a resource is. Where Google has labels (bucket, machine, disk), labels; where it has none (network, subnet, router,
//! firewall rule, service account), one line of JSON in the description; on objects, their metadata. A resource carries it
//! from the call that makes it, so that what an interrupted run left is found, and nothing more is found at all.

use std::collections::{BTreeMap, HashMap};

use engine::graph::Address;
use engine::provider::{Owned, Token};
use engine::state::RemoteId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spec::id::DeploymentName;

pub const DEPLOYMENT: &str = "dsctl-deployment";
pub const ADDRESS: &str = "dsctl-address";
pub const TOKEN: &str = "dsctl-token";
pub const LINEAGE: &str = "dsctl-lineage";
/// Whoever made it, as far as the settings tell.
pub const OWNER: &str = "dsctl-owner";

pub const ALL: [&str; 5] = [DEPLOYMENT, ADDRESS, TOKEN, LINEAGE, OWNER];
/// Without these it is not found again, but by its name.
const NEEDED: [&str; 3] = [DEPLOYMENT, ADDRESS, LINEAGE];
/// The longest value of a label.
const LONGEST: usize = 63;
/// Of a value that is too long, so that no two of them are the same.
const DIGEST: usize = 8;

pub type Labels = BTreeMap<String, String>;

/// Whose a resource is.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    pub deployment: &'a DeploymentName,
    pub address: &'a Address,
    pub token: &'a Token,
    pub lineage: &'a str,
    pub owner: &'a str,
}

/// What a description holds.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    dsctl: Ownership,
}

/// The same, read back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ownership {
    pub deployment: String,
    pub address: String,
    pub token: String,
    pub lineage: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// What lies at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Nothing.
    Absent,
    /// Something that dsctl did not make.
    Strangers,
    Marked(Ownership),
}

impl Whose {
    pub fn described(description: Option<&str>) -> Self {
        Ownership::of_description(description).map_or(Self::Strangers, Self::Marked)
    }

    pub fn labelled<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Ownership::of_labels(labels).map_or(Self::Strangers, Self::Marked)
    }

    /// The id, if this token made what is there.
    pub fn found_by(&self, token: &Token, id: RemoteId) -> Option<RemoteId> {
        match self {
            Self::Marked(ownership) if ownership.token == token.0 => Some(id),
            Self::Marked(_) | Self::Strangers | Self::Absent => None,
        }
    }
}

impl Mark<'_> {
    fn pairs(&self) -> [(&'static str, String); 5] {
        [
            (DEPLOYMENT, self.deployment.to_string()),
            (ADDRESS, self.address.to_string()),
            (TOKEN, self.token.0.clone()),
            (LINEAGE, self.lineage.to_owned()),
            (OWNER, self.owner.to_owned()),
        ]
    }

    /// For what has labels.
    pub fn labels(&self) -> Labels {
        self.pairs().into_iter().map(|(key, value)| (key.to_owned(), label(&value))).collect()
    }

    /// For objects, whose metadata takes any text.
    pub fn metadata(&self) -> Labels {
        self.pairs().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// For what has a description only: 256 bytes at most where it is a service account's, so the owner is left out.
    pub fn description(&self) -> String {
        let ownership = Ownership {
            deployment: self.deployment.to_string(),
            address: self.address.to_string(),
            token: self.token.0.clone(),
            lineage: self.lineage.to_owned(),
            owner: None,
        };
        serde_json::json!(Described { dsctl: ownership }).to_string()
    }
}

impl Ownership {
    /// None: it is none of ours.
    pub fn of_description(description: Option<&str>) -> Option<Self> {
        let described: Described = serde_json::from_str(description?).ok()?;
        Some(described.dsctl)
    }

    /// None: it is none of ours.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Option<Self> {
        let labels: HashMap<&str, &str> =
            labels.into_iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let of = |key: &str| labels.get(key).map(|value| (*value).to_owned());
        Some(Self {
            deployment: of(DEPLOYMENT)?,
            address: of(ADDRESS).map(|label| address_of(&label)).unwrap_or_default(),
            token: of(TOKEN).unwrap_or_default(),
            lineage: of(LINEAGE).unwrap_or_default(),
            owner: of(OWNER),
        })
    }

    /// Whether it was made for this address of this lineage, by whichever intent.
    pub fn is_place(&self, deployment: &DeploymentName, address: &Address, lineage: &str) -> bool {
        self.deployment == deployment.as_str() && self.address == address.as_str() && self.lineage == lineage
    }

    /// In the engine's words.
    pub fn owned(&self, remote_id: RemoteId) -> Owned {
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Owned {
            address: Address::parse(&self.address),
            token: set(&self.token).map(Token),
            remote_id,
            lineage: set(&self.lineage),
        }
    }
}

/// Whether labels lack what a resource is found by.
pub fn is_complete(labels: &Labels) -> bool {
    NEEDED.iter().all(|key| labels.get(*key).is_some_and(|value| !value.is_empty()))
}

/// Text as a label takes it: lower case, digits, dashes, underscores; what is too long ends in a digest of the whole.
pub fn label(text: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
    let written: String = text.chars().map(|letter| plain(letter).to_ascii_lowercase()).collect();
    if written.len() <= LONGEST {
        return written;
    }
    let digest: String = hex::encode(Sha256::digest(text)).chars().take(DIGEST).collect();
    format!("{}-{digest}", &written[..LONGEST - DIGEST - 1])
}

/// The address that a label tells: its dot is written as a dash, and no kind that has labels has a dash in its name.
fn address_of(label: &str) -> String {
    if label.contains('.') { label.to_owned() } else { label.replacen('-', ".", 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Marked {
        deployment: DeploymentName,
        address: Address,
        token: Token,
    }

    fn marked(address: &str) -> Marked {
        Marked {
            deployment: "default".parse().unwrap(),
            address: Address::parse(address).unwrap(),
            token: Token("00ff00ff00ff00ff".to_owned()),
        }
    }

    impl Marked {
        fn mark(&self) -> Mark<'_> {
            let Self { deployment, address, token } = self;
            Mark { deployment, address, token, lineage: "aa00aa00aa00aa00", owner: "ci@example.com" }
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for address in ["machine.main", "bucket.main"] {
            let marked = marked(address);
            let found = Ownership::of_labels(&marked.mark().labels()).unwrap();
            assert_eq!((found.address.as_str(), found.owner.as_deref()), (address, Some("ci-example-com")));
            assert_eq!(found.token, marked.token.0);
            assert!(found.is_place(&marked.deployment, &marked.address, &found.lineage));
        }
        let network = marked("network.main");
        let found = Ownership::of_description(Some(&network.mark().description())).unwrap();
        let owned = found.owned(RemoteId("n".to_owned()));
        assert_eq!(owned.address.unwrap().as_str(), "network.main");
        assert_eq!((owned.token, owned.lineage.as_deref()), (Some(network.token), Some("aa00aa00aa00aa00")));
        let object = marked("secret.api-key");
        let found = Ownership::of_labels(&object.mark().metadata()).unwrap();
        assert_eq!((found.address.as_str(), found.owner.as_deref()), ("secret.api-key", Some("ci@example.com")));
    }

    #[test]
    fn only_the_token_that_made_it_finds_it() {
        let id = RemoteId("projects/p/global/networks/n".to_owned());
        let made = Whose::Marked(Ownership { token: "t".to_owned(), ..Ownership::default() });
        assert_eq!(made.found_by(&Token("t".to_owned()), id.clone()), Some(id.clone()));
        assert_eq!(made.found_by(&Token("u".to_owned()), id.clone()), None);
        for other in [Whose::described(Some("somebody else's of that name")), Whose::Absent] {
            assert_eq!(other.found_by(&Token("t".to_owned()), id.clone()), None);
        }
    }

    #[test]
    fn what_is_somebody_elses_is_nobodys_to_us() {
        assert_eq!(Ownership::of_description(Some("the team's network")), None);
        assert_eq!(Ownership::of_description(Some("{\"managed\": \"by hand\"}")), None);
        assert_eq!(Ownership::of_description(None), None);
        assert_eq!(Ownership::of_labels(&Labels::from([("env".to_owned(), "prod".to_owned())])), None);
    }

    #[test]
    fn a_label_is_one_that_google_takes() {
        assert_eq!(label("Ada.Lovelace+x@Example.com"), "ada-lovelace-x-example-com");
        let long = label(&"x".repeat(100));
        assert_eq!(long.len(), LONGEST);
        assert_ne!(long, label(&"x".repeat(101)));
        assert_eq!(label("jürgen"), "j-rgen");
    }

    #[test]
    fn a_description_fits_where_least_is_taken() {
        let deployment: DeploymentName = "a".repeat(40).parse().unwrap();
        let marked = Marked { deployment, ..marked("service-account.machine") };
        assert!(marked.mark().description().len() <= 256);
    }

    #[test]
    fn a_label_that_is_gone_shows() {
        let mut labels = marked("bucket.main").mark().labels();
        assert!(is_complete(&labels));
        labels.remove(LINEAGE);
        assert!(!is_complete(&labels));
    }
}
