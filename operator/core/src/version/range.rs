//! Ranges of versions in Masterminds/semver v3 syntax: what users of Flux, Argo CD, Kargo and Helm write.
//!
//! `~1.4`, `^1.2 || >=3`, `1.2 - 1.4`, `>=1.0.0-0`, `1.x`, `!=1.5`; a bare `1.2.3` is exact and a bare `1.2` is `1.2.x`. A
//! pre-release matches only where the comparator itself names one. Variants do not take part; four parts do not match.

use thiserror::Error;

use super::{Number, Version};

/// Why a text is not a range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangeError {
    /// Nothing is written.
    #[error("expected a range such as ~1.4, ^1.2 || >=3, or 1.2 - 1.4; got nothing")]
    Empty,
    /// More than 256 characters.
    #[error("expected a range of at most 256 characters")]
    TooLong,
    /// One comparator cannot be read.
    #[error("expected an operator (= != > < >= <= ~ ^) and a version such as 1.4.2, 1.4 or 1.x; got {0:?}")]
    Comparator(String),
}

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

/// A comparator's version: as many parts as were written, wildcards cut off.
#[derive(Debug, Clone)]
struct Comparator {
    operator: Operator,
    version: Version,
    parts: usize,
    any: bool,
}

/// A range: any of several groups, all of whose comparators match.
#[derive(Debug, Clone)]
pub struct Range {
    groups: Vec<Vec<Comparator>>,
}

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    /// [`RangeError`] names the comparator that cannot be read.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        if text.trim().is_empty() {
            return Err(RangeError::Empty);
        }
        if text.len() > 256 {
            return Err(RangeError::TooLong);
        }
        let groups: Result<Vec<_>, _> = text.split("||").map(group).collect();
        Ok(Self { groups: groups? })
    }

    /// Whether a version is in the range. The variant does not take part.
    #[must_use]
    pub fn matches(&self, version: &Version) -> bool {
        version.numbers().len() <= 3
            && self.groups.iter().any(|group| group.iter().all(|comparator| comparator.matches(version)))
    }
}

/// Whether a pre-release is refused only for being one: the comparators name none.
fn group(text: &str) -> Result<Vec<Comparator>, RangeError> {
    if text.trim().is_empty() {
        return Err(RangeError::Empty);
    }
    let spaced = text.replace(',', " ");
    let mut words: Vec<String> = Vec::new();
    let mut pending = String::new();
    for word in spaced.split_whitespace() {
        // `>= 1.2`: the operator stands alone.
        let is_operator = word.chars().all(|letter| "=!<>~^".contains(letter));
        pending.push_str(word);
        if !is_operator {
            words.push(std::mem::take(&mut pending));
        }
    }
    if !pending.is_empty() {
        return Err(RangeError::Comparator(pending));
    }
    let mut comparators = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if words.peek().is_some_and(|next| next == "-") {
            words.next();
            let Some(upper) = words.next() else {
                return Err(RangeError::Comparator(format!("{word} -")));
            };
            comparators.push(comparator(&format!(">={word}"))?);
            comparators.push(comparator(&format!("<={upper}"))?);
        } else {
            comparators.push(comparator(&word)?);
        }
    }
    Ok(comparators)
}

