//! What a registry listed, when, how far the look reached, and which tags a rule could choose at all.
//!
//! One scan serves every policy that needs the same repository with the same credential. A short list is never read as a
//! deletion: `select.rs` chooses among what is there and never goes below the floor. How a listing is asked for, and what
//! was learned of the registry's order: the controller's `scans.rs`.

use jiff::{SignedDuration, Timestamp};

use crate::image::Tag;
use crate::select::{Level, Rule};

/// What lies outside a bounded look is no older: the whole list is read again by then.
pub const RELIST: SignedDuration = SignedDuration::from_hours(6);

/// How many beginnings a sentence names.
const NAMED: usize = 3;

/// How far the newest look into a repository reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Every tag.
    Whole,
    /// The tags that begin with one of these, in a registry that lists by name. A tag written in another way is found by
    /// the next whole listing.
    Beginning(Vec<String>),
    /// The tags added since the look before, in a registry that lists by age. A deletion is found by the next whole
    /// listing.
    Added,
    /// No list: the one tag that a rule follows is asked for its digest. Any other tag is as old as the last whole
    /// listing.
    Followed(Tag),
    /// No list: a tag that has moved with every release seen names the same digest. What was released without moving it is
    /// found by the next whole listing.
    Sentinel(Tag),
}

/// How looks are taken between two whole listings, and what one costs. It has no times in it: it is said in the status,
/// which is written only when its meaning changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habit {
    /// How far each look reaches.
    pub reach: Reach,
    /// The requests of one look.
    pub requests: usize,
}

impl Habit {
    /// For the status and `explain`: what a look asks for, what it costs, how old the rest may be.
    #[must_use]
    pub fn sentence(&self) -> String {
        let cost = match self.requests {
            0 | 1 => "1 request a look".to_owned(),
            n => format!("{n} requests a look"),
        };
        let hours = RELIST.as_hours();
        match &self.reach {
            Reach::Whole if self.requests <= 1 => format!("the whole list, {cost}"),
            Reach::Whole => format!("the whole list, {cost}: it fits no page and no bound"),
            Reach::Beginning(texts) => {
                let named = texts.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(" or ");
                let more = match texts.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    n => format!(" or {n} more"),
                };
                format!(
                    "bounded to tags that begin with {named}{more}, {cost}; any other is seen within {hours} h"
                )
            }
            Reach::Added => {
                format!("bounded to what was added, {cost}; a deletion is seen within {hours} h")
            }
            Reach::Followed(tag) => format!("no list but the digest of {tag}, {cost}"),
            Reach::Sentinel(tag) => format!(
                "no list while {tag}, which moved with every release seen, stays as it is, {cost}; any other tag is seen within {hours} h"
            ),
        }
    }
}

/// The newest knowledge of a repository: the whole list as it was last read, with what later looks added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The names as the registry gave them: not all are valid tags.
    pub tags: Vec<String>,
    /// Whether the last whole listing reached its end.
    pub complete: bool,
    /// When the newest look was taken.
    pub at: Timestamp,
    /// When the list last differed from the one before, or somebody asked to look: a digest that was resolved before is
    /// resolved again.
    pub changed_at: Timestamp,
    /// How far the newest look reached.
    pub reach: Reach,
    /// When the whole list was last read: what lies outside `reach` is as old as this.
    pub listed_at: Timestamp,
    /// When the whole list is read again at the latest: the bound on how stale what lies outside `reach` can be.
    pub relisted_by: Timestamp,
    /// How many requests the newest look cost. More than one where neither a bound nor a page fits.
    pub requests: usize,
    /// How the next looks are taken.
    pub habit: Habit,
}

impl Scan {
    /// A whole, complete listing.
    #[must_use]
    pub fn whole(tags: Vec<String>, at: Timestamp) -> Self {
        Self {
            tags,
            complete: true,
            at,
            changed_at: at,
            reach: Reach::Whole,
            listed_at: at,
            relisted_by: at,
            requests: 1,
            habit: Habit { reach: Reach::Whole, requests: 1 },
        }
    }
}

