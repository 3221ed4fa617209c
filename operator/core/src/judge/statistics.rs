//! The sequential test for short tasks: do the runs of a new image fail more often than those of the old one?
//!
//! Wald's test on the outcomes of runs, looked at after every run without a fixed number of them: wrongly rejected at most
//! one time in a hundred (alpha .01), a clearly worse image wrongly accepted one time in twenty (beta .05). Logarithms are
//! kept as whole thousandths, so that the tables can be read and nothing here is a float.

use crate::ledger::Tally;

/// Up to which base rate, in thousandths, a row holds; what a failure and a success add, in thousandths of the natural logarithm.
struct Row {
    base: u64,
    failure: i64,
    success: i64,
}

const SELDOM: Row = Row { base: 20, failure: 2996, success: -213 };
const RATHER_SELDOM: Row = Row { base: 70, failure: 1792, success: -305 };
/// Base rate against a clearly worse one: .01/.2, .05/.3, .1/.4, .3/.7, .5/.9.
const ROWS: [Row; 5] = [
    SELDOM,
    RATHER_SELDOM,
    Row { base: 200, failure: 1386, success: -405 },
    Row { base: 450, failure: 847, success: -847 },
    Row { base: 600, failure: 588, success: -1609 },
];
/// ln((1 - beta) / alpha): 95.
const REJECT: i64 = 4554;
/// The same for each of two tests that share alpha.
const REJECT_EITHER: i64 = 5247;
/// ln(beta / (1 - alpha)).
const ACCEPT: i64 = -2986;
/// From how many runs a base without a failure counts as one that does not fail.
const MANY_RUNS: u64 = 30;

/// What the test says so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequential {
    /// The new image fails more often.
    Worse,
    /// It does not fail clearly more often.
    NoWorse,
    /// More runs are needed.
    Undecided,
}

/// Compares the runs of a new image with those of the old one.
#[must_use]
pub fn sequential(base: Option<&Tally>, new: &Tally) -> Sequential {
    let (failures, successes) = (u64::from(new.failures), u64::from(new.successes));
    let Some(row) = row(base) else {
        // More than six of ten runs of the old image fail: nothing that the new one does can be called worse.
        return if 0 < successes { Sequential::NoWorse } else { Sequential::Undecided };
    };
    let all = score(row, failures, successes);
    // A way to fail that the old image never showed weighs by itself: a test of its own, and alpha is shared.
    let unseen = base.filter(|base| 0 < base.failures).map(|base| {
        let seen: u64 = new
            .exits
            .iter()
            .filter(|(exit, _)| base.exits.contains_key(*exit))
            .fold(0, |sum, (_, count)| sum.saturating_add(u64::from(*count)));
        let fresh = failures.saturating_sub(seen);
        let row = if runs(base) < MANY_RUNS { RATHER_SELDOM } else { SELDOM };
        score(&row, fresh, successes.saturating_add(failures.saturating_sub(fresh)))
    });
    let is_worse = match unseen {
        None => REJECT <= all,
        Some(unseen) => REJECT_EITHER <= all.max(unseen),
    };
    if is_worse {
        Sequential::Worse
    } else if all <= ACCEPT {
        Sequential::NoWorse
    } else {
        Sequential::Undecided
    }
}

fn runs(tally: &Tally) -> u64 {
    u64::from(tally.failures).saturating_add(u64::from(tally.successes))
}

fn score(row: &Row, failures: u64, successes: u64) -> i64 {
    let times = |count: u64, each: i64| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(each);
    times(failures, row.failure).saturating_add(times(successes, row.success))
}

