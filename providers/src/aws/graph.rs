//! The desired graph of an AWS deployment: a pure function of the resolved spec and what was asked of the cloud.
//! `kind.rs` draws it.

use std::collections::BTreeSet;
use std::ops::Deref;

use engine::graph::{Address, Candidate, Desired, Graph};
use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};
use spec::machine::{Egress, Exposure, MachineCandidate, Market};
use spec::resolved::ResolvedSpec;
use spec::weights::ObjectScheme;

use super::boot::{self, BootFacts};
use super::kind::{
    self, BucketInputs, EndpointInputs, InstanceProfileInputs, InternetGatewayInputs, MachineInputs, NatGatewayInputs,
    NetworkInputs, RoleInputs, RouteTableInputs, SecurityGroupInputs, SubnetInputs,
};
use crate::cloud::{Begun, CloudFacts, CloudGraphError, LaidOut, Placed};
use crate::cloud_graph::{
    GATEWAY_PORT, Ground, after, bucket, connected, name, of_kind, priced, ranges, resource, text, wrong,
};

/// Of the network's range, a subnet has a sixteenth: the first half is for private ones, the second for public ones.
const SUBNET_BITS: u8 = 4;
const FIRST_PUBLIC: usize = 8;
/// What Systems Manager's agent needs, so that a person can look into a machine without a way in from outside.
const INTERFACE_ENDPOINTS: [&str; 3] = ["ssm", "ssmmessages", "ec2messages"];

/// Everything that an AWS deployment consists of.
pub fn build(spec: &ResolvedSpec, facts: &CloudFacts) -> Result<Graph, CloudGraphError> {
    let ground = Ground::new(spec, facts)?;
    ground.check_way_out(ObjectScheme::S3, "AWS")?;
    let site = Site::new(ground);
    let mut resources = site.network()?;
    resources.extend(site.storage()?);
    resources.extend(site.access()?);
    resources.push(site.machine()?);
    connected(resources)
}

/// What all parts of the graph are made from.
struct Site<'a> {
    ground: Ground<'a>,
    zones: BTreeSet<String>,
}

impl<'a> Deref for Site<'a> {
    type Target = Ground<'a>;

    fn deref(&self) -> &Self::Target {
        &self.ground
    }
}

impl<'a> Site<'a> {
    fn new(ground: Ground<'a>) -> Self {
        let mut zones = ground.facts.laid_out.zones.clone();
        zones.extend(ground.machine.candidates.iter().filter_map(|candidate| candidate.zone.clone()));
        Self { ground, zones }
    }

    /// Where the way out leads through: near the machine, since traffic between zones is paid for; where it is, it stays.
    fn egress_zone(&self) -> Result<String, CloudGraphError> {
        let zone = self.facts.laid_out.egress_zone.clone().or_else(|| self.first.zone.clone());
        zone.ok_or_else(|| wrong("machine: no zone was chosen"))
    }

    fn network(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let range = self.machine.network.range.trunc();
        let network = resource(kind::NETWORK, "main", &self.network_inputs(range), &range.to_string())?;
        let mut all = vec![network];
        if self.has_nat() || self.is_public() {
            let inputs = InternetGatewayInputs { network: name(kind::NETWORK, "main") };
            all.push(resource(kind::INTERNET_GATEWAY, "main", &inputs, "attached to the network")?);
        }
        all.extend(self.subnets()?);
        if self.has_nat() {
            all.extend(self.nat()?);
        }
        all.extend(self.route_tables()?);
        all.extend(self.endpoints()?);
        all.extend(self.security_groups()?);
        Ok(all)
    }

    fn network_inputs(&self, range: Ipv4Net) -> NetworkInputs {
        let (account, region) = (self.facts.identity.account.clone(), self.machine.region.clone());
        NetworkInputs { account, region, range: range.to_string() }
    }

