//! Which variant a request goes to: a pure function of the table, the variants there are, and the request's key.
//!
//! `bucket < weight`, with 10,000 buckets, makes the split exact, sticky (one key, one bucket) and monotone (whoever is
//! with the candidate at 10% is with it at 30%).

use sha2::{Digest, Sha256};
use spec::amount::Weight;
use spec::id::Variant;

const BUCKETS: u64 = 10_000;

/// The golden section of 10,000, made coprime with it: multiples visit every bucket once in 10,000, and any short run
/// of them is spread evenly.
const STRIDE: u64 = 6_181;

/// Where a request without a session falls: the n-th such request of this process.
pub const fn bucket_of_turn(turn: u64) -> u16 {
    (turn % BUCKETS * STRIDE % BUCKETS) as u16
}

/// Where a session falls, whenever and wherever it is asked.
pub fn bucket_of_key(salt: &str, key: &[u8]) -> u16 {
    let digest = Sha256::new().chain_update(salt.as_bytes()).chain_update(key).finalize();
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(first) % BUCKETS) as u16
}

/// The variants that are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configured {
    Only(Variant),
    Both,
}

impl Configured {
    /// `None` if there is no variant at all.
    pub fn of(variants: impl IntoIterator<Item = Variant>) -> Option<Self> {
        variants.into_iter().fold(None, |found, variant| match found {
            None => Some(Self::Only(variant)),
            Some(Self::Only(other)) if other == variant => found,
            Some(_) => Some(Self::Both),
        })
    }

    /// The candidate's share of new requests: the table's, as far as there is a choice.
    pub const fn candidate_share(self, in_table: Weight) -> Weight {
        match self {
            Self::Only(Variant::Candidate) => Weight::ALL,
            Self::Only(Variant::Baseline) => Weight::NONE,
            Self::Both => in_table,
        }
    }

    /// The variant for a bucket.
    pub const fn pick(self, in_table: Weight, bucket: u16) -> Variant {
        if bucket < self.candidate_share(in_table).basis_points() { Variant::Candidate } else { Variant::Baseline }
    }

    /// The other variant, if there is one to fall back to.
    pub const fn other(self, variant: Variant) -> Option<Variant> {
        match self {
            Self::Only(_) => None,
            Self::Both => Some(variant.other()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weight(points: u16) -> Weight {
        Weight::from_basis_points(points).unwrap()
    }

    fn candidates(weight: Weight, from: u64, count: u64) -> u64 {
        let picks = (from..from + count).map(|turn| Configured::Both.pick(weight, bucket_of_turn(turn)));
        picks.filter(|variant| *variant == Variant::Candidate).count() as u64
    }

    #[test]
    fn any_hundred_are_close_for_every_weight() {
        for points in (0..=10_000).step_by(50) {
            let mut inside = candidates(weight(points), 0, 100) as i64;
            for from in 0..10_000 {
                let off = (inside - i64::from(points) / 100).abs();
                assert!(off <= 4, "{points} from {from}: {inside} of 100");
                inside -= candidates(weight(points), from, 1) as i64;
                inside += candidates(weight(points), from + 100, 1) as i64;
            }
        }
    }

    #[test]
    fn the_ends_leave_no_request_over() {
        for bucket in [0, 1, 9_998, 9_999] {
            assert_eq!(Configured::Both.pick(Weight::NONE, bucket), Variant::Baseline);
            assert_eq!(Configured::Both.pick(Weight::ALL, bucket), Variant::Candidate);
            assert_eq!(Configured::Only(Variant::Candidate).pick(Weight::NONE, bucket), Variant::Candidate);
            assert_eq!(Configured::Only(Variant::Baseline).pick(Weight::ALL, bucket), Variant::Baseline);
        }
        assert_eq!(Configured::of([]), None);
        assert_eq!(Configured::of(Variant::ALL), Some(Configured::Both));
        assert_eq!(Configured::of([Variant::Baseline]), Some(Configured::Only(Variant::Baseline)));
        assert_eq!(Configured::Only(Variant::Baseline).other(Variant::Baseline), None);
    }

    #[test]
    fn sessions_spread_over_all_buckets() {
        let with_candidate = |points| {
            let keys = (0..20_000).map(|n| bucket_of_key("salt", format!("session-{n}").as_bytes()));
            keys.filter(|bucket| Configured::Both.pick(weight(points), *bucket) == Variant::Candidate).count()
        };
        for points in [100, 1_000, 3_000, 6_000, 9_900] {
            let expected = f64::from(points) * 2.0;
            let spread = 5.0 * (expected * (1.0 - f64::from(points) / 10_000.0)).sqrt();
            let off = (with_candidate(points) as f64 - expected).abs();
            assert!(off < spread, "{points}: off by {off}");
        }
    }

    proptest! {
        #[test]
        fn any_ten_thousand_are_exact(points in 0u16..=10_000, from in 0u64..1_000_000_000) {
            prop_assert_eq!(candidates(weight(points), from, 10_000), u64::from(points));
        }

        #[test]
        fn a_key_stays_where_it_is_until_the_weight_passes_it(
            salt in ".{0,12}", key in proptest::collection::vec(any::<u8>(), 0..40), low in 0u16..=10_000, more in 0u16..=10_000,
        ) {
            let bucket = bucket_of_key(&salt, &key);
            prop_assert!(bucket < 10_000);
            prop_assert_eq!(bucket, bucket_of_key(&salt, &key));
            let high = low.saturating_add(more).min(10_000);
            let at = |points| Configured::Both.pick(weight(points), bucket);
            if at(low) == Variant::Candidate {
                prop_assert_eq!(at(high), Variant::Candidate);
            }
        }
    }
}
