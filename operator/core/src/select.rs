//! Tags × current version × rule → candidates in order, and a reason for every other tag.
//!
//! Pure and deterministic: the order of the list changes nothing, deleted tags never lower the choice below the floor, and no
//! text panics. A selection borrows the list: seventeen bytes a tag, whatever the tags are. Rules: `select/rule.rs`; which
//! tags count: `select/filter.rs`; what "current" is: `current.rs`. Told to users in `docs/selection.md`.

pub mod filter;
pub mod rule;
pub mod value;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use regex::Regex;

use crate::image::Tag;
use crate::reason::Reason;
use crate::text;

pub use filter::{FilterError, TagFilter};
pub use rule::{Direction, Level, Order, Rule};
pub use value::Value;

/// How many candidates a pass keeps. Five, so that the soak of each begins when it appears.
pub const MAX_SHORTLIST: usize = 5;

/// Whether variants may change.
#[derive(Debug, Clone)]
pub enum VariantMode {
    /// The running tag's family only.
    Keep,
    /// Any.
    Any,
    /// Those that the expression matches.
    Pattern(Regex),
}

impl VariantMode {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`FilterError`] with the library's words.
    pub fn pattern(text: &str) -> Result<Self, FilterError> {
        Ok(VariantMode::Pattern(filter::pattern("image.variant.pattern", text)?))
    }

    fn admits(&self, current: Option<&Value<'_>>, value: &Value<'_>) -> bool {
        let Some(version) = value.version() else { return true };
        match self {
            VariantMode::Any => true,
            VariantMode::Keep => {
                current.and_then(Value::version).is_none_or(|current| current.same_family(version))
            }
            VariantMode::Pattern(pattern) => pattern.is_match(version.variant()),
        }
    }
}

/// What is asked of a list of tags.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Whether variants may change.
    pub variant: &'a VariantMode,
    /// Which tags count.
    pub filter: &'a TagFilter,
    /// The running tag; without it there is no floor and no variant to keep.
    pub current: Option<&'a Tag>,
    /// The highest version that completed.
    pub floor: Option<&'a Tag>,
    /// The version that the running image gives itself: raises the floor, where the list has that version too.
    pub label: Option<&'a str>,
    /// A version that a person went back from: everything up to it is held.
    pub abandoned: Option<&'a Tag>,
    /// Whether an older version than the current may be chosen.
    pub allow_downgrade: bool,
}

/// A tag that may be chosen: where it stands in the list, and enough of its value to order most tags by.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    index: u32,
    /// The part of the tag that is ordered; a tag has at most 128 bytes.
    from: u8,
    to: u8,
    /// Its variant is not written like the running one.
    other_shape: bool,
    /// In how much it is written otherwise than the running tag.
    unlike: u8,
}

/// Rejected tags of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The reason.
    pub reason: Reason,
    /// How many.
    pub count: usize,
    /// The first of them in the alphabet, made safe to show.
    pub example: String,
}

/// What became of a list of tags.
#[derive(Debug)]
#[must_use = "a selection that nobody reads chooses nothing"]
pub struct Selection<'a, S> {
    tags: &'a [S],
    chosen: Vec<Entry>,
    reasons: Vec<Option<Reason>>,
    outside: Option<Entry>,
    label: Option<String>,
}

/// What a pass keeps of a selection: bounded, whatever the length of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a selection that nobody reads chooses nothing"]
pub struct Shortlist {
    /// The best candidates, at most [`MAX_SHORTLIST`].
    pub best: Vec<Tag>,
    /// How many candidates there are.
    pub n_candidates: usize,
    /// The rejected tags by reason.
    pub groups: Vec<Group>,
    /// The newest release of the same variant that only the rule hides.
    pub newest_outside: Option<Tag>,
    /// The running image's own version, made safe to show, where it raised the floor.
    pub label: Option<String>,
}

