//! How fast a host may be asked: fewer requests at once where it refuses, none before the time that it named.
//!
//! Each answer teaches: a served request widens the limit by a little, a refusal halves it (additive increase,
//! multiplicative decrease). A 429 stops all requests to its host until `Retry-After`, or for a random wait that doubles, so
//! that a storm ends and clients come back apart. What is held back is not sent; it is `Unknown` with the time of the next
//! try. Reading the headers: `budget.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use rollforward_core::evidence::Unknown;
use rollforward_core::reason::Reason;
use tokio::sync::Notify;

use super::budget::Budget;
use super::words::{retry_at, unknown};
use crate::spread;

/// Requests at once to a host that has said nothing yet.
const FIRST_AT_ONCE: f64 = 8.0;
/// The most requests at once to one host: half of the passes that run at once.
const MOST_AT_ONCE: f64 = 32.0;
/// The wait after the first refusal without a time; doubled by each further one.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(2);
/// The longest wait that we choose ourselves.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(5);
/// Refusals within this time of one that was heeded belong to it: they were under way already.
const ONE_REFUSAL: SignedDuration = SignedDuration::from_secs(1);
/// A host that did not answer so many times in a row is left alone for a while.
const SILENCES: u32 = 3;
/// How long a request waits for its turn where a budget runs low; what must wait longer is held back.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);
/// How many hosts are remembered.
const MAX_HOSTS: usize = 1024;

/// Registries that count pulls apart (Docker Hub) let a look through when pulls are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A manifest or blob is fetched.
    Pull,
    /// Anything else: lists, HEADs, tokens.
    Look,
}

impl Kind {
    pub(super) fn of(method: &Method, url: &Url) -> Self {
        let is_content = url.path().contains("/manifests/") || url.path().contains("/blobs/");
        if is_content && method == Method::GET { Kind::Pull } else { Kind::Look }
    }
}

/// What each host taught.
#[derive(Default)]
pub(super) struct Limiter {
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
}

#[derive(Default)]
struct Host {
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    at_once: f64,
    n_under_way: usize,
    n_refused_in_a_row: u32,
    n_silent_in_a_row: u32,
    refused_at: Option<Timestamp>,
    /// What is answered instead of asking, for every request and for pulls, until its `retry_at`.
    hold: Option<Unknown>,
    hold_of_pulls: Option<Unknown>,
    /// Where a budget runs low: when the next request may start, and how far apart they are then.
    next_at: Timestamp,
    apart: SignedDuration,
}

impl Default for State {
    fn default() -> Self {
        Self {
            at_once: FIRST_AT_ONCE,
            n_under_way: 0,
            n_refused_in_a_row: 0,
            n_silent_in_a_row: 0,
            refused_at: None,
            hold: None,
            hold_of_pulls: None,
            next_at: Timestamp::MIN,
            apart: SignedDuration::ZERO,
        }
    }
}

/// The right to send one request. Given back when dropped.
pub(super) struct Permit {
    host: Arc<Host>,
    kind: Kind,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.host.lock();
        state.n_under_way = state.n_under_way.saturating_sub(1);
        drop(state);
        self.host.freed.notify_one();
    }
}

enum Turn {
    Now,
    WhenFreed,
    After(Duration),
    Held(Unknown),
}

impl Limiter {
    /// Waits for a turn. `Err` is the answer that is given instead, where the host is to be left alone.
    pub(super) async fn admit(&self, name: &str, kind: Kind) -> Result<Permit, Unknown> {
        let host = self.host(name);
        loop {
            // Made before the look, so that a turn freed in between is not missed.
            let freed = host.freed.notified();
            let turn = host.lock().turn(name, kind, Timestamp::now());
            match turn {
                Turn::Now => {
                    host.freed.notify_one(); // the limit may have risen: the next in line looks too
                    return Ok(Permit { host: Arc::clone(&host), kind });
                }
                Turn::WhenFreed => freed.await,
                Turn::After(time) => tokio::time::sleep(time).await,
                Turn::Held(unknown) => {
                    host.freed.notify_one(); // the next in line is held back too, and must not wait for ever
                    return Err(unknown);
                }
            }
        }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if !hosts.contains_key(name) && MAX_HOSTS <= hosts.len() {
            let now = Timestamp::now();
            hosts.retain(|_, host| !host.lock().is_idle(now));
            if MAX_HOSTS <= hosts.len() {
                return Arc::default(); // not remembered: workloads name hosts, and there may be any number
            }
        }
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }
}