/// What every tag that a rule could choose begins with, where it is written as the running tag is.
///
/// `None` where there is no such text (any major version, a range of several parts, a running tag that is no version):
/// then only the whole list will do. `1.4.` for `Patch` on `1.4.2`, `v1.` for `Minor` on `v1.4.2`, `1.4.` for `~1.4`.
/// Deliberately the whole prefix and not "above 1.4.9": in a list by name `1.4.10` stands before `1.4.9`.
///
/// A tag that the rule allows but that is written otherwise (`v1.4.3` beside `1.4.2`) does not begin with it: a look
/// bounded by it finds that tag no later than [`Scan::relisted_by`].
#[must_use]
pub fn beginning(rule: &Rule, rule_text: &str, running: Option<&Tag>) -> Option<String> {
    if let Some(tag) = followed(rule) {
        return Some(tag.to_string());
    }
    // Without a running tag nobody knows whether its versions begin with a v.
    let (v, running) = running.and_then(|tag| spelled(tag.as_str()))?;
    if let Rule::Level(level) = rule {
        let kept = match level {
            Level::Patch => 2,
            Level::Minor => 1,
            Level::Major => return None,
        };
        prefix(v, &running, kept)
    } else if let Rule::Semver(_) = rule {
        let (numbers, kept) = simple_range(rule_text.trim())?;
        prefix(v, &numbers, kept)
    } else {
        None
    }
}

/// The one tag that a rule follows: its digest is all that a look must learn.
#[must_use]
pub fn followed(rule: &Rule) -> Option<&Tag> {
    match rule {
        Rule::Digest(tag) => Some(tag),
        Rule::Semver(_) | Rule::Level(_) | Rule::Calver(_) | Rule::Numeric(_) | Rule::Lexical(_) => None,
    }
}

/// The `v` and the numbers that a tag begins with, as it writes them.
fn spelled(tag: &str) -> Option<(&str, Vec<&str>)> {
    let bare = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
    let v = tag.strip_suffix(bare).unwrap_or_default();
    let end = bare.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(bare.len());
    let numbers: Vec<&str> = bare.get(..end)?.trim_end_matches('.').split('.').collect();
    (!numbers.iter().any(|number| number.is_empty())).then_some((v, numbers))
}

/// The first `kept` numbers with a dot behind; without the dot where the tag has no further number.
fn prefix(v: &str, numbers: &[&str], kept: usize) -> Option<String> {
    let first = numbers.get(..kept)?;
    let dot = if kept < numbers.len() { "." } else { "" };
    Some(format!("{v}{}{dot}", first.join(".")))
}

