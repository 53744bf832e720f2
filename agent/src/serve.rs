//! `dsctl agent`: claims the host, then ticks until everything is stopped as asked, or until it is itself told to go.
//!
//! SIGTERM and SIGINT end the agent and stop no unit: the next agent adopts what runs. To stop the units, ask for
//! [`spec::host::RunState::Stopped`]; the agent then ends with an error if one of them can't be. SIGHUP is ignored: the
//! terminal that started it may close.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::store::create_private_folder;
use spec::id::{DeploymentName, HostName};
use spec::layout::HomeLayout;
use spec::state_location::StateLocation;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::bucket::{Bucket, BucketError, Mirror, Service, Supplies};
use crate::converge::{Converger, Next};
use crate::held::keep_driver;
use crate::site::Site;
use crate::supervisor::{ChildSupervisor, Supervisor, SystemdSupervisor};
use crate::watchdog::Watchdog;
use crate::weights::FetchSettings;

const TICK_EVERY: Duration = Duration::from_millis(100);
/// Somebody who only looks whether an agent lives holds the lock for a moment.
const CLAIM_PATIENCE: Duration = Duration::from_secs(1);
const CLAIM_POLL: Duration = Duration::from_millis(50);

/// Which host of which deployment.
#[derive(Debug, Clone)]
pub struct AgentArgs {
    pub home: HomeLayout,
    pub host: HostName,
    pub of: Where,
}

/// Where the agent's deployment is written down.
#[derive(Debug, Clone)]
pub enum Where {
    /// In the home's folder of this deployment; units are child processes.
    Folder(DeploymentName),
    /// In a bucket, which says which deployment it is; units are services of systemd.
    Bucket(StateLocation),
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("another agent runs on host {host} of deployment {deployment} already; next: dsctl status")]
    AlreadyRuns { deployment: DeploymentName, host: HostName },
    #[error("{what} {}: {source}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("listening for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("making an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("not everything could be stopped: {left}; next: end it by hand, then: dsctl down")]
    NotStopped { left: String },
    #[error(
        "units of a host with a bucket are services of systemd, and systemd does not run here; next: dsctl agent --name NAME"
    )]
    NoSystemd,
    #[error("nothing mirrors the bucket any more; the journal says why")]
    MirrorEnded,
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("the agent's folder {} is gone; its units were stopped", .path.display())]
    FolderGone { path: PathBuf },
}

/// Runs until the host spec asks for everything to be stopped and it is, or until a signal. Leaves its terminal.
pub async fn run(args: AgentArgs) -> Result<(), AgentError> {
    // Fails only when the caller made this process a leader already, which serves as well.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no new session");
    }
    let _hangup = signal(SignalKind::hangup()).map_err(AgentError::Signals)?;
    let goodbye = Goodbye {
        terminate: signal(SignalKind::terminate()).map_err(AgentError::Signals)?,
        interrupt: signal(SignalKind::interrupt()).map_err(AgentError::Signals)?,
    };
    let result = match &args.of {
        Where::Folder(deployment) => in_folder(&args, deployment, goodbye).await,
        Where::Bucket(location) => in_bucket(&args, location, goodbye).await,
    };
    tracing::info!(ok = result.is_ok(), "the agent ends");
    result
}

async fn in_folder(args: &AgentArgs, deployment: &DeploymentName, goodbye: Goodbye) -> Result<(), AgentError> {
    let site = Site::new(&args.home, deployment, &args.host);
    let supervisor = ChildSupervisor::new(site.host.clone());
    serve(site, supervisor, Supplies::OnDisk, FetchSettings::from_environment(), goodbye.wait()).await
}

