//! The one body that a machine is made with.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::provider::ProviderError;
use serde_json::{Value, json};
use spec::machine::Market;

use crate::azure::auth::{Azure, Making};
use crate::azure::boot;
use crate::azure::id::{account_of, name_of};
use crate::azure::kind::MachineInputs;
use crate::azure::network::vnet;
use crate::azure::offers::image;
use crate::azure::offers::sizes::Size;
use crate::azure::tags::Tags;
use crate::boot_script::BootFacts;

/// Azure demands one; nobody has the key to it.
const ADMINISTRATOR: &str = "dsctl";
/// Of the interface that the machine's call makes: an older one knows no tags.
const NETWORK_VERSION: &str = "2022-11-01";
const KEY_KIND: &[u8] = b"ssh-ed25519";

/// What a body is made from.
pub struct Parts<'a> {
    pub azure: &'a Azure,
    pub making: &'a Making<'a>,
    pub inputs: &'a MachineInputs,
    pub size: &'a Size,
    pub id: &'a str,
    pub tags: &'a Tags,
}

impl Parts<'_> {
    pub fn body(&self) -> Result<Value, ProviderError> {
        let identity = self.making.id(&self.inputs.identity)?;
        let mut body = json!({
            "location": self.azure.region,
            "tags": self.tags,
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
            "properties": self.properties()?,
        });
        if let Some(zone) = self.zone()? {
            body["zones"] = json!([zone]);
        }
        Ok(body)
    }

    /// The number in its full name.
    fn zone(&self) -> Result<Option<&str>, ProviderError> {
        let Some(zone) = &self.inputs.zone else { return Ok(None) };
        let number = zone.strip_prefix(self.azure.region.as_str()).and_then(|rest| rest.strip_prefix('-'));
        let wrong =
            || ProviderError::permanent(&self.making.desired.address, format!("{zone} is no zone of this region"));
        number.map(Some).ok_or_else(wrong)
    }

    fn properties(&self) -> Result<Value, ProviderError> {
        let mut properties = json!({
            "hardwareProfile": {"vmSize": self.inputs.machine_type},
            "storageProfile": self.storage()?,
            "osProfile": self.system()?,
            "networkProfile": {"networkApiVersion": NETWORK_VERSION, "networkInterfaceConfigurations": [self.interface()?]},
            "diagnosticsProfile": diagnostics(),
        });
        if self.size.encryption_at_host {
            properties["securityProfile"] = json!({"encryptionAtHost": true});
        }
        if self.inputs.market == Market::Spot {
            // At most the price of one that is not spot.
            properties["priority"] = json!("Spot");
            properties["evictionPolicy"] = json!("Delete");
            properties["billingProfile"] = json!({"maxPrice": -1});
        }
        Ok(properties)
    }

    fn storage(&self) -> Result<Value, ProviderError> {
        Ok(json!({
            "imageReference": image::reference(&self.inputs.image)?,
            "osDisk": {
                "name": name_of(self.id), "createOption": "FromImage", "deleteOption": "Delete", "caching": "ReadWrite",
                "diskSizeGB": self.inputs.disk_gib, "managedDisk": {"storageAccountType": "Premium_LRS"},
            },
        }))
    }

    fn system(&self) -> Result<Value, ProviderError> {
        let key = json!({"path": format!("/home/{ADMINISTRATOR}/.ssh/authorized_keys"), "keyData": public_key()?});
        Ok(json!({
            "computerName": format!("dsctl-{}", self.azure.deployment),
            "adminUsername": ADMINISTRATOR,
            "customData": STANDARD.encode(self.script()?),
            "linuxConfiguration": {"disablePasswordAuthentication": true, "ssh": {"publicKeys": [key]}},
        }))
    }

    fn script(&self) -> Result<String, ProviderError> {
        let container = self.making.id(&self.inputs.bucket)?;
        let account = account_of(container).unwrap_or_default();
        let account = name_of(&account);
        let facts = BootFacts {
            bucket: &format!("{account}/{}", name_of(container)),
            region: &self.azure.region,
            dsctl_sha256: &self.inputs.dsctl_sha256,
            endpoint: &self.azure.blobs.base(account),
        };
        let identity = self.making.id(&self.inputs.identity)?;
        let script = boot::render(&self.inputs.boot_script, &facts, identity);
        script.map_err(|error| ProviderError::permanent(&self.making.desired.address, error))
    }

    fn interface(&self) -> Result<Value, ProviderError> {
        let name = name_of(self.id);
        let subnet = vnet::subnet(self.making.id(&self.inputs.network)?);
        let mut address = json!({ "primary": true, "subnet": {"id": subnet} });
        if self.inputs.public {
            address["publicIPAddressConfiguration"] = json!({
                "name": name, "tags": self.tags, "sku": {"name": "Standard", "tier": "Regional"},
                "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
            });
        }
        let mut properties = json!({
            "primary": true, "deleteOption": "Delete", "ipConfigurations": [{"name": "main", "properties": address}],
        });
        if self.size.accelerated_networking {
            properties["enableAcceleratedNetworking"] = json!(true);
        }
        Ok(json!({ "name": name, "tags": self.tags, "properties": properties }))
    }
}

/// What the machine writes to its console is kept by Azure itself.
pub fn diagnostics() -> Value {
    json!({ "bootDiagnostics": {"enabled": true} })
}

/// The public half of a key pair (RFC 8709) whose other half is forgotten here.
fn public_key() -> Result<String, ProviderError> {
    let pair =
        Ed25519KeyPair::generate().map_err(|error| ProviderError::permanent("a key for the administrator", error))?;
    Ok(written(pair.public_key().as_ref()))
}