    fn public_zones(&self) -> Result<BTreeSet<String>, CloudGraphError> {
        match (self.is_public(), self.has_nat()) {
            (true, _) => Ok(self.zones.clone()),
            (false, true) => Ok([self.egress_zone()?].into()),
            (false, false) => Ok(BTreeSet::new()),
        }
    }

    fn private_zones(&self) -> BTreeSet<String> {
        if self.is_public() { BTreeSet::new() } else { self.zones.clone() }
    }

    fn subnets(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let private = self.private_zones().into_iter().map(|zone| self.subnet(&zone, Exposure::Private));
        let public = self.public_zones()?.into_iter().map(|zone| self.subnet(&zone, Exposure::Public));
        private.chain(public).collect()
    }

    fn subnet(&self, zone: &str, exposure: Exposure) -> Result<Desired, CloudGraphError> {
        let range = subnet_range(self.machine.network.range.trunc(), zone, exposure)?;
        let inputs =
            SubnetInputs { network: name(kind::NETWORK, "main"), zone: zone.to_owned(), range: range.to_string() };
        resource(kind::SUBNET, &subnet_name(zone, exposure), &inputs, &format!("{range} in {zone}"))
    }

    fn nat(&self) -> Result<[Desired; 2], CloudGraphError> {
        let around = &self.machine.around;
        let subnet = name(kind::SUBNET, &subnet_name(&self.egress_zone()?, Exposure::Public));
        let inputs = NatGatewayInputs { subnet, elastic_ip: name(kind::ELASTIC_IP, "nat") };
        let address = resource(kind::ELASTIC_IP, "nat", &json!({}), "public address of the way out")?;
        // The network is the last to go: it says where the deployment lies.
        let address = after(address, &[name(kind::NETWORK, "main")]);
        let gateway = resource(kind::NAT_GATEWAY, "main", &inputs, "the way out; nothing comes in by it")?;
        // Without a way to the world it can't be made.
        let gateway = after(gateway, &[name(kind::INTERNET_GATEWAY, "main")]);
        Ok([priced(address, around.public_address), priced(gateway, around.nat_gateway)])
    }

    fn route_tables(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let nat = self.has_nat().then(|| name(kind::NAT_GATEWAY, "main"));
        let internet = Some(name(kind::INTERNET_GATEWAY, "main"));
        let tables = [
            ("private", Exposure::Private, self.private_zones(), nat),
            ("public", Exposure::Public, self.public_zones()?, internet),
        ];
        let tables = tables.into_iter().filter(|(_, _, zones, _)| !zones.is_empty());
        let table = |(table, exposure, zones, default_route): (&str, Exposure, BTreeSet<String>, Option<String>)| {
            let subnets = zones.iter().map(|zone| name(kind::SUBNET, &subnet_name(zone, exposure))).collect();
            let summary = format!("out by {}", default_route.as_deref().unwrap_or("nothing"));
            let network = name(kind::NETWORK, "main");
            resource(kind::ROUTE_TABLE, table, &RouteTableInputs { network, default_route, subnets }, &summary)
        };
        tables.map(table).collect()
    }

    fn endpoints(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let tables = [(!self.is_public(), "private"), (self.is_public() || self.has_nat(), "public")];
        let tables = tables.iter().filter(|(is_there, _)| *is_there).map(|(_, table)| name(kind::ROUTE_TABLE, table));
        let s3 = EndpointInputs { route_tables: tables.collect(), ..self.endpoint("s3") };
        let mut all = vec![resource(kind::ENDPOINT, "s3", &s3, "to the bucket without the internet")?];
        if self.machine.network.egress == Egress::Endpoints {
            let zones = self.private_zones();
            let count = u64::try_from(zones.len()).unwrap_or(u64::MAX);
            let price = self.machine.around.interface_endpoint.map(|price| price.times(count));
            for service in INTERFACE_ENDPOINTS {
                let inputs = EndpointInputs {
                    subnets: zones
                        .iter()
                        .map(|zone| name(kind::SUBNET, &subnet_name(zone, Exposure::Private)))
                        .collect(),
                    security_group: Some(name(kind::SECURITY_GROUP, "endpoints")),
                    ..self.endpoint(service)
                };
                all.push(priced(resource(kind::ENDPOINT, service, &inputs, "for Session Manager")?, price));
            }
        }
        Ok(all)
    }

