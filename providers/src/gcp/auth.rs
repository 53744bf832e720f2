//! Who we are to Google, and the clients: made when the first call needs them, since only then must there be credentials.

use std::sync::Arc;

use engine::provider::{ErrorKind, ProviderError};
use spec::id::DeploymentName;
use tokio::sync::OnceCell;

use super::clients::{Compute, credentials};
use super::labels::Mark;
use super::operation::Spent;
use super::rest::Rest;
use super::settings::Settings;
use crate::cloud::{Handed, Identity};
pub use crate::making::{Making, id, inputs, named};

/// The user's settings, and what is made from them once.
#[derive(Debug)]
pub struct Session {
    pub settings: Settings,
    services: OnceCell<Services>,
}

/// Everything that calls go through.
#[derive(Debug, Clone)]
pub struct Services {
    pub project: String,
    pub compute: Compute,
    pub rest: Rest,
}

impl Session {
    pub fn load() -> Arc<Self> {
        Arc::new(Self { settings: Settings::load(), services: OnceCell::new() })
    }

    pub async fn services(&self) -> Result<&Services, ProviderError> {
        self.services.get_or_try_init(|| self.connected()).await
    }

    async fn connected(&self) -> Result<Services, ProviderError> {
        let project = self.settings.project()?.to_owned();
        let credentials = credentials(&self.settings)?;
        let endpoint = self.settings.endpoint.clone();
        let compute = Compute::new(&credentials, endpoint.as_deref()).await?;
        Ok(Services { project, compute, rest: Rest::new(credentials, endpoint)? })
    }

    /// A project is what an account is elsewhere.
    pub fn identity(&self) -> Result<Identity, ProviderError> {
        Ok(Identity { account: self.settings.project()?.to_owned(), caller: self.settings.caller.clone() })
    }
}

/// One deployment, before anything of it was called for.
#[derive(Debug)]
pub struct Site {
    session: Arc<Session>,
    deployment: DeploymentName,
    region: String,
    handed: Handed,
    gcp: OnceCell<Gcp>,
}

/// All that a call for one deployment needs.
#[derive(Debug)]
pub struct Gcp {
    pub deployment: DeploymentName,
    pub project: String,
    pub region: String,
    /// Whoever is asking.
    pub caller: String,
    pub compute: Compute,
    pub rest: Rest,
    /// Where Google is, if not at Google; for the machine's first boot.
    pub endpoint: Option<String>,
    pub handed: Handed,
    pub spent: Spent,
}

impl Site {
    pub fn new(session: Arc<Session>, deployment: &DeploymentName, region: &str, handed: Handed) -> Self {
        Self { session, deployment: deployment.clone(), region: region.to_owned(), handed, gcp: OnceCell::new() }
    }

    /// The clients, if the settings name the project that the deployment lies in. In another, everything of it would seem to
    /// be gone, and would be struck from the record while it lives on.
    pub async fn at_home(&self) -> Result<&Gcp, ProviderError> {
        self.gcp.get_or_try_init(|| self.entered()).await
    }

    async fn entered(&self) -> Result<Gcp, ProviderError> {
        let found = self.session.settings.project()?;
        if let Some(home) = self.handed.account.as_ref().filter(|home| *home != found) {
            let message = format!("{} lies in the project {home}; the settings name {found}", self.deployment);
            let error = ProviderError::new(ErrorKind::Credentials, "account", message);
            return Err(error.with_next(format!("gcloud config set project {home}, and the same command again")));
        }
        let services = self.session.services().await?.clone();
        Ok(Gcp {
            deployment: self.deployment.clone(),
            project: services.project,
            region: self.region.clone(),
            caller: self.session.settings.caller.clone(),
            compute: services.compute,
            rest: services.rest,
            endpoint: self.session.settings.endpoint.clone(),
            handed: self.handed.clone(),
            spent: Spent::default(),
        })
    }
}

impl Gcp {
    /// Whose what an intent makes is.
    pub fn mark<'a>(&'a self, making: &Making<'a>) -> Mark<'a> {
        Mark {
            deployment: &self.deployment,
            address: &making.desired.address,
            token: making.token,
            lineage: &making.known.lineage,
            owner: &self.caller,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(project: &str, home: Option<&str>) -> Site {
        let settings = Settings {
            project: Some(project.to_owned()),
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            ..Settings::default()
        };
        let session = Arc::new(Session { settings, services: OnceCell::new() });
        let handed = Handed { account: home.map(str::to_owned), ..Handed::default() };
        Site::new(session, &"default".parse().unwrap(), "europe-west4", handed)
    }

    #[tokio::test]
    async fn another_project_than_the_one_on_record_is_not_touched() {
        let error = site("other", Some("home")).at_home().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials);
        assert_eq!(error.next(), Some("gcloud config set project home, and the same command again"));
        for home in [Some("home"), None] {
            assert_eq!(site("home", home).at_home().await.unwrap().project, "home");
        }
    }
}
