//! Asking a deployment's host for an act, wherever it stands, and hearing what came of it.
//!
//! ```text
//! lease -> action into the host spec (engine: ask) -> release -> status, again and again, until it has the outcome
//! ```

use std::time::{Duration, Instant};

use engine::graph::Address;
use providers::host_plan::API_KEY;
use providers::host_spec::ASK;
use providers::local::host_name;
use providers::secret::{CHANGE, KeyChange};
use spec::action::{Act, Action, ActionOutcome};
use spec::deployment::Cloud;
use spec::host::HostStatus;
use spec::id::DeploymentName;
use spec::layout::BucketLayout;

use crate::context::Context;
use crate::exit::{Failure, Kind};
use crate::gateway::gateway_files;
use crate::session::Session;
use crate::site::{CloudSite, Kept, Site};

/// A cloud's host reports every few seconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const HOST_SPEC: &str = "host-spec";
const SECRET: &str = "secret";
/// What a deployment is called that nobody gave a name.
const DEFAULT: &str = "default";

/// A deployment's host.
pub struct HostDesk {
    kept: Kept,
    context: Context,
    site: Site,
    cloud: Option<(CloudSite, String)>,
}

impl HostDesk {
    pub async fn of(context: &Context, kept: Kept) -> Result<Self, Failure> {
        let nothing = || Failure::failed(format!("{} has no host yet", kept.name)).next("dsctl up");
        let site = kept.site(context).await?.ok_or_else(nothing)?;
        let cloud = match kept.cloud() {
            Cloud::Local => None,
            _ => {
                let cloud = CloudSite::look(&kept.deployment, &kept.name, &kept.layout).await?;
                let region = cloud.region().ok_or_else(nothing)?;
                Some((cloud, region))
            }
        };
        Ok(Self { kept, context: context.clone(), site, cloud })
    }

    /// Puts the act into the host spec; nobody waits for it here.
    pub async fn ask(&self, act: Act) -> Result<Action, Failure> {
        self.refuse_without_agent().await?;
        let action = action(act);
        let session = Session::open(self.site.clone(), "dsctl host").await?;
        let asked = self.ask_host(&session, &action).await;
        session.release_after(asked).await?;
        Ok(action)
    }

    /// Changes the keys of clients where they lie, and has the host take them up: both under one lease.
    pub async fn change_keys(&self, change: &KeyChange) -> Result<Action, Failure> {
        self.refuse_without_agent().await?;
        let action = action(Act::TakeKeys);
        let session = Session::open(self.site.clone(), "dsctl keys").await?;
        let once = serde_json::to_value(change).map_err(Failure::failed)?;
        let changed = async {
            session.engine.ask(&Address::new(SECRET, API_KEY), CHANGE, once).await?;
            self.ask_host(&session, &action).await
        };
        let changed = changed.await;
        session.release_after(changed).await?;
        Ok(action)
    }

    async fn ask_host(&self, session: &Session, action: &Action) -> Result<(), Failure> {
        let once = serde_json::to_value(action).map_err(Failure::failed)?;
        match session.engine.state().resources.keys().find(|address| address.kind() == HOST_SPEC) {
            Some(address) => Ok(session.engine.ask(address, ASK, once).await?),
            None => Err(Failure::failed(format!("{} has no host yet", self.kept.name)).next("dsctl up")),
        }
    }

    /// On this machine an agent that is not there is seen at once; of a cloud's it shows in what it reports.
    async fn refuse_without_agent(&self) -> Result<(), Failure> {
        if self.cloud.is_some() || providers::local::agent_is_alive(&self.kept.layout)? {
            return Ok(());
        }
        Err(Failure::failed(format!("no agent runs for {}: nobody would carry it out", self.kept.name))
            .next("dsctl up"))
    }

    pub async fn outcome(&self, action: &Action, limit: Duration) -> Result<ActionOutcome, Failure> {
        let begun = Instant::now();
        loop {
            let status = self.status().await?;
            let found = status.and_then(|status| status.outcomes.into_iter().find(|outcome| outcome.id == action.id));
            if let Some(outcome) = found {
                return Ok(outcome);
            }
            if begun.elapsed() > limit {
                let message = format!("the host has not told the outcome of {} in time; it goes on", action.id);
                return Err(Failure::new(Kind::TimedOut, message).next("dsctl status"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What the host last reported.
    pub async fn status(&self) -> Result<Option<HostStatus>, Failure> {
        match &self.cloud {
            Some((cloud, region)) => Ok(cloud.adapter.host(region, &cloud.peek.state).await?.status),
            None => {
                let seen = agent::observe(&self.context.home, &self.kept.name, &host_name()).await;
                Ok(seen.map_err(Failure::failed)?.status)
            }
        }
    }

    /// The bundle that it wrote last.
    pub async fn diagnostics(&self) -> Result<Vec<u8>, Failure> {
        match &self.cloud {
            Some((cloud, region)) => {
                let host = providers::cloud::host_name().map_err(Failure::failed)?;
                let key = BucketLayout::diagnostics_key(&host);
                let found = cloud.adapter.object(region, &cloud.peek.state, &key).await?;
                found.ok_or_else(|| Failure::failed(format!("the bucket has no {key}")).next("dsctl status"))
            }
            None => {
                let path = self.kept.layout.bucket().diagnostics(&host_name());
                std::fs::read(&path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
            }
        }
    }

    /// Where the keys of clients lie.
    pub async fn api_key(&self) -> Result<String, Failure> {
        match &self.cloud {
            Some((cloud, region)) => {
                let host = cloud.adapter.host(region, &cloud.peek.state).await?;
                Ok(host.api_key.unwrap_or_else(|| "the bucket's secrets/api-key".to_owned()))
            }
            None => Ok(gateway_files(&self.kept.layout)?.api_key_file.display().to_string()),
        }
    }

    /// The keys of clients, one a line.
    pub async fn client_keys(&self) -> Result<String, Failure> {
        let bytes = match &self.cloud {
            Some((cloud, region)) => {
                let key = format!("secrets/{API_KEY}");
                let found = cloud.adapter.object(region, &cloud.peek.state, &key).await?;
                found.ok_or_else(|| Failure::failed(format!("the bucket has no {key}")).next("dsctl up"))?
            }
            None => std::fs::read(gateway_files(&self.kept.layout)?.api_key_file)?,
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its name, where a command must give it.
    pub fn named(&self) -> Option<&DeploymentName> {
        (self.kept.name.as_str() != DEFAULT).then_some(&self.kept.name)
    }

    pub fn name(&self) -> &str {
        self.kept.name.as_str()
    }
}

fn action(act: Act) -> Action {
    Action { id: format!("host-{}", jiff::Timestamp::now().as_millisecond()), act }
}
