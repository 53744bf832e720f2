//! The life of the process: read, lock, bind, serve, drain.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use engine::store::{DirectoryStore, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::Args;
use crate::carrier::Carrier;
use crate::config::{ConfigError, Settings};
use crate::control::Control;
use crate::listen::Transport;
use crate::metrics::Metrics;
use crate::plane::{DataPlane, OpenError};
use crate::recorder::{Recorder, RecorderError};
use crate::tls::{Tls, TlsError};
use crate::{admin, follow, listen, public, trail, watchdog};

/// What requests under way get to finish after SIGTERM.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// What requests that are cut get to be accounted for.
const CUT_TIME: Duration = Duration::from_secs(1);

/// What the last records of the audit log get to be written.
const FLUSH_TIME: Duration = Duration::from_secs(4);

/// Held while a gateway uses the folder; not a key of the store in it, since keys can't begin with a dot.
const LOCK_FILE: &str = ".dsgate.lock";

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("can't use the data folder {}", path.display())]
    DataFolder { path: PathBuf, source: std::io::Error },
    #[error("the data folder {} is used by another dsgate: stop it, or give --data-dir another folder", path.display())]
    DataFolderTaken { path: PathBuf },
    #[error("can't listen on {address} ({field} in the configuration)")]
    Bind { field: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Audit(#[from] RecorderError),
    #[error("metrics can't be set up")]
    Metrics(#[from] prometheus::Error),
    #[error("the process can't be set up")]
    Process(#[source] std::io::Error),
}

impl RunError {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Tls(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Serves until SIGTERM or SIGINT.
pub fn run(args: &Args) -> Result<(), RunError> {
    let settings = Settings::load(&args.config, None)?;
    let transport = match args.certificate() {
        None => Transport::Plain,
        Some(files) => Transport::Encrypted(Arc::new(Tls::load(files)?)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RunError::Process)?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new().map_err(RunError::Process)?;
        let gateway = Gateway::open(settings, &args.config, &args.data_dir).await?;
        let (stop, control) = (CancellationToken::new(), Arc::clone(&gateway.control));
        tokio::spawn({
            let stop = stop.clone();
            async move {
                signals.until_stop(&control).await;
                stop.cancel();
            }
        });
        tokio::spawn(watchdog::run());
        tokio::spawn(trail::follow(Arc::clone(&gateway.control)));
        gateway.serve(transport, stop).await;
        Ok(())
    });
    // What did not end in the time to drain does not hold up the exit.
    runtime.shutdown_background();
    result
}

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Reloads at each SIGHUP; returns at SIGTERM or SIGINT.
    async fn until_stop(&mut self, control: &Arc<Control>) {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    // Logged and shown as a metric where it happens; the last good configuration stays.
                    drop(control.reload().await);
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

/// A gateway with its ports bound.
pub(crate) struct Gateway {
    pub(crate) control: Arc<Control>,
    pub(crate) public: TcpListener,
    pub(crate) admin: TcpListener,
    /// Unlocked by the end of the process, however it comes.
    _lock: File,
}

impl Gateway {
    pub(crate) async fn open(settings: Settings, config: &Path, data_dir: &Path) -> Result<Self, RunError> {
        let lock = lock(data_dir)?;
        let public = bind("listen", settings.config.listen).await?;
        let admin = bind("admin_listen", settings.config.admin_listen).await?;
        let salt = settings.config.salt.clone();
        let store: Arc<dyn Store> = Arc::new(DirectoryStore::new(data_dir));
        let metrics = Arc::new(Metrics::new()?);
        let audit = settings.config.audit.as_ref();
        let recorder = audit.map(|config| Recorder::open(data_dir, config, &metrics)).transpose()?;
        let plane = Arc::new(DataPlane::open(settings, Arc::clone(&store), recorder, metrics).await?);
        let carrier = Carrier::open(store, Arc::clone(&plane)).await;
        let control = Arc::new(Control::new(plane, carrier, config.to_owned()));
        if let Err(error) = control.carrier.set_salt(&salt).await {
            tracing::warn!(error = crate::describe(&error), "sessions stay dealt by the salt before");
        }
        Ok(Self { control, public, admin, _lock: lock })
    }

    /// Serves until `stop`, then finishes what is under way.
    pub(crate) async fn serve(self, transport: Transport, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        let ends = listen::Ends { stop: stop.clone(), cut: CancellationToken::new() };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            tls = matches!(transport, Transport::Encrypted(_)),
            listen = self.public.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            admin_listen = self.admin.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            generation = self.control.plane.table().generation,
            "serving"
        );
        follow_certificate(&transport, stop.clone());
        tokio::spawn(follow::follow_keys(Arc::clone(&self.control), stop.clone()));
        let listeners = [
            (self.public, transport, public::router(Arc::clone(&self.control.plane))),
            (self.admin, Transport::Plain, admin::router(Arc::clone(&self.control))),
        ];
        for (listener, transport, router) in listeners {
            tokio::spawn(listen::serve(listener, transport, router, ends.clone(), tracker.clone()));
        }
        let (allowances, kept) = (Arc::clone(&self.control.plane.allowances), stop.clone());
        tokio::spawn(async move { allowances.keep_on(kept).await });
        let carrying = Arc::clone(&self.control);
        let carried = stop.clone();
        let carrying = tokio::spawn(async move { carrying.carrier.carry(carried).await });
        stop.cancelled().await;
        self.control.plane.drain();
        tracker.close();
        tracing::info!(requests = tracker.len(), "stopping: no new connections, requests under way are finished");
        if tokio::time::timeout(DRAIN_TIME, tracker.wait()).await.is_err() {
            tracing::warn!(requests = tracker.len(), "requests were cut: they took longer than {DRAIN_TIME:?}");
            // Their ends are counted and recorded like any other.
            ends.cut.cancel();
            if tokio::time::timeout(CUT_TIME, tracker.wait()).await.is_err() {
                tracing::warn!(requests = tracker.len(), "requests did not end when they were cut");
            }
        }
        self.control.plane.allowances.keep_or_log().await;
        if let Some(recorder) = &self.control.plane.recorder
            && tokio::time::timeout(FLUSH_TIME, recorder.flush()).await.is_err()
        {
            tracing::error!("the last records of the audit log were not written within {FLUSH_TIME:?}");
        }
        // A change of weight under way is finished; what is not, the journal would finish at the next start.
        if let Err(error) = carrying.await {
            tracing::error!(%error, "the rollout controller failed");
        }
    }
}

fn follow_certificate(transport: &Transport, stop: CancellationToken) {
    if let Transport::Encrypted(tls) = transport {
        let tls = Arc::clone(tls);
        tokio::spawn(async move { tls.follow(stop).await });
    }
}

fn lock(data_dir: &Path) -> Result<File, RunError> {
    let failed = |source| RunError::DataFolder { path: data_dir.to_owned(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let file = File::create(data_dir.join(LOCK_FILE)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::DataFolderTaken { path: data_dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

async fn bind(field: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Bind { field, address, source })
}