impl Host {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, name: &str, kind: Kind, now: Timestamp) -> Turn {
        let is_over = |hold: &Unknown| hold.retry_at.is_none_or(|until| until <= now);
        self.hold = self.hold.take().filter(|hold| !is_over(hold));
        self.hold_of_pulls = self.hold_of_pulls.take().filter(|hold| !is_over(hold));
        let pulls = self.hold_of_pulls.as_ref().filter(|_| kind == Kind::Pull);
        if let Some(hold) = self.hold.as_ref().or(pulls) {
            return Turn::Held(hold.clone());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 32")]
        let at_once = self.at_once as usize;
        if at_once <= self.n_under_way {
            return Turn::WhenFreed;
        }
        let wait = self.next_at.duration_since(now);
        if PATIENCE < wait {
            let message = format!("{name}: its RateLimit headers leave us no request before then");
            return Turn::Held(Unknown {
                retry_at: Some(self.next_at),
                ..unknown(Reason::RegistryRateLimited, message)
            });
        }
        if let Ok(wait) = Duration::try_from(wait)
            && !wait.is_zero()
        {
            return Turn::After(wait);
        }
        if !self.apart.is_zero() {
            self.next_at = now.checked_add(self.apart).unwrap_or(now);
        }
        self.n_under_way = self.n_under_way.saturating_add(1);
        Turn::Now
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        let holds = [&self.hold, &self.hold_of_pulls].into_iter().flatten();
        self.n_under_way == 0 && !holds.filter_map(|hold| hold.retry_at).any(|until| now < until)
    }

    fn served(&mut self) {
        self.at_once = (self.at_once + 1.0 / self.at_once).min(MOST_AT_ONCE);
        self.n_refused_in_a_row = 0;
        self.n_silent_in_a_row = 0;
    }

    /// Halves the limit; true where this refusal is not one of a burst that was already heeded.
    fn refused(&mut self, now: Timestamp) -> bool {
        let is_new = self.refused_at.is_none_or(|at| ONE_REFUSAL <= now.duration_since(at));
        if is_new {
            self.refused_at = Some(now);
            self.at_once = (self.at_once / 2.0).max(1.0);
        }
        is_new
    }

    fn backoff(n_in_a_row: u32, now: Timestamp) -> Option<Timestamp> {
        let doubled = 1_i32.checked_shl(n_in_a_row.min(20)).and_then(|times| FIRST_WAIT.checked_mul(times));
        let most = doubled.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        // Never nothing: half the wait is kept, half is chance.
        let least = most.checked_div(2).unwrap_or(most);
        now.checked_add(least.checked_add(spread::full_jitter(least)).unwrap_or(most)).ok()
    }

    fn heed(&mut self, budget: &Budget, kind: Kind, host: &str, now: Timestamp) {
        if budget.is_of_pulls {
            if budget.remaining == 0 && kind == Kind::Pull {
                let message = format!("{host}: no pulls are left to us for now, by its RateLimit headers");
                let until = now.checked_add(budget.resets_in).ok();
                self.hold_of_pulls =
                    Some(Unknown { retry_at: until, ..unknown(Reason::RegistryRateLimited, message) });
            }
            return;
        }
        self.apart = budget.apart();
        if budget.remaining == 0 {
            self.next_at = now.checked_add(budget.resets_in).unwrap_or(now);
        }
    }
}