/// RFC 4253, section 6.6: each part with its length before it.
fn written(key: &[u8]) -> String {
    let part = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes()[..], bytes].concat();
    let kind = String::from_utf8_lossy(KEY_KIND);
    format!("{kind} {}", STANDARD.encode([part(KEY_KIND), part(key)].concat()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine::graph::Address;
    use engine::provider::{Known, Token};
    use engine::state::{RemoteId, Resource, State};

    use super::*;
    use crate::azure::auth::tests::session_at;
    use crate::cloud::Handed;
    use crate::cloud_graph::resource;

    const GROUP: &str = "/subscriptions/s/resourceGroups/g/providers";

    fn known() -> Known {
        let id = |address: &str, own: &str| {
            (Address::parse(address).unwrap(), Resource::unread(RemoteId(format!("{GROUP}/{own}"))))
        };
        let resources: BTreeMap<Address, Resource> = [
            id("network.main", "Microsoft.Network/virtualNetworks/main"),
            id("identity.machine", "Microsoft.ManagedIdentity/userAssignedIdentities/machine"),
            id("bucket.main", "Microsoft.Storage/storageAccounts/acc/blobServices/default/containers/dsctl"),
        ]
        .into();
        let deployment = "default".parse().unwrap();
        Known::of(&State::of(deployment, "l".to_owned(), resources))
    }

    fn inputs() -> MachineInputs {
        MachineInputs {
            group: "group.main".to_owned(),
            network: "network.main".to_owned(),
            identity: "identity.machine".to_owned(),
            bucket: "bucket.main".to_owned(),
            machine_type: "Standard_NC24ads_A100_v4".to_owned(),
            zone: None,
            market: Market::OnDemand,
            image: "microsoft-dsvm:ubuntu-hpc:2204:22.04.2026072801".to_owned(),
            disk_gib: 200,
            public: false,
            termination_protection: true,
            boot_script: "@ENDPOINT@ @BUCKET@ @REGION@ @DSCTL_SHA256@ @IDENTITY@".to_owned(),
            dsctl_sha256: "00".to_owned(),
        }
    }

    fn body(inputs: &MachineInputs, size: &Size) -> Result<Value, ProviderError> {
        let deployment = "default".parse().unwrap();
        let azure = Azure::new(&session_at("http://127.0.0.1:9"), &deployment, "westeurope", Handed::default());
        let desired = resource("machine", "main", inputs, "").unwrap();
        let (token, known) = (Token("feed".to_owned()), known());
        let making = Making { desired: &desired, token: &token, known: &known };
        let tags = Tags::from([("dsctl-token".to_owned(), "feed".to_owned())]);
        let id = format!("{GROUP}/Microsoft.Compute/virtualMachines/main-abcdef");
        Parts { azure: &azure, making: &making, inputs, size, id: &id, tags: &tags }.body()
    }

    #[test]
    fn a_machine_is_private_encrypted_and_tagged_in_all_its_parts() {
        let able = Size { accelerated_networking: true, encryption_at_host: true, ..Size::default() };
        let body = body(&inputs(), &able).unwrap();
        let at = |pointer: &str| body.pointer(pointer).unwrap_or(&Value::Null);
        let interface = "/properties/networkProfile/networkInterfaceConfigurations/0";
        assert_eq!(at("/tags"), at(&format!("{interface}/tags")));
        assert_eq!(at(&format!("{interface}/properties/enableAcceleratedNetworking")), true);
        let address = at(&format!("{interface}/properties/ipConfigurations/0/properties")).clone();
        assert!(address.get("publicIPAddressConfiguration").is_none());
        assert!(address["subnet"]["id"].as_str().unwrap().ends_with("virtualNetworks/main/subnets/machines"));
        assert_eq!(at("/properties/securityProfile/encryptionAtHost"), true);
        assert_eq!(at("/properties/osProfile/linuxConfiguration/disablePasswordAuthentication"), true);
        assert_eq!(at("/properties/storageProfile/osDisk/deleteOption"), "Delete");
        assert_eq!(at("/properties/priority"), &Value::Null);
        let script = STANDARD.decode(at("/properties/osProfile/customData").as_str().unwrap()).unwrap();
        let script = String::from_utf8(script).unwrap();
        let identity = format!("{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/machine");
        assert_eq!(script, format!("http://127.0.0.1:9/acc acc/dsctl westeurope 00 {identity}"));
        let text = body.to_string();
        assert!(!text.contains("zones") && !text.contains("PRIVATE KEY"), "{text}");
    }

    #[test]
    fn spot_a_zone_and_a_public_address_are_asked_for_where_they_are_wished() {
        let wished =
            MachineInputs { zone: Some("westeurope-2".to_owned()), market: Market::Spot, public: true, ..inputs() };
        let made = body(&wished, &Size::default()).unwrap();
        assert_eq!(made["zones"], json!(["2"]));
        let properties = &made["properties"];
        assert_eq!((&properties["priority"], &properties["evictionPolicy"]), (&json!("Spot"), &json!("Delete")));
        assert!(properties.get("securityProfile").is_none(), "this type can't");
        let interface = &properties["networkProfile"]["networkInterfaceConfigurations"][0]["properties"];
        let address = &interface["ipConfigurations"][0]["properties"]["publicIPAddressConfiguration"];
        assert_eq!(address["properties"]["deleteOption"], "Delete");
        let elsewhere = MachineInputs { zone: Some("northeurope-2".to_owned()), ..inputs() };
        assert!(body(&elsewhere, &Size::default()).is_err());
    }

    #[test]
    fn a_key_is_written_as_ssh_reads_it() {
        // RFC 8032, section 7.1, test 1, in OpenSSH's form.
        let key = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        assert_eq!(written(&key), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea");
        assert_ne!(public_key().unwrap(), public_key().unwrap());
    }
}
