//! Apart in time: fractions that are the same for the same name, and random ones for waits after a refusal.
//!
//! Thousands of policies that started together must not ask together for ever. Nothing here is secret.

use std::hash::{BuildHasher as _, DefaultHasher, Hash, Hasher as _, RandomState};

use jiff::SignedDuration;

/// By how much of an interval policies are spread: each asks after 90 to 100 % of it.
const INTERVAL_SHARE: f64 = 0.1;

/// A number from 0 to 1 (exclusive) that is the same for the same name, in every process of this build.
pub(crate) fn fraction(name: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    unit(hasher.finish())
}

/// A random wait up to `most`: clients that were refused together come back apart.
pub(crate) fn full_jitter(most: SignedDuration) -> SignedDuration {
    // The standard library's only randomness: the keys of a new hasher.
    share(most, unit(RandomState::new().hash_one(0_u8)))
}

/// An interval as one policy keeps it: never longer than it says, so that its promise of freshness holds.
pub(crate) fn interval(interval: SignedDuration, name: &impl Hash) -> SignedDuration {
    share(interval, 1.0 - INTERVAL_SHARE * fraction(name))
}

/// Three quarters of a time to the whole of it, the same for the same name.
pub(crate) fn share_for(most: SignedDuration, name: &impl Hash) -> SignedDuration {
    share(most, 0.75 + 0.25 * fraction(name))
}

fn share(of: SignedDuration, fraction: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(of.as_secs_f64() * fraction).unwrap_or(of)
}

#[expect(clippy::cast_precision_loss, reason = "52 bits of a hash are enough to spread")]
fn unit(hash: u64) -> f64 {
    (hash >> 12) as f64 / (1_u64 << 52) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_never_longer_than_it_says_and_policies_are_spread_over_a_tenth_of_it() {
        let minute = SignedDuration::from_secs(60);
        let kept: Vec<f64> = (0..1000).map(|uid| interval(minute, &uid).as_secs_f64()).collect();
        assert!(kept.iter().all(|seconds| (54.0..=60.0).contains(seconds)));
        for tenth in 0..10 {
            let from = 54.0 + 0.6 * f64::from(tenth);
            let n = kept.iter().filter(|seconds| (from..from + 0.6).contains(*seconds)).count();
            assert!((60..140).contains(&n), "{n} of 1000 in tenth {tenth}");
        }
        assert_eq!(interval(minute, &"a"), interval(minute, &"a"));
    }

    #[test]
    fn refused_clients_come_back_at_different_times_within_the_limit() {
        let most = SignedDuration::from_secs(8);
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| full_jitter(most)).collect();
        assert!(90 < waits.len(), "{}", waits.len());
        assert!(waits.iter().all(|wait| *wait <= most && !wait.is_negative()));
    }
}