impl Shortlist {
    /// Whether a tag was left out for this reason.
    #[must_use]
    pub fn left_out_for(&self, reason: Reason) -> bool {
        self.groups.iter().any(|group| group.reason == reason)
    }
}

impl<'a, S: AsRef<str>> Selection<'a, S> {
    /// The candidates, best first, all of them.
    pub fn candidates(&self) -> impl ExactSizeIterator<Item = &'a str> + '_ {
        self.chosen.iter().map(|entry| self.text(entry.index))
    }

    /// Every other name, by the alphabet, with its reason.
    #[must_use]
    pub fn rejected(&self) -> Vec<(&'a str, Reason)> {
        let mut rejected: Vec<(&str, Reason)> = self
            .tags
            .iter()
            .zip(&self.reasons)
            .filter_map(|(tag, reason)| Some((tag.as_ref(), (*reason)?)))
            .collect();
        rejected.sort_unstable();
        rejected
    }

    /// The rejected names by reason.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: BTreeMap<Reason, (usize, &str)> = BTreeMap::new();
        for (tag, reason) in self.tags.iter().zip(&self.reasons) {
            let Some(reason) = reason else { continue };
            let (count, example) = groups.entry(*reason).or_insert((0, tag.as_ref()));
            *count = count.saturating_add(1);
            // The same example whatever the order of the list.
            *example = tag.as_ref().min(example);
        }
        let group = |(reason, (count, example)): (Reason, (usize, &str))| Group {
            reason,
            count,
            example: text::clean(example, 128),
        };
        groups.into_iter().map(group).collect()
    }

    /// The newest release of the same variant that only the rule hides.
    #[must_use]
    pub fn newest_outside(&self) -> Option<&'a str> {
        self.outside.map(|entry| self.text(entry.index))
    }

    /// What a pass keeps.
    pub fn shortlist(&self) -> Shortlist {
        Shortlist {
            best: self.candidates().take(MAX_SHORTLIST).filter_map(|tag| Tag::parse(tag).ok()).collect(),
            n_candidates: self.chosen.len(),
            groups: self.groups(),
            newest_outside: self.newest_outside().and_then(|tag| Tag::parse(tag).ok()),
            label: self.label.clone(),
        }
    }

    fn text(&self, index: u32) -> &'a str {
        usize::try_from(index).ok().and_then(|index| self.tags.get(index)).map_or("", AsRef::as_ref)
    }
}

/// Chooses among tags.
pub fn select<'a, S: AsRef<str>>(query: &Query<'_>, tags: &'a [S]) -> Selection<'a, S> {
    let mut judge = Judge::of(query);
    if judge.label.as_ref().is_some_and(|label| !judge.lists(tags, &label.value)) {
        judge.label = None;
    }
    let mut selection = Selection {
        tags,
        label: query.label.filter(|_| judge.label.is_some()).map(|label| text::clean(label, 128)),
        chosen: Vec::with_capacity(tags.len()),
        reasons: Vec::with_capacity(tags.len()),
        outside: None,
    };
    for (index, tag) in (0_u32..).zip(tags) {
        let Judged { value, refusal } = judge.judge(tag.as_ref());
        selection.reasons.push(refusal);
        let Some((value, span)) = value else { continue };
        match refusal {
            None => selection.chosen.push(judge.entry(index, tag.as_ref(), &value, &span)),
            Some(Reason::OutsideRule) if judge.is_release_above(&value) => {
                let entry = judge.entry(index, tag.as_ref(), &value, &span);
                let better =
                    selection.outside.is_none_or(|best| judge.rank(tags, &entry, &best) == Ordering::Less);
                selection.outside = if better { Some(entry) } else { selection.outside };
            }
            Some(_) => {}
        }
    }
    skip_what_is_shared(&judge, &mut selection);
    selection.chosen.sort_unstable_by(|one, other| judge.rank(tags, one, other));
    drop_duplicates(&judge, &mut selection);
    selection
}

