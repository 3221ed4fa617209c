//! Versions as tags spell them, read leniently and ordered totally.
//!
//! `v1.4.2`, `1.4`, `2026.11.24`, `1.2.3-rc.1`, `7.2.5-alpine3.20`: an optional `v`, one or more numeric parts of any size,
//! then a suffix. A suffix of a known pre-release word is a pre-release, any other is a variant of the same version.
//! Ranges: `version/range.rs`.

pub mod range;

use std::cmp::Ordering;
use std::fmt;

/// A whole number of any size, kept as digits without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number(String);

impl Number {
    fn parse(digits: &str) -> Option<Self> {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| {
            let plain = digits.trim_start_matches('0');
            Self(if plain.is_empty() { "0".to_owned() } else { plain.to_owned() })
        })
    }

    /// Nought.
    #[must_use]
    pub fn zero() -> Self {
        Self("0".to_owned())
    }

    fn is_zero(&self) -> bool {
        self.0 == "0"
    }

    /// The number above.
    #[must_use]
    pub fn next(&self) -> Self {
        let mut digits: Vec<u8> = Vec::new();
        let mut carry = true;
        for byte in self.0.bytes().rev() {
            let (digit, over) = match (byte, carry) {
                (b'9', true) => (b'0', true),
                (digit, true) => (digit.saturating_add(1), false),
                (digit, false) => (digit, false),
            };
            digits.push(digit);
            carry = over;
        }
        if carry {
            digits.push(b'1');
        }
        Self(digits.iter().rev().map(|byte| char::from(*byte)).collect())
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A version: numbers, pre-release, variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    numbers: Vec<Number>,
    prerelease: Vec<String>,
    variant: String,
    has_v: bool,
}

impl Version {
    /// Reads a version from a tag; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 128 || is_hash(text) {
            return None;
        }
        let has_v = text.starts_with(['v', 'V']);
        let rest = if has_v { text.get(1..)? } else { text };
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let (digits, suffix) = rest.split_at_checked(end)?;
        // `1.2.` is no version; `1.2.x` ends its numbers before the dot.
        let numbers: Option<Vec<Number>> = digits.split('.').map(Number::parse).collect();
        let suffix = suffix.split('+').next().unwrap_or("");
        let suffix = match suffix.strip_prefix(['-', '_']) {
            Some(suffix) => suffix,
            None if suffix.is_empty() => "",
            // `1.2rc1`, `1.2.3beta`: a pre-release word may follow without a hyphen.
            None if starts_with_prerelease(suffix) => suffix,
            None => return None,
        };
        let (prerelease, variant) = split_suffix(suffix);
        Some(Self { numbers: numbers?, prerelease, variant, has_v })
    }

    /// The numeric parts.
    #[must_use]
    pub fn numbers(&self) -> &[Number] {
        &self.numbers
    }

    /// The numeric part at an index; nought where it is not written.
    #[must_use]
    pub fn number(&self, index: usize) -> Number {
        self.numbers.get(index).cloned().unwrap_or_else(Number::zero)
    }

    /// Whether it is a pre-release.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        !self.prerelease.is_empty()
    }

    /// The variant as it is written: `alpine3.20`, or empty.
    #[must_use]
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// The variant without its numbers: `alpine3.20` and `alpine3.21` are one family.
    #[must_use]
    pub fn family(&self) -> String {
        let mut family = String::new();
        let mut in_number = false;
        for letter in self.variant.chars() {
            if letter.is_ascii_digit() || (in_number && letter == '.') {
                in_number = true;
            } else {
                in_number = false;
                family.push(letter);
            }
        }
        family
    }

    /// Whether it is written with a leading `v`.
    #[must_use]
    pub fn has_v(&self) -> bool {
        self.has_v
    }
}

