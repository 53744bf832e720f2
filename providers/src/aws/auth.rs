//! Who we are to AWS, and the clients of a region.
//!
//! Two clients a service: `look` repeats a call by itself when AWS is slow or busy; `act` never does, because a call that
//! may have happened is the engine's to look into.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use engine::provider::{ErrorKind, ProviderError};
use spec::id::DeploymentName;
use tokio::sync::OnceCell;

use super::error::failed;
use super::tags::Mark;
use crate::cloud::{Handed, Identity};
pub use crate::making::{Making, id, inputs, named};

const CONNECT: Duration = Duration::from_secs(5);
/// One try of a call that carries no large body.
const ATTEMPT: Duration = Duration::from_secs(30);
const LOOKS: u32 = 5;

/// Settings and credentials as Amazon's own tools read them: environment, profile, instance role, `AWS_ENDPOINT_URL*`.
#[derive(Debug, Clone)]
pub struct Session {
    config: SdkConfig,
    /// Where S3 is, if not at Amazon.
    pub s3_endpoint: Option<String>,
}

/// One client a service.
#[derive(Debug, Clone)]
pub struct Services {
    pub ec2: aws_sdk_ec2::Client,
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
    pub ssm: aws_sdk_ssm::Client,
    pub quotas: aws_sdk_servicequotas::Client,
    pub pricing: aws_sdk_pricing::Client,
    pub sts: aws_sdk_sts::Client,
}

impl Session {
    pub async fn load() -> Self {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
        let config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await;
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let s3_endpoint = set("AWS_ENDPOINT_URL_S3").or_else(|| config.endpoint_url().map(str::to_owned));
        Self { config, s3_endpoint }
    }

    /// The region of the user's own settings.
    pub fn default_region(&self) -> Option<String> {
        self.config.region().map(ToString::to_string)
    }

    /// Clients that repeat a call by themselves.
    pub fn look(&self, region: &str) -> Services {
        self.services(region, RetryConfig::standard().with_max_attempts(LOOKS))
    }

    /// Clients that call once.
    pub fn act(&self, region: &str) -> Services {
        self.services(region, RetryConfig::disabled())
    }

    fn services(&self, region: &str, retry: RetryConfig) -> Services {
        let config = self.config.to_builder().region(Region::new(region.to_owned())).retry_config(retry).build();
        let path_style = self.s3_endpoint.is_some();
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(path_style).build();
        // The price list is served from few regions; us-east-1 has all of it.
        let pricing = aws_sdk_pricing::config::Builder::from(&config).region(Region::from_static("us-east-1")).build();
        Services {
            ec2: aws_sdk_ec2::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            ssm: aws_sdk_ssm::Client::new(&config),
            quotas: aws_sdk_servicequotas::Client::new(&config),
            pricing: aws_sdk_pricing::Client::from_conf(pricing),
            sts: aws_sdk_sts::Client::new(&config),
        }
    }
}

/// Who the credentials belong to.
pub async fn identity(look: &Services) -> Result<Identity, ProviderError> {
    let caller = look.sts.get_caller_identity().send().await.map_err(failed("who is asking"))?;
    let (account, caller) = (caller.account().unwrap_or_default(), caller.arn().unwrap_or_default());
    Ok(Identity { account: account.to_owned(), caller: caller.to_owned() })
}

/// All that a call for one deployment needs.
#[derive(Debug)]
pub struct Aws {
    pub deployment: DeploymentName,
    pub region: String,
    pub look: Services,
    pub act: Services,
    pub s3_endpoint: Option<String>,
    pub handed: Handed,
    identity: OnceCell<Identity>,
}

impl Aws {
    pub fn new(session: &Session, deployment: &DeploymentName, region: &str, handed: Handed) -> Self {
        Self {
            deployment: deployment.clone(),
            region: region.to_owned(),
            look: session.look(region),
            act: session.act(region),
            s3_endpoint: session.s3_endpoint.clone(),
            handed,
            identity: OnceCell::new(),
        }
    }

    /// Whether the credentials are of the account that the deployment lies in. With another's, everything of it would seem
    /// to be gone, and would be struck from the record while it lives on.
    pub async fn is_at_home(&self) -> Result<(), ProviderError> {
        let Some(home) = &self.handed.account else { return Ok(()) };
        let found = &self.identity().await?.account;
        if found == home {
            return Ok(());
        }
        let message = format!("{} lies in the account {home}; the credentials are of {found}", self.deployment);
        let error = ProviderError::new(ErrorKind::Credentials, "account", message);
        Err(error.with_next("export AWS_PROFILE=… (a profile of that account), and the same command again"))
    }

    /// Asked once.
    pub async fn identity(&self) -> Result<&Identity, ProviderError> {
        self.identity.get_or_try_init(|| identity(&self.look)).await
    }

    /// The tags of what an intent makes.
    pub async fn mark<'a>(&'a self, making: &Making<'a>) -> Result<Mark<'a>, ProviderError> {
        Ok(Mark {
            deployment: &self.deployment,
            address: &making.desired.address,
            token: making.token,
            lineage: &making.known.lineage,
            owner: owner(&self.identity().await?.caller),
        })
    }
}

/// Who made something. A role's session has a name of its own each time, and what is made again with the same token must have
/// the same tags.
pub fn owner(caller: &str) -> &str {
    match caller.split_once(":assumed-role/") {
        Some((_, role)) if role.contains('/') => caller.rsplit_once('/').map_or(caller, |(role, _)| role),
        _ => caller,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_has_no_session() {
        assert_eq!(owner("arn:aws:sts::1:assumed-role/Admin/1764180000"), "arn:aws:sts::1:assumed-role/Admin");
        assert_eq!(owner("arn:aws:iam::1:user/path/ada"), "arn:aws:iam::1:user/path/ada");
    }
}