impl Permit {
    /// What an answer teaches. For a 429 or 5xx: when to ask again, where the host said so or must be left alone.
    pub(super) fn answered(&self, name: &str, status: StatusCode, headers: &HeaderMap) -> Option<Timestamp> {
        let now = Timestamp::now();
        let mut state = self.host.lock();
        let budget = Budget::read(headers, now);
        let is_refused = status == StatusCode::TOO_MANY_REQUESTS;
        if let Some(budget) = budget.as_ref().filter(|_| !is_refused) {
            state.heed(budget, self.kind, name, now);
        }
        if !is_refused && !status.is_server_error() {
            state.served();
            return None;
        }
        let named = retry_at(headers, now);
        if state.refused(now) && is_refused {
            state.n_refused_in_a_row = state.n_refused_in_a_row.saturating_add(1);
        }
        if named.is_some() || !is_refused {
            return named;
        }
        State::backoff(state.n_refused_in_a_row.saturating_sub(1), now)
    }

    /// Leaves the host alone until the `retry_at` of this answer, where it has one.
    pub(super) fn hold(&self, refusal: &Unknown, headers: &HeaderMap) {
        if refusal.retry_at.is_none() {
            return;
        }
        let is_of_pulls = Budget::read(headers, Timestamp::now()).is_some_and(|budget| budget.is_of_pulls);
        let mut state = self.host.lock();
        let hold =
            if is_of_pulls && self.kind == Kind::Pull { &mut state.hold_of_pulls } else { &mut state.hold };
        // Of several refusals under way the longest wait counts.
        if hold.as_ref().is_none_or(|known| known.retry_at < refusal.retry_at) {
            *hold = Some(refusal.clone());
        }
        drop(state);
        self.host.freed.notify_waiters();
    }

    /// No answer at all: after several in a row the host is left alone for a while, and when that ends is said.
    pub(super) fn silent(&self, refusal: &mut Unknown) {
        let now = Timestamp::now();
        let mut state = self.host.lock();
        state.refused(now);
        state.n_silent_in_a_row = state.n_silent_in_a_row.saturating_add(1);
        if SILENCES <= state.n_silent_in_a_row {
            refusal.retry_at = State::backoff(state.n_silent_in_a_row.saturating_sub(SILENCES), now);
            state.hold = Some(refusal.clone());
        }
        drop(state);
        self.host.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_rises_slowly_and_is_halved_once_for_a_burst_of_refusals() {
        let mut state = State::default();
        for _ in 0..10_000 {
            state.served();
        }
        assert!((state.at_once - MOST_AT_ONCE).abs() < 0.1, "{}", state.at_once);
        let now = Timestamp::UNIX_EPOCH;
        let burst: Vec<bool> = (0..20).map(|_| state.refused(now)).collect();
        assert_eq!(burst.iter().filter(|is_new| **is_new).count(), 1);
        assert!((state.at_once - MOST_AT_ONCE / 2.0).abs() < 0.1, "{}", state.at_once);
        for second in 1..20 {
            state.refused(Timestamp::from_second(second).unwrap_or(now));
        }
        assert!((state.at_once - 1.0).abs() < 0.1, "one request may always go: {}", state.at_once);
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_are_spread() {
        let now = Timestamp::UNIX_EPOCH;
        let wait = |n| State::backoff(n, now).map_or(0.0, |at| at.duration_since(now).as_secs_f64());
        for (n, most) in [(0, 2.0), (1, 4.0), (5, 64.0), (10, 300.0), (4_000_000_000, 300.0)] {
            let waits: Vec<f64> = (0..50).map(|_| wait(n)).collect();
            assert!(waits.iter().all(|wait| (most / 2.0..=most).contains(wait)), "{n}: {waits:?}");
            assert!(waits.iter().any(|wait| (wait - waits.iter().sum::<f64>() / 50.0).abs() > most / 100.0));
        }
    }
}