/// Seven to forty hexadecimal digits with a letter among them are a commit, not a version.
fn is_hash(text: &str) -> bool {
    (7..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Words that say "not finished yet". `m1`, `ea` and `cr` are what Java projects write.
const PRERELEASE_WORDS: &[&str] = &[
    "alpha",
    "beta",
    "rc",
    "pre",
    "preview",
    "prerelease",
    "dev",
    "snapshot",
    "nightly",
    "canary",
    "ea",
    "m",
    "milestone",
    "cr",
    "a",
    "b",
    "test",
    "next",
    "unstable",
    "edge",
];

fn starts_with_prerelease(text: &str) -> bool {
    let word: String =
        text.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    let rest = text.get(word.len()..).unwrap_or("");
    let ends_well =
        rest.is_empty() || rest.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.');
    // One letter counts with a number only: `1.0-a1`, `1.0-m2`; a bare `-a` may be anything.
    let long_enough = 1 < word.len() || rest.starts_with(|letter: char| letter.is_ascii_digit());
    ends_well && long_enough && PRERELEASE_WORDS.contains(&word.as_str())
}

/// Splits a suffix into pre-release identifiers and variant: `rc.1-alpine` is both.
fn split_suffix(suffix: &str) -> (Vec<String>, String) {
    let mut prerelease: Vec<String> = Vec::new();
    let mut variant: Vec<&str> = Vec::new();
    for part in suffix.split('-').filter(|part| !part.is_empty()) {
        if variant.is_empty() && starts_with_prerelease(part) {
            prerelease.extend(identifiers(part));
        } else if variant.is_empty() && !prerelease.is_empty() && Number::parse(part).is_some() {
            prerelease.push(part.to_owned());
        } else {
            variant.push(part);
        }
    }
    (prerelease, variant.join("-"))
}

/// `rc10` as `rc`, `10`: so that rc10 comes after rc9.
fn identifiers(part: &str) -> Vec<String> {
    let mut all = Vec::new();
    for piece in part.split('.').filter(|piece| !piece.is_empty()) {
        let digits_at = piece.find(|letter: char| letter.is_ascii_digit()).unwrap_or(piece.len());
        let (word, number) = piece.split_at_checked(digits_at).unwrap_or((piece, ""));
        all.extend([word, number].into_iter().filter(|one| !one.is_empty()).map(str::to_ascii_lowercase));
    }
    all
}

fn compare_identifiers(one: &[String], other: &[String]) -> Ordering {
    for (left, right) in one.iter().zip(other) {
        let order = match (Number::parse(left), Number::parse(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => left.cmp(right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

/// The runs of digits in a variant, as numbers: `alpine3.21` is above `alpine3.9`.
fn variant_numbers(variant: &str) -> Vec<Number> {
    variant.split(|letter: char| !letter.is_ascii_digit()).filter_map(Number::parse).collect()
}

impl Ord for Version {
    /// By numbers (absent ones are nought), then pre-release before release, then the variant's numbers and text.
    fn cmp(&self, other: &Self) -> Ordering {
        let length = self.numbers.len().max(other.numbers.len());
        for index in 0..length {
            match self.number(index).cmp(&other.number(index)) {
                Ordering::Equal => {}
                order @ (Ordering::Less | Ordering::Greater) => return order,
            }
        }
        let prerelease = match (self.is_prerelease(), other.is_prerelease()) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => compare_identifiers(&self.prerelease, &other.prerelease),
            (false, false) => Ordering::Equal,
        };
        prerelease
            .then_with(|| variant_numbers(&self.variant).cmp(&variant_numbers(&other.variant)))
            .then_with(|| self.variant.cmp(&other.variant))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<&str> = self.numbers.iter().map(|number| number.0.as_str()).collect();
        write!(formatter, "{}", numbers.join("."))?;
        if self.is_prerelease() {
            write!(formatter, "-{}", self.prerelease.join("."))?;
        }
        if self.variant.is_empty() { Ok(()) } else { write!(formatter, "-{}", self.variant) }
    }
}
