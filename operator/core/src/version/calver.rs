//! Dated versions by a format: `YYYY.0M.0D`, `YYYYMMDD`, `YY.MM-N`.
//!
//! The words are those of calver.org. A format names the numbers of a tag; what follows them is read like any suffix, so that
//! `2026.11.24-alpine` is a variant and `2026.11.24-rc1` a pre-release. A date that is none (30 February) is no version.

use thiserror::Error;

use super::{Fields, MAX_FIELDS, Version};

/// Why a text is not a format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// No year in it.
    #[error("expected a year (YYYY or YY) in the format, as in YYYY.0M.0D, YYYYMMDD or YY.MM-N")]
    NoYear,
    /// Not a word and not a separator.
    #[error(
        "expected YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D, N, MAJOR, MINOR, MICRO, lower-case letters and . - _; got {0:?}"
    )]
    Word(String),
    /// A word of the date twice.
    #[error("expected each part of a date once")]
    Twice,
    /// More than six numbers, or more than 64 characters.
    #[error("expected at most 6 numbers in at most 64 characters")]
    TooLong,
    /// A counter whose end cannot be told from what follows.
    #[error("expected a separator after N, MAJOR, MINOR and MICRO: they have any number of digits")]
    Unbounded,
}

/// What a number of a format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Year,
    Month,
    Week,
    Day,
    Counter,
}

/// One piece of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// So many digits at least and at most.
    Number(Meaning, usize, usize),
    /// A character as it stands.
    Literal(u8),
}

/// A format, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
    /// For each number in the order of writing, its place in the order of weight.
    places: Vec<usize>,
}

/// The words, longer ones before those that they begin with: meaning, fewest and most digits.
const WORDS: &[(&str, Meaning, usize, usize)] = &[
    ("YYYY", Meaning::Year, 4, 4),
    ("YY", Meaning::Year, 2, 2),
    ("0Y", Meaning::Year, 2, 2),
    ("MM", Meaning::Month, 1, 2),
    ("0M", Meaning::Month, 2, 2),
    ("WW", Meaning::Week, 1, 2),
    ("0W", Meaning::Week, 2, 2),
    ("DD", Meaning::Day, 1, 2),
    ("0D", Meaning::Day, 2, 2),
    ("MAJOR", Meaning::Counter, 1, 128),
    ("MINOR", Meaning::Counter, 1, 128),
    ("MICRO", Meaning::Counter, 1, 128),
    ("N", Meaning::Counter, 1, 128),
];

impl Format {
    /// Reads a format.
    ///
    /// # Errors
    /// [`FormatError`] says what was expected.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        if 64 < text.len() {
            return Err(FormatError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            if let Some((word, meaning, fewest, most)) =
                WORDS.iter().find(|(word, ..)| rest.starts_with(word))
            {
                pieces.push(Piece::Number(*meaning, *fewest, *most));
                rest = rest.get(word.len()..).unwrap_or("");
            } else if first.is_ascii_lowercase() || matches!(first, b'.' | b'-' | b'_') {
                pieces.push(Piece::Literal(first));
                rest = rest.get(1..).unwrap_or("");
            } else {
                return Err(FormatError::Word(rest.chars().take(16).collect()));
            }
        }
        fix_widths(&mut pieces)?;
        let places = places(&pieces)?;
        Ok(Self { pieces, places })
    }

    /// Reads a tag by the format; `None` where it does not fit or names no day.
    #[must_use]
    pub fn read<'a>(&self, text: &'a str) -> Option<Version<'a>> {
        if text.len() > 128 {
            return None;
        }
        let stripped = text.strip_prefix(['v', 'V']);
        let has_v = stripped.is_some() && self.pieces.first() != Some(&Piece::Literal(b'v'));
        let mut rest = if has_v { stripped? } else { text };
        let mut fields = Fields { text, at: [(0, 0); MAX_FIELDS] };
        let mut date = Date::default();
        let mut places = self.places.iter();
        for piece in &self.pieces {
            match *piece {
                Piece::Literal(byte) => rest = rest.strip_prefix(char::from(byte))?,
                Piece::Number(meaning, fewest, most) => {
                    let length = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                    let (digits, after) = rest.split_at_checked(length)?;
                    if length < fewest {
                        return None;
                    }
                    date.note(meaning, digits);
                    let from = text.len().checked_sub(rest.len())?;
                    let to = from.checked_add(length)?;
                    *fields.at.get_mut(*places.next()?)? = (u8::try_from(from).ok()?, u8::try_from(to).ok()?);
                    rest = after;
                }
            }
        }
        // `2026.11.241` is not the 24th.
        let goes_on = rest.starts_with(|letter: char| letter.is_ascii_digit());
        if goes_on || !date.exists() { None } else { Version::dated(fields, rest, has_v) }
    }
}

