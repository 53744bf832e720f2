//! The desired graph of an Azure deployment: a pure function of the resolved spec and what was asked of the cloud.
//! `kind.rs` draws it.

use std::ops::Deref;

use engine::graph::{Candidate, Desired, Graph};
use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};
use spec::machine::{MachineCandidate, Market};
use spec::resolved::ResolvedSpec;
use spec::weights::ObjectScheme;

use super::boot;
use super::kind::{
    self, AccessInputs, BucketInputs, GroupInputs, MachineInputs, NatGatewayInputs, NetworkInputs, OperatorInputs,
    PlainInputs, SecurityGroupInputs, StorageInputs,
};
use crate::boot_script::BootFacts;
use crate::cloud::{Begun, CloudFacts, CloudGraphError, LaidOut, Placed};
use crate::cloud_graph::{Ground, after, bucket, connected, name, of_kind, priced, ranges, resource, text, wrong};

/// A subnet of Azure is at least as large.
const SMALLEST_RANGE: u8 = 29;
/// More than the id of an identity has: its group's name has at most 90 characters.
const LONGEST_IDENTITY: usize = 300;

/// Everything that an Azure deployment consists of.
pub fn build(spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError> {
    let site = Site { ground: Ground::new(spec, facts)? };
    site.check_way_out(ObjectScheme::Az, "Azure's storage accounts")?;
    let mut resources = vec![site.group()?];
    resources.extend(site.network()?);
    resources.extend(site.storage()?);
    resources.extend(site.access()?);
    resources.push(site.machine()?);
    connected(resources)
}

/// What all parts of the graph are made from.
struct Site<'a> {
    ground: Ground<'a>,
}

impl<'a> Deref for Site<'a> {
    type Target = Ground<'a>;

    fn deref(&self) -> &Self::Target {
        &self.ground
    }
}

