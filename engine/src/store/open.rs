//! The object store behind a [`StateLocation`]; credentials and endpoints come from the environment, as each cloud's own tools
//! read them.

use std::env;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore};
use spec::state_location::{ObjectService, StateLocation};

/// The bucket of a location, its folder left to the caller. Nothing is sent yet, so a wrong name or a missing right shows
/// at the first read.
pub fn objects(location: &StateLocation) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    Ok(match location.service {
        ObjectService::S3 => Arc::new(s3(&location.bucket).with_conditional_put(S3ConditionalPut::ETagMatch).build()?),
        ObjectService::Gs => Arc::new(gs(&location.bucket).build()?),
        ObjectService::Az => Arc::new(az(location.account.as_deref(), &location.bucket).build()?),
    })
}

/// A bucket of S3.
pub fn s3(bucket: &str) -> AmazonS3Builder {
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    // The one of S3 goes first, as in Amazon's own tools; at an endpoint of one's own, buckets are seldom host names.
    match set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL")) {
        Some(endpoint) => {
            let is_plain = endpoint.starts_with("http://");
            builder.with_endpoint(endpoint).with_allow_http(is_plain).with_virtual_hosted_style_request(false)
        }
        None => builder,
    }
}

/// A bucket of Google's. Where all other calls to Google go, these go too; without a file of credentials nobody asks for any
/// there.
pub fn gs(bucket: &str) -> GoogleCloudStorageBuilder {
    let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    let Some(endpoint) = set("DSCTL_GCP_ENDPOINT") else { return builder };
    let is_plain = endpoint.starts_with("http://");
    let options = ClientOptions::new().with_allow_http(is_plain);
    let builder = builder.with_base_url(endpoint.trim_end_matches('/')).with_client_options(options);
    match set("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(_) => builder,
        // Unsigned it would ask for a token all the same.
        None => builder.with_bearer_token("none"),
    }
}

/// A container of Azure's; the account is the environment's where none is named.
pub fn az(account: Option<&str>, container: &str) -> MicrosoftAzureBuilder {
    let builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
    match account {
        Some(account) => builder.with_account(account),
        None => builder,
    }
}

/// A variable that says something.
fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
