//! What a listing taught: the tags in one compact list, the order of the registry, and what the next look must ask.
//!
//! No I/O and no clock. The order is believed only where something showed it: a list that happens to be sorted both by name
//! and by age teaches nothing, and an answer that lacks a tag known to be there means that the whole list is read again.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::image::Tag;
use rollforward_core::scan::{Habit, RELIST, Reach, Scan};

use super::floating::Floating;
use crate::registry::{Part, TagList};

/// How many more tags than are known are asked for: a release of many variants still fits one page.
const SLACK: usize = 32;

/// A list of so many tags that came as one page is always read whole: it costs the same request and sees everything.
/// A longer one is looked at by parts where that is possible, for its bytes.
const SMALL_LIST: usize = 1000;

/// Registries that list by age although one listing cannot show it.
const BY_AGE: [&str; 1] = ["ghcr.io"];

/// Names in one text: 2,500 tags cost 30 KiB instead of 120.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    text: String,
    /// The end of each name in the text.
    ends: Vec<u32>,
}

impl Names {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for name in names {
            // A registry's answer is far smaller than 4 GiB: the limits on tags and bytes end it before.
            let Ok(end) = u32::try_from(all.text.len() + name.len()) else { break };
            all.text.push_str(name);
            all.ends.push(end);
        }
        all.text.shrink_to_fit();
        all.ends.shrink_to_fit();
        all
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.text.get(start..end)
    }

    pub(super) fn has(&self, tag: &Tag) -> bool {
        self.iter().any(|name| name == tag.as_str())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// How many names of a sorted list are below a text.
    fn n_below(&self, text: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(|name| name < text) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// How a registry orders its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By the bytes of the names.
    Name,
    /// Oldest first: what is new is at the end.
    Age,
    /// Newest first.
    NewestFirst,
    /// Not shown yet, or none.
    Unknown,
}

/// What is known of a repository.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) names: Names,
    pub(super) order: Order,
    pub(super) complete: bool,
    pub(super) at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) listed_at: Timestamp,
    pub(super) relist_at: Timestamp,
    pub(super) reach: Reach,
    pub(super) n_requests: usize,
    /// Pages of the last whole listing.
    n_pages: usize,
    /// Tags that move with every release.
    pub(super) floating: Floating,
}

/// What the next look asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everything.
    Whole,
    /// What was added behind the newest tags.
    Added(Part),
    /// What was added before the newest tags.
    Front(Part),
    /// The tags that begin with each text.
    Beginning(Vec<(String, Part)>),
    /// No list while this tag names what it named.
    Sentinel(Tag),
}

impl Plan {
    /// The parts to ask for, in turn. None for the whole list: that is another question.
    pub(super) fn parts(&self) -> Vec<&Part> {
        match self {
            Plan::Whole | Plan::Sentinel(_) => Vec::new(),
            Plan::Added(part) | Plan::Front(part) => vec![part],
            Plan::Beginning(parts) => parts.iter().map(|(_, part)| part).collect(),
        }
    }

    /// How far it looks.
    pub(super) fn reach(&self) -> Reach {
        match self {
            Plan::Whole => Reach::Whole,
            Plan::Added(_) | Plan::Front(_) => Reach::Added,
            Plan::Beginning(parts) => Reach::Beginning(parts.iter().map(|(text, _)| text.clone()).collect()),
            Plan::Sentinel(tag) => Reach::Sentinel(tag.clone()),
        }
    }
}

/// What came of a bounded look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// It holds what is known.
    Same,
    /// It holds more.
    More,
    /// Something is not as it was: only the whole list can tell.
    Disagrees,
}