async fn in_bucket(args: &AgentArgs, location: &StateLocation, goodbye: Goodbye) -> Result<(), AgentError> {
    if !SystemdSupervisor::is_here() {
        return Err(AgentError::NoSystemd);
    }
    let goodbye = goodbye.wait();
    tokio::pin!(goodbye);
    let successor = Arc::new(Service::new(&args.home, location, &args.host));
    let begun = Mirror::begin(Bucket::open(location)?, &args.home, &args.host, successor);
    let mirror = tokio::select! {
        mirror = begun => mirror,
        () = &mut goodbye => return Ok(()),
    };
    let (site, supplies) = (mirror.site().clone(), mirror.supplies());
    let held = tokio::spawn(keep_driver());
    let ended = CancellationToken::new();
    let mut mirrored = tokio::spawn(mirror.run(ended.clone()));
    let supervisor = SystemdSupervisor::new(args.home.root());
    let result = tokio::select! {
        result = serve(site, supervisor, supplies, FetchSettings::from_environment(), goodbye) => result,
        // Systemd starts the agent again, and with it another mirror.
        _ = &mut mirrored => return Err(AgentError::MirrorEnded),
    };
    held.abort();
    ended.cancel();
    if let Err(error) = mirrored.await {
        tracing::error!(%error, "the mirror of the bucket did not end well");
    }
    result
}

struct Goodbye {
    terminate: Signal,
    interrupt: Signal,
}

impl Goodbye {
    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The agent without its process: what tests run.
pub(crate) async fn serve<S: Supervisor>(
    site: Site,
    supervisor: S,
    supplies: Supplies,
    settings: FetchSettings,
    goodbye: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let claim = Claim::take(&site).await?;
    tracing::info!(deployment = %site.deployment, host = %site.name, pid = std::process::id(), "the agent begins");
    let mut converger = Converger::new(site, supervisor, supplies, settings)?;
    converger.announce();
    tokio::pin!(goodbye);
    let mut watchdog = Watchdog::default();
    loop {
        watchdog.beat();
        if !claim.is_valid() {
            return wind_up(&mut converger, &claim).await;
        }
        match converger.tick().await {
            Next::TickAgain => {}
            Next::End => return Ok(()),
            Next::GiveUp { left } => return Err(AgentError::NotStopped { left }),
        }
        tokio::select! {
            () = &mut goodbye => return Ok(()),
            () = tokio::time::sleep(TICK_EVERY) => {}
        }
    }
}

/// Nobody could ever stop the units of a host whose folder was removed, except this agent, now.
async fn wind_up<S: Supervisor>(converger: &mut Converger<S>, claim: &Claim) -> Result<(), AgentError> {
    tracing::error!(lock = %claim.path.display(), "the agent's folder is gone: stopping all units");
    while converger.halt().await == Next::TickAgain {
        tokio::time::sleep(TICK_EVERY).await;
    }
    Err(AgentError::FolderGone { path: claim.path.parent().unwrap_or(Path::new(".")).to_owned() })
}

/// The host's lock, held for as long as this value lives; the operating system lets go of it when the process dies.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    file: File,
}

impl Claim {
    async fn take(site: &Site) -> Result<Self, AgentError> {
        let path = site.host.agent_lock();
        let failed = |what| {
            let path = path.clone();
            move |source| AgentError::Io { what, path, source }
        };
        create_private_folder(site.host.root()).map_err(failed("making the folder of"))?;
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed("opening"))?;
        let deadline = Instant::now() + CLAIM_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed("locking")(source)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(CLAIM_POLL).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(AgentError::AlreadyRuns {
                        deployment: site.deployment.clone(),
                        host: site.name.clone(),
                    });
                }
            }
        }
        // For people who look; the lock itself is what counts, so a full disk is no reason to end.
        if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
            tracing::warn!(%error, "the lock file does not tell the agent's pid");
        }
        Ok(Self { path, file })
    }

    /// The path still leads to the file that is locked.
    fn is_valid(&self) -> bool {
        match (self.path.metadata(), self.file.metadata()) {
            (Ok(there), Ok(held)) => there.ino() == held.ino() && there.dev() == held.dev(),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (_, Err(_)) => true,
        }
    }
}
