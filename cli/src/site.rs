//! Where a deployment's resources are: who changes them, and where it is written down what there is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::apply::Settings;
use engine::peek::{Peek, peek};
use engine::provider::Provider;
use engine::store::{DirectoryStore, Store};
use providers::cloud::{CloudAdapter, Handed, LaidOut};
use providers::local::LocalProvider;
use spec::deployment::{Cloud, Deployment};
use spec::id::DeploymentName;
use spec::layout::DeploymentLayout;

use crate::args::WhereArgs;
use crate::clouds;
use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::session::Session;

/// Calls to a cloud that a throttled one is repeated with.
const CLOUD_ATTEMPTS: u32 = 10;
/// How long a cloud may not show what was just made, unless [`VISIBILITY`] says otherwise.
const CLOUD_VISIBILITY: Duration = Duration::from_secs(20);
/// Environment variable with that time, e.g. `20s`.
const VISIBILITY: &str = "DSCTL_VISIBILITY";

/// What an engine is opened with.
#[derive(Clone)]
pub struct Site {
    pub name: DeploymentName,
    pub provider: Arc<dyn Provider>,
    pub store: Arc<dyn Store>,
    pub settings: Settings,
}

impl Site {
    pub fn local(layout: &DeploymentLayout, name: &DeploymentName, provider: LocalProvider) -> Self {
        let store = Arc::new(DirectoryStore::new(layout.state()));
        Self { name: name.clone(), provider: Arc::new(provider), store, settings: Settings::default() }
    }
}

/// A deployment as the command line names it: what it was made from, and where it is.
pub struct Kept {
    pub name: DeploymentName,
    pub layout: DeploymentLayout,
    pub deployment: Deployment,
}

impl Kept {
    /// By its name on this machine, or by a file that says where it is.
    pub fn find(context: &Context, args: &WhereArgs) -> Result<Self, Failure> {
        let Some(path) = &args.file else { return Self::named(context, &args.name.name) };
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        let deployment = Deployment::parse(&text, &path.display().to_string()).map_err(Failure::usage)?;
        let name = deployment.name.clone().unwrap_or_else(|| args.name.name.clone());
        if deployment.cloud.unwrap_or(Cloud::Local) == Cloud::Local {
            return Self::named(context, &name);
        }
        Ok(Self { layout: context.home.deployment(&name), name, deployment })
    }

    pub fn named(context: &Context, name: &DeploymentName) -> Result<Self, Failure> {
        let layout = context.deployment(name)?;
        Ok(Self { name: name.clone(), deployment: kept_deployment(&layout)?.unwrap_or_default(), layout })
    }

    pub fn cloud(&self) -> Cloud {
        self.deployment.cloud.unwrap_or(Cloud::Local)
    }

    /// Where its resources are; none for a cloud deployment of which nothing was ever begun.
    pub async fn site(&self, context: &Context) -> Result<Option<Site>, Failure> {
        if self.cloud() == Cloud::Local {
            let provider = LocalProvider::new(context.home.clone(), self.name.clone(), context.binaries()?);
            return Ok(Some(Site::local(&self.layout, &self.name, provider)));
        }
        let cloud = CloudSite::look(&self.deployment, &self.name, &self.layout).await?;
        let Some(region) = cloud.region() else {
            return match cloud.peek.begun.len() + cloud.peek.state.replaced.len() {
                0 => Ok(None),
                _ => Err(Failure::usage(format!(
                    "region: it is not on record where {} lies; name it in the file",
                    self.name
                ))),
            };
        };
        Ok(Some(cloud.site(&region, cloud.handed())))
    }

    pub fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        store(&self.deployment, &self.name, &self.layout)
    }

    /// For commands that speak with a gateway or an agent on this machine.
    pub fn refuse_cloud(&self, command: &str) -> Result<(), Failure> {
        match self.cloud() {
            Cloud::Local => Ok(()),
            cloud => {
                let message =
                    format!("{} is on {cloud}; `{command}` reaches deployments on this machine only yet", self.name);
                Err(Failure::new(Kind::Usage, message).next("dsctl status"))
            }
        }
    }
}

