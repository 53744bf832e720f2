//! From a [`Ranged`] into a [`Partial`]: several pieces at once where the source serves ranges, else from the first byte
//! to the last.

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use spec::id::{Sha256, WeightsName};
use tokio_util::sync::CancellationToken;

use super::meter::{Meter, Report};
use super::partial::{Identity, Partial, Pieces};
use super::ranged::{ByteStream, Ranged, Ranges, Wanted};
use super::space::check_free;
use super::{FetchSettings, SourceError, WeightsError};

/// Collected before each write, so that small network reads do not each cost a hop to the blocking pool.
const WRITE_BYTES: usize = 1 << 20;
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

pub(super) struct Download<'a> {
    pub name: &'a WeightsName,
    /// Tells one source from another; a query is only there as its digest.
    pub source: String,
    pub file: &'a dyn Ranged,
    pub sha256: Option<Sha256>,
    pub size: Option<u64>,
    pub settings: &'a FetchSettings,
    pub partial: &'a Partial,
    pub cancel: &'a CancellationToken,
    pub report: Report,
}

/// Runs blocking work of ours; only a panic inside it can fail to come back.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(error) => Err(WeightsError::Io {
            what: "waiting for the file system".to_owned(),
            source: std::io::Error::other(error),
        }
        .into()),
    }
}

impl Download<'_> {
    /// Leaves the whole file in the partial, or an error and what can be resumed.
    pub async fn run(&self) -> Result<(), SourceError> {
        let work = async {
            match (self.file.facts().ranges, self.file.facts().size) {
                (Ranges::Served, Some(size)) => self.in_pieces(size).await,
                (Ranges::Served | Ranges::Ignored, _) => self.in_one().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(WeightsError::Cancelled { name: self.name.clone() }.into()),
            result = work => result,
        }
    }

    async fn in_pieces(&self, size: u64) -> Result<(), SourceError> {
        let piece_bytes = self.settings.piece_bytes;
        let identity = Identity {
            source: self.source.clone(),
            size,
            piece_bytes,
            validator: self.file.facts().validator.clone(),
            sha256: self.sha256.clone(),
        };
        self.partial.create_folder()?;
        let pieces = self.partial.resume(&identity)?;
        let range_of = |piece: u64| piece * piece_bytes..((piece + 1) * piece_bytes).min(size);
        let done = pieces.finished.iter().map(|piece| range_of(*piece)).map(|range| range.end - range.start).sum();
        check_free(self.partial.folder(), size - done)?;
        let meter = Meter::new(done, size, self.report.clone());
        let missing = (0..size.div_ceil(piece_bytes)).filter(|piece| !pieces.finished.contains(piece));
        let (pieces, meter) = (&pieces, &meter);
        stream::iter(missing.map(|piece| self.piece(piece, range_of(piece), pieces, meter)))
            .buffer_unordered(self.settings.connections.max(1))
            .try_collect::<()>()
            .await
    }

    async fn piece(&self, piece: u64, range: Range<u64>, pieces: &Pieces, meter: &Meter) -> Result<(), SourceError> {
        let mut at = range.start;
        let mut fruitless = 0;
        while at < range.end {
            let before = at;
            let result = self.stretch(&mut at, range.end, pieces, meter).await;
            if at >= range.end {
                break;
            }
            let error = match result {
                Ok(()) => {
                    SourceError::Interrupted { reason: format!("ended {} bytes early, at byte {at}", range.end - at) }
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            fruitless = if at > before { 1 } else { fruitless + 1 };
            if fruitless >= self.settings.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.backoff(fruitless)).await;
        }
        let pieces = pieces.clone();
        blocking(move || Ok(pieces.finish(piece)?)).await
    }

    /// One request: writes what comes and moves `at` past what is written.
    async fn stretch(&self, at: &mut u64, end: u64, pieces: &Pieces, meter: &Meter) -> Result<(), SourceError> {
        let mut stream = self.file.get(Wanted::Part(*at..end)).await?;
        loop {
            let (buffer, outcome) = fill(&mut stream, self.settings.stall_timeout, end - *at).await;
            let count = buffer.len() as u64;
            if count > 0 {
                let (pieces, offset) = (pieces.clone(), *at);
                blocking(move || Ok(pieces.write_at(&buffer, offset)?)).await?;
                *at += count;
                meter.add(count);
            }
            if outcome? == Filled::AtEnd || *at >= end {
                return Ok(());
            }
        }
    }

    async fn in_one(&self) -> Result<(), SourceError> {
        let mut tries = 1;
        loop {
            match self.whole().await {
                Err(error) if (error.is_transient() || is_short(&error)) && tries < self.settings.attempts => {
                    tokio::time::sleep(self.backoff(tries)).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    async fn whole(&self) -> Result<(), SourceError> {
        let size = self.file.facts().size.or(self.size);
        let mut data = self.partial.start_over()?;
        check_free(self.partial.folder(), size.unwrap_or(0))?;
        let meter = Meter::new(0, size.unwrap_or(0), self.report.clone());
        let mut stream = self.file.get(Wanted::All).await?;
        let mut done = 0;
        loop {
            let (buffer, outcome) = fill(&mut stream, self.settings.stall_timeout, u64::MAX).await;
            let count = buffer.len() as u64;
            let path = self.partial.data();
            data = blocking(move || {
                data.write_all(&buffer).map_err(|source| WeightsError::io("writing", &path, source))?;
                Ok(data)
            })
            .await?;
            done += count;
            meter.add(count);
            if outcome? == Filled::AtEnd {
                break;
            }
        }
        match size {
            Some(expected) if expected != done => Err(SourceError::Size { expected, found: done }),
            _ => Ok(()),
        }
    }

    fn backoff(&self, tries: u32) -> Duration {
        self.settings.first_backoff.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_BACKOFF)
    }
}

fn is_short(error: &SourceError) -> bool {
    matches!(error, SourceError::Size { expected, found } if found < expected)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    Full,
    AtEnd,
}

/// Reads until there is a buffer worth writing, the stream ends, fails, or falls silent; never more than `most` bytes.
/// What came before a failure is returned with it.
async fn fill(stream: &mut ByteStream, stall: Duration, most: u64) -> (Vec<u8>, Result<Filled, SourceError>) {
    let mut buffer = Vec::new();
    while buffer.len() < WRITE_BYTES && (buffer.len() as u64) < most {
        match tokio::time::timeout(stall, stream.next()).await {
            Ok(Some(Ok(chunk))) => {
                let room = usize::try_from(most - buffer.len() as u64).unwrap_or(usize::MAX);
                buffer.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(Some(Err(error))) => return (buffer, Err(error)),
            Ok(None) => return (buffer, Ok(Filled::AtEnd)),
            Err(_) => {
                let reason = format!("nothing came for {} s", stall.as_secs());
                return (buffer, Err(SourceError::Interrupted { reason }));
            }
        }
    }
    (buffer, Ok(Filled::Full))
}
