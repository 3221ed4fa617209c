//! Tags that move with every release: where a list costs many requests, one of them tells by its digest whether to list at all.
//!
//! No I/O and no clock. A tag is believed only after it has moved with each of the last releases and has missed none; one miss
//! and it is never believed again. Everything is listed at least every six hours all the same, and that look tests it too.

use rollforward_core::evidence::Answer;
use rollforward_core::image::{Digest, Tag};

/// How many releases in a row a tag must have moved with.
///
/// 3: a tag of the newest major version moves with most releases and not with a patch of an older one; the first of those
/// within the next six hours ends the belief, and until then it would have been seen late.
const BELIEVED_AFTER: u32 = 3;

/// How many tags are watched: each costs a request beside a whole listing, until one is believed.
const MAX_WATCHED: usize = 2;

/// Listings after a move that brought no new tag: a release pushes its tags one after the other.
const UNSETTLED: u32 = 2;

/// Names that projects move with a release, the usual one first.
const USUAL: [&str; 4] = ["latest", "stable", "edge", "main"];

/// What was seen of the watched tags.
#[derive(Debug, Clone, Default)]
pub(super) struct Floating {
    watched: Vec<Watched>,
    /// Whole listings that are due although a digest says that nothing is new.
    unsettled: u32,
}

#[derive(Debug, Clone)]
struct Watched {
    tag: Tag,
    digest: Digest,
    n_moved: u32,
    /// It moved, and what it moved for is not listed yet.
    early: bool,
    /// Something was listed for which it has not moved yet.
    owes: bool,
    missed: bool,
}

impl Floating {
    /// The tag that can see a new tag, with the digest that it named last.
    pub(super) fn sentinel(&self) -> Option<(&Tag, &Digest)> {
        let believed = |one: &&Watched| BELIEVED_AFTER <= one.n_moved && !one.missed && !one.owes;
        let found = self.watched.iter().filter(|_| self.unsettled == 0).find(believed)?;
        Some((&found.tag, &found.digest))
    }

    /// The tags to resolve before the next whole listing: those that are watched, and others in place of those that missed.
    pub(super) fn to_resolve<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Vec<Tag> {
        let missed = |name: &str| self.watched.iter().any(|one| one.tag.as_str() == name && one.missed);
        let usual = USUAL.iter().copied().filter(|usual| names.clone().any(|name| name == *usual));
        let major = names.clone().filter_map(|name| Some((name.parse::<u32>().ok()?, name))).max();
        let named = usual.chain(major.map(|(_, name)| name)).filter(|name| !missed(name));
        named.filter_map(|name| Tag::parse(name).ok()).take(MAX_WATCHED).collect()
    }

    /// Learns from a whole listing: what the tags named *before* it, and whether it held tags that were not known. A push
    /// between the two then looks like a move at the next look, never like none.
    pub(super) fn listed(&mut self, resolved: Vec<(Tag, Answer<Digest>)>, is_more: bool) {
        let mut moved_for_nothing = false;
        for (tag, answer) in resolved {
            let known = self.watched.iter().position(|one| one.tag == tag);
            match (known.and_then(|at| self.watched.get_mut(at)), answer) {
                (Some(one), Answer::Found(digest)) => {
                    let has_moved = digest != one.digest;
                    one.digest = digest;
                    one.saw(has_moved, is_more);
                    moved_for_nothing |= has_moved && one.early;
                }
                (Some(one), Answer::Absent) => one.missed = true,
                (None, Answer::Found(digest)) => self.watched.push(Watched {
                    tag,
                    digest,
                    n_moved: 0,
                    early: false,
                    owes: false,
                    missed: false,
                }),
                (Some(_), Answer::Unknown(_)) | (None, Answer::Absent | Answer::Unknown(_)) => {}
            }
        }
        self.unsettled = match (moved_for_nothing, is_more) {
            (_, true) => 0,
            (true, false) => UNSETTLED,
            (false, false) => self.unsettled.saturating_sub(1),
        };
    }
}