    fn endpoint(&self, service: &str) -> EndpointInputs {
        EndpointInputs {
            network: name(kind::NETWORK, "main"),
            service: format!("com.amazonaws.{}.{service}", self.machine.region),
            route_tables: Vec::new(),
            subnets: Vec::new(),
            security_group: None,
        }
    }

    fn security_groups(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let network = &self.machine.network;
        let mut groups = vec![("machine", self.port, network.allow.clone())];
        if network.egress == Egress::Endpoints {
            groups.push(("endpoints", GATEWAY_PORT, vec![network.range]));
        }
        let group = |(group, port, ranges_of): (&str, u16, Vec<Ipv4Net>)| {
            let allow = ranges(&ranges_of);
            let summary = format!("port {port} from {}", allow.join(", "));
            let inputs = SecurityGroupInputs { network: name(kind::NETWORK, "main"), port, allow };
            resource(kind::SECURITY_GROUP, group, &inputs, &summary)
        };
        groups.into_iter().map(group).collect()
    }

    fn storage(&self) -> Result<Vec<Desired>, CloudGraphError> {
        let (account, region) = (self.facts.identity.account.clone(), self.machine.region.clone());
        let records = self.machine.records;
        let inputs = BucketInputs { account, region, audit_days: records.audit_days, access_log: records.access_log };
        let mut all = vec![resource(kind::BUCKET, "main", &inputs, "private, encrypted, versioned")?];
        all.extend(self.objects()?);
        Ok(all)
    }

    fn access(&self) -> Result<[Desired; 2], CloudGraphError> {
        let session_manager = self.machine.network.egress == Egress::Endpoints;
        let role = RoleInputs { bucket: bucket(), weights: self.weights_in(ObjectScheme::S3), session_manager };
        let profile = InstanceProfileInputs { role: name(kind::ROLE, "machine") };
        Ok([
            resource(kind::ROLE, "machine", &role, "reads artifacts, secrets and host spec; writes its status")?,
            resource(kind::INSTANCE_PROFILE, "machine", &profile, "gives the machine its role")?,
        ])
    }

    fn machine(&self) -> Result<Desired, CloudGraphError> {
        self.check_boot_script()?;
        let disk = self.machine.disk;
        let chosen = self.first;
        let inputs = MachineInputs {
            machine_type: chosen.offer.machine_type.clone(),
            subnet: self.machine_subnet(chosen)?,
            market: chosen.market,
            image: self.facts.image.id.clone(),
            security_group: name(kind::SECURITY_GROUP, "machine"),
            instance_profile: name(kind::INSTANCE_PROFILE, "machine"),
            bucket: bucket(),
            disk_gib: disk.gib,
            disk_iops: disk.iops,
            disk_mib_a_second: disk.mib_a_second,
            public: self.is_public(),
            termination_protection: is_protected(chosen),
            boot_script: self.facts.boot_script.clone(),
            dsctl_sha256: self.dsctl_sha256()?,
        };
        let wanted = resource(kind::MACHINE, "main", &inputs, &self.machine_summary())?;
        let candidates = self.machine.candidates.iter().map(|candidate| self.candidate(candidate));
        let monthly_usd = self.monthly(chosen);
        Ok(Desired { candidates: candidates.collect::<Result<_, _>>()?, monthly_usd, ..wanted })
    }