impl Memory {
    /// A whole listing, compared with what was known before it. `spread` is 0 to 1, from the repository's name.
    pub(super) fn listed(
        registry: &str,
        list: &TagList,
        before: Option<&Memory>,
        at: Timestamp,
        spread: f64,
    ) -> Self {
        let names = Names::new(list.tags.iter().map(String::as_str));
        let order = learn(registry, &names, before);
        let changed_at = before
            .filter(|before| before.names == names && before.complete == list.complete)
            .map_or(at, |before| before.changed_at);
        // 75 to 100 % of the limit: repositories that were first seen together are not listed together for ever.
        let wait = RELIST.as_secs_f64() * (0.75 + 0.25 * spread.clamp(0.0, 1.0));
        let relist_at =
            SignedDuration::try_from_secs_f64(wait).ok().and_then(|wait| at.checked_add(wait).ok());
        Self {
            names,
            order,
            complete: list.complete,
            at,
            changed_at,
            listed_at: at,
            relist_at: relist_at.unwrap_or(at),
            reach: Reach::Whole,
            n_requests: list.n_pages,
            n_pages: list.n_pages,
            floating: before.map(|before| before.floating.clone()).unwrap_or_default(),
        }
    }

    /// Whether a whole listing held tags that were not known before it.
    pub(super) fn has_more_than(&self, before: &Memory) -> bool {
        let known: BTreeSet<&str> = before.names.iter().collect();
        self.names.iter().any(|name| !known.contains(name))
    }

    /// What the next look asks: bounded where the order is known and the bound sees every tag that is wanted.
    ///
    /// `wanted` are the beginnings of the tags that could be chosen; `None` where any tag could.
    pub(super) fn plan(&self, wanted: Option<&BTreeSet<String>>, now: Timestamp) -> Plan {
        if self.relist_at <= now { Plan::Whole } else { self.usual(wanted) }
    }

    /// What a look asks while the whole list is not due: no list at all where one request less a page can see a new tag.
    fn usual(&self, wanted: Option<&BTreeSet<String>>) -> Plan {
        let listing = self.listing(wanted);
        match self.floating.sentinel() {
            Some((tag, _)) if 1 < self.cost(&listing) => Plan::Sentinel(tag.clone()),
            Some(_) | None => listing,
        }
    }

    /// The tags to resolve before a whole listing; none where a look costs one request anyway.
    pub(super) fn floaters(&self, wanted: Option<&BTreeSet<String>>) -> Vec<Tag> {
        let is_dear = 1 < self.cost(&self.listing(wanted));
        if is_dear { self.floating.to_resolve(self.names.iter()) } else { Vec::new() }
    }

    fn listing(&self, wanted: Option<&BTreeSet<String>>) -> Plan {
        let is_small = self.n_pages <= 1 && self.names.len() <= SMALL_LIST;
        if !self.complete || is_small {
            return Plan::Whole;
        }
        match (self.order, wanted) {
            (Order::Age, _) => self.behind_the_last_but_one(),
            (Order::NewestFirst, _) => {
                Plan::Front(Part { first_page_only: true, n_tags: Some(SLACK), ..Part::default() })
            }
            (Order::Name, Some(wanted)) if !wanted.is_empty() => self.beginning(wanted),
            (Order::Name | Order::Unknown, _) => Plan::Whole,
        }
    }

    /// The last known tag must be in the answer: without it, a registry that ignores the cursor would look quiet.
    fn behind_the_last_but_one(&self) -> Plan {
        match self.names.len().checked_sub(2).and_then(|at| self.names.get(at)) {
            Some(after) => Plan::Added(Part { after: Some(after.to_owned()), ..Part::default() }),
            None => Plan::Whole,
        }
    }

    /// What is asked between two whole listings, in words of core.
    pub(super) fn habit(&self, wanted: Option<&BTreeSet<String>>) -> Habit {
        let plan = self.usual(wanted);
        Habit { reach: plan.reach(), requests: self.cost(&plan) }
    }

    fn cost(&self, plan: &Plan) -> usize {
        match plan {
            Plan::Whole => self.n_pages,
            Plan::Added(_) | Plan::Front(_) | Plan::Sentinel(_) => 1,
            Plan::Beginning(parts) => self.requests(parts),
        }
    }

    /// The requests of a look by parts.
    fn requests(&self, parts: &[(String, Part)]) -> usize {
        // What the registry gave, not what it was asked for: many give a hundred whatever is asked.
        let page_size = self.names.len().div_ceil(self.n_pages.max(1)).max(1);
        parts.iter().map(|(_, part)| part.n_tags.unwrap_or(page_size).div_ceil(page_size)).sum()
    }

