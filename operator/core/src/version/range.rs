//! Ranges of versions in Masterminds/semver v3 syntax: what users of Flux, Argo CD, Kargo and Helm write.
//!
//! `~1.4`, `^1.2 || >=3`, `1.2 - 1.4`, `>=1.0.0-0`, `1.x`, `!=1.5`; a bare `1.2.3` is exact and a bare `1.2` is `1.2.x`. The
//! grammar and every rule, the odd ones too, are those of its version 3.5.0: an end-to-end trial compares the two over tens
//! of thousands of pairs. A pre-release matches where any comparator of its group names one. Variants do not take part.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::Regex;
use thiserror::Error;

use super::{Version, compare_digits, compare_prereleases};

/// The longest range that is read, in bytes: Masterminds' own limit.
pub const MAX_RANGE_BYTES: usize = 512;
/// The most groups between `||`: Masterminds' own limit.
pub const MAX_RANGE_GROUPS: usize = 32;

/// Why a text is not a range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangeError {
    /// Nothing is written.
    #[error("expected a range such as ~1.4, ^1.2 || >=3, or 1.2 - 1.4; got nothing")]
    Empty,
    /// More than [`MAX_RANGE_BYTES`].
    #[error("expected a range of at most 512 characters")]
    TooLong,
    /// More than [`MAX_RANGE_GROUPS`].
    #[error("expected at most 32 groups between ||")]
    TooManyGroups,
    /// A group or comparator that cannot be read.
    #[error("expected operators (= != > < >= <= ~ ^) and versions such as 1.4.2, 1.4 or 1.x; got {0:?}")]
    Comparator(String),
}

/// The expressions that Masterminds reads ranges with, word for word; its `\s` has no vertical tab.
struct Grammar {
    /// `1.2 - 1.4`, wherever it stands.
    hyphen: Regex,
    /// A whole group.
    group: Regex,
    /// One comparator in a group.
    comparator: Regex,
}

#[expect(clippy::expect_used, reason = "constant expressions; a test compiles them")]
static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    let space = r"[\t\n\f\r ]";
    let operator = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";
    let part = r"[0-9|xX*]+";
    let suffix = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*";
    let bare = format!(r"v?{part}(?:\.{part})?(?:\.{part})?(?:-{suffix})?(?:\+{suffix})?");
    let named = format!(r"v?({part})(?:\.({part}))?(?:\.({part}))?(?:-({suffix}))?(?:\+{suffix})?");
    let compile = |text: String| Regex::new(&text).expect("a constant expression");
    Grammar {
        hyphen: compile(format!(r"{space}*({bare}){space}+-{space}+({bare}){space}*")),
        group: compile(format!(
            r"^(?:{space}*(?:{operator}){space}*(?:{bare}){space}*)(?:(?:{space}+|,{space}*)(?:{operator}){space}*(?:{bare}){space}*)*$"
        )),
        comparator: compile(format!(r"({operator}){space}*(?:{named})")),
    }
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

/// One comparator: the version it names, and which of its parts are left open.
#[derive(Debug, Clone)]
struct Comparator {
    operator: Operator,
    numbers: [String; 3],
    prerelease: String,
    /// A part is not written or a wildcard.
    open: bool,
    /// The minor part is.
    minor_open: bool,
    /// The patch part is, and the minor is not.
    patch_open: bool,
}

/// Comparators that must all match.
#[derive(Debug, Clone)]
struct Group {
    comparators: Vec<Comparator>,
    names_prerelease: bool,
}

/// A range: any of several groups.
#[derive(Debug, Clone)]
pub struct Range {
    groups: Vec<Group>,
}

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    /// [`RangeError`] names the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        if text.trim().is_empty() {
            return Err(RangeError::Empty);
        }
        if MAX_RANGE_BYTES < text.len() {
            return Err(RangeError::TooLong);
        }
        let text = rewrite_hyphens(text);
        if MAX_RANGE_GROUPS < text.split("||").count() {
            return Err(RangeError::TooManyGroups);
        }
        let groups: Result<Vec<_>, _> = text.split("||").map(group).collect();
        Ok(Self { groups: groups? })
    }

    /// Whether a version is in the range. The variant does not take part; four and more parts never match, for a range
    /// cannot name them.
    #[must_use]
    pub fn matches(&self, version: &Version<'_>) -> bool {
        self.check(version, false)
    }

    /// Whether it would be, were pre-releases not left out.
    #[must_use]
    pub fn matches_but_for_prerelease(&self, version: &Version<'_>) -> bool {
        self.check(version, true)
    }

    fn check(&self, version: &Version<'_>, take_prereleases: bool) -> bool {
        if 3 < version.parts() {
            return false;
        }
        self.groups.iter().any(|group| {
            let counts = take_prereleases || group.names_prerelease || !version.is_prerelease();
            counts && group.comparators.iter().all(|comparator| comparator.matches(version))
        })
    }
}

/// `1.2 - 1.4` becomes `>= 1.2, <= 1.4`, wherever it stands.
fn rewrite_hyphens(text: &str) -> String {
    let mut written = text.to_owned();
    for found in GRAMMAR.hyphen.captures_iter(text) {
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        written = written.replacen(part(0), &format!(">= {}, <= {} ", part(1), part(2)), 1);
    }
    written
}

