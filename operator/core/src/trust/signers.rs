//! Who of the authorities vouches for a digest, by what is attached to it. One good signature of an authority is enough; bad
//! ones beside it are counted, never fatal, or anybody who may write to the registry could stop every update.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::evidence::{Attached, Content, Fault, FaultKind, Item, Signer};
use crate::text;
use crate::trust::{Authority, Decision, Effective, Means, Unreadable};

/// An item that an authority signed.
#[derive(Debug, Clone, Copy)]
pub struct Vouch<'a> {
    /// The authority.
    pub authority: &'a Authority,
    /// What it signed.
    pub item: &'a Item,
    /// Who signed, as proved.
    pub signer: &'a Signer,
}

/// How many characters of an identity are kept.
const MAX_IDENTITY: usize = 200;
/// How many of a key's last letters tell it: 144 bits.
const KEY_LETTERS: usize = 24;

impl Vouch<'_> {
    /// Who signed, in a form that stays from version to version: issuer and subject, without the ref that a workflow's address
    /// ends with; of a key its last letters. The authority's own name is not in it: anybody who writes a decision chooses that.
    #[must_use]
    pub fn identity(&self) -> String {
        let said = match &self.authority.means {
            Means::Key { pem } => format!("key {}", last_letters(pem)),
            Means::Keyless { .. } | Means::Unreadable { .. } => {
                let subject = self.signer.subject.as_deref().unwrap_or_default();
                format!("{} {}", self.signer.issuer.as_deref().unwrap_or_default(), without_ref(subject))
            }
        };
        text::clean(&said, MAX_IDENTITY)
    }
}

/// `https://…/release.yml@refs/tags/v1.0.1` without what follows `@`. Of an address of mail that would be another person.
fn without_ref(subject: &str) -> &str {
    let workflow = subject.split_once('@').filter(|(before, _)| before.contains("://"));
    workflow.map_or(subject, |(before, _)| before)
}

/// The last letters of a key in PEM, without its padding: its beginning is the same for all keys of a kind.
fn last_letters(pem: &str) -> String {
    let body = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let letters: Vec<char> = body.flat_map(str::chars).filter(|letter| *letter != '=').collect();
    letters.iter().skip(letters.len().saturating_sub(KEY_LETTERS)).collect()
}