fn comparator(text: &str) -> Result<Comparator, RangeError> {
    let fault = || RangeError::Comparator(text.chars().take(64).collect());
    let digits_at = text.find(|letter: char| !"=!<>~^".contains(letter)).ok_or_else(fault)?;
    let (operator, rest) = text.split_at_checked(digits_at).ok_or_else(fault)?;
    let operator = match operator {
        "" | "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        ">=" | "=>" => Operator::GreaterEqual,
        "<=" | "=<" => Operator::LessEqual,
        "~" | "~>" => Operator::Tilde,
        "^" => Operator::Caret,
        _ => return Err(fault()),
    };
    let plain = rest.trim_start_matches(['v', 'V']);
    let (numbers, suffix) =
        plain.split_at_checked(plain.find(['-', '+']).unwrap_or(plain.len())).ok_or_else(fault)?;
    let written: Vec<&str> = numbers.split('.').collect();
    let known: Vec<&str> = written.iter().copied().take_while(|part| !is_wildcard(part)).collect();
    let tail = written.get(known.len()..).unwrap_or(&[]);
    if 3 < written.len() || !tail.iter().all(|part| is_wildcard(part)) {
        return Err(fault());
    }
    if known.is_empty() {
        let version = Version::parse("0").ok_or_else(fault)?;
        return Ok(Comparator { operator, version, parts: 0, any: true });
    }
    // A wildcard takes its suffix with it, as in Masterminds.
    let suffix = if tail.is_empty() { suffix } else { "" };
    let mut version = Version::parse(&known.join(".")).ok_or_else(fault)?;
    let prerelease = suffix.split('+').next().unwrap_or("").trim_start_matches('-');
    version.prerelease = prerelease
        .split('.')
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            if super::starts_with_prerelease(part) {
                super::identifiers(part)
            } else {
                vec![part.to_ascii_lowercase()]
            }
        })
        .collect();
    Ok(Comparator { operator, version, parts: known.len(), any: false })
}

fn is_wildcard(part: &str) -> bool {
    matches!(part, "x" | "X" | "*")
}

impl Comparator {
    fn matches(&self, version: &Version) -> bool {
        if version.is_prerelease() && !self.version.is_prerelease() {
            return false;
        }
        if self.any {
            return !matches!(self.operator, Operator::NotEqual | Operator::Greater | Operator::Less);
        }
        let bare = bare(version);
        let version = &bare;
        match self.operator {
            Operator::Equal => {
                if self.parts == 3 {
                    *version == self.low()
                } else {
                    self.within_parts(version)
                }
            }
            Operator::NotEqual => {
                if self.parts == 3 {
                    *version != self.low()
                } else {
                    !self.within_parts(version)
                }
            }
            Operator::Greater => {
                if self.parts == 3 {
                    self.low() < *version
                } else {
                    self.above(self.parts.saturating_sub(1)) <= *version
                }
            }
            Operator::GreaterEqual => self.low() <= *version,
            Operator::Less => *version < self.low(),
            Operator::LessEqual => {
                *version <= self.low()
                    || (self.parts < 3 && *version < self.above(self.parts.saturating_sub(1)))
            }
            Operator::Tilde => {
                self.low() <= *version && *version < self.above(self.parts.min(2).saturating_sub(1))
            }
            Operator::Caret => self.low() <= *version && *version < self.above(self.caret_part()),
        }
    }

    /// The version itself, in three parts.
    fn low(&self) -> Version {
        let mut low = bare(&self.version);
        low.prerelease.clone_from(&self.version.prerelease);
        low
    }

    fn within_parts(&self, version: &Version) -> bool {
        self.low() <= *version && *version < self.above(self.parts.saturating_sub(1))
    }

    /// The first version above the part at an index, pre-releases of it excluded: `1.2` above its minor part is `1.3`.
    fn above(&self, index: usize) -> Version {
        let mut numbers: Vec<Number> = (0..3).map(|at| self.version.number(at)).collect();
        for (at, number) in numbers.iter_mut().enumerate() {
            if at == index {
                *number = number.next();
            } else if index < at {
                *number = Number::zero();
            }
        }
        // "-0" comes before every other pre-release of that version.
        Version { numbers, prerelease: vec!["0".to_owned()], variant: String::new(), has_v: false }
    }

    /// The first part that is not nought, or the last that was written.
    fn caret_part(&self) -> usize {
        (0..self.parts).find(|at| !self.version.number(*at).is_zero()).unwrap_or(self.parts.saturating_sub(1))
    }
}

/// The version without variant, in three parts, so that equality is by value.
fn bare(version: &Version) -> Version {
    Version {
        numbers: (0..3).map(|at| version.number(at)).collect(),
        prerelease: version.prerelease.clone(),
        variant: String::new(),
        has_v: false,
    }
}
