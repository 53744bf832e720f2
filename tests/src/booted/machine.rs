//! One machine: a container that systemd boots, on an overlay of the tree.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::metadata;
use super::network::Network;
use crate::binaries;
use crate::process::{Outcome, run};
use crate::wait::until;

/// Where the root file system of all machines lies.
const TREE_VARIABLE: &str = "DSCTL_HOST_TREE";
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What the cloud knows of a machine when it begins.
#[derive(Debug, Clone)]
pub struct Birth {
    pub instance: String,
    pub region: String,
    pub zone: String,
    pub address: IpAddr,
    pub user_data: Vec<u8>,
    /// The cloud's endpoint, the same inside as here.
    pub cloud: SocketAddr,
    /// Of the agent's folder; none = as much as there is here.
    pub disk_mib: Option<u32>,
}

/// Gone with the value, as by a power cut.
#[derive(Debug)]
pub struct Machine {
    pub network: Network,
    folder: tempfile::TempDir,
    process: Option<Child>,
    birth: Birth,
}

impl Machine {
    #[track_caller]
    pub fn boot(birth: Birth) -> Self {
        let folder = binaries::scratch();
        for name in ["upper", "work", "root"] {
            fs::create_dir(folder.path().join(name)).expect("a folder of the machine");
        }
        let network = Network::new(&[birth.address, METADATA.into()]);
        network.lead_out(birth.cloud, birth.cloud);
        metadata::serve(network.listen((METADATA, 80).into()), &birth);
        let mut machine = Self { network, folder, process: None, birth };
        machine.mount();
        machine.power_on();
        machine
    }

    fn mount(&self) {
        let tree =
            std::env::var(TREE_VARIABLE).unwrap_or_else(|_| panic!("{TREE_VARIABLE} is not set; .ci/booted sets it"));
        let part = |name: &str| self.folder.path().join(name).display().to_string();
        let options = format!("lowerdir={tree},upperdir={},workdir={}", part("upper"), part("work"));
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(self.root())).exits(0);
        let settings = self.root().join("etc/cloud/cloud.cfg.d/99-machine.cfg");
        fs::write(settings, "datasource_list: [Ec2]\ndatasource: {Ec2: {strict_id: false, max_wait: 60, timeout: 10}}\nnetwork: {config: disabled}\nlocale: false\n")
            .expect("cloud-init's settings");
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// What it writes to its console.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.console_file()).unwrap_or_default()).into_owned()
    }

    fn console_file(&self) -> PathBuf {
        self.folder.path().join("console")
    }

    #[track_caller]
    pub fn power_on(&mut self) {
        let console = File::options().create(true).append(true).open(self.console_file()).expect("a console");
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=read-only", "--resolv-conf=off"])
            .arg(format!("--machine={}", self.birth.instance))
            .arg(format!("--directory={}", self.root().display()))
            .arg(format!("--network-namespace-path={}", self.network.path()))
            .args(self.birth.disk_mib.map(|mib| format!("--tmpfs=/var/lib/dsctl:size={mib}M")))
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("a console"))
            .stderr(console);
        self.process = Some(nspawn.spawn().expect("systemd-nspawn"));
        until("the machine's first process", || self.leader());
    }

    /// Its first process, as it is numbered here.
    fn leader(&self) -> Option<u32> {
        let nspawn = self.process.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// As if somebody pulled the plug; its disk stays.
    pub fn power_off(&mut self) {
        if let Some(leader) = self.leader() {
            run(Command::new("kill").args(["-KILL", &leader.to_string()]));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }

    /// A command on the machine, as root.
    pub fn run(&self, words: &[&str]) -> Outcome {
        let leader = self.leader().expect("a machine that runs").to_string();
        run(Command::new("nsenter").args(["--all", "--target", &leader, "--wd=/", "--"]).args(words))
    }

    /// The end of its journal, for a test that fails.
    pub fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "--lines=150"]).stdout
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.root().join(Path::new(path).strip_prefix("/").expect("a path from the root"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
        run(Command::new("umount").arg("--lazy").arg(self.root()));
    }
}
