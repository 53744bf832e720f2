//! The desired graph of a GCP deployment: a pure function of the resolved spec and what was asked of the cloud.
//! `kind.rs` draws it.

use std::ops::Deref;

use engine::graph::{Candidate, Desired, Graph};
use serde_json::{Map, Value, json};
use spec::machine::{MachineCandidate, Market};
use spec::resolved::ResolvedSpec;
use spec::weights::ObjectScheme;

use super::boot::{self, BootFacts};
use super::kind::{
    self, AccessInputs, BucketInputs, FirewallInputs, MachineInputs, NetworkInputs, RouterInputs, SubnetInputs,
};
use crate::cloud::{Begun, CloudFacts, CloudGraphError, LaidOut, Placed};
use crate::cloud_graph::{Ground, after, bucket, connected, name, of_kind, priced, resource, text, wrong};

/// Everything that a GCP deployment consists of.
pub fn build(spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError> {
    let ground = Ground::new(spec, facts)?;
    ground.check_way_out(ObjectScheme::Gs, "Google's own services")?;
    let site = Site { ground };
    let mut resources = site.network()?;
    resources.extend(site.access()?);
    resources.extend(site.storage()?);
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
    fn network(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let (network, range) = (name(kind::NETWORK, "main"), self.machine.network.range.trunc().to_string());
        let (account, region) = (self.facts.identity.account.clone(), self.machine.region.clone());
        let inputs = NetworkInputs { account, region };
        let mut all = vec![resource(kind::NETWORK, "main", &inputs, "no subnet but ours")?];
        let inputs = SubnetInputs { network: network.clone(), range: range.clone() };
        let summary = format!("{range} in {}", self.machine.region);
        all.push(resource(kind::SUBNET, "main", &inputs, &summary)?);
        if self.has_nat() {
            let inputs = RouterInputs { network, subnet: name(kind::SUBNET, "main") };
            let router = resource(kind::ROUTER, "main", &inputs, "NAT, the way out; nothing comes in by it")?;
            // The address that Google chooses for it is paid for like any other.
            let around = &self.machine.around;
            let monthly = around.nat_gateway.zip(around.public_address).map(|(nat, address)| nat.plus(address));
            all.push(priced(router, monthly));
        }
        all.push(self.firewall()?);
        Ok(all)
    }

    fn firewall(&self) -> Result<Desired, CloudGraphError> {
        let (port, allow) = (self.port, self.allowed());
        let summary = format!("port {port} from {}", allow.join(", "));
        let (network, service_account) = (name(kind::NETWORK, "main"), name(kind::SERVICE_ACCOUNT, "machine"));
        resource(kind::FIREWALL, "gateway", &FirewallInputs { network, service_account, port, allow }, &summary)
    }

    fn access(&self) -> Result<[Desired; 2], CloudGraphError> {
        let account = resource(kind::SERVICE_ACCOUNT, "machine", &json!({}), "who the machine is; it has no key")?;
        let inputs = AccessInputs { bucket: bucket(), service_account: name(kind::SERVICE_ACCOUNT, "machine") };
        let summary = "reads artifacts, secrets and host spec; writes its status";
        Ok([
            // The network is the last to go: it says where the deployment lies.
            after(account, &[name(kind::NETWORK, "main")]),
            resource(kind::ACCESS, "machine", &inputs, summary)?,
        ])
    }

    fn storage(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let (account, region) = (self.facts.identity.account.clone(), self.machine.region.clone());
        let records = self.machine.records;
        let (audit_days, access_log) = (records.audit_days, records.access_log);
        let inputs = BucketInputs { account, region, audit_days, access_log, encryption_key: self.encryption_key() };
        let by = inputs.encryption_key.as_ref().map(|key| format!(" by {key}")).unwrap_or_default();
        let mut all = vec![resource(kind::BUCKET, "main", &inputs, &format!("private, encrypted{by}, versioned"))?];
        all.extend(self.objects()?);
        Ok(all)
    }

    fn machine(&self) -> Result<Desired, CloudGraphError> {
        self.check_boot_script()?;
        let (disk, chosen) = (self.machine.disk, self.first);
        let inputs = MachineInputs {
            machine_type: chosen.offer.machine_type.clone(),
            zone: zone(chosen)?,
            market: chosen.market,
            subnet: name(kind::SUBNET, "main"),
            image: self.facts.image.id.clone(),
            service_account: name(kind::SERVICE_ACCOUNT, "machine"),
            bucket: bucket(),
            disk_gib: disk.gib,
            disk_iops: disk.iops,
            disk_mib_a_second: disk.mib_a_second,
            encryption_key: self.encryption_key(),
            public: self.is_public(),
            deletion_protection: is_protected(chosen),
            boot_script: self.facts.boot_script.clone(),
            dsctl_sha256: self.dsctl_sha256()?,
        };
        let by = inputs.encryption_key.as_ref().map(|key| format!(", encrypted by {key}")).unwrap_or_default();
        let wanted = resource(kind::MACHINE, "main", &inputs, &format!("{}{by}", self.machine_summary()))?;
        let candidates = self.machine.candidates.iter().map(|candidate| self.candidate(candidate));
        let monthly_usd = self.monthly(chosen);
        Ok(Desired { candidates: candidates.collect::<Result<_, _>>()?, monthly_usd, ..wanted })
    }

    /// The key of the user's own, by its name in full.
    fn encryption_key(&self) -> Option<String> {
        self.spec.encryption_key.as_ref().map(|key| key.name.clone())
    }

    fn candidate(&self, candidate: &MachineCandidate) -> Result<Candidate, CloudGraphError> {
        let mut inputs = Map::new();
        inputs.insert("machine_type".to_owned(), json!(candidate.offer.machine_type));
        inputs.insert("zone".to_owned(), json!(zone(candidate)?));
        inputs.insert("market".to_owned(), serde_json::to_value(candidate.market)?);
        inputs.insert("deletion_protection".to_owned(), json!(is_protected(candidate)));
        Ok(Candidate { label: candidate.label(), monthly_usd: self.monthly(candidate), inputs })
    }

    /// Too long a script shows in the plan, not when everything else is made already.
    fn check_boot_script(&self) -> Result<(), CloudGraphError> {
        let (bucket, sha256) = ("b".repeat(63), "0".repeat(64));
        let facts = BootFacts { bucket: &bucket, region: &self.machine.region, dsctl_sha256: &sha256, endpoint: "" };
        boot::render(&self.facts.boot_script, &facts).map(|_| ()).map_err(wrong)
    }
}

/// Google wants to be told a zone.
fn zone(candidate: &MachineCandidate) -> Result<String, CloudGraphError> {
    candidate.zone.clone().ok_or_else(|| wrong(format!("{}: no zone", candidate.label())))
}

/// Google refuses it for spot machines, which it ends by itself.
fn is_protected(candidate: &MachineCandidate) -> bool {
    candidate.market == Market::OnDemand
}

/// What of a deployment is there already, as its resources' inputs say. A subnet reaches into all zones of its region, so that
/// none is named.
pub fn laid_out(begun: &Begun) -> LaidOut {
    let roots: Vec<&Value> = of_kind(begun, kind::NETWORK).chain(of_kind(begun, kind::BUCKET)).collect();
    let of_roots = |field: &str| roots.iter().find_map(|inputs| text(inputs, field));
    LaidOut {
        account: of_roots("account"),
        region: of_roots("region"),
        machine: of_kind(begun, kind::MACHINE).next().and_then(placed),
        ..LaidOut::default()
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