/// Words that touch have their full width: `YYYYMMDD`. A counter may only end at a separator.
fn fix_widths(pieces: &mut [Piece]) -> Result<(), FormatError> {
    let numbers: Vec<bool> = pieces.iter().map(|piece| matches!(piece, Piece::Number(..))).collect();
    for (index, piece) in pieces.iter_mut().enumerate() {
        let Piece::Number(meaning, fewest, most) = piece else { continue };
        let is_number = |at: Option<usize>| at.and_then(|at| numbers.get(at)).is_some_and(|number| *number);
        let (before, after) = (is_number(index.checked_sub(1)), is_number(index.checked_add(1)));
        if *meaning == Meaning::Counter {
            if after {
                return Err(FormatError::Unbounded);
            }
        } else if before || after {
            *fewest = *most;
        }
    }
    Ok(())
}

/// The place of each number by weight: a date is one unit, year before month before week before day; counters and the date
/// stand as they are written.
fn places(pieces: &[Piece]) -> Result<Vec<usize>, FormatError> {
    let meanings: Vec<Meaning> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Number(meaning, ..) => Some(*meaning),
            Piece::Literal(_) => None,
        })
        .collect();
    if MAX_FIELDS < meanings.len() {
        return Err(FormatError::TooLong);
    }
    if !meanings.contains(&Meaning::Year) {
        return Err(FormatError::NoYear);
    }
    let dates = [Meaning::Year, Meaning::Month, Meaning::Week, Meaning::Day];
    if dates.iter().any(|one| 1 < meanings.iter().filter(|meaning| *meaning == one).count()) {
        return Err(FormatError::Twice);
    }
    let first_of_date = meanings.iter().position(|meaning| *meaning != Meaning::Counter).unwrap_or(0);
    let mut by_weight: Vec<usize> = (0..meanings.len()).collect();
    by_weight.sort_by_key(|index| match meanings.get(*index) {
        Some(Meaning::Year) => (first_of_date, 0),
        Some(Meaning::Month) => (first_of_date, 1),
        Some(Meaning::Week) => (first_of_date, 2),
        Some(Meaning::Day) => (first_of_date, 3),
        Some(Meaning::Counter) | None => (*index, 0),
    });
    let place = |index: usize| by_weight.iter().position(|one| *one == index).unwrap_or(0);
    Ok((0..meanings.len()).map(place).collect())
}

/// What a tag says of the day.
#[derive(Debug, Default)]
struct Date {
    year: Option<i16>,
    month: Option<i8>,
    week: Option<i8>,
    day: Option<i8>,
}

impl Date {
    fn note(&mut self, meaning: Meaning, digits: &str) {
        match meaning {
            Meaning::Year => {
                let century = if digits.len() == 2 { 2000 } else { 0 };
                self.year = digits.parse::<i16>().ok().and_then(|year| year.checked_add(century));
            }
            Meaning::Month => self.month = digits.parse().ok(),
            Meaning::Week => self.week = digits.parse().ok(),
            Meaning::Day => self.day = digits.parse().ok(),
            Meaning::Counter => {}
        }
    }

    fn exists(&self) -> bool {
        let month_is_one = self.month.is_none_or(|month| (1..=12).contains(&month));
        let week_is_one = self.week.is_none_or(|week| (1..=53).contains(&week));
        let day_is_one = match (self.year, self.month, self.day) {
            (Some(year), Some(month), Some(day)) => jiff::civil::Date::new(year, month, day).is_ok(),
            (_, _, Some(day)) => (1..=31).contains(&day),
            (_, _, None) => true,
        };
        month_is_one && week_is_one && day_is_one
    }
}