fn group(text: &str) -> Result<Group, RangeError> {
    let fault = || RangeError::Comparator(text.trim().chars().take(64).collect());
    if !GRAMMAR.group.is_match(text) {
        return Err(fault());
    }
    let comparators: Option<Vec<Comparator>> =
        GRAMMAR.comparator.captures_iter(text).map(|found| comparator(&found)).collect();
    let comparators = comparators.ok_or_else(fault)?;
    let names_prerelease = comparators.iter().any(|comparator| !comparator.prerelease.is_empty());
    Ok(Group { comparators, names_prerelease })
}

fn comparator(found: &regex::Captures<'_>) -> Option<Comparator> {
    let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
    let operator = match part(1) {
        "" | "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        ">=" | "=>" => Operator::GreaterEqual,
        "<=" | "=<" => Operator::LessEqual,
        "~" | "~>" => Operator::Tilde,
        "^" => Operator::Caret,
        _ => return None,
    };
    let is_open = |text: &str| matches!(text, "" | "x" | "X" | "*");
    let written = [part(2), part(3), part(4)];
    let known = written.iter().take_while(|text| !is_open(text)).count();
    let mut numbers: [String; 3] = Default::default();
    for (number, text) in numbers.iter_mut().zip(written).take(known) {
        // `1x` and `1|2` pass the grammar and are no numbers.
        if !super::is_digits(text) {
            return None;
        }
        text.clone_into(number);
    }
    // As in semver: a number in a pre-release has no leading zero.
    let has_zero = |one: &str| 1 < one.len() && one.starts_with('0') && super::is_digits(one);
    if part(5).split('.').any(has_zero) {
        return None;
    }
    Some(Comparator {
        operator,
        numbers,
        prerelease: part(5).to_owned(),
        open: known < 3,
        minor_open: known == 1,
        patch_open: known == 2,
    })
}

impl Comparator {
    /// The rules of Masterminds' constraints.go, case by case.
    fn matches(&self, version: &Version<'_>) -> bool {
        match self.operator {
            Operator::Equal if self.open => self.tilde(version),
            Operator::Equal => self.compare(version) == Ordering::Equal,
            Operator::NotEqual => self.differs(version),
            Operator::Greater => self.is_below(version),
            Operator::Less => self.compare(version) == Ordering::Less,
            Operator::GreaterEqual => self.compare(version) != Ordering::Less,
            Operator::LessEqual => self.is_not_below(version),
            Operator::Tilde => self.tilde(version),
            Operator::Caret => self.caret(version),
        }
    }

    /// How the version stands to the one that is named; parts left open are nought.
    fn compare(&self, version: &Version<'_>) -> Ordering {
        (0..3)
            .map(|index| self.part(version, index))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or_else(|| compare_prereleases(version.prerelease, &self.prerelease))
    }

    fn part(&self, version: &Version<'_>, index: usize) -> Ordering {
        compare_digits(version.number(index), self.number(index))
    }

    fn number(&self, index: usize) -> &str {
        self.numbers.get(index).map_or("", String::as_str)
    }

    fn is_zero(&self, index: usize) -> bool {
        compare_digits(self.number(index), "") == Ordering::Equal
    }

    fn same(&self, version: &Version<'_>, index: usize) -> bool {
        self.part(version, index) == Ordering::Equal
    }

    fn differs(&self, version: &Version<'_>) -> bool {
        if !self.open {
            return self.compare(version) != Ordering::Equal;
        }
        if !self.same(version, 0) || (!self.minor_open && !self.same(version, 1)) {
            return true;
        }
        if self.minor_open {
            return false;
        }
        if self.patch_open {
            let either = version.is_prerelease() || !self.prerelease.is_empty();
            return either && version.prerelease != self.prerelease;
        }
        // `!=*` names 0.0.0.
        self.compare(version) != Ordering::Equal
    }

    /// `>`: with parts left open, above all that they may stand for.
    fn is_below(&self, version: &Version<'_>) -> bool {
        match self.part(version, 0) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if self.minor_open => false,
            Ordering::Equal if self.patch_open => self.part(version, 1) == Ordering::Greater,
            Ordering::Equal => self.compare(version) == Ordering::Greater,
        }
    }

    /// `<=`: with parts left open, all that they may stand for included. `<=*` is `<=0.0`, as Masterminds reads it.
    fn is_not_below(&self, version: &Version<'_>) -> bool {
        if !self.open {
            return self.compare(version) != Ordering::Greater;
        }
        match self.part(version, 0) {
            Ordering::Greater => false,
            Ordering::Less => true,
            Ordering::Equal => self.minor_open || self.part(version, 1) != Ordering::Greater,
        }
    }

    fn tilde(&self, version: &Version<'_>) -> bool {
        if self.compare(version) == Ordering::Less {
            return false;
        }
        // `*` and `~0.0.0` take everything.
        let all_zero = (0..3).all(|index| self.is_zero(index));
        if all_zero && !self.minor_open && !self.patch_open {
            return true;
        }
        self.same(version, 0) && (self.minor_open || self.same(version, 1))
    }

    fn caret(&self, version: &Version<'_>) -> bool {
        if self.compare(version) == Ordering::Less {
            return false;
        }
        if !self.is_zero(0) || self.minor_open {
            return self.same(version, 0);
        }
        let same_major = self.same(version, 0);
        if !self.is_zero(1) || self.patch_open {
            return same_major && self.same(version, 1);
        }
        // `^*` is `^0.0.0`, as Masterminds reads it.
        same_major && self.same(version, 1) && self.same(version, 2)
    }
}
