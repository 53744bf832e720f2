//! Files in object storage; credentials and endpoints come from the environment, as each cloud's own tools read them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::store::{az, gs, s3};
use futures::StreamExt;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::path::Path;
use object_store::{ClientConfigKey, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};
use spec::weights::ObjectScheme;

use super::error::chain;
use super::ranged::{ByteStream, Facts, Ranged, Ranges, Wanted};
use super::{FetchSettings, SourceError};

/// For one piece as a whole; a stall is noticed earlier, by the download.
const REQUEST_TIMEOUT: &str = "600 seconds";

#[derive(Debug)]
pub(super) struct ObjectFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    facts: Facts,
}

impl ObjectFile {
    pub async fn open(store: Arc<dyn ObjectStore>, key: &str) -> Result<Self, SourceError> {
        let path = Path::parse(key).map_err(|error| SourceError::Setup { message: chain(&error) })?;
        let meta = store.head(&path).await.map_err(of_store)?;
        let facts = Facts { size: Some(meta.size), sha256: None, validator: meta.e_tag, ranges: Ranges::Served };
        Ok(Self { store, path, facts })
    }
}

/// The store that a `s3://`, `gs://` or `az://` source names.
pub(super) fn store_of(
    scheme: ObjectScheme,
    bucket: &str,
    settings: &FetchSettings,
) -> Result<Arc<dyn ObjectStore>, SourceError> {
    // Few retries here: the download has its own, and the next source should not wait for long.
    let retry = RetryConfig { max_retries: 2, retry_timeout: settings.connect_timeout * 2, ..RetryConfig::default() };
    let connect = format!("{} seconds", settings.connect_timeout.max(Duration::from_secs(1)).as_secs());
    let store: Arc<dyn ObjectStore> = match scheme {
        ObjectScheme::S3 => Arc::new(
            s3(bucket)
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), connect)
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_retry(retry)
                .build()
                .map_err(of_setup)?,
        ),
        ObjectScheme::Gs => Arc::new(
            gs(bucket)
                .with_config(GoogleConfigKey::Client(ClientConfigKey::ConnectTimeout), connect)
                .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_retry(retry)
                .build()
                .map_err(of_setup)?,
        ),
        ObjectScheme::Az => Arc::new(
            az(None, bucket)
                .with_config(AzureConfigKey::Client(ClientConfigKey::ConnectTimeout), connect)
                .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_retry(retry)
                .build()
                .map_err(of_setup)?,
        ),
    };
    Ok(store)
}

fn of_setup(error: object_store::Error) -> SourceError {
    SourceError::Setup { message: format!("can't be set up from the environment: {}", chain(&error)) }
}

fn of_store(error: object_store::Error) -> SourceError {
    use object_store::Error;
    match &error {
        Error::NotFound { path, .. } => SourceError::Refused { status: format!("no object {path}"), hint: "" },
        Error::Precondition { .. } | Error::NotModified { .. } => SourceError::Changed,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            SourceError::Refused { status: chain(&error), hint: "; check the cloud's credentials in the environment" }
        }
        _ => SourceError::Unreachable { reason: chain(&error) },
    }
}

#[async_trait]
impl Ranged for ObjectFile {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    async fn get(&self, wanted: Wanted) -> Result<ByteStream, SourceError> {
        let range = match wanted {
            Wanted::All => None,
            Wanted::Part(part) => Some(GetRange::Bounded(part)),
        };
        let options = GetOptions { range, if_match: self.facts.validator.clone(), ..GetOptions::default() };
        let answer = self.store.get_opts(&self.path, options).await.map_err(of_store)?;
        Ok(answer.into_stream().map(|chunk| chunk.map_err(of_store)).boxed())
    }
}
