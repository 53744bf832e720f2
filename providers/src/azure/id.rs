//! Ids of what Azure Resource Manager keeps, and the names that ours have.
//!
//! Azure compares ids without case and answers in any; here they have one form, so that a plain comparison does. A name
//! follows from the deployment's lineage and the address (a machine's from its token too), so that what an interrupted call
//! left is found by asking for it.

use engine::graph::Address;
use engine::provider::Token;
use sha2::{Digest, Sha256};
use spec::id::DeploymentName;

use super::kind;

/// How ids write these; all else of an id is in lower case.
const WORDS: [&str; 29] = [
    "subscriptions",
    "resourceGroups",
    "providers",
    "Microsoft.Resources",
    "Microsoft.Network",
    "networkSecurityGroups",
    "publicIPAddresses",
    "natGateways",
    "virtualNetworks",
    "subnets",
    "networkInterfaces",
    "ipConfigurations",
    "Microsoft.ManagedIdentity",
    "userAssignedIdentities",
    "Microsoft.Storage",
    "storageAccounts",
    "blobServices",
    "managementPolicies",
    "containers",
    "Microsoft.Authorization",
    "roleAssignments",
    "roleDefinitions",
    "locks",
    "Microsoft.Compute",
    "virtualMachines",
    "disks",
    "images",
    "galleries",
    "versions",
];

/// Versions of the interface, by the type of the thing: pinned, since answers are read by them.
const VERSIONS: [(&str, &str); 15] = [
    (GROUP, "2025-04-01"),
    ("Microsoft.Network/networkSecurityGroups", NETWORK_VERSION),
    ("Microsoft.Network/publicIPAddresses", NETWORK_VERSION),
    ("Microsoft.Network/natGateways", NETWORK_VERSION),
    ("Microsoft.Network/virtualNetworks", NETWORK_VERSION),
    ("Microsoft.Network/networkInterfaces", NETWORK_VERSION),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", "2024-11-30"),
    ("Microsoft.Storage/storageAccounts", STORAGE_VERSION),
    ("Microsoft.Storage/storageAccounts/blobServices", STORAGE_VERSION),
    ("Microsoft.Storage/storageAccounts/blobServices/containers", STORAGE_VERSION),
    ("Microsoft.Storage/storageAccounts/managementPolicies", STORAGE_VERSION),
    ("Microsoft.Authorization/roleAssignments", "2022-04-01"),
    ("Microsoft.Authorization/locks", "2020-05-01"),
    ("Microsoft.Compute/virtualMachines", COMPUTE_VERSION),
    ("Microsoft.Compute/disks", "2025-01-02"),
];
pub const COMPUTE_VERSION: &str = "2025-04-01";
pub const RESOURCES_VERSION: &str = "2025-04-01";
pub const SUBSCRIPTION_VERSION: &str = "2022-12-01";
pub const SIZES_VERSION: &str = "2021-07-01";
pub const ROLES_VERSION: &str = "2022-04-01";
const NETWORK_VERSION: &str = "2025-05-01";
const STORAGE_VERSION: &str = "2025-01-01";

pub const GROUP: &str = "Microsoft.Resources/resourceGroups";
/// The one subnet of a network.
pub const SUBNET: &str = "machines";
/// The container of a storage account.
pub const CONTAINER: &str = "dsctl";
const ACCOUNT_LETTERS: usize = 19;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// An id in the one form.
pub fn canonical(id: &str) -> String {
    let segments = id.trim_end_matches('/').split('/').map(|segment| {
        let known = WORDS.iter().find(|word| word.eq_ignore_ascii_case(segment));
        known.map_or_else(|| segment.to_ascii_lowercase(), |word| (*word).to_owned())
    });
    segments.collect::<Vec<_>>().join("/")
}