/// What a deployment was made from last, if it was on this machine.
pub fn kept_deployment(layout: &DeploymentLayout) -> Result<Option<Deployment>, Failure> {
    let path = layout.spec_file();
    if !path.is_file() {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(&path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    Deployment::parse(&text, &path.display().to_string()).map(Some).map_err(Failure::usage)
}

/// A cloud deployment, as far as it is on record.
pub struct CloudSite {
    pub adapter: Arc<dyn CloudAdapter>,
    pub peek: Peek,
    pub laid_out: LaidOut,
    name: DeploymentName,
    store: Arc<dyn Store>,
    settings: Settings,
    /// The one region that the deployment names, if it does.
    pinned: Option<String>,
}

impl CloudSite {
    /// Reads what is on record; asks the cloud nothing.
    pub async fn look(
        deployment: &Deployment,
        name: &DeploymentName,
        layout: &DeploymentLayout,
    ) -> Result<Self, Failure> {
        let adapter = clouds::adapter(deployment.cloud.unwrap_or(Cloud::Local)).await?;
        let store = store(deployment, name, layout)?;
        let peek = peek(store.clone(), name).await?;
        let laid_out = adapter.laid_out(&peek.begun);
        let pinned = deployment.region.as_ref().and_then(|region| region.single()).map(str::to_owned);
        Ok(Self { adapter, peek, laid_out, name: name.clone(), store, settings: cloud_settings()?, pinned })
    }

    /// The same when an interrupted run is settled, so that the record says all that there is.
    pub async fn settled(self, command: &str) -> Result<Self, Failure> {
        if self.peek.is_settled {
            return Ok(self);
        }
        let Some(region) = self.region() else { return Ok(self) };
        let session = Session::open(self.site(&region, self.handed()), command).await?;
        session.release_after(Ok(())).await?;
        let peek = peek(self.store.clone(), &self.name).await?;
        Ok(Self { laid_out: self.adapter.laid_out(&peek.begun), peek, ..self })
    }

    /// Where it lies; else where it is to lie.
    pub fn region(&self) -> Option<String> {
        self.laid_out.region.clone().or_else(|| self.pinned.clone())
    }

    /// What a command is given that makes nothing new.
    fn handed(&self) -> Handed {
        Handed { account: self.laid_out.account.clone(), ..Handed::default() }
    }

    pub fn site(&self, region: &str, handed: Handed) -> Site {
        let provider = self.adapter.provider(&self.name, region, handed);
        Site { name: self.name.clone(), provider, store: self.store.clone(), settings: self.settings }
    }
}

fn cloud_settings() -> Result<Settings, Failure> {
    let given = std::env::var(VISIBILITY).ok().filter(|given| !given.is_empty());
    let visibility = given.map(|given| given.parse::<spec::amount::Span>()).transpose();
    let visibility = visibility.map_err(|error| Failure::usage(format!("{VISIBILITY}: {error}")))?;
    let visibility = visibility.map_or(CLOUD_VISIBILITY, |span| span.0);
    Ok(Settings { visibility, attempts: CLOUD_ATTEMPTS, ..Settings::default() })
}

/// Where state, journal and lease of a deployment lie.
fn store(deployment: &Deployment, name: &DeploymentName, layout: &DeploymentLayout) -> Result<Arc<dyn Store>, Failure> {
    match &deployment.state {
        None => Ok(Arc::new(DirectoryStore::new(layout.state()))),
        Some(location) => providers::store::open(location, name).map_err(Failure::usage),
    }
}

/// The folder of `dsctl`, `dsserve` and `dsgate` for a cloud's host.
pub fn host_binaries(context: &Context, given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(folder) => Ok(std::path::absolute(folder)?),
        None => context.binaries(),
    }
}