/// The row for a base; a base of few runs is taken for somewhat worse than it looks. `None` where it mostly fails.
fn row(base: Option<&Tally>) -> Option<&'static Row> {
    let permille = match base {
        None => 50,
        Some(base) if base.failures == 0 => {
            if runs(base) < MANY_RUNS {
                50
            } else {
                10
            }
        }
        Some(base) => {
            let n = runs(base).saturating_add(1);
            let rate = u64::from(base.failures).saturating_mul(1000).saturating_add(500).checked_div(n)?;
            let variance = rate.saturating_mul(1000_u64.saturating_sub(rate)).checked_div(n)?;
            if runs(base) < MANY_RUNS { rate.saturating_add(variance.isqrt()) } else { rate }
        }
    };
    ROWS.iter().find(|row| permille <= row.base)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tally(failures: u32, successes: u32) -> Tally {
        let exits =
            if failures == 0 { BTreeMap::new() } else { BTreeMap::from([("exit 1".to_owned(), failures)]) };
        Tally { image: String::new(), failures, successes, exits }
    }

    /// How many straight failures reject, and straight successes accept.
    fn needs(base: Option<Tally>) -> (u32, u32) {
        let says = |new: Tally| sequential(base.as_ref(), &new);
        let worse = (1..100).find(|n| says(tally(*n, 0)) == Sequential::Worse).unwrap_or(100);
        let no_worse = (1..100).find(|n| says(tally(0, *n)) == Sequential::NoWorse).unwrap_or(100);
        (worse, no_worse)
    }

    #[test]
    fn so_many_straight_failures_reject_and_so_many_successes_accept() {
        assert_eq!(needs(Some(tally(0, 30))), (2, 15));
        assert_eq!(needs(Some(tally(0, 10))), (3, 10));
        assert_eq!(needs(None), (3, 10));
        assert_eq!(needs(Some(tally(5, 45))), (4, 8));
        assert_eq!(needs(Some(tally(30, 70))), (7, 4));
        assert_eq!(needs(Some(tally(9, 1))), (100, 1));
    }

    #[test]
    fn an_exit_that_the_old_image_never_showed_weighs_more() {
        let base = tally(30, 70);
        let fresh = Tally { exits: BTreeMap::from([("exit 78".to_owned(), 2)]), ..tally(2, 0) };
        assert_eq!(sequential(Some(&base), &fresh), Sequential::Worse);
        assert_eq!(sequential(Some(&base), &tally(2, 0)), Sequential::Undecided);
    }

    /// Plays a job that fails at a rate: how often of a thousand it is called worse.
    fn called_worse(base_rate: u64, base_runs: u32, new_rate: u64) -> u32 {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut fails = |rate: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % 1000 < rate
        };
        let mut worse = 0;
        for _ in 0..1000 {
            let failed = u32::try_from((0..base_runs).filter(|_| fails(base_rate)).count()).unwrap_or(0);
            let base = tally(failed, base_runs.saturating_sub(failed));
            let mut new = tally(0, 0);
            for _ in 0..400 {
                if fails(new_rate) {
                    new = tally(new.failures.saturating_add(1), new.successes);
                } else {
                    new = tally(new.failures, new.successes.saturating_add(1));
                }
                match sequential(Some(&base), &new) {
                    Sequential::Worse => {
                        worse = u32::saturating_add(worse, 1);
                        break;
                    }
                    Sequential::NoWorse => break,
                    Sequential::Undecided => {}
                }
            }
        }
        worse
    }

    #[test]
    fn a_job_that_fails_as_often_as_before_is_left_and_one_that_is_clearly_worse_is_not() {
        // A base of 100 runs, as the ledger keeps it.
        for (rate, most) in [(0, 0), (10, 10), (50, 15), (100, 15), (300, 15)] {
            let wrong = called_worse(rate, 100, rate);
            assert!(wrong <= most, "{rate} before and after: {wrong} of 1000 called worse");
        }
        for (base, new) in [(0, 300), (10, 300), (50, 500), (100, 600), (300, 900)] {
            let right = called_worse(base, 100, new);
            assert!(900 <= right, "{base} before, {new} after: {right} of 1000 called worse");
        }
    }
}