impl Site<'_> {
    fn group(&self) -> Result<Desired, CloudGraphError> {
        let (account, region) = (self.facts.identity.account.clone(), self.machine.region.clone());
        let summary = format!("everything lies in it, in {region}");
        resource(kind::GROUP, "main", &GroupInputs { account, region }, &summary)
    }

    fn network(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let range = self.machine.network.range.trunc();
        if range.prefix_len() > SMALLEST_RANGE {
            return Err(wrong(format!(
                "network.range: {range} is too small; Azure takes /{SMALLEST_RANGE} and larger"
            )));
        }
        let nat_gateway = self.has_nat().then(|| name(kind::NAT_GATEWAY, "main"));
        let summary = format!("{range}, out by {}", nat_gateway.as_deref().unwrap_or_else(|| self.way_out()));
        let inputs = NetworkInputs {
            group: group(),
            range: range.to_string(),
            security_group: name(kind::SECURITY_GROUP, "machine"),
            nat_gateway,
        };
        let mut all = vec![self.security_group()?, resource(kind::NETWORK, "main", &inputs, &summary)?];
        if self.has_nat() {
            all.extend(self.nat()?);
        }
        Ok(all)
    }

    fn way_out(&self) -> &'static str {
        if self.is_public() { "its own address" } else { "nothing but the region's storage accounts" }
    }

    /// Azure takes no range that lies in another of the same rule.
    fn security_group(&self) -> Result<Desired, CloudGraphError> {
        let allow = ranges(&Ipv4Net::aggregate(&self.machine.network.allow));
        let summary = format!("port {} from {}", self.port, allow.join(", "));
        let inputs = SecurityGroupInputs { group: group(), port: self.port, allow };
        resource(kind::SECURITY_GROUP, "machine", &inputs, &summary)
    }

    fn nat(&self) -> Result<[Desired; 2], CloudGraphError> {
        let around = &self.machine.around;
        let address =
            resource(kind::PUBLIC_ADDRESS, "nat", &PlainInputs { group: group() }, "public address of the way out")?;
        let inputs = NatGatewayInputs { group: group(), public_address: name(kind::PUBLIC_ADDRESS, "nat") };
        let gateway = resource(kind::NAT_GATEWAY, "main", &inputs, "the way out; nothing comes in by it")?;
        Ok([priced(address, around.public_address), priced(gateway, around.nat_gateway)])
    }

    /// What lies in the bucket is written by whoever has access to it, and goes before the access does.
    fn storage(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let records = self.machine.records;
        let inputs = StorageInputs { group: group(), audit_days: records.audit_days, access_log: records.access_log };
        let container = BucketInputs { storage: storage() };
        let container = resource(kind::BUCKET, "main", &container, "the container of the deployment's objects")?;
        let mut all = vec![
            resource(kind::STORAGE, "main", &inputs, "private, encrypted, versioned, without keys")?,
            after(container, &[name(kind::ACCESS, kind::OPERATOR)]),
        ];
        all.extend(self.objects()?);
        Ok(all)
    }

    fn access(&self) -> Result<[Desired; 3], CloudGraphError> {
        let caller = format!("{} reads and writes the bucket", self.facts.identity.caller);
        let access = AccessInputs { bucket: bucket(), identity: name(kind::IDENTITY, "machine") };
        let reads = "the machine reads the bucket and writes its status; nothing else";
        Ok([
            resource(kind::ACCESS, kind::OPERATOR, &OperatorInputs { storage: storage() }, &caller)?,
            resource(kind::IDENTITY, "machine", &PlainInputs { group: group() }, "who the machine is to Azure")?,
            resource(kind::ACCESS, "machine", &access, reads)?,
        ])
    }

    fn machine(&self) -> Result<Desired, CloudGraphError> {
        self.check_boot_script()?;
        let chosen = self.first;
        let inputs = MachineInputs {
            group: group(),
            network: name(kind::NETWORK, "main"),
            identity: name(kind::IDENTITY, "machine"),
            bucket: bucket(),
            machine_type: chosen.offer.machine_type.clone(),
            zone: chosen.zone.clone(),
            market: chosen.market,
            image: self.facts.image.id.clone(),
            disk_gib: self.machine.disk.gib,
            public: self.is_public(),
            termination_protection: is_protected(chosen),
            boot_script: self.facts.boot_script.clone(),
            dsctl_sha256: self.dsctl_sha256()?,
        };
        // The speed of such a disk comes with its size.
        let summary = format!("{}; disk {} GiB, Premium SSD", chosen.label(), self.machine.disk.gib);
        let wanted = resource(kind::MACHINE, "main", &inputs, &summary)?;
        let candidates = self.machine.candidates.iter().map(|candidate| self.candidate(candidate));
        let monthly_usd = self.monthly(chosen);
        Ok(Desired { candidates: candidates.collect::<Result<_, _>>()?, monthly_usd, ..wanted })
    }

    fn candidate(&self, candidate: &MachineCandidate) -> Result<Candidate, CloudGraphError> {
        let mut inputs = Map::new();
        inputs.insert("machine_type".to_owned(), json!(candidate.offer.machine_type));
        inputs.insert("zone".to_owned(), json!(candidate.zone));
        inputs.insert("market".to_owned(), serde_json::to_value(candidate.market)?);
        inputs.insert("termination_protection".to_owned(), json!(is_protected(candidate)));
        Ok(Candidate { label: candidate.label(), monthly_usd: self.monthly(candidate), inputs })
    }

    /// Too long a script shows in the plan, not when everything else is made already.
    fn check_boot_script(&self) -> Result<(), CloudGraphError> {
        let (bucket, sha256) = (format!("{}/dsctl", "a".repeat(24)), "0".repeat(64));
        let endpoint = format!("https://{}.blob.core.windows.net", "a".repeat(24));
        let facts =
            BootFacts { bucket: &bucket, region: &self.machine.region, dsctl_sha256: &sha256, endpoint: &endpoint };
        boot::render(&self.facts.boot_script, &facts, &"x".repeat(LONGEST_IDENTITY)).map(|_| ()).map_err(wrong)
    }
}

fn group() -> String {
    name(kind::GROUP, "main")
}

fn storage() -> String {
    name(kind::STORAGE, "main")
}

/// A spot machine is taken back by Azure itself, which a lock would forbid.
fn is_protected(candidate: &MachineCandidate) -> bool {
    candidate.market == Market::OnDemand
}

/// What of a deployment is there already, as its resources' inputs say. A network of Azure is in all zones of its region: of
/// them only the machine's counts.
pub fn laid_out(begun: &Begun) -> LaidOut {
    let of_group = |field: &str| of_kind(begun, kind::GROUP).find_map(|inputs| text(inputs, field));
    let machine = of_kind(begun, kind::MACHINE).next().and_then(placed);
    LaidOut {
        account: of_group("account"),
        region: of_group("region"),
        zones: machine.iter().filter_map(|placed| placed.zone.clone()).collect(),
        egress_zone: None,
        machine,
    }
}

fn placed(inputs: &Value) -> Option<Placed> {
    Some(Placed {
        machine_type: text(inputs, "machine_type")?,
        zone: text(inputs, "zone"),
        market: serde_json::from_value(inputs.get("market")?.clone()).ok()?,
        image: text(inputs, "image")?,
    })
}
