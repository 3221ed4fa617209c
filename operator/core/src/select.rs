//! Tags × current version × rule → candidates in order, and a reason for every other tag.
//!
//! Pure and deterministic: the order of the list changes nothing, deleted tags never lower the choice below the floor, and no
//! text panics. Versions: `version.rs`. What "current" is: `current.rs`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::image::Tag;
use crate::reason::Reason;
use crate::version::Version;
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

/// The version rule.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Relative to what runs.
    Level(Level),
    /// A range.
    Semver(Range),
}

/// Whether variants may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariantMode {
    /// The running tag's family only.
    Keep,
    /// Any.
    Any,
}

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`image.tags.{field}`: expected a regular expression of at most 256 characters: {message}")]
pub struct FilterError {
    /// `include` or `exclude`.
    pub field: &'static str,
    /// The regexp library's words.
    pub message: String,
}

/// Which tags count at all. Linear-time matching, capped in size.
#[derive(Debug, Clone, Default)]
pub struct TagFilter {
    include: Option<Regex>,
    exclude: Option<Regex>,
}

impl TagFilter {
    /// Compiles the expressions.
    ///
    /// # Errors
    /// [`FilterError`] names the field.
    pub fn parse(include: Option<&str>, exclude: Option<&str>) -> Result<Self, FilterError> {
        let compile = |field, text: Option<&str>| {
            let fault = |message: String| FilterError { field, message };
            text.map(|text| {
                if 256 < text.len() {
                    return Err(fault("too long".to_owned()));
                }
                RegexBuilder::new(text)
                    .size_limit(1 << 20)
                    .build()
                    .map_err(|error| fault(crate::text::clean(&error.to_string(), 200)))
            })
            .transpose()
        };
        Ok(Self { include: compile("include", include)?, exclude: compile("exclude", exclude)? })
    }

    fn admits(&self, tag: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(tag))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(tag))
    }
}

/// What is asked of a list of tags.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Whether variants may change.
    pub variant: VariantMode,
    /// Which tags count.
    pub filter: &'a TagFilter,
    /// The running tag; without it there is no floor and no variant to keep.
    pub current: Option<&'a Tag>,
    /// The highest version that completed.
    pub floor: Option<&'a Tag>,
    /// A version that a person went back from: everything up to it is held.
    pub abandoned: Option<&'a Tag>,
    /// Whether an older version than the current may be chosen.
    pub allow_downgrade: bool,
}

/// A tag that the rule allows and that is newer than what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The tag.
    pub tag: Tag,
    /// Its version.
    pub version: Version,
}

/// A tag that is not a candidate, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The tag.
    pub tag: Tag,
    /// Why.
    pub reason: Reason,
}

/// Rejected tags of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The reason.
    pub reason: Reason,
    /// How many.
    pub count: usize,
    /// One of them.
    pub example: Tag,
}

/// What became of a list of tags.
#[derive(Debug, Clone, Default)]
#[must_use = "a selection that nobody reads chooses nothing"]
pub struct Selection {
    /// Best first, complete.
    pub candidates: Vec<Candidate>,
    /// Every other tag.
    pub rejected: Vec<Rejected>,
    /// The newest release of the same variant that only the rule hides.
    pub newest_outside: Option<Candidate>,
    /// Names in the list that are no tags.
    pub not_tags: usize,
}

impl Selection {
    /// The rejected tags by reason.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: BTreeMap<Reason, Group> = BTreeMap::new();
        for rejected in &self.rejected {
            let group = groups.entry(rejected.reason).or_insert_with(|| Group {
                reason: rejected.reason,
                count: 0,
                example: rejected.tag.clone(),
            });
            group.count = group.count.saturating_add(1);
            // The same example whatever the order of the list.
            if rejected.tag < group.example {
                group.example = rejected.tag.clone();
            }
        }
        groups.into_values().collect()
    }
}

/// Whether a tag can be ordered among versions.
#[must_use]
pub fn is_ordered(tag: &Tag) -> bool {
    Version::parse(tag.as_str()).is_some()
}

/// Chooses among tags.
pub fn select<'a>(query: &Query<'_>, tags: impl IntoIterator<Item = &'a str>) -> Selection {
    let bounds = Bounds::of(query);
    let mut selection = Selection::default();
    for name in tags {
        let Ok(tag) = Tag::parse(name) else {
            selection.not_tags = selection.not_tags.saturating_add(1);
            continue;
        };
        match judge(query, &bounds, &tag) {
            Ok(version) => selection.candidates.push(Candidate { tag, version }),
            Err((reason, version)) => {
                if reason == Reason::OutsideRule
                    && let Some(version) = version
                {
                    consider_outside(&mut selection, &bounds, &tag, version);
                }
                selection.rejected.push(Rejected { tag, reason });
            }
        }
    }
    order(&bounds, &mut selection);
    selection
}

/// The query's versions, read once.
struct Bounds {
    current: Option<Version>,
    floor: Option<Version>,
    abandoned: Option<Version>,
}

impl Bounds {
    fn of(query: &Query<'_>) -> Self {
        let version = |tag: Option<&Tag>| tag.and_then(|tag| Version::parse(tag.as_str()));
        Self {
            current: version(query.current),
            floor: version(query.floor),
            abandoned: version(query.abandoned),
        }
    }
}

