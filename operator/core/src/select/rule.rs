//! The version rule: what a tag is read as, what is better, and which versions are allowed.

use std::cmp::Ordering;

use crate::image::Tag;
use crate::reason::Reason;
use crate::select::filter::TagFilter;
use crate::select::value::{Decimal, Value};
use crate::version::Version;
use crate::version::calver::Format;
use crate::version::range::Range;

/// How far from the running version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The same major and minor version.
    Patch,
    /// The same major version.
    Minor,
    /// Any.
    Major,
}

/// Which end of an order is the newest. As in Flux, `Ascending` rises to the newest: of 1, 2, 3 it chooses 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The greatest is the newest.
    Ascending,
    /// The least is the newest.
    Descending,
}

/// The version rule.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Relative to what runs.
    Level(Level),
    /// A range.
    Semver(Range),
    /// Dates by a format.
    Calver(Format),
    /// Numbers of any length.
    Numeric(Direction),
    /// Text by its bytes.
    Lexical(Direction),
    /// One mutable tag, followed by digest.
    Digest(Tag),
}

impl Rule {
    /// Reads what is ordered of a tag; `None` where the rule cannot order it.
    #[must_use]
    pub fn value<'a>(&self, text: &'a str) -> Option<Value<'a>> {
        match self {
            Rule::Level(_) | Rule::Semver(_) => Version::parse(text).map(Value::Version),
            Rule::Calver(format) => format.read(text).map(Value::Version),
            Rule::Numeric(_) => Decimal::parse(text).map(Value::Decimal),
            Rule::Lexical(_) => Some(Value::Text(text)),
            Rule::Digest(tag) => (tag.as_str() == text).then_some(Value::Text(text)),
        }
    }

    /// The newer is greater. Variants do not take part.
    #[must_use]
    pub fn compare(&self, one: &Value<'_>, other: &Value<'_>) -> Ordering {
        let order = one.compare(other);
        if self.is_descending() { order.reverse() } else { order }
    }

    pub(super) fn is_descending(&self) -> bool {
        match self {
            Rule::Numeric(direction) | Rule::Lexical(direction) => *direction == Direction::Descending,
            Rule::Level(_) | Rule::Semver(_) | Rule::Calver(_) | Rule::Digest(_) => false,
        }
    }

    /// How a value stands to another: by version, and of equal versions by the number of a variant that is written alike
    /// (`alpine3.21` after `alpine3.20`). Variants that are not written alike make no version newer or older.
    pub(super) fn relation(&self, one: &Value<'_>, other: &Value<'_>) -> Ordering {
        self.compare(one, other)
            .then_with(|| if one.same_shape(other) { one.compare_variants(other) } else { Ordering::Equal })
    }

    /// Whether the rule allows a version, beside a running one.
    pub(super) fn allows(&self, current: Option<&Value<'_>>, value: &Value<'_>) -> Result<(), Reason> {
        match (self, value) {
            (Rule::Semver(range), Value::Version(version)) => {
                if range.matches(version) {
                    Ok(())
                } else if range.matches_but_for_prerelease(version) {
                    Err(Reason::PreRelease)
                } else {
                    Err(Reason::OutsideRule)
                }
            }
            (Rule::Level(level), Value::Version(version)) => {
                within(*level, current.and_then(Value::version), version)
            }
            (Rule::Calver(_), Value::Version(version)) => {
                let wanted = current.and_then(Value::version).is_some_and(Version::is_prerelease);
                if version.is_prerelease() && !wanted { Err(Reason::PreRelease) } else { Ok(()) }
            }
            (Rule::Numeric(_) | Rule::Lexical(_) | Rule::Digest(_), _) => Ok(()),
            (Rule::Semver(_) | Rule::Level(_) | Rule::Calver(_), Value::Decimal(_) | Value::Text(_)) => {
                Err(Reason::NotAVersion)
            }
        }
    }
}

/// A level: the leading parts stay, and so does the number of parts. `1.4` follows 1.5 and not 1.4.3: who runs a short tag
/// gets a short tag; so do four parts.
fn within(level: Level, current: Option<&Version<'_>>, version: &Version<'_>) -> Result<(), Reason> {
    if let Some(current) = current {
        let kept = match level {
            Level::Patch => 2,
            Level::Minor => 1,
            Level::Major => 0,
        };
        let same = |index: usize| {
            crate::version::compare_digits(current.number(index), version.number(index)) == Ordering::Equal
        };
        if current.parts() != version.parts() || !(0..kept).all(same) {
            return Err(Reason::OutsideRule);
        }
    }
    let wanted = current.is_some_and(Version::is_prerelease);
    if version.is_prerelease() && !wanted { Err(Reason::PreRelease) } else { Ok(()) }
}

/// A rule with the filter before it: orders whole tags.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Which tags count, and what of them is ordered.
    pub filter: &'a TagFilter,
}

impl Order<'_> {
    /// What is ordered of a tag. A text rule orders anything, so there the filter says which tags it is about; `digest`
    /// orders nothing.
    #[must_use]
    pub fn value<'t>(&self, tag: &'t str) -> Option<Value<'t>> {
        let counts = match self.rule {
            Rule::Lexical(_) => self.filter.admits(tag),
            Rule::Digest(_) => false,
            Rule::Level(_) | Rule::Semver(_) | Rule::Calver(_) | Rule::Numeric(_) => true,
        };
        let span = if counts { self.filter.span(tag)? } else { return None };
        self.rule.value(tag.get(span)?)
    }

    /// Whether a tag can be ordered.
    #[must_use]
    pub fn orders(&self, tag: &Tag) -> bool {
        self.value(tag.as_str()).is_some()
    }

    /// Compares two tags by version, the newer is greater; `None` where one cannot be ordered. Variants do not take part: a
    /// person who goes from `1.4.2-alpine` to `1.4.2` has not gone back.
    #[must_use]
    pub fn compare(&self, one: &Tag, other: &Tag) -> Option<Ordering> {
        Some(self.rule.compare(&self.value(one.as_str())?, &self.value(other.as_str())?))
    }

    /// Whether a tag is a shorter spelling that follows another: `1.4` for `1.4.2`.
    #[must_use]
    pub fn is_alias(&self, short: &Tag, long: &Tag) -> bool {
        let (short, long) = (self.value(short.as_str()), self.value(long.as_str()));
        let (Some(short), Some(long)) = (&short, &long) else { return false };
        match (short.version(), long.version()) {
            (Some(short), Some(long)) => {
                let shorter = short.parts() < long.parts();
                shorter && short.numbers().zip(long.numbers()).all(|(one, two)| one == two)
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => false,
        }
    }
}