/// Texts often begin alike (`nightly-`): their keys are taken from where they differ.
fn skip_what_is_shared<S: AsRef<str>>(judge: &Judge<'_>, selection: &mut Selection<'_, S>) {
    let Selection { tags, chosen, reasons: _, outside: _, label: _ } = selection;
    let tags: &[S] = tags;
    let ordered = |entry: &Entry| tag_at(tags, entry).get(usize::from(entry.from)..usize::from(entry.to));
    let (Rule::Lexical(_), Some(first)) = (judge.query.rule, chosen.first().and_then(ordered)) else {
        return;
    };
    let shared = chosen.iter().filter_map(ordered).fold(first.len(), |shared, text| {
        first.bytes().zip(text.bytes()).take(shared).take_while(|(one, two)| one == two).count()
    });
    for entry in chosen {
        let key =
            ordered(entry).and_then(|text| text.get(shared..)).map_or(0, |rest| Value::Text(rest).key());
        entry.key = if judge.query.rule.is_descending() { !key } else { key };
    }
}

/// Of tags that say the same the first stays: the one written most like the running tag.
fn drop_duplicates<S: AsRef<str>>(judge: &Judge<'_>, selection: &mut Selection<'_, S>) {
    let Selection { tags, chosen, reasons, outside: _, label: _ } = selection;
    let tags: &[S] = tags;
    let mut last: Option<Entry> = None;
    chosen.retain(|entry| {
        if last.is_some_and(|last| last.key == entry.key && judge.says_the_same(tags, &last, entry)) {
            let reason = usize::try_from(entry.index).ok().and_then(|index| reasons.get_mut(index));
            if let Some(reason) = reason {
                *reason = Some(Reason::Duplicate);
            }
            return false;
        }
        last = Some(*entry);
        true
    });
}

/// What became of one name.
struct Judged<'t> {
    value: Option<(Keyed<'t>, Range<usize>)>,
    refusal: Option<Reason>,
}

/// A value with its key, made once: of two values the keys nearly always tell the order.
struct Keyed<'t> {
    value: Value<'t>,
    key: u64,
}

impl<'t> Keyed<'t> {
    fn of(value: Value<'t>) -> Self {
        Self { key: value.key(), value }
    }

    /// How it stands to another by the rule.
    fn relation(&self, rule: &Rule, other: &Keyed<'_>) -> Ordering {
        match self.key.cmp(&other.key) {
            Ordering::Equal => rule.relation(&self.value, &other.value),
            by_key @ (Ordering::Less | Ordering::Greater) if rule.is_descending() => by_key.reverse(),
            by_key @ (Ordering::Less | Ordering::Greater) => by_key,
        }
    }
}

/// The running tag: its value, and what stands around it.
struct Anchor<'q> {
    value: Keyed<'q>,
    before: &'q str,
    after: &'q str,
}

/// The query with its versions, read once.
struct Judge<'q> {
    query: &'q Query<'q>,
    current: Option<Anchor<'q>>,
    floor: Option<Keyed<'q>>,
    label: Option<Keyed<'q>>,
    abandoned: Option<Keyed<'q>>,
}

impl<'q> Judge<'q> {
    fn of(query: &'q Query<'q>) -> Self {
        let order = Order { rule: query.rule, filter: query.filter };
        let value = |tag: Option<&'q Tag>| tag.and_then(|tag| order.value(tag.as_str()));
        let current = query.current.and_then(|tag| {
            let text = tag.as_str();
            let span = query.filter.span(text)?;
            let (before, after) = (text.get(..span.start)?, text.get(span.end..)?);
            Some(Anchor { value: Keyed::of(order.value(text)?), before, after })
        });
        // A floor of another variant says nothing where the variant is kept: a person changed it.
        let floor = value(query.floor).filter(|floor| {
            let current = current.as_ref().map(|anchor| &anchor.value.value);
            !matches!(query.variant, VariantMode::Keep) || query.variant.admits(current, floor)
        });
        let label = label(query, [current.as_ref().map(|anchor| &anchor.value.value), floor.as_ref()]);
        let keyed = |value: Option<Value<'q>>| value.map(Keyed::of);
        let (floor, label, abandoned) = (keyed(floor), keyed(label), keyed(value(query.abandoned)));
        Self { query, current, floor, label, abandoned }
    }