impl Watched {
    fn saw(&mut self, has_moved: bool, is_more: bool) {
        match (is_more, has_moved || self.early) {
            (true, true) => {
                self.n_moved = self.n_moved.saturating_add(1);
                self.early = false;
                self.owes = false;
            }
            (true, false) => {
                // The look came between the two pushes of a release, or this tag does not move with it: the next look tells.
                self.missed |= self.owes;
                self.owes = true;
            }
            (false, true) if self.owes => {
                self.n_moved = self.n_moved.saturating_add(1);
                self.owes = false;
            }
            (false, true) => self.early = true,
            (false, false) => self.missed |= self.owes,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        Digest::parse(&format!("sha256:{n:064x}")).unwrap()
    }

    /// Looks, each as (digest that `latest` named before the list, whether the list held more); whether it is believed then.
    fn check(looks: &[(usize, bool)], expected: bool) {
        let mut floating = Floating::default();
        for (n, is_more) in looks {
            let tag = Tag::parse("latest").unwrap();
            floating.listed(vec![(tag, Answer::Found(digest(*n)))], *is_more);
        }
        assert_eq!(floating.sentinel().is_some(), expected, "{looks:?}");
    }

    #[test]
    fn a_tag_is_believed_after_three_releases_with_which_it_moved_and_never_after_one_without() {
        let good = [(0, false), (1, true), (2, true), (3, true)];
        check(&good[..3], false);
        check(&good, true);
        check(&[(0, false), (1, true), (2, true), (2, false), (3, true)], true);
        // Listed between the two pushes of a release: it moves by the next look.
        check(&[(0, false), (1, true), (2, true), (2, true), (3, false)], true);
        check(&[(0, false), (1, true), (2, true), (2, true), (2, false), (3, true), (4, true)], false);
        // It moved before the new tag was listed: that is listed again, and then it is believed.
        check(&[(0, false), (1, true), (2, true), (3, false)], false);
        check(&[(0, false), (1, true), (2, true), (3, false), (3, true)], true);
        let rebuilt = [good.as_slice(), &[(4, false)]].concat();
        check(&rebuilt, false);
        check(&[rebuilt.as_slice(), &[(4, false)]].concat(), false);
        check(&[rebuilt.as_slice(), &[(4, false), (4, false)]].concat(), true);
        check(&[good.as_slice(), &[(3, true)]].concat(), false);
    }

    #[test]
    fn what_is_gone_or_silent_is_not_believed_for_it() {
        let mut floating = Floating::default();
        let tag = || Tag::parse("latest").unwrap();
        for n in 0..4 {
            floating.listed(vec![(tag(), Answer::Found(digest(n)))], 0 < n);
        }
        assert_eq!(floating.sentinel(), Some((&tag(), &digest(3))));
        floating.listed(vec![(tag(), Answer::Absent)], false);
        assert_eq!(floating.sentinel(), None);
    }

    #[test]
    fn the_usual_names_are_watched_and_the_highest_bare_major_version() {
        let of = |names: &[&str]| {
            let found = Floating::default().to_resolve(names.iter().copied());
            found.iter().map(Tag::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&["1", "10", "9", "1.2.3"]), ["10"]);
        assert_eq!(of(&["1", "stable", "latest", "2"]), ["latest", "stable"]);
        assert_eq!(of(&["1", "latest", "2"]), ["latest", "2"]);
        assert!(of(&["1.0", "1.1"]).is_empty());
        let mut floating = Floating::default();
        for n in [0, 1] {
            floating.listed(vec![(Tag::parse("latest").unwrap(), Answer::Found(digest(0)))], 0 < n);
        }
        floating.listed(vec![(Tag::parse("latest").unwrap(), Answer::Found(digest(0)))], false);
        assert_eq!(
            floating.to_resolve(["latest", "3"].into_iter()).len(),
            1,
            "one that missed is not asked again"
        );
    }
}