/// E.g. `Microsoft.Compute/virtualMachines`; that of what lies at its end, as a lock on a machine.
pub fn type_of(id: &str) -> String {
    let id = canonical(id);
    let Some((_, own)) = id.rsplit_once("/providers/") else { return GROUP.to_owned() };
    let mut segments = own.split('/');
    let namespace = segments.next().unwrap_or_default().to_owned();
    segments.step_by(2).fold(namespace, |text, part| format!("{text}/{part}"))
}

/// The version that things of this type are asked for with; none where it is not known.
pub fn version_of(id: &str) -> Option<&'static str> {
    let own = type_of(id);
    VERSIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&own)).map(|(_, version)| *version)
}

/// The last part.
pub fn name_of(id: &str) -> &str {
    id.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The group that something lies in, or that it is.
pub fn group_of(id: &str) -> Option<String> {
    let id = canonical(id);
    let segments: Vec<&str> = id.split('/').take(5).collect();
    (segments.len() == 5 && segments[3] == "resourceGroups").then(|| segments.join("/"))
}

/// The storage account that something lies in, or that it is.
pub fn account_of(id: &str) -> Option<String> {
    let id = canonical(id);
    let (group, rest) = id.split_once("/providers/Microsoft.Storage/storageAccounts/")?;
    let account = rest.split('/').next()?;
    Some(format!("{group}/providers/Microsoft.Storage/storageAccounts/{account}"))
}

/// The same bytes give the same UUID (RFC 9562, version 8: from a digest of our own).
pub fn uuid(of: &str) -> String {
    let mut bytes: [u8; 16] = std::array::from_fn(|_| 0);
    bytes.copy_from_slice(&Sha256::digest(of)[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// What the things of one state of a deployment are called.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    pub subscription: &'a str,
    pub deployment: &'a DeploymentName,
    pub lineage: &'a str,
}

impl Names<'_> {
    /// The id of what an intent makes, as far as Resource Manager keeps it.
    pub fn id(&self, address: &Address, token: &Token) -> Option<String> {
        let name = address.name();
        Some(canonical(&match address.kind() {
            kind::GROUP => self.group(),
            kind::SECURITY_GROUP => self.inside(&format!("Microsoft.Network/networkSecurityGroups/{name}")),
            kind::PUBLIC_ADDRESS => self.inside(&format!("Microsoft.Network/publicIPAddresses/{name}")),
            kind::NAT_GATEWAY => self.inside(&format!("Microsoft.Network/natGateways/{name}")),
            kind::NETWORK => self.inside(&format!("Microsoft.Network/virtualNetworks/{name}")),
            kind::IDENTITY => self.inside(&format!("Microsoft.ManagedIdentity/userAssignedIdentities/{name}")),
            kind::STORAGE => self.account(),
            kind::BUCKET => self.container(),
            kind::ACCESS if name == kind::OPERATOR => role_assignment(&self.account(), address.as_str()),
            kind::ACCESS => role_assignment(&self.container(), address.as_str()),
            kind::MACHINE => self.inside(&format!("Microsoft.Compute/virtualMachines/{name}-{}", short(token))),
            _ => return None,
        }))
    }

    fn group(&self) -> String {
        let lineage = self.lineage.get(..8).unwrap_or(self.lineage);
        format!("/subscriptions/{}/resourceGroups/dsctl-{}-{lineage}", self.subscription, self.deployment)
    }

    fn inside(&self, own: &str) -> String {
        format!("{}/providers/{own}", self.group())
    }

    fn account(&self) -> String {
        let Self { subscription, deployment, lineage } = self;
        self.inside(&format!("Microsoft.Storage/storageAccounts/{}", account_name(subscription, deployment, lineage)))
    }

    fn container(&self) -> String {
        format!("{}/blobServices/default/containers/{CONTAINER}", self.account())
    }
}

/// One of the world: at most 24 small letters and digits.
fn account_name(subscription: &str, deployment: &DeploymentName, lineage: &str) -> String {
    let digest = Sha256::digest(format!("{subscription}/{deployment}/{lineage}"));
    let letters = digest.iter().take(ACCOUNT_LETTERS).map(|byte| char::from(BASE32[usize::from(byte & 31)]));
    std::iter::once("dsctl".to_owned()).chain(letters.map(String::from)).collect()
}

/// The assignment of a role on something: called by a UUID that follows from what it is for.
pub fn role_assignment(scope: &str, what: &str) -> String {
    let scope = canonical(scope);
    format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{}", uuid(&format!("{scope} {what}")))
}

/// What tells a replaced thing from the one that it stands beside.
fn short(token: &Token) -> String {
    hex::encode(Sha256::digest(&token.0)).chars().take(6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIPTION: &str = "11111111-2222-3333-4444-55555555abcd";

    #[test]
    fn an_id_has_one_form_whatever_azure_makes_of_it() {
        let written =
            "/subscriptions/S/resourcegroups/DSCTL-A/providers/microsoft.network/VIRTUALNETWORKS/Main/subnets/M/";
        let expected =
            "/subscriptions/s/resourceGroups/dsctl-a/providers/Microsoft.Network/virtualNetworks/main/subnets/m";
        assert_eq!(canonical(written), expected);
        assert_eq!(canonical(expected), expected);
    }

    #[test]
    fn an_id_tells_its_type_its_version_and_where_it_lies() {
        let machine = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/main-1";
        assert_eq!(type_of(machine), "Microsoft.Compute/virtualMachines");
        let lock = format!("{machine}/providers/Microsoft.Authorization/locks/dsctl");
        assert_eq!((type_of(&lock).as_str(), version_of(&lock)), ("Microsoft.Authorization/locks", Some("2020-05-01")));
        assert_eq!((name_of(&lock), group_of(&lock).as_deref()), ("dsctl", Some("/subscriptions/s/resourceGroups/g")));
        assert_eq!(type_of("/subscriptions/s/resourceGroups/g"), GROUP);
        assert_eq!(group_of("/subscriptions/s"), None);
        assert_eq!(version_of("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/x"), None);
        let blob = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers/dsctl";
        assert_eq!(account_of(blob).as_deref().map(name_of), Some("a"));
        assert_eq!(version_of(blob), Some(STORAGE_VERSION));
        assert_eq!(account_of(machine), None);
    }

    #[test]
    fn every_version_is_of_a_type_whose_words_are_known() {
        for (name, _) in VERSIONS {
            assert_eq!(canonical(name), name);
        }
    }

    #[test]
    fn names_follow_from_lineage_address_and_token() {
        let deployment: DeploymentName = "default".parse().unwrap();
        let names = Names { subscription: SUBSCRIPTION, deployment: &deployment, lineage: "00ff00ff00ff00ff" };
        let token = Token("feedfeedfeedfeed".to_owned());
        let id = |address: &str| names.id(&Address::parse(address).unwrap(), &token).unwrap();
        assert_eq!(id("group.main"), format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/dsctl-default-00ff00ff"));
        assert_eq!(name_of(&id("machine.main")).len(), "main-".len() + 6);
        let account = name_of(&id("storage.main")).to_owned();
        assert_eq!(account.len(), 24);
        assert!(account.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{account}");
        assert!(id("access.machine").starts_with(&id("bucket.main")));
        assert_ne!(id("access.machine"), id("access.operator"));
        assert!(names.id(&Address::new("secret", "api-key"), &token).is_none(), "it is no thing of Resource Manager");
        let other = Names { lineage: "11ff00ff00ff00ff", ..names };
        assert_ne!(
            other.id(&Address::new("storage", "main"), &token),
            names.id(&Address::new("storage", "main"), &token)
        );
    }

    #[test]
    fn a_uuid_is_one_and_the_same_for_the_same() {
        let made = uuid("a");
        assert_eq!(made, uuid("a"));
        assert_ne!(made, uuid("b"));
        let lengths: Vec<usize> = made.split('-').map(str::len).collect();
        assert_eq!((lengths, &made[14..15]), (vec![8, 4, 4, 4, 12], "8"));
    }
}