/// A range of one part whose first numbers are fixed: `~1.4`, `^1.2.3`, `1.4.x`. The numbers, and how many are fixed.
fn simple_range(text: &str) -> Option<(Vec<&str>, usize)> {
    let (kind, rest) = match text.split_at_checked(1) {
        Some((kind @ ("~" | "^"), rest)) => (kind, rest.trim()),
        _ => ("", text),
    };
    let parts: Vec<&str> = rest.strip_prefix('v').unwrap_or(rest).split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let n_numbers = parts.iter().take_while(|part| is_number(part)).count();
    let is_wild = |part: &&str| matches!(*part, "x" | "X" | "*");
    let others_are_wild = parts.iter().skip(n_numbers).all(is_wild);
    let has_wild = n_numbers < parts.len();
    if n_numbers == 0 || !others_are_wild || 3 < parts.len() {
        return None;
    }
    let is_zero = |at: usize| parts.get(at).is_some_and(|part| part.bytes().all(|byte| byte == b'0'));
    let kept = match kind {
        "~" => n_numbers.min(2),
        // ^0.3.1 stays within 0.3; what ^0 and ^0.0.3 mean is left to the whole list.
        "^" if is_zero(0) && 2 <= n_numbers && !is_zero(1) => 2,
        "^" if is_zero(0) => return None,
        "^" => 1,
        _ if has_wild => n_numbers,
        _ => return None,
    };
    // The dot is there: a candidate of `~1.4` may be `1.4.3`, and `1.4` alone is never newer than what runs.
    let numbers: Vec<&str> = parts.iter().take(kept).copied().chain(["x"]).collect();
    Some((numbers, kept))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;
    use crate::version::range::Range;

    fn level(level: Level, running: &str, expected: Option<&str>) {
        let tag = Tag::parse(running).ok();
        let found = beginning(&Rule::Level(level), "", tag.as_ref());
        assert_eq!(found.as_deref(), expected, "{level:?} on {running}");
    }

    fn range(text: &str, running: &str, expected: Option<&str>) {
        let rule = Rule::Semver(Range::parse(text).unwrap());
        let found = beginning(&rule, text, Tag::parse(running).ok().as_ref());
        assert_eq!(found.as_deref(), expected, "{text} on {running}");
    }

    #[test]
    fn a_level_bounds_the_list_by_the_numbers_that_it_keeps() {
        level(Level::Patch, "1.4.2", Some("1.4."));
        level(Level::Patch, "v1.4.2-alpine3.20", Some("v1.4."));
        level(Level::Patch, "1.4", Some("1.4"));
        level(Level::Patch, "1", None);
        level(Level::Patch, "2026.01.15", Some("2026.01."));
        level(Level::Minor, "1.4.2", Some("1."));
        level(Level::Minor, "v1", Some("v1"));
        level(Level::Major, "1.4.2", None);
        level(Level::Patch, "latest", None);
        level(Level::Patch, "", None);
        level(Level::Patch, "1..2", None);
    }

    #[test]
    fn a_range_bounds_the_list_only_where_its_first_numbers_are_fixed() {
        range("~1.4", "1.4.2", Some("1.4."));
        range("~1.4.2", "v1.4.2", Some("v1.4."));
        range("~1", "1.4.2", Some("1."));
        range("^1.2.3", "1.4.2", Some("1."));
        range("^0.3.1", "0.3.2", Some("0.3."));
        range("^0.0.3", "0.0.3", None);
        range("^0.3", "0.3.2", Some("0.3."));
        range("1.4.x", "1.4.2", Some("1.4."));
        range("1.x", "1.4.2", Some("1."));
        range(">=1.4.2", "1.4.2", None);
        range("^1.2 || >=3", "1.4.2", None);
        range("1.2 - 1.4", "1.2.0", None);
        range("1.4.2", "1.4.2", None);
        range("~1.4", "latest", None);
    }

    #[test]
    fn a_habit_says_what_a_look_asks_what_it_costs_and_how_old_the_rest_may_be() {
        let check = |reach: Reach, requests, expected: &str| {
            assert_eq!(Habit { reach, requests }.sentence(), expected);
        };
        let texts = |texts: &[&str]| Reach::Beginning(texts.iter().map(|text| (*text).to_owned()).collect());
        check(Reach::Whole, 1, "the whole list, 1 request a look");
        check(Reach::Whole, 3, "the whole list, 3 requests a look: it fits no page and no bound");
        check(
            texts(&["1.4."]),
            1,
            "bounded to tags that begin with 1.4., 1 request a look; any other is seen within 6 h",
        );
        check(
            texts(&["1.", "2.", "3.", "4."]),
            4,
            "bounded to tags that begin with 1. or 2. or 3. or 1 more, 4 requests a look; any other is seen within 6 h",
        );
        check(Reach::Added, 1, "bounded to what was added, 1 request a look; a deletion is seen within 6 h");
        let followed = Reach::Followed(Tag::parse("stable").unwrap());
        check(followed, 1, "no list but the digest of stable, 1 request a look");
    }

    #[test]
    fn no_candidate_written_as_the_running_tag_lies_outside_the_bound() {
        let numbers = [0, 1, 2, 9, 10, 11, 99, 100];
        for (v, suffix) in [("", ""), ("v", ""), ("", "-alpine3.20")] {
            for (level, kept) in [(Level::Patch, 2), (Level::Minor, 1)] {
                for minor in numbers {
                    let running = Tag::parse(&format!("{v}1.{minor}.9{suffix}")).unwrap();
                    let bound = beginning(&Rule::Level(level), "", Some(&running)).unwrap();
                    for (other, patch) in numbers.iter().flat_map(|a| numbers.map(|b| (*a, b))) {
                        let allowed = kept == 1 || other == minor;
                        let tag = format!("{v}1.{other}.{patch}{suffix}");
                        assert!(!allowed || tag.starts_with(&bound), "{tag} outside {bound}");
                    }
                }
            }
        }
    }
}