/// Why an authority does not vouch for a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing<'a> {
    /// Nothing that it could have signed is there.
    Nothing,
    /// Others signed.
    OtherIdentity,
    /// It signed, and its certificate says something else than was wanted: claim, wanted, found.
    Claim(&'a str, &'a str, Option<&'a str>),
    /// What is there does not verify: the fault that most of them have.
    Faults(FaultKind, &'a str),
    /// Its trust root does not exist.
    NoRoot(&'a str),
    /// Its trust root cannot be read.
    RootUnreadable(&'a str, &'a Unreadable),
    /// Its trust root has expired.
    RootExpired(&'a str, Timestamp),
    /// Its key cannot be read.
    KeyUnreadable(&'a Unreadable),
}

/// Whether an item vouches for the digest as such: a signature, or where it was built.
///
/// Provenance counts, for GitHub's own attestations are the one signature that its images have. An SBOM or a scan does not: who
/// lists what is in an image has not said that it should run.
fn vouches(item: &Item) -> bool {
    match &item.content {
        Content::Signature { .. } => true,
        Content::Attestation { provenance, .. } => provenance.is_some(),
        Content::Unreadable { .. } => false,
    }
}

/// How one verified signer stands to an authority.
enum Match<'a> {
    Holds,
    OtherIdentity,
    Claim(&'a str, &'a str, Option<&'a str>),
}

fn compare<'a>(authority: &'a Authority, signer: &'a Signer) -> Match<'a> {
    match &authority.means {
        Means::Key { .. } => Match::Holds,
        Means::Unreadable { .. } => Match::OtherIdentity,
        Means::Keyless { root: _, issuer, subject, claims } => {
            let is = |pattern: &crate::trust::Pattern, found: &Option<String>| {
                found.as_ref().is_some_and(|found| pattern.matches(found))
            };
            if !is(issuer, &signer.issuer) || !is(subject, &signer.subject) {
                return Match::OtherIdentity;
            }
            let differs = claims.iter().find(|(name, wanted)| signer.claims.get(*name) != Some(wanted));
            differs.map_or(Match::Holds, |(name, wanted)| {
                Match::Claim(name, wanted, signer.claims.get(name).map(String::as_str))
            })
        }
    }
}

/// A key, or issuer and subject.
type Identity<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn identity_of<'a>(vouch: &Vouch<'a>) -> Identity<'a> {
    let key = match &vouch.authority.means {
        Means::Key { pem } => Some(pem.as_str()),
        Means::Keyless { .. } | Means::Unreadable { .. } => None,
    };
    (key, vouch.signer.issuer.as_deref(), vouch.signer.subject.as_deref())
}

/// How many of several authorities there are, each with an identity that stands for it alone; `words` are theirs.
#[must_use]
pub fn n_distinct(words: &[Vec<Vouch<'_>>]) -> usize {
    let mut holders = BTreeMap::new();
    (0..words.len()).filter(|index| placed(*index, words, &mut BTreeSet::new(), &mut holders)).count()
}

/// Whether an identity is found for one more of them, where those before may give theirs up for another of their own.
fn placed<'a>(
    index: usize,
    words: &[Vec<Vouch<'a>>],
    asked: &mut BTreeSet<Identity<'a>>,
    holders: &mut BTreeMap<Identity<'a>, usize>,
) -> bool {
    let identities = words.get(index).into_iter().flatten().map(identity_of);
    for identity in identities {
        if !asked.insert(identity) {
            continue;
        }
        let holder = holders.get(&identity).copied();
        if holder.is_none_or(|other| placed(other, words, asked, holders)) {
            holders.insert(identity, index);
            return true;
        }
    }
    false
}

impl<'a> Effective<'a> {
    /// The items of an authority, of those that are asked about.
    pub fn of_authority(
        &self,
        authority: &'a Authority,
        attached: &'a Attached,
        now: Timestamp,
        wanted: impl Fn(&Item) -> bool,
    ) -> Vec<Vouch<'a>> {
        let Some(verifier) = self.verifier(authority, now) else { return Vec::new() };
        let items = attached.items.iter().filter(|item| wanted(item));
        items
            .filter_map(|item| match item.checks.get(&verifier) {
                Some(Ok(signer)) => match compare(authority, signer) {
                    Match::Holds => Some(Vouch { authority, item, signer }),
                    Match::OtherIdentity | Match::Claim(..) => None,
                },
                Some(Err(_)) | None => None,
            })
            .collect()
    }

    /// What an authority says for the digest as such, or why it says nothing.
    pub fn word_of(
        &self,
        authority: &'a Authority,
        attached: &'a Attached,
        now: Timestamp,
    ) -> Result<Vec<Vouch<'a>>, Missing<'a>> {
        self.usable(authority, now)?;
        let found = self.of_authority(authority, attached, now, vouches);
        if found.is_empty() { Err(self.why_not(authority, attached, now)) } else { Ok(found) }
    }

    fn why_not(&self, authority: &'a Authority, attached: &'a Attached, now: Timestamp) -> Missing<'a> {
        let Some(verifier) = self.verifier(authority, now) else { return Missing::Nothing };
        let mut other = false;
        let mut faults: BTreeMap<FaultKind, (usize, &str)> = BTreeMap::new();
        for item in attached.items.iter().filter(|item| vouches(item)) {
            match item.checks.get(&verifier) {
                Some(Ok(signer)) => match compare(authority, signer) {
                    Match::Claim(name, wanted, found) => return Missing::Claim(name, wanted, found),
                    Match::OtherIdentity | Match::Holds => other = true,
                },
                Some(Err(Fault { kind, message })) => {
                    let counted = faults.entry(*kind).or_insert((0, message));
                    counted.0 = counted.0.saturating_add(1);
                }
                None => {}
            }
        }
        if other {
            return Missing::OtherIdentity;
        }
        let most = faults.into_iter().max_by_key(|(kind, (count, _))| (*count, std::cmp::Reverse(*kind)));
        most.map_or(Missing::Nothing, |(kind, (_, message))| Missing::Faults(kind, message))
    }

    /// How many of a decision's authorities vouch for the digest. One identity counts once, however many of them mean it.
    #[must_use]
    pub fn n_held(&self, decision: &'a Decision, attached: &'a Attached, now: Timestamp) -> usize {
        let words =
            decision.authorities.iter().filter_map(|authority| self.word_of(authority, attached, now).ok());
        n_distinct(&words.collect::<Vec<_>>())
    }

    /// Whether enough authorities of a decision vouch for the digest.
    #[must_use]
    pub fn holds(&self, decision: &'a Decision, attached: &'a Attached, now: Timestamp) -> bool {
        decision.require <= self.n_held(decision, attached, now)
    }

    /// Whether the digest counts as signed: every decision that names authorities has enough of them.
    #[must_use]
    pub fn signed(&self, attached: Option<&'a Attached>, now: Timestamp) -> bool {
        let Some(attached) = attached else { return false };
        self.has_authorities() && self.with_authorities().all(|decision| self.holds(decision, attached, now))
    }

    /// Everything that authorities signed for the digest as such.
    #[must_use]
    pub fn vouching(&self, attached: &'a Attached, now: Timestamp) -> Vec<Vouch<'a>> {
        self.vouching_of(&self.authorities(), attached, now)
    }

    /// Who vouches, by identity.
    #[must_use]
    pub fn identities(&self, attached: &'a Attached, now: Timestamp) -> BTreeSet<String> {
        self.vouching(attached, now).iter().map(Vouch::identity).collect()
    }

    /// The names of the authorities that vouch.
    #[must_use]
    pub fn names(&self, attached: &'a Attached, now: Timestamp) -> BTreeSet<&'a str> {
        self.vouching(attached, now).iter().map(|vouch| vouch.authority.name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_stays_from_version_to_version_and_differs_from_person_to_person() {
        let check = |subject: &str, expected: &str| assert_eq!(without_ref(subject), expected);
        check(
            "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1.0.1",
            "https://github.com/acme/web/.github/workflows/release.yml",
        );
        check("anna@acme.test", "anna@acme.test");
        check("https://ci.acme.test/job", "https://ci.acme.test/job");
        let pem = |body: &str| format!("-----BEGIN PUBLIC KEY-----\n{body}==\n-----END PUBLIC KEY-----\n");
        let own = pem("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\nabcdefghijklmnopqrstuvwxyz");
        assert_eq!(last_letters(&own), "cdefghijklmnopqrstuvwxyz");
        assert_eq!(last_letters(""), "");
    }
}