    fn beginning(&self, wanted: &BTreeSet<String>) -> Plan {
        let mut parts = Vec::new();
        for text in wanted {
            // `1.` is inside of what a look at `1` sees.
            if parts.iter().any(|(other, _): &(String, Part)| text.starts_with(other.as_str())) {
                continue;
            }
            let Some(end) = following(text) else { return Plan::Whole };
            let (first, behind) = (self.names.n_below(text), self.names.n_below(&end));
            // A tag that is known to be there: some registries answer 404 to any other.
            let after = first.checked_sub(1).and_then(|at| self.names.get(at)).map(str::to_owned);
            let n_known = behind.saturating_sub(first);
            let n_tags = n_known.saturating_add(SLACK.max(n_known / 4));
            parts.push((
                text.clone(),
                Part { after, until: Some(end), n_tags: Some(n_tags), first_page_only: false },
            ));
        }
        let n_requests = self.requests(&parts);
        let n_tags: usize = parts.iter().filter_map(|(_, part)| part.n_tags).sum();
        let is_cheaper = n_requests < self.n_pages
            || n_requests == self.n_pages && n_tags.saturating_mul(2) <= self.names.len();
        if is_cheaper { Plan::Beginning(parts) } else { Plan::Whole }
    }

    /// Adds what a part of the plan found.
    pub(super) fn add(&mut self, plan: &Plan, part: &Part, list: &TagList) -> Merged {
        match plan {
            Plan::Whole | Plan::Sentinel(_) => Merged::Disagrees,
            Plan::Added(_) => self.add_behind(list),
            Plan::Front(_) => self.add_before(list),
            Plan::Beginning(_) => self.add_part(part, list),
        }
    }

    /// Adds what stands behind the last tag but one of a list by age.
    fn add_behind(&mut self, list: &TagList) -> Merged {
        let Some((witness, added)) = list.tags.split_first() else {
            return Merged::Disagrees;
        };
        let last = self.names.len().checked_sub(1).and_then(|at| self.names.get(at));
        if last != Some(witness.as_str()) || !list.complete || !self.are_new(added) {
            return Merged::Disagrees;
        }
        if added.is_empty() {
            return Merged::Same;
        }
        self.names = Names::new(self.names.iter().chain(added.iter().map(String::as_str)));
        Merged::More
    }

    /// Adds what stands before the first known tag of a list with the newest first.
    fn add_before(&mut self, list: &TagList) -> Merged {
        let first = self.names.get(0);
        let Some(n_added) = list.tags.iter().position(|tag| Some(tag.as_str()) == first) else {
            return Merged::Disagrees;
        };
        let (added, known) = list.tags.split_at(n_added);
        let is_as_known = known.iter().zip(self.names.iter()).all(|(left, right)| left == right);
        if !is_as_known || !self.are_new(added) {
            return Merged::Disagrees;
        }
        if added.is_empty() {
            return Merged::Same;
        }
        self.names = Names::new(added.iter().map(String::as_str).chain(self.names.iter()));
        Merged::More
    }

    /// A known tag among the new ones was pushed again, or the order is another: the whole list tells which.
    fn are_new(&self, added: &[String]) -> bool {
        let known: BTreeSet<&str> =
            if added.is_empty() { BTreeSet::new() } else { self.names.iter().collect() };
        !added.iter().any(|tag| known.contains(tag.as_str()))
    }

