//! The one small port between a download and where the bytes come from.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use spec::id::Sha256;

use super::SourceError;

/// What a source tells of its file before the first byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub size: Option<u64>,
    /// Where the source itself vouches for a digest.
    pub sha256: Option<Sha256>,
    /// Changes when the file does: a strong ETag or the like.
    pub validator: Option<String>,
    pub ranges: Ranges,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Ranges {
    Served,
    #[default]
    Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    Part(Range<u64>),
}

pub(super) type ByteStream = BoxStream<'static, Result<Bytes, SourceError>>;

/// A file that can be read in parts. Reading the same part twice gives the same bytes, or [`SourceError::Changed`].
#[async_trait]
pub(super) trait Ranged: Send + Sync + fmt::Debug {
    fn facts(&self) -> &Facts;

    /// The stream may end early; the caller counts.
    async fn get(&self, wanted: Wanted) -> Result<ByteStream, SourceError>;
}
