//! Answers that were given before, to the same key for the same request: in memory, bounded, and only where it is asked for.
//!
//! The key of an answer covers who asks, what is asked, byte for byte, and which variant its weight sends it to, so that a
//! rollout's split stays what it is. What a guard found anything in is neither kept nor looked for.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderValue;
use lru::LruCache;
use sha2::{Digest, Sha256};
use spec::id::Variant;
use spec::route::CacheConfig;
use tokio::time::Instant;

/// What an answer takes beside its bytes, about.
const OVERHEAD_BYTES: usize = 256;

/// By which an answer is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnswerKey([u8; 32]);

impl AnswerKey {
    pub fn of(client_key: &str, path: &str, variant: Variant, body: &[u8]) -> Self {
        let mut digest = Sha256::new();
        for part in [client_key.as_bytes(), path.as_bytes(), variant.as_str().as_bytes(), body] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

/// An answer as a client got it.
#[derive(Debug, Clone)]
pub struct Kept {
    pub body: Bytes,
    pub content_type: Option<HeaderValue>,
    /// Who gave it: a variant, or the spare.
    pub label: &'static str,
}

pub struct AnswerCache {
    limits: CacheConfig,
    shelf: Mutex<Shelf>,
}

struct Shelf {
    answers: LruCache<AnswerKey, (Instant, Kept)>,
    bytes: usize,
}

impl fmt::Debug for AnswerCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnswerCache({} bytes)", self.bytes())
    }
}

impl AnswerCache {
    pub fn new(limits: CacheConfig) -> Self {
        Self { limits, shelf: Mutex::new(Shelf { answers: LruCache::unbounded(), bytes: 0 }) }
    }

    pub fn find(&self, key: &AnswerKey) -> Option<Kept> {
        let mut shelf = self.shelf();
        let found = shelf.answers.get(key).filter(|(kept_at, _)| kept_at.elapsed() < self.limits.keep_for.0);
        let found = found.map(|(_, kept)| kept.clone());
        if found.is_none() {
            shelf.take_out(key);
        }
        found
    }

    pub fn keep(&self, key: AnswerKey, kept: Kept) {
        let most = usize::try_from(u64::from(self.limits.max_mib) << 20).unwrap_or(usize::MAX);
        let size = size_of_kept(&kept);
        if size > most {
            return;
        }
        let mut shelf = self.shelf();
        shelf.take_out(&key);
        while shelf.bytes + size > most && shelf.take_out_oldest() {}
        shelf.bytes += size;
        shelf.answers.put(key, (Instant::now(), kept));
    }

    /// That it holds.
    pub fn bytes(&self) -> usize {
        self.shelf().bytes
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn take_out(&mut self, key: &AnswerKey) {
        if let Some((_, kept)) = self.answers.pop(key) {
            self.bytes -= size_of_kept(&kept);
        }
    }

    fn take_out_oldest(&mut self) -> bool {
        let Some((_, (_, kept))) = self.answers.pop_lru() else { return false };
        self.bytes -= size_of_kept(&kept);
        true
    }
}

fn size_of_kept(kept: &Kept) -> usize {
    kept.body.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spec::amount::Span;

    use super::*;

    fn key(body: &str) -> AnswerKey {
        AnswerKey::of("k", "/v1/chat/completions", Variant::Candidate, body.as_bytes())
    }

    fn kept(bytes: usize) -> Kept {
        Kept { body: Bytes::from(vec![b'x'; bytes]), content_type: None, label: "candidate" }
    }

    fn cache(max_mib: u32) -> AnswerCache {
        let limits = CacheConfig { max_mib, keep_for: Span::seconds(10) };
        AnswerCache::new(limits)
    }

    #[test]
    fn no_two_requests_share_an_answer() {
        let all = [
            AnswerKey::of("a", "/p", Variant::Candidate, b"x"),
            AnswerKey::of("b", "/p", Variant::Candidate, b"x"),
            AnswerKey::of("a", "/q", Variant::Candidate, b"x"),
            AnswerKey::of("a", "/p", Variant::Baseline, b"x"),
            AnswerKey::of("a", "/p", Variant::Candidate, b"y"),
            AnswerKey::of("a/", "p", Variant::Candidate, b"x"),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_found_for_its_time() {
        let cache = cache(1);
        cache.keep(key("a"), kept(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(cache.find(&key("a")).is_some() && cache.find(&key("b")).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.find(&key("a")).is_none());
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn what_was_not_asked_for_longest_gives_way_and_no_more_is_held_than_may_be() {
        let cache = cache(1);
        for body in ["a", "b", "c"] {
            cache.keep(key(body), kept(300 << 10));
        }
        cache.find(&key("a"));
        cache.keep(key("d"), kept(300 << 10));
        assert!(cache.find(&key("a")).is_some() && cache.find(&key("b")).is_none() && cache.find(&key("c")).is_some());
        cache.keep(key("e"), kept(2 << 20));
        assert!(cache.find(&key("e")).is_none() && cache.bytes() <= 1 << 20);
        for _ in 0..10 {
            cache.keep(key("a"), kept(1000));
        }
        assert!(cache.bytes() <= 1 << 20);
    }
}