    /// Whether the list has a version, in any spelling and variant: what a base image left in the labels is seldom there.
    fn lists<S: AsRef<str>>(&self, tags: &[S], version: &Value<'_>) -> bool {
        let Query { rule, filter, .. } = self.query;
        let order = Order { rule, filter };
        tags.iter().filter_map(|tag| order.value(tag.as_ref())).any(|value| value.compare(version).is_eq())
    }

    fn current(&self) -> Option<&Value<'q>> {
        self.current.as_ref().map(|anchor| &anchor.value.value)
    }

    fn judge<'t>(&self, tag: &'t str) -> Judged<'t> {
        let Query { rule, variant, filter, .. } = self.query;
        let refuse = |reason| Judged { value: None, refusal: Some(reason) };
        if !Tag::is_valid(tag) {
            return refuse(Reason::NotATag);
        }
        if is_artefact(tag) {
            return refuse(Reason::ArtefactTag);
        }
        let span = if filter.admits(tag) { filter.span(tag) } else { None };
        let Some(span) = span else {
            return refuse(Reason::TagFiltered);
        };
        // `digest` names a whole tag.
        let span = if matches!(rule, Rule::Digest(_)) { 0..tag.len() } else { span };
        let Some(value) = tag.get(span.clone()).and_then(|text| rule.value(text)) else {
            let reason =
                if matches!(rule, Rule::Digest(_)) { Reason::OutsideRule } else { Reason::NotAVersion };
            return refuse(reason);
        };
        if !variant.admits(self.current(), &value) {
            return refuse(Reason::OtherVariant);
        }
        let allowed = rule.allows(self.current(), &value);
        let value = Keyed::of(value);
        let refusal = allowed.and_then(|()| self.above_bounds(&value)).err();
        Judged { value: Some((value, span)), refusal }
    }

    fn above_bounds(&self, value: &Keyed<'_>) -> Result<(), Reason> {
        let rule = self.query.rule;
        let current = self.current.as_ref().map(|anchor| &anchor.value);
        let relation = current.map_or(Ordering::Greater, |current| value.relation(rule, current));
        let not_above = |bound: Option<&Keyed<'_>>| {
            bound.is_some_and(|bound| value.relation(rule, bound) != Ordering::Greater)
        };
        if relation == Ordering::Greater && not_above(self.abandoned.as_ref()) {
            return Err(Reason::HumanRollback);
        }
        if relation == Ordering::Equal || (relation == Ordering::Less && !self.query.allow_downgrade) {
            return Err(Reason::NotNewer);
        }
        let is_below = not_above(self.floor.as_ref()) || not_above(self.label.as_ref());
        if !self.query.allow_downgrade && is_below {
            return Err(Reason::BelowFloor);
        }
        Ok(())
    }

    fn is_release_above(&self, value: &Keyed<'_>) -> bool {
        let current = self.current.as_ref().map(|anchor| &anchor.value);
        let rule = self.query.rule;
        let newer = current.is_none_or(|current| value.relation(rule, current) == Ordering::Greater);
        newer && value.value.version().is_some_and(|version| !version.is_prerelease())
    }

    fn entry(&self, index: u32, tag: &str, keyed: &Keyed<'_>, span: &Range<usize>) -> Entry {
        let Keyed { value, key } = keyed;
        let key = *key;
        let edge = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        let mut entry = Entry {
            key: if self.query.rule.is_descending() { !key } else { key },
            index,
            from: edge(span.start),
            to: edge(span.end),
            other_shape: false,
            unlike: 0,
        };
        if let Some(Anchor { value: Keyed { value: current, .. }, before, after }) = &self.current {
            let around = tag.get(..span.start) == Some(before) && tag.get(span.end..) == Some(after);
            let (parts, has_v) = match (current.version(), value.version()) {
                (Some(one), Some(two)) => (one.parts() == two.parts(), one.has_v() == two.has_v()),
                (Some(_), None) | (None, Some(_)) | (None, None) => (true, true),
            };
            entry.other_shape = !current.same_shape(value);
            // What weighs more is the higher bit.
            entry.unlike = [around, parts, has_v]
                .iter()
                .fold(0_u8, |unlike, alike| unlike.saturating_mul(2).saturating_add(u8::from(!alike)));
        }
        entry
    }

    /// Best first, totally: version; the variant written like the running one; the variant's numbers; the tag written like
    /// the running one; the shortest; the alphabet. The list's order is never asked.
    fn rank<S: AsRef<str>>(&self, tags: &[S], one: &Entry, other: &Entry) -> Ordering {
        other.key.cmp(&one.key).then_with(|| {
            let (left, right) = (tag_at(tags, one), tag_at(tags, other));
            let by_value = match (self.value(left, one), self.value(right, other)) {
                (Some(left), Some(right)) => self
                    .query
                    .rule
                    .compare(&right, &left)
                    .then_with(|| one.other_shape.cmp(&other.other_shape))
                    .then_with(|| right.compare_variants(&left)),
                (Some(_), None) | (None, Some(_)) | (None, None) => Ordering::Equal,
            };
            by_value
                .then_with(|| one.unlike.cmp(&other.unlike))
                .then_with(|| left.len().cmp(&right.len()))
                .then_with(|| left.cmp(right))
        })
    }

    fn says_the_same<S: AsRef<str>>(&self, tags: &[S], one: &Entry, other: &Entry) -> bool {
        match (self.value(tag_at(tags, one), one), self.value(tag_at(tags, other), other)) {
            (Some(left), Some(right)) => {
                left.compare(&right) == Ordering::Equal && left.compare_variants(&right) == Ordering::Equal
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => false,
        }
    }

    fn value<'t>(&self, tag: &'t str, entry: &Entry) -> Option<Value<'t>> {
        self.query.rule.value(tag.get(usize::from(entry.from)..usize::from(entry.to))?)
    }
}