    /// Compares and adds one part of a list by name. Only what the answer spans is compared.
    fn add_part(&mut self, part: &Part, list: &TagList) -> Merged {
        let after = part.after.as_deref();
        let is_sorted =
            list.tags.is_sorted() && list.tags.first().is_none_or(|tag| after < Some(tag.as_str()));
        let last = list.tags.last().map(String::as_str);
        let is_enough = list.complete || part.until.as_deref() <= last;
        if !is_sorted || !is_enough {
            return Merged::Disagrees;
        }
        let start = self.names.iter().position(|name| after < Some(name)).unwrap_or(self.names.len());
        let end = match last {
            _ if list.complete => self.names.len(),
            Some(last) => self.names.iter().position(|name| last < name).unwrap_or(self.names.len()),
            None => start,
        };
        let known = self.names.iter().skip(start).take(end.saturating_sub(start));
        let seen: BTreeSet<&str> = list.tags.iter().map(String::as_str).collect();
        if known.clone().any(|name| !seen.contains(name)) {
            return Merged::Disagrees; // a tag is gone: a deletion, or a list that was cut
        }
        if known.count() == seen.len() {
            return Merged::Same;
        }
        let (before, behind) = (self.names.iter().take(start), self.names.iter().skip(end));
        self.names = Names::new(before.chain(seen).chain(behind));
        Merged::More
    }

    /// Closes a bounded look that fits.
    pub(super) fn looked(&mut self, at: Timestamp, reach: Reach, n_requests: usize, merged: Merged) {
        if merged == Merged::More {
            self.changed_at = at;
        }
        self.at = at;
        self.reach = reach;
        self.n_requests = n_requests;
    }

    /// Whether the newest look saw every tag that begins with one of these; `None` is any tag.
    pub(super) fn reaches(&self, wanted: Option<&BTreeSet<String>>) -> bool {
        match (&self.reach, wanted) {
            (Reach::Whole | Reach::Added | Reach::Sentinel(_), _) => true,
            (Reach::Beginning(_), None) | (Reach::Followed(_), _) => false,
            (Reach::Beginning(seen), Some(wanted)) => {
                wanted.iter().all(|text| seen.iter().any(|seen| text.starts_with(seen.as_str())))
            }
        }
    }

    /// The memory as core reads it.
    pub(super) fn scan(&self, habit: Habit) -> Scan {
        Scan {
            tags: self.names.iter().map(str::to_owned).collect(),
            complete: self.complete,
            at: self.at,
            changed_at: self.changed_at,
            reach: self.reach.clone(),
            listed_at: self.listed_at,
            relisted_by: self.relist_at,
            requests: self.n_requests,
            habit,
        }
    }
}

/// What a whole listing shows of the order, with what was known before.
fn learn(registry: &str, names: &Names, before: Option<&Memory>) -> Order {
    let pairs = || names.iter().zip(names.iter().skip(1));
    let known: BTreeSet<&str> = before.into_iter().flat_map(|before| before.names.iter()).collect();
    let is_old = |name: &str| known.contains(name);
    if pairs().all(|(left, right)| left < right) {
        // 1.10 before 1.9 is nobody's age; a new tag in the middle is not either.
        let shows = pairs().any(|(left, right)| natural(left, right) == Ordering::Greater)
            || before.is_some() && pairs().any(|(left, right)| !is_old(left) && is_old(right));
        let kept = before.is_some_and(|before| before.order == Order::Name);
        return if shows || kept { Order::Name } else { Order::Unknown };
    }
    let Some(before) = before else {
        return if BY_AGE.contains(&registry) { Order::Age } else { Order::Unknown };
    };
    let n_old = names.iter().filter(|name| is_old(name)).count();
    let n_new = names.len().saturating_sub(n_old);
    let gone: BTreeSet<&str> = {
        let now: BTreeSet<&str> = names.iter().collect();
        known.iter().copied().filter(|name| !now.contains(name)).collect()
    };
    let order_is_kept =
        before.names.iter().filter(|name| !gone.contains(name)).eq(names.iter().filter(|name| is_old(name)));
    let at_the_end = names.iter().skip(n_old).all(|name| !is_old(name));
    let at_the_front = names.iter().take(n_new).all(|name| !is_old(name));
    match (order_is_kept, n_new) {
        (true, 0) => before.order,
        // Beside one known tag, any place is an end.
        (true, _) if n_old < 2 => Order::Unknown,
        (true, _) if at_the_end => Order::Age,
        (true, _) if at_the_front => Order::NewestFirst,
        _ => Order::Unknown,
    }
}

