//! The kinds of resources: what each makes of a body, what keeps it from going, how long that takes.

use serde_json::Value;

use super::ask::Refusal;
use super::place::Place;
use super::world::{Thing, World};
use super::{addresses, containers, disks, identities, images, interfaces, machines, networks, storage};

/// How a service carries out what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// At once. The status of something new.
    Direct(u16),
    Machine,
    Disk,
    Network,
    /// Made while a `Location` is asked; removed at once.
    Account,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub name: &'static str,
    pub style: Style,
    /// Whether it shows among the resources of its group.
    pub is_tracked: bool,
    /// What a look shows for a body: `properties`, and whatever else stands beside it.
    pub put: fn(&World, &Put<'_>) -> Result<Value, Refusal>,
    /// What stands in its way that counts how often it was tried.
    pub may_come: fn(&mut World, &Put<'_>) -> Result<(), Refusal>,
    /// Why it will fail when it seems to be under way.
    pub fate: fn(&World, &Thing) -> Option<Refusal>,
    /// After it was made.
    pub made: fn(&mut World, &str),
    /// With what other things say of it.
    pub view: fn(&World, &Thing) -> Value,
    pub may_go: fn(&mut World, &str) -> Result<(), Refusal>,
    pub gone: fn(&mut World, &Thing),
}

/// A body that came for an id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Put<'a> {
    pub id: &'a str,
    pub place: &'a Place,
    pub asked: &'a Value,
    pub old: Option<&'a Thing>,
}

impl Put<'_> {
    pub fn property(&self, name: &str) -> &Value {
        &self.asked["properties"][name]
    }

    pub fn location(&self) -> &str {
        self.asked["location"].as_str().unwrap_or_default()
    }
}

const PLAIN: Kind = Kind {
    name: "",
    style: Style::Direct(201),
    is_tracked: true,
    put: |_, put| Ok(put.asked.clone()),
    may_come: |_, _| Ok(()),
    fate: |_, _| None,
    made: |_, _| {},
    view: |_, thing| thing.body.clone(),
    may_go: |_, _| Ok(()),
    gone: |_, _| {},
};

pub(super) const NETWORK: &str = "Microsoft.Network/virtualNetworks";
pub(super) const SECURITY_GROUP: &str = "Microsoft.Network/networkSecurityGroups";
pub(super) const ADDRESS: &str = "Microsoft.Network/publicIPAddresses";
pub(super) const GATEWAY: &str = "Microsoft.Network/natGateways";
pub(super) const INTERFACE: &str = "Microsoft.Network/networkInterfaces";
pub(super) const MACHINE: &str = "Microsoft.Compute/virtualMachines";
pub(super) const DISK: &str = "Microsoft.Compute/disks";
pub(super) const IMAGE: &str = "Microsoft.Compute/images";
pub(super) const GALLERY: &str = "Microsoft.Compute/galleries";
pub(super) const GALLERY_IMAGE: &str = "Microsoft.Compute/galleries/images";
pub(super) const GALLERY_VERSION: &str = "Microsoft.Compute/galleries/images/versions";
pub(super) const IDENTITY: &str = "Microsoft.ManagedIdentity/userAssignedIdentities";
pub(super) const ACCOUNT: &str = "Microsoft.Storage/storageAccounts";
pub(super) const BLOB_SERVICE: &str = "Microsoft.Storage/storageAccounts/blobServices";
pub(super) const CONTAINER: &str = "Microsoft.Storage/storageAccounts/blobServices/containers";
pub(super) const IMMUTABILITY: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies";
pub(super) const LIFE_CYCLE: &str = "Microsoft.Storage/storageAccounts/managementPolicies";

static KINDS: [Kind; 17] = [
    Kind {
        name: NETWORK,
        style: Style::Network,
        put: networks::put,
        view: networks::view,
        may_go: networks::may_go,
        ..PLAIN
    },
    Kind {
        name: SECURITY_GROUP,
        style: Style::Network,
        put: networks::put_security_group,
        view: networks::view_security_group,
        may_go: networks::may_security_group_go,
        ..PLAIN
    },
    Kind {
        name: ADDRESS,
        style: Style::Network,
        put: addresses::put,
        view: addresses::view,
        may_go: addresses::may_go,
        ..PLAIN
    },
    Kind {
        name: GATEWAY,
        style: Style::Network,
        put: addresses::put_gateway,
        view: addresses::view_gateway,
        may_go: addresses::may_gateway_go,
        ..PLAIN
    },
    Kind {
        name: INTERFACE,
        style: Style::Network,
        put: interfaces::put,
        may_go: interfaces::may_go,
        view: interfaces::view,
        ..PLAIN
    },
    Kind {
        name: MACHINE,
        style: Style::Machine,
        put: machines::put,
        may_come: machines::may_come,
        fate: machines::fate,
        made: machines::made,
        gone: machines::gone,
        ..PLAIN
    },
    Kind { name: DISK, style: Style::Disk, put: disks::put, view: disks::view, may_go: disks::may_go, ..PLAIN },
    Kind { name: IMAGE, style: Style::Machine, put: images::put, ..PLAIN },
    Kind { name: GALLERY, style: Style::Machine, put: images::put, ..PLAIN },
    Kind { name: GALLERY_IMAGE, style: Style::Machine, put: images::put, ..PLAIN },
    Kind { name: GALLERY_VERSION, style: Style::Machine, put: images::put, ..PLAIN },
    Kind { name: IDENTITY, put: identities::put, made: identities::made, gone: identities::gone, ..PLAIN },
    Kind {
        name: ACCOUNT,
        style: Style::Account,
        put: storage::put,
        made: storage::made,
        may_go: storage::may_go,
        gone: storage::gone,
        ..PLAIN
    },
    Kind { name: BLOB_SERVICE, style: Style::Direct(200), is_tracked: false, put: storage::put_service, ..PLAIN },
    Kind {
        name: CONTAINER,
        is_tracked: false,
        put: containers::put,
        view: containers::view,
        may_go: containers::may_go,
        gone: containers::gone,
        ..PLAIN
    },
    Kind {
        name: IMMUTABILITY,
        style: Style::Direct(200),
        is_tracked: false,
        put: containers::put_immutability,
        ..PLAIN
    },
    Kind { name: LIFE_CYCLE, style: Style::Direct(200), is_tracked: false, put: storage::put_life_cycle, ..PLAIN },
];

/// By a name in any case.
pub(super) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
}

impl Kind {
    /// `Microsoft.Network`.
    pub fn namespace(&self) -> &'static str {
        self.name.split('/').next().unwrap_or_default()
    }

    pub fn looks(&self, world: &World) -> u32 {
        let looks = world.settings.looks;
        match self.style {
            Style::Direct(_) => 0,
            Style::Machine => looks.machine,
            Style::Disk => looks.disk,
            Style::Network => looks.network,
            Style::Account => looks.storage,
        }
    }

    pub const fn has_state(&self) -> bool {
        !matches!(self.style, Style::Direct(_))
    }
}