fn consider_outside(selection: &mut Selection, bounds: &Bounds, tag: &Tag, version: Version) {
    let newer = bounds.current.as_ref().is_none_or(|current| *current < version);
    let best = selection.newest_outside.as_ref();
    let better = best.is_none_or(|best| match best.version.cmp(&version) {
        Ordering::Less => true,
        Ordering::Equal => *tag < best.tag,
        Ordering::Greater => false,
    });
    if newer && better && !version.is_prerelease() {
        selection.newest_outside = Some(Candidate { tag: tag.clone(), version });
    }
}

fn judge(query: &Query<'_>, bounds: &Bounds, tag: &Tag) -> Result<Version, (Reason, Option<Version>)> {
    let text = tag.as_str();
    let refuse = |reason| Err((reason, None));
    if is_artefact(text) {
        return refuse(Reason::ArtefactTag);
    }
    if !query.filter.admits(text) {
        return refuse(Reason::TagFiltered);
    }
    let Some(version) = Version::parse(text) else {
        return refuse(Reason::NotAVersion);
    };
    if query.variant == VariantMode::Keep
        && bounds.current.as_ref().is_some_and(|current| current.family() != version.family())
    {
        return refuse(Reason::OtherVariant);
    }
    if let Err(reason) = allowed(query.rule, bounds.current.as_ref(), &version) {
        return Err((reason, Some(version)));
    }
    let not_above = |bound: Option<&Version>| bound.is_some_and(|bound| version <= *bound);
    if not_above(bounds.abandoned.as_ref()) && !same(bounds, &version) && above_current(bounds, &version) {
        return refuse(Reason::HumanRollback);
    }
    if same(bounds, &version) || (!query.allow_downgrade && !above_current(bounds, &version)) {
        return refuse(Reason::NotNewer);
    }
    if !query.allow_downgrade && not_above(bounds.floor.as_ref()) {
        return refuse(Reason::BelowFloor);
    }
    Ok(version)
}

fn same(bounds: &Bounds, version: &Version) -> bool {
    bounds.current.as_ref().is_some_and(|current| current.cmp(version) == Ordering::Equal)
}

fn above_current(bounds: &Bounds, version: &Version) -> bool {
    bounds.current.as_ref().is_none_or(|current| current < version)
}

/// Signatures, attestations and SBOMs are stored under tags of their own.
fn is_artefact(text: &str) -> bool {
    [".sig", ".att", ".sbom"].iter().any(|suffix| text.ends_with(suffix))
        || text
            .strip_prefix("sha256-")
            .is_some_and(|hex| 64 <= hex.len() && hex.bytes().take(64).all(|byte| byte.is_ascii_hexdigit()))
}

fn allowed(rule: &Rule, current: Option<&Version>, version: &Version) -> Result<(), Reason> {
    match rule {
        Rule::Semver(range) => {
            if range.matches(version) {
                Ok(())
            } else if version.is_prerelease() {
                Err(Reason::PreRelease)
            } else {
                Err(Reason::OutsideRule)
            }
        }
        Rule::Level(level) => {
            let wants_prerelease = current.is_some_and(Version::is_prerelease);
            if version.is_prerelease() && !wants_prerelease {
                return Err(Reason::PreRelease);
            }
            let Some(current) = current else { return Ok(()) };
            // `1.4` follows 1.5 and not 1.4.3: who runs a short tag gets a short tag. So do four parts.
            let same_shape = current.numbers().len() == version.numbers().len();
            let kept = match level {
                Level::Patch => 2,
                Level::Minor => 1,
                Level::Major => 0,
            };
            let same_line = (0..kept).all(|index| current.number(index) == version.number(index));
            if same_shape && same_line { Ok(()) } else { Err(Reason::OutsideRule) }
        }
    }
}

/// Best first; of tags that spell the same version one stays: written like the running tag, then shortest, then lexical.
fn order(bounds: &Bounds, selection: &mut Selection) {
    let like_running = |candidate: &Candidate| {
        bounds.current.as_ref().is_some_and(|current| current.has_v() == candidate.version.has_v())
    };
    selection.candidates.sort_by(|one, other| {
        other
            .version
            .cmp(&one.version)
            .then_with(|| like_running(other).cmp(&like_running(one)))
            .then_with(|| one.tag.as_str().len().cmp(&other.tag.as_str().len()))
            .then_with(|| one.tag.cmp(&other.tag))
    });
    let mut kept: Vec<Candidate> = Vec::with_capacity(selection.candidates.len());
    for candidate in std::mem::take(&mut selection.candidates) {
        if kept.last().is_some_and(|last| last.version.cmp(&candidate.version) == Ordering::Equal) {
            selection.rejected.push(Rejected { tag: candidate.tag, reason: Reason::Duplicate });
        } else {
            kept.push(candidate);
        }
    }
    selection.candidates = kept;
    selection.rejected.sort_by(|one, other| one.tag.cmp(&other.tag));
}

/// Whether a text fits a pattern in which `*` stands for anything, slashes too. Linear in the text for each star.
#[must_use]
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else {
        return text.is_empty();
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part).and_then(|at| rest.get(at.saturating_add(part.len())..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}
