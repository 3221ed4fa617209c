//! What is ordered of a tag: a version, a decimal number of any length, or a text.

use std::cmp::Ordering;

use crate::version::{Version, compare_digits};

/// A number of any length, with a fraction or without.
#[derive(Debug, Clone, Copy)]
pub struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    /// Reads `20261124`, `007` or `1.5`; no sign, no exponent, no infinity.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        (is_digits(whole) && is_digits(fraction)).then_some(Self { whole, fraction })
    }

    fn compare(&self, other: &Decimal<'_>) -> Ordering {
        let (one, two) = (self.fraction.trim_end_matches('0'), other.fraction.trim_end_matches('0'));
        compare_digits(self.whole, other.whole).then_with(|| one.cmp(two))
    }

    /// How many digits the whole part has, then the first sixteen: what 64 bits can tell.
    fn key(&self) -> u64 {
        let digits = self.whole.trim_start_matches('0');
        let head = digits.get(..digits.len().min(16)).unwrap_or("");
        let head: u64 = if head.is_empty() { 0 } else { head.parse().unwrap_or(0) };
        let length = u64::try_from(digits.len().min(255)).unwrap_or(255);
        length.checked_shl(56).unwrap_or(0) | head
    }
}

/// What is ordered.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// By version.
    Version(Version<'a>),
    /// By number.
    Decimal(Decimal<'a>),
    /// By bytes.
    Text(&'a str),
}

impl<'a> Value<'a> {
    /// The version, where it is one.
    #[must_use]
    pub fn version(&self) -> Option<&Version<'a>> {
        match self {
            Value::Version(version) => Some(version),
            Value::Decimal(_) | Value::Text(_) => None,
        }
    }

    /// Compares what is ordered; variants do not take part. Values of two kinds never meet: a rule has one.
    #[must_use]
    pub fn compare(&self, other: &Value<'_>) -> Ordering {
        match (self, other) {
            (Value::Version(one), Value::Version(two)) => one.compare_bare(two),
            (Value::Decimal(one), Value::Decimal(two)) => one.compare(two),
            (Value::Text(one), Value::Text(two)) => one.cmp(two),
            (Value::Version(_) | Value::Decimal(_) | Value::Text(_), _) => Ordering::Equal,
        }
    }

    /// Whether the variants are written alike; what has no variants is.
    #[must_use]
    pub fn same_shape(&self, other: &Value<'_>) -> bool {
        match (self.version(), other.version()) {
            (Some(one), Some(two)) => one.same_shape(two),
            (Some(_), None) | (None, Some(_)) | (None, None) => true,
        }
    }

    /// Compares variants among versions that are equal otherwise: the better one is greater. Of several
    /// families the shortest name comes first, then the alphabet; of one the numbers decide.
    #[must_use]
    pub fn compare_variants(&self, other: &Value<'_>) -> Ordering {
        match (self.version(), other.version()) {
            (Some(one), Some(two)) => two.compare_families(one).then_with(|| one.compare_variants(two)),
            (Some(_), None) | (None, Some(_)) | (None, None) => Ordering::Equal,
        }
    }

    /// A number that is ordered like [`compare`](Self::compare) as far as 64 bits tell.
    #[must_use]
    pub fn key(&self) -> u64 {
        match self {
            Value::Version(version) => version.key(),
            Value::Decimal(decimal) => decimal.key(),
            Value::Text(text) => {
                let padded = text.bytes().chain(std::iter::repeat(0));
                padded.take(8).fold(0, |key: u64, byte| key.checked_shl(8).unwrap_or(0) | u64::from(byte))
            }
        }
    }
}
