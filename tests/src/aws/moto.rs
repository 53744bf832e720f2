//! moto, a fake of AWS in a process of its own: it keeps what it is given and answers as EC2, IAM, STS and S3 do; and
//! what EC2 would say otherwise (pending, not seen yet), which the proxy puts into its answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{Refusal, Signed, is_mutating};
use crate::http::{ask, client, send, wait};
use crate::proxy::message::{Answer, field};
use crate::wait::within;
use crate::{binaries, process, python};

/// What python's environment of these tests is made of.
pub const REQUIREMENTS: &str = "aws-requirements.txt";
/// It reads its pictures of AWS first; on a crowded machine that takes its time.
const START_LIMIT: Duration = Duration::from_secs(120);
const TRIES: u32 = 3;
/// From one look of dsctl's to its next.
const LOOK: Duration = Duration::from_millis(500);

/// Gone with the value. All regions of one account; what one test leaves, [`Moto::reset`] removes.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Moto {
    #[track_caller]
    pub fn start() -> Self {
        // Between finding a free port and taking it, somebody else may take it.
        let started = (0..TRIES).find_map(|_| Self::on(free_port()));
        started.expect("moto does not start")
    }

    fn on(port: u16) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = binaries::kept("test-moto").join(format!("{}-{number}.log", std::process::id()));
        let process = command(port, &log).spawn().expect("moto_server");
        let mut moto = Self { process, port, log };
        moto.becomes_ready().then_some(moto)
    }

    /// False for one that ended instead.
    fn becomes_ready(&mut self) -> bool {
        within(START_LIMIT, &format!("moto answers; its log: {}", self.log.display()), || {
            let has_ended = self.process.try_wait().expect("moto's state").is_some();
            if has_ended { Some(false) } else { self.answers().then_some(true) }
        })
    }

    /// An answer is not enough: the port may be another's, and this one about to end for it.
    fn answers(&self) -> bool {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        if !log.contains("Running on") {
            return false;
        }
        let answer = wait(send(client().get(format!("{}/moto-api/data.json", self.url()))));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Forgets everything in every region.
    #[track_caller]
    pub fn reset(&self) {
        ask(client().post(format!("{}/moto-api/reset", self.url()))).has_status(200);
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        process::kill(self.process.id());
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// With what AWS checks and moto does not unless it is told to.
fn command(port: u16, log: &PathBuf) -> Command {
    let environment = python::environment(REQUIREMENTS);
    let output = File::create(log).expect("a log file");
    let errors = output.try_clone().expect("a log file");
    let mut command = Command::new(environment.join("bin/python"));
    crate::home::environment(&mut command, std::path::Path::new("/nonexistent"));
    command
        .arg(python::sources().join("aws_moto.py"))
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "1")
        .env("MOTO_ENABLE_AMI_VALIDATION", "1")
        .env("MOTO_ENABLE_KEYPAIR_VALIDATION", "1")
        .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    command
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Looks at something new in which it is pending still.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    pub machine: u32,
    pub nat: u32,
}

impl Default for Looks {
    fn default() -> Self {
        Self { machine: 1, nat: 1 }
    }
}

/// A kind of thing in EC2: the first letters of its ids, who makes it, who shows it, the element with its id, and the code
/// of one that does not exist.
type Kind = (&'static str, &'static str, &'static str, &'static str, &'static str);
const KINDS: [Kind; 11] = [
    ("vpc-", "CreateVpc", "DescribeVpcs", "vpcId", "InvalidVpcID.NotFound"),
    ("subnet-", "CreateSubnet", "DescribeSubnets", "subnetId", "InvalidSubnetID.NotFound"),
    (
        "igw-",
        "CreateInternetGateway",
        "DescribeInternetGateways",
        "internetGatewayId",
        "InvalidInternetGatewayID.NotFound",
    ),
    ("eipalloc-", "AllocateAddress", "DescribeAddresses", "allocationId", "InvalidAllocationID.NotFound"),
    ("nat-", "CreateNatGateway", "DescribeNatGateways", "natGatewayId", "NatGatewayNotFound"),
    ("rtb-", "CreateRouteTable", "DescribeRouteTables", "routeTableId", "InvalidRouteTableID.NotFound"),
    ("vpce-", "CreateVpcEndpoint", "DescribeVpcEndpoints", "vpcEndpointId", "InvalidVpcEndpointId.NotFound"),
    ("sg-", "CreateSecurityGroup", "DescribeSecurityGroups", "groupId", "InvalidGroup.NotFound"),
    ("i-", "RunInstances", "DescribeInstances", "instanceId", "InvalidInstanceID.NotFound"),
    ("vol-", "RunInstances", "DescribeVolumes", "volumeId", "InvalidVolume.NotFound"),
    ("eni-", "RunInstances", "DescribeNetworkInterfaces", "networkInterfaceId", "InvalidNetworkInterfaceID.NotFound"),
];

/// What EC2 would say otherwise than moto does.
#[derive(Debug, Default)]
pub(super) struct World {
    pub looks: Looks,
    /// Looks that are left, by id.
    pending: BTreeMap<String, u32>,
    unseen: Vec<Unseen>,
    ended: BTreeSet<String>,
}

#[derive(Debug)]
struct Unseen {
    /// Ids; of IAM the name.
    names: Vec<String>,
    until: Instant,
}

impl Unseen {
    fn is_hidden(&self) -> bool {
        Instant::now() < self.until
    }
}

impl World {
    /// What a call made does not show for as long as so many looks take. By the clock, as EC2 goes: looks that are
    /// counted would outlast the time that dsctl looks for something, where the machine is slow.
    pub fn hide(&mut self, asked: &Signed, answer: &Answer, looks: u32) {
        let operation = asked.operation();
        let text = String::from_utf8_lossy(&answer.body);
        let made = KINDS.iter().filter(|(_, maker, ..)| *maker == operation);
        let ids = made.flat_map(|(prefix, ..)| ids(&text, prefix));
        let form = asked.form();
        let named = ["RoleName", "InstanceProfileName"].iter().filter_map(|name| field(&form, name)).map(str::to_owned);
        let names = ids.chain(named.filter(|_| asked.service == "iam")).collect();
        self.unseen.retain(Unseen::is_hidden);
        self.unseen.push(Unseen { names, until: Instant::now() + LOOK * looks });
    }

    /// Whether an answer is about a machine that was ended.
    pub fn has_ended(&self, text: &str) -> bool {
        self.ended.iter().any(|id| text.contains(id.as_str()))
    }

    /// For a look that names what does not show yet.
    pub fn refusal(&self, asked: &Signed) -> Option<Refusal> {
        let form = asked.form();
        let names = |name: &String| form.iter().any(|(key, value)| !key.starts_with("Filter") && value == name);
        if is_mutating(&asked.operation()) {
            return None;
        }
        for unseen in self.unseen.iter().filter(|unseen| unseen.is_hidden()) {
            let Some(name) = unseen.names.iter().find(|name| names(name)) else { continue };
            let kind = KINDS.iter().find(|(prefix, ..)| name.starts_with(prefix) && asked.service == "ec2");
            return Some(match kind {
                Some((.., code)) => Refusal::new(400, code, format!("The ID '{name}' does not exist")),
                None => Refusal::new(404, "NoSuchEntity", format!("{name} cannot be found.")),
            });
        }
        None
    }

    /// An answer of moto's becomes one of EC2's.
    pub fn change(&mut self, asked: &Signed, answer: &mut Answer) {
        let operation = asked.operation();
        let mut text = String::from_utf8_lossy(&answer.body).into_owned();
        match operation.as_str() {
            "RunInstances" => self.begin("i-", self.looks.machine, &mut text),
            "CreateNatGateway" => self.begin("nat-", self.looks.nat, &mut text),
            "TerminateInstances" => self.ended.extend(ids(&String::from_utf8_lossy(&asked.body), "i-")),
            "DescribeInstances" => self.still_pending("instanceId", &mut text),
            "DescribeNatGateways" => self.still_pending("natGatewayId", &mut text),
            _ => {}
        }
        self.without_unseen(&operation, &mut text);
        answer.body = text.into();
    }

    fn begin(&mut self, prefix: &str, looks: u32, text: &mut String) {
        for id in ids(text, prefix) {
            if *self.pending.entry(id).or_insert(looks) > 0 {
                *text = pending(text);
            }
        }
    }

    fn still_pending(&mut self, element: &str, text: &mut String) {
        for (id, left) in self.pending.iter_mut().filter(|(_, left)| **left > 0) {
            for place in items(text, element, id).into_iter().rev() {
                *left = left.saturating_sub(1);
                let changed = pending(&text[place.clone()]);
                text.replace_range(place, &changed);
            }
        }
    }

    fn without_unseen(&self, operation: &str, text: &mut String) {
        let shown = KINDS.iter().find(|(_, _, shower, ..)| *shower == operation).map(|(.., element, _)| *element);
        let Some(element) = shown.or((operation == "DescribeTags").then_some("resourceId")) else { return };
        for name in self.unseen.iter().filter(|unseen| unseen.is_hidden()).flat_map(|unseen| &unseen.names) {
            // Later places first, so that the earlier ones stay where they are.
            items(text, element, name).into_iter().rev().for_each(|place| text.replace_range(place, ""));
        }
    }
}

/// The ids with such first letters, each once.
fn ids(text: &str, prefix: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    let is_id = |word: &&str| {
        word.strip_prefix(prefix).is_some_and(|rest| rest.len() >= 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    words.filter(is_id).map(str::to_owned).collect()
}

/// What runs already is pending; other states stay.
fn pending(text: &str) -> String {
    let running = ["<code>16</code><name>running</name>", "<state>available</state>"];
    let waits = ["<code>0</code><name>pending</name>", "<state>pending</state>"];
    text.replace(running[0], waits[0]).replace(running[1], waits[1])
}

/// The innermost `<item>`s around an element with this text, none within another.
fn items(text: &str, element: &str, id: &str) -> Vec<Range<usize>> {
    const BEGIN: &str = "<item>";
    const END: &str = "</item>";
    let needle = format!("<{element}>{id}</{element}>");
    let (mut open, mut found): (Vec<(usize, bool)>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    for (place, _) in text.match_indices('<') {
        let rest = &text[place..];
        if rest.starts_with(BEGIN) {
            open.push((place, false));
        } else if rest.starts_with(&needle) {
            open.last_mut().into_iter().for_each(|(_, is_meant)| *is_meant = true);
        } else if rest.starts_with(END)
            && let Some((begin, true)) = open.pop()
        {
            found.retain(|inner| inner.start < begin);
            found.push(begin..place + END.len());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_item_of_an_id_is_found_and_no_other() {
        let text = "<r><item><s><item><vpcId>vpc-1</vpcId></item></s><vpcId>vpc-2</vpcId></item><item><vpcId>vpc-2</vpcId>\
                    <n><item>x</item></n></item></r>";
        let found: Vec<&str> = items(text, "vpcId", "vpc-1").into_iter().map(|place| &text[place]).collect();
        assert_eq!(found, ["<item><vpcId>vpc-1</vpcId></item>"]);
        assert_eq!(items(text, "vpcId", "vpc-2").len(), 2);
        assert!(items(text, "vpcId", "vpc-3").is_empty());
    }

    #[test]
    fn ids_are_whole_words() {
        let text = "<a>i-0123456789abcdef0</a><b>eni-0123456789abcdef0</b><c>arn:x/i-0123456789abcdef0</c>";
        assert_eq!(ids(text, "i-").len(), 1);
        assert_eq!(ids(text, "nat-").len(), 0);
    }
}
