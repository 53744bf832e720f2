//! The adapter of a cloud, as far as this dsctl was built with it.

use std::sync::Arc;

use providers::cloud::CloudAdapter;
use spec::deployment::Cloud;

use crate::exit::Failure;

#[cfg(feature = "aws")]
mod aws;
#[cfg(not(feature = "aws"))]
#[path = "without_aws.rs"]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(not(feature = "azure"))]
#[path = "without_azure.rs"]
mod azure;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(not(feature = "gcp"))]
#[path = "without_gcp.rs"]
mod gcp;

/// Reads the user's own settings and credentials of the cloud; asks the cloud nothing yet.
pub async fn adapter(cloud: Cloud) -> Result<Arc<dyn CloudAdapter>, Failure> {
    match cloud {
        Cloud::Aws => aws::load().await,
        Cloud::Gcp => gcp::load(),
        Cloud::Azure => azure::load().await,
        Cloud::Local => {
            let message = format!("cloud: this dsctl has no adapter for {cloud} yet");
            Err(Failure::usage(message).next("dsctl up --cloud local --model smollm2-135m"))
        }
    }
}

/// Clouds whose adapters this dsctl has.
pub fn built_in() -> Vec<Cloud> {
    let all = [(Cloud::Aws, aws::IS_BUILT_IN), (Cloud::Gcp, gcp::IS_BUILT_IN), (Cloud::Azure, azure::IS_BUILT_IN)];
    all.into_iter().filter(|(_, is_built_in)| *is_built_in).map(|(cloud, _)| cloud).collect()
}

/// The script of a machine's first boot, with the placeholders of `providers::cloud::BOOT_PLACEHOLDERS`.
pub const fn boot_script(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Aws => templates::AWS_BOOT,
        Cloud::Gcp => templates::GCP_BOOT,
        Cloud::Azure => templates::AZURE_BOOT,
        Cloud::Local => "",
    }
}

/// The command that leads to the account that a deployment lies in.
pub fn switch_account(cloud: Cloud, home: &str) -> String {
    match cloud {
        Cloud::Gcp => format!("gcloud config set project {home}"),
        Cloud::Azure => format!("az account set --subscription {home}"),
        Cloud::Local | Cloud::Aws => "export AWS_PROFILE=… (a profile of that account)".to_owned(),
    }
}