/// The label's version, where the rule can order it and it is above all of these. A label has no variant to be kept.
fn label<'q>(query: &Query<'q>, bounds: [Option<&Value<'q>>; 2]) -> Option<Value<'q>> {
    if matches!(query.rule, Rule::Digest(_)) {
        return None;
    }
    let value = query.rule.value(query.label?)?;
    let above = |bound: &Value<'_>| query.rule.compare(&value, bound) == Ordering::Greater;
    bounds.into_iter().flatten().all(above).then_some(value)
}

/// Whether the version that a running image gives itself may raise the floor; which list it meets is not looked at.
#[must_use]
pub fn raises_floor(query: &Query<'_>) -> bool {
    Judge::of(query).label.is_some()
}

fn tag_at<'t, S: AsRef<str>>(tags: &'t [S], entry: &Entry) -> &'t str {
    usize::try_from(entry.index).ok().and_then(|index| tags.get(index)).map_or("", AsRef::as_ref)
}

/// Signatures, attestations and SBOMs are stored under tags of their own.
fn is_artefact(text: &str) -> bool {
    [".sig", ".att", ".sbom"].iter().any(|suffix| text.ends_with(suffix))
        || text
            .strip_prefix("sha256-")
            .is_some_and(|hex| 64 <= hex.len() && hex.bytes().take(64).all(|byte| byte.is_ascii_hexdigit()))
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
