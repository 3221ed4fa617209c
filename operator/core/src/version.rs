//! Versions as tags spell them, read leniently, borrowed from the tag and ordered totally.
//!
//! `v1.4.2`, `1.4`, `2026.11.24`, `1.2.3-rc.1`, `7.2.5-alpine3.20`: an optional `v`, one or more numeric parts of any size,
//! then a suffix. A suffix of a known pre-release word is a pre-release, any other is a variant of the same version. Nothing
//! is copied: a hundred thousand tags are read without an allocation. Ranges: `version/range.rs`; dates: `version/calver.rs`.

pub mod calver;
pub mod range;

use std::cmp::Ordering;

/// How many parts a dated version may have: year, month, week, day and two counters.
pub(crate) const MAX_FIELDS: usize = 6;

/// Compares digits as numbers of any size; nothing at all is nought.
#[must_use]
pub fn compare_digits(one: &str, other: &str) -> Ordering {
    let (one, other) = (significant(one), significant(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// Digits without their leading noughts.
fn significant(digits: &str) -> &str {
    let noughts = digits.bytes().take_while(|byte| *byte == b'0').count();
    digits.get(noughts..).unwrap_or("")
}

/// Digits as a number; nothing at all is nought, and what 64 bits cannot hold is `None`.
fn read_number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, byte| {
        number.checked_mul(10)?.checked_add(u64::from(byte.wrapping_sub(b'0')))
    })
}

/// Where the numbers between dots end, and how many there are; `None` where one is empty: `1.2.` is no version, nor is
/// `1.2.x`.
fn read_dotted(text: &[u8]) -> Option<(usize, usize)> {
    let (mut end, mut parts, mut digits) = (0_usize, 1_usize, 0_usize);
    for byte in text {
        match byte {
            b'0'..=b'9' => digits = digits.saturating_add(1),
            b'.' if 0 < digits => (parts, digits) = (parts.saturating_add(1), 0),
            b'.' => return None,
            _ => break,
        }
        end = end.saturating_add(1);
    }
    (0 < digits).then_some((end, parts))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Compares two series item by item; where one ends, the shorter is less.
fn compare_series<'a>(
    mut one: impl Iterator<Item = &'a str>,
    mut other: impl Iterator<Item = &'a str>,
    compare: impl Fn(&str, &str) -> Ordering,
) -> Ordering {
    loop {
        let order = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => compare(left, right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Numbers of a dated tag, the weightiest first: where in the tag each begins and ends. A tag has at most 128 bytes.
#[derive(Debug, Clone, Copy)]
struct Fields<'a> {
    text: &'a str,
    at: [(u8, u8); MAX_FIELDS],
}

impl<'a> Fields<'a> {
    fn written(self) -> impl Iterator<Item = &'a str> {
        let digits = move |(from, to): (u8, u8)| self.text.get(usize::from(from)..usize::from(to));
        self.at.into_iter().filter_map(digits).filter(|digits| !digits.is_empty())
    }
}

/// The numeric parts, as they stand in the tag.
#[derive(Debug, Clone, Copy)]
enum Numbers<'a> {
    /// `1.4.2`.
    Dotted(&'a str),
    /// In the order of their weight, which a calendar format may spell in another one; unused places are empty.
    Fields(Fields<'a>),
}

/// A version: numbers, pre-release, variant. Two are equal where they say the same, however they are written.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    numbers: Numbers<'a>,
    prerelease: &'a str,
    variant: &'a str,
    /// How many numeric parts are written.
    parts: usize,
    has_v: bool,
}

impl<'a> Version<'a> {
    /// Reads a version from a tag; `None` where it is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > 128 || is_hash(text) {
            return None;
        }
        let rest = text.strip_prefix(['v', 'V']);
        let (rest, has_v) = (rest.unwrap_or(text), rest.is_some());
        let (end, parts) = read_dotted(rest.as_bytes())?;
        let (digits, suffix) = rest.split_at_checked(end)?;
        let (prerelease, variant) = read_suffix(suffix)?;
        Some(Self { numbers: Numbers::Dotted(digits), prerelease, variant, parts, has_v })
    }

    /// A dated version: parts by weight, and what follows them.
    fn dated(fields: Fields<'a>, suffix: &'a str, has_v: bool) -> Option<Self> {
        let (prerelease, variant) = read_suffix(suffix)?;
        let parts = fields.written().count();
        Some(Self { numbers: Numbers::Fields(fields), prerelease, variant, parts, has_v })
    }

    /// The numeric parts as digits, the weightiest first.
    pub fn numbers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (dotted, fields) = match self.numbers {
            Numbers::Dotted(text) => (Some(text), None),
            Numbers::Fields(fields) => (None, Some(fields)),
        };
        let dotted = dotted.into_iter().flat_map(|text: &'a str| text.split('.'));
        dotted.chain(fields.into_iter().flat_map(Fields::written))
    }

    /// How many numeric parts are written.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The digits at an index; empty, which counts as nought, where the part is not written.
    #[must_use]
    pub fn number(&self, index: usize) -> &'a str {
        self.numbers().nth(index).unwrap_or("")
    }

    /// Whether it is a pre-release.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        !self.prerelease.is_empty()
    }

    /// Whether both are releases, or the same pre-release however it is written: `rc.1` and `rc1`.
    #[must_use]
    pub fn same_prerelease(&self, other: &Version<'_>) -> bool {
        compare_prereleases(self.prerelease, other.prerelease) == Ordering::Equal
    }

    /// The variant as it is written: `alpine3.20`, or empty.
    #[must_use]
    pub fn variant(&self) -> &'a str {
        self.variant
    }

    /// Whether it is written with a leading `v`.
    #[must_use]
    pub fn has_v(&self) -> bool {
        self.has_v
    }

    /// Whether the variants differ in numbers at most: `alpine3.20`, `alpine3.21` and `alpine` are one family.
    #[must_use]
    pub fn same_family(&self, other: &Version<'_>) -> bool {
        let bare = self.variant.is_empty() && other.variant.is_empty();
        bare || outline(self.variant, None).eq(outline(other.variant, None))
    }

    /// Compares families: the longer name is greater, then the alphabet.
    #[must_use]
    pub fn compare_families(&self, other: &Version<'_>) -> Ordering {
        let family = |variant| outline(variant, None);
        let (one, two) = (self.variant, other.variant);
        family(one).count().cmp(&family(two).count()).then_with(|| family(one).cmp(family(two)))
    }

    /// Whether the variants are written alike: `alpine3.20` and `alpine3.21`, but not `alpine`.
    #[must_use]
    pub fn same_shape(&self, other: &Version<'_>) -> bool {
        let bare = self.variant.is_empty() && other.variant.is_empty();
        bare || outline(self.variant, Some(b'0')).eq(outline(other.variant, Some(b'0')))
    }

    /// Compares numbers (absent ones are nought), then pre-release before release. Variants do not take part.
    #[must_use]
    pub fn compare_bare(&self, other: &Version<'_>) -> Ordering {
        let (mut left, mut right) = (self.numbers(), other.numbers());
        loop {
            let (one, two) = (left.next(), right.next());
            if one.is_none() && two.is_none() {
                return compare_prereleases(self.prerelease, other.prerelease);
            }
            match compare_digits(one.unwrap_or(""), two.unwrap_or("")) {
                Ordering::Equal => {}
                order @ (Ordering::Less | Ordering::Greater) => return order,
            }
        }
    }

    /// Compares the numbers inside two variants, then their text: `alpine3.21` is above `alpine3.9`.
    #[must_use]
    pub fn compare_variants(&self, other: &Version<'_>) -> Ordering {
        compare_series(runs(self.variant), runs(other.variant), compare_digits)
            .then_with(|| self.variant.cmp(other.variant))
    }

    /// A number whose order is that of [`compare_bare`](Self::compare_bare) as far as 64 bits tell: where two keys differ,
    /// the versions differ the same way.
    #[must_use]
    pub fn key(&self) -> u64 {
        let mut bits = Bits::new();
        // A format has one number of fields; a tag may have any.
        let has_more = match &self.numbers {
            Numbers::Dotted(text) => bits.dotted(text.as_bytes(), 3),
            Numbers::Fields(fields) => {
                fields.written().for_each(|field| bits.number(read_number(field.as_bytes())));
                (self.parts..MAX_FIELDS).for_each(|_| bits.number(Some(0)));
                false
            }
        };
        bits.push(u64::from(has_more), 1);
        if !has_more {
            bits.push(u64::from(!self.is_prerelease()), 1);
        }
        bits.finish()
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare_bare(other).then_with(|| self.compare_variants(other))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version<'_> {}

/// Numbers in a row, each preceded by how many bits it has, so that they compare as they are; cut off at 64 bits.
struct Bits {
    value: u64,
    left: u32,
}

impl Bits {
    /// The greatest length that is told apart; longer numbers look alike and end the key.
    const TOO_LONG: u64 = 63;

    fn new() -> Self {
        Self { value: 0, left: u64::BITS }
    }

    fn push(&mut self, bits: u64, width: u32) {
        let kept = width.min(self.left);
        let cut = bits.checked_shr(width.saturating_sub(kept)).unwrap_or(0);
        self.value = self.value.checked_shl(kept).unwrap_or(0) | cut;
        self.left = self.left.saturating_sub(kept);
    }

    /// The first numbers between dots; whether any that follows is not nought.
    fn dotted(&mut self, text: &[u8], told: usize) -> bool {
        let mut rest = text;
        for _ in 0..told {
            let length = rest.iter().position(|byte| *byte == b'.').unwrap_or(rest.len());
            self.number(read_number(rest.get(..length).unwrap_or(&[])));
            rest = rest.get(length.saturating_add(1)..).unwrap_or(&[]);
        }
        rest.iter().any(|byte| !matches!(byte, b'0' | b'.'))
    }

    fn number(&mut self, value: Option<u64>) {
        let width = value.map_or(u64::BITS, |value| u64::BITS.saturating_sub(value.leading_zeros()));
        match value {
            Some(value) if u64::from(width) < Self::TOO_LONG => {
                self.push(u64::from(width), 6);
                // The top bit is known from the length.
                let low = width.saturating_sub(1);
                self.push(value & !(1_u64.checked_shl(low).unwrap_or(0)), low);
            }
            Some(_) | None => {
                self.push(Self::TOO_LONG, 6);
                self.value = self.finish();
                self.left = 0;
            }
        }
    }

    fn finish(&self) -> u64 {
        self.value.checked_shl(self.left).unwrap_or(0)
    }
}

/// Seven to forty hexadecimal digits with a letter among them are a commit, not a version.
fn is_hash(text: &str) -> bool {
    (7..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Words that say "not finished yet". `m1`, `ea` and `cr` are what Java projects write.
pub const PRERELEASE_WORDS: &[&str] = &[
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
    let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let Some((word, rest)) = text.split_at_checked(length) else {
        return false;
    };
    let numbered = rest.starts_with(|letter: char| letter.is_ascii_digit());
    let ends_well = rest.is_empty() || numbered || rest.starts_with('.');
    // One letter counts with a number only: `1.0-a1`, `1.0-m2`; a bare `-a` may be anything.
    let long_enough = 1 < length || numbered;
    ends_well && long_enough && PRERELEASE_WORDS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// What follows the numbers, as pre-release and variant; `None` where it belongs to no version.
fn read_suffix(suffix: &str) -> Option<(&str, &str)> {
    let suffix = suffix.split('+').next().unwrap_or("");
    match suffix.strip_prefix(['-', '_']) {
        Some(suffix) => Some(split_suffix(suffix)),
        None if suffix.is_empty() => Some(("", "")),
        // `1.2rc1`, `1.2.3beta`: a pre-release word may follow without a hyphen.
        None if starts_with_prerelease(suffix) => Some(split_suffix(suffix)),
        None => None,
    }
}

/// Splits a suffix into pre-release and variant: `rc.1-alpine` is both.
fn split_suffix(suffix: &str) -> (&str, &str) {
    let mut end = 0_usize;
    let mut at = 0_usize;
    for part in suffix.split('-') {
        let after = at.saturating_add(part.len());
        if starts_with_prerelease(part) || (0 < end && is_digits(part)) {
            end = after;
        } else if !part.is_empty() {
            break;
        }
        at = after.saturating_add(1);
    }
    let (prerelease, variant) = suffix.split_at_checked(end).unwrap_or(("", suffix));
    (prerelease.trim_matches('-'), variant.trim_matches('-'))
}

/// `rc10` as `rc`, `10`: so that rc10 comes after rc9.
fn identifiers(prerelease: &str) -> impl Iterator<Item = &str> {
    prerelease
        .split(['.', '-'])
        .flat_map(|piece| {
            let digits_at = piece.bytes().position(|byte| byte.is_ascii_digit()).unwrap_or(piece.len());
            let (word, number) = piece.split_at_checked(digits_at).unwrap_or((piece, ""));
            [word, number]
        })
        .filter(|one| !one.is_empty())
}

/// Nothing at all is a release, and above every pre-release of it.
fn compare_prereleases(one: &str, other: &str) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => compare_series(identifiers(one), identifiers(other), compare_identifiers),
    }
}

fn compare_identifiers(one: &str, other: &str) -> Ordering {
    match (is_digits(one), is_digits(other)) {
        (true, true) => compare_digits(one, other),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => {
            let lower = |byte: u8| byte.to_ascii_lowercase();
            one.bytes().map(lower).cmp(other.bytes().map(lower))
        }
    }
}

/// The runs of digits in a variant.
fn runs(variant: &str) -> impl Iterator<Item = &str> {
    variant.split(|letter: char| !letter.is_ascii_digit()).filter(|run| !run.is_empty())
}

/// A variant with each number, dots in it included, left out or put as one mark.
fn outline(variant: &str, mark: Option<u8>) -> impl Iterator<Item = u8> {
    variant
        .bytes()
        .scan(false, move |in_number, byte| {
            let is_number = byte.is_ascii_digit() || (*in_number && byte == b'.');
            let begins = is_number && !*in_number;
            *in_number = is_number;
            Some(if begins {
                mark
            } else if is_number {
                None
            } else {
                Some(byte)
            })
        })
        .flatten()
}