/// Compares as people count: `9` before `10`.
fn natural(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let (mut a, mut b) = (0, 0);
    loop {
        let number = |text: &[u8], from: usize| {
            let end = text.iter().skip(from).position(|byte| !byte.is_ascii_digit());
            let end = end.map_or(text.len(), |length| from + length);
            let digits = text.get(from..end).unwrap_or_default();
            let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
            (end, digits.get(zeros..).unwrap_or_default().to_vec())
        };
        let ((a_end, a_digits), (b_end, b_digits)) = (number(left, a), number(right, b));
        let by_number = if a < a_end && b < b_end {
            a_digits.len().cmp(&b_digits.len()).then_with(|| a_digits.cmp(&b_digits))
        } else {
            left.get(a).cmp(&right.get(b))
        };
        match by_number {
            Ordering::Equal if left.len() <= a && right.len() <= b => return Ordering::Equal,
            Ordering::Equal if a < a_end && b < b_end => (a, b) = (a_end, b_end),
            Ordering::Equal => (a, b) = (a + 1, b + 1),
            decided => return decided,
        }
    }
}

/// The first text that is above everything that begins with this one.
fn following(text: &str) -> Option<String> {
    let last = text.chars().last().filter(char::is_ascii)?;
    let next = char::from(u8::try_from(u32::from(last)).ok()?.checked_add(1)?);
    text.strip_suffix(last).map(|first| format!("{first}{next}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;

    fn list(tags: &[&str]) -> TagList {
        TagList { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), complete: true, n_pages: 3 }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Listings one after the other, and the order that they teach.
    fn check(registry: &str, listings: &[&[&str]], expected: Order) {
        let mut memory: Option<Memory> = None;
        for (second, tags) in listings.iter().enumerate() {
            let second = at(i64::try_from(second).unwrap());
            memory = Some(Memory::listed(registry, &list(tags), memory.as_ref(), second, 0.5));
        }
        assert_eq!(memory.unwrap().order, expected, "{registry} {listings:?}");
    }

    #[test]
    fn an_order_is_believed_only_where_something_shows_it() {
        check("r.test", &[&["1.0", "1.1", "1.2"]], Order::Unknown);
        check("r.test", &[&["1.10", "1.9"]], Order::Name);
        check("r.test", &[&["1.0", "1.2"], &["1.0", "1.1", "1.2"]], Order::Name);
        check("r.test", &[&["1.0", "1.1"], &["1.0", "1.1", "1.2"]], Order::Unknown);
        check("r.test", &[&["1.10", "1.9"], &["1.9"], &["1.9", "2.0"]], Order::Name);
        check("r.test", &[&["1.9", "1.10"]], Order::Unknown);
        check("ghcr.io", &[&["1.9", "1.10"]], Order::Age);
        check("r.test", &[&["1.9", "1.10"], &["1.9", "1.10", "1.8.1"]], Order::Age);
        check("r.test", &[&["1.9", "1.10"], &["1.10", "1.1"]], Order::Unknown);
        check("r.test", &[&["1.9", "1.10"], &["1.11", "1.9", "1.10"]], Order::NewestFirst);
        check("r.test", &[&["1.9", "1.10"], &["1.9", "1.11", "1.10"]], Order::Unknown);
        check("r.test", &[&["b", "a"], &["b", "a", "c"], &["d", "b", "a", "c"]], Order::NewestFirst);
        check("r.test", &[&["b", "a"], &["b", "a", "c"], &["a", "b", "c"]], Order::Unknown);
        check("r.test", &[&["b", "a"], &["b", "a", "c"], &["b", "a", "c"]], Order::Age);
        check("r.test", &[&[], &["b", "a"]], Order::Unknown);
    }

    #[test]
    fn numbers_are_compared_as_people_count() {
        for (left, right) in
            [("1.9", "1.10"), ("1.0-rc2", "1.0-rc10"), ("a", "b"), ("1.0", "1.0.1"), ("", "a")]
        {
            assert_eq!(natural(left, right), Ordering::Less, "{left} {right}");
            assert_eq!(natural(right, left), Ordering::Greater, "{right} {left}");
        }
        assert_eq!(natural("1.010", "1.10"), Ordering::Equal);
    }

    #[test]
    fn names_in_one_text_are_the_names() {
        let names = Names::new(["b", "", "abc", "d"]);
        assert_eq!(names.iter().collect::<Vec<_>>(), ["b", "", "abc", "d"]);
        assert_eq!((names.len(), names.get(4)), (4, None));
        let sorted = Names::new(["a", "c", "e"]);
        assert_eq!(["", "a", "b", "c", "z"].map(|text| sorted.n_below(text)), [0, 0, 1, 1, 3]);
        let many: Vec<String> =
            (0..2500).map(|n| format!("{}.{}.{}", n / 500, n / 10 % 50, n % 10)).collect();
        let kept = Names::new(many.iter().map(String::as_str));
        let bytes = kept.text.capacity() + kept.ends.capacity() * size_of::<u32>();
        assert!(bytes < 32 * 1024, "{bytes} bytes for 2,500 tags");
    }

    #[test]
    fn a_part_is_merged_without_losing_a_tag_and_a_missing_one_disagrees() {
        let known = ["1.0.0", "1.4.0", "1.4.10", "1.4.9", "1.5.0"];
        let others: Vec<String> = (0..200).map(|n| format!("2.{n:03}")).collect();
        let all: Vec<&str> = known.iter().copied().chain(others.iter().map(String::as_str)).collect();
        let memory = Memory::listed("r.test", &list(&all), None, at(0), 0.5);
        let Plan::Beginning(parts) = memory.plan(Some(&BTreeSet::from(["1.4.".to_owned()])), at(1)) else {
            unreachable!("a list by name, with a bound")
        };
        let plan = Plan::Beginning(parts.clone());
        let (_, part) = parts.first().unwrap();
        assert_eq!((part.after.as_deref(), part.until.as_deref()), (Some("1.0.0"), Some("1.4/")));
        let merge = |tags: &[&str], complete| {
            let mut memory = memory.clone();
            let merged = memory.add(&plan, part, &TagList { complete, ..list(tags) });
            let names = memory.names.iter().filter(|name| name.starts_with('1'));
            assert_eq!(memory.names.iter().filter(|name| name.starts_with('2')).count(), 200);
            (merged, names.map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(merge(&["1.4.0", "1.4.10", "1.4.9", "1.5.0"], false).0, Merged::Same);
        let (merged, names) = merge(&["1.4.0", "1.4.10", "1.4.11", "1.4.9", "1.4.9-a", "1.5.0"], false);
        assert_eq!(merged, Merged::More);
        assert_eq!(names, ["1.0.0", "1.4.0", "1.4.10", "1.4.11", "1.4.9", "1.4.9-a", "1.5.0"]);
        for (tags, complete) in [
            (&["1.4.0", "1.4.9", "1.5.0"][..], true),
            (&["1.4.0", "1.4.10", "1.4.9"], true),
            (&["1.4.0", "1.4.10", "1.4.9"], false),
            (&["1.4.0", "1.4.10"], false),
            (&["1.4.9", "1.4.10", "1.4.0", "1.5.0"], true),
            (&["1.0.0", "1.4.0", "1.4.10", "1.4.9", "1.5.0"], true),
            (&[], true),
        ] {
            let (merged, names) = merge(tags, complete);
            assert_eq!(
                (merged, names.as_slice()),
                (Merged::Disagrees, &known.map(str::to_owned)[..]),
                "{tags:?}"
            );
        }
    }

    #[test]
    fn the_whole_list_is_read_again_within_six_hours_at_different_times() {
        let relists: BTreeSet<Timestamp> = (0..=10)
            .map(|n| Memory::listed("r.test", &list(&["b", "a"]), None, at(0), f64::from(n) / 10.0).relist_at)
            .collect();
        assert_eq!(relists.len(), 11);
        assert!(relists.iter().all(|time| (at(16_200)..=at(21_600)).contains(time)), "{relists:?}");
        let memory = Memory::listed("ghcr.io", &list(&["b", "a"]), None, at(0), 1.0);
        assert!(matches!(memory.plan(None, at(21_599)), Plan::Added(_)));
        assert_eq!(memory.plan(None, at(21_600)), Plan::Whole);
    }
}
