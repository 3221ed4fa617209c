//! Which tags count, by name: regular expressions to take, to leave out, and to cut out what is ordered.
//!
//! Matching is linear in the tag, and an expression is capped in length and compiled size: a policy cannot slow others down.

use std::ops::Range;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// The longest expression, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256;
/// How large a compiled expression may be: 1 MiB, far more than a pattern of tags needs.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// It cannot be compiled.
    #[error("`{field}`: expected a regular expression of at most 256 characters: {message}")]
    Expression {
        /// The field, below `spec`.
        field: &'static str,
        /// The regexp library's words.
        message: String,
    },
    /// Nothing says what is to be ordered.
    #[error("`image.tags.extract`: expected a group named version, such as ^main-(?P<version>[0-9]+)$")]
    NoGroup,
}

/// Compiles an expression of a policy.
///
/// # Errors
/// [`FilterError::Expression`] with the field and the library's words.
pub fn pattern(field: &'static str, text: &str) -> Result<Regex, FilterError> {
    let fault = |message: String| FilterError::Expression { field, message };
    if MAX_PATTERN_BYTES < text.len() {
        return Err(fault("too long".to_owned()));
    }
    RegexBuilder::new(text)
        .size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| fault(crate::text::clean(&error.to_string(), 200)))
}

/// Which tags count at all, and what of them is ordered.
#[derive(Debug, Clone, Default)]
pub struct TagFilter {
    include: Option<Regex>,
    exclude: Option<Regex>,
    extract: Option<Regex>,
}

impl TagFilter {
    /// Compiles the expressions.
    ///
    /// # Errors
    /// [`FilterError`] names the field.
    pub fn parse(
        include: Option<&str>,
        exclude: Option<&str>,
        extract: Option<&str>,
    ) -> Result<Self, FilterError> {
        let compile = |field, text: Option<&str>| text.map(|text| pattern(field, text)).transpose();
        let extract = compile("image.tags.extract", extract)?;
        let named = |extract: &Regex| extract.capture_names().flatten().any(|name| name == "version");
        if extract.as_ref().is_some_and(|extract| !named(extract)) {
            return Err(FilterError::NoGroup);
        }
        Ok(Self {
            include: compile("image.tags.include", include)?,
            exclude: compile("image.tags.exclude", exclude)?,
            extract,
        })
    }

    /// Whether `include` and `exclude` let a tag through.
    #[must_use]
    pub fn admits(&self, tag: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(tag))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(tag))
    }

    /// Where in a tag the text stands that is ordered; all of it without `extract`, `None` where that does not match.
    #[must_use]
    pub fn span(&self, tag: &str) -> Option<Range<usize>> {
        match &self.extract {
            None => Some(0..tag.len()),
            Some(extract) => extract.captures(tag)?.name("version").map(|found| found.range()),
        }
    }
}