    fn machine_subnet(&self, candidate: &MachineCandidate) -> Result<String, CloudGraphError> {
        let zone = candidate.zone.as_deref().ok_or_else(|| wrong(format!("{}: no zone", candidate.label())))?;
        Ok(name(kind::SUBNET, &subnet_name(zone, self.machine.network.public)))
    }

    fn candidate(&self, candidate: &MachineCandidate) -> Result<Candidate, CloudGraphError> {
        let mut inputs = Map::new();
        inputs.insert("machine_type".to_owned(), json!(candidate.offer.machine_type));
        inputs.insert("subnet".to_owned(), json!(self.machine_subnet(candidate)?));
        inputs.insert("market".to_owned(), serde_json::to_value(candidate.market)?);
        inputs.insert("termination_protection".to_owned(), json!(is_protected(candidate)));
        Ok(Candidate { label: candidate.label(), monthly_usd: self.monthly(candidate), inputs })
    }

    /// Too long a script shows in the plan, not when everything else is made already.
    fn check_boot_script(&self) -> Result<(), CloudGraphError> {
        let (bucket, sha256) = ("b".repeat(63), "0".repeat(64));
        let facts = BootFacts { bucket: &bucket, region: &self.machine.region, dsctl_sha256: &sha256, endpoint: "" };
        boot::render(&self.facts.boot_script, &facts).map(|_| ()).map_err(wrong)
    }
}

/// AWS refuses it for spot instances, which it ends by itself.
fn is_protected(candidate: &MachineCandidate) -> bool {
    candidate.market == Market::OnDemand
}

fn subnet_name(zone: &str, exposure: Exposure) -> String {
    match exposure {
        Exposure::Private => format!("private-{zone}"),
        Exposure::Public => format!("public-{zone}"),
    }
}

/// A zone's part of the range depends on its letter alone, so that a zone more moves no other.
fn subnet_range(range: Ipv4Net, zone: &str, exposure: Exposure) -> Result<Ipv4Net, CloudGraphError> {
    let letter = zone.bytes().last().filter(u8::is_ascii_lowercase).map(|letter| usize::from(letter - b'a'));
    let at = letter
        .filter(|at| *at < FIRST_PUBLIC)
        .ok_or_else(|| wrong(format!("zone {zone}: its name ends in no letter up to h")))?;
    let at = if exposure == Exposure::Public { at + FIRST_PUBLIC } else { at };
    let mut parts =
        range.subnets(range.prefix_len() + SUBNET_BITS).map_err(|error| wrong(format!("network.range: {error}")))?;
    parts.nth(at).ok_or_else(|| wrong(format!("network.range: {range} is too small")))
}

/// What of a deployment is there already, as its resources' inputs say.
pub fn laid_out(begun: &Begun) -> LaidOut {
    let roots: Vec<&Value> = of_kind(begun, kind::NETWORK).chain(of_kind(begun, kind::BUCKET)).collect();
    let of_roots = |field: &str| roots.iter().find_map(|inputs| text(inputs, field));
    let (account, region) = (of_roots("account"), of_roots("region"));
    let zones = of_kind(begun, kind::SUBNET).filter_map(|inputs| text(inputs, "zone")).collect();
    let egress_zone = of_kind(begun, kind::NAT_GATEWAY).next().and_then(|inputs| subnet_zone(begun, inputs));
    let machine = of_kind(begun, kind::MACHINE).next().and_then(|inputs| placed(begun, inputs));
    LaidOut { account, region, zones, egress_zone, machine }
}

fn subnet_zone(begun: &Begun, inputs: &Value) -> Option<String> {
    text(begun.get(&Address::parse(&text(inputs, "subnet")?)?)?, "zone")
}

fn placed(begun: &Begun, inputs: &Value) -> Option<Placed> {
    Some(Placed {
        machine_type: text(inputs, "machine_type")?,
        zone: subnet_zone(begun, inputs),
        market: serde_json::from_value(inputs.get("market")?.clone()).ok()?,
        image: text(inputs, "image")?,
    })
}
