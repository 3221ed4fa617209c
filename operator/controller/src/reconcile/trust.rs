//! What a namespace trusts, as the watches show it: decisions, trust roots, exceptions, and the ConfigMaps that they name.
//!
//! Whatever cannot be read denies: a policy of the security team that is silent is not one that allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use rollforward_api::exception::VerificationException;
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::trust_root::{TrustRoot, TrustRootSpec};
use rollforward_api::verification::{ConfigMapKey, Verification, VerificationPolicy};
use rollforward_core::reason::Reason;
use rollforward_core::trust::{Decision, Exception, Means, Origin, Root, RootContent, Roots, Unreadable};

use super::Context;
use crate::convert::policy::Faults;
use crate::convert::verification::{self, Entries};
use crate::kubernetes::named::{Doubts, Name};
use crate::kubernetes::trust::{NotRead, config_map};
use crate::{papers, sigstore};

/// How long a pass waits for the first listing of a watch; afterwards what is not known denies.
const FIRST_LISTING: Duration = Duration::from_secs(10);
/// The longest entry of a ConfigMap that is read, in bytes.
const MAX_ENTRY_BYTES: usize = 262_144;

/// The watches of a namespace, or of all.
#[derive(Clone)]
pub struct TrustStores {
    /// Trust decisions.
    pub policies: Store<DeserializeGuard<VerificationPolicy>>,
    /// Trust roots.
    pub roots: Store<DeserializeGuard<TrustRoot>>,
    /// Exceptions.
    pub exceptions: Store<DeserializeGuard<VerificationException>>,
    /// The ConfigMaps that could not be read.
    pub doubts: Doubts,
}

impl TrustStores {
    /// Whether all kinds have been listed, once that is known.
    async fn listed(&self) -> bool {
        let all = (self.policies.wait_until_ready(), self.roots.wait_until_ready());
        let (policies, roots) = futures::join!(all.0, all.1);
        policies.is_ok() && roots.is_ok() && self.exceptions.wait_until_ready().await.is_ok()
    }

    /// The ConfigMaps that hold keys and roots: those that decisions, policies of their own and trust roots name.
    #[must_use]
    pub fn named(&self, own: &Store<DeserializeGuard<UpdatePolicy>>) -> BTreeSet<Name> {
        let mut named = BTreeSet::new();
        let mut add = |namespace: Option<String>, name: &str| {
            named.insert((namespace.unwrap_or_default(), name.to_owned()));
        };
        for policy in self.policies.state().iter().filter_map(|policy| policy.0.as_ref().ok()) {
            let wish = policy.spec.verification();
            verification::wanted(&wish).for_each(|wanted| add(policy.namespace(), &wanted.name));
        }
        for policy in own.state().iter().filter_map(|policy| policy.0.as_ref().ok()) {
            let wanted = policy.spec.verification.iter().flat_map(verification::wanted);
            wanted.for_each(|wanted| add(policy.namespace(), &wanted.name));
        }
        for root in self.roots.state().iter().filter_map(|root| root.0.as_ref().ok()) {
            let wanted = verification::wanted_by_root(&root.spec).into_iter();
            wanted.for_each(|wanted| add(root.namespace(), &wanted.name));
        }
        named
    }

    /// The trust roots of a namespace whose content a ConfigMap holds.
    #[must_use]
    pub fn roots_in(&self, namespace: &str, map: &str) -> Vec<ObjectRef<DeserializeGuard<TrustRoot>>> {
        let all = self.roots.state();
        let within = all.iter().filter(|root| root.namespace().as_deref() == Some(namespace));
        let holds = |root: &TrustRoot| {
            verification::wanted_by_root(&root.spec).is_some_and(|wanted| wanted.name == map)
        };
        let named = within.filter(|root| root.0.as_ref().is_ok_and(holds));
        named.map(|root| ObjectRef::from_obj(root.as_ref())).collect()
    }

    /// The VerificationPolicies of a namespace that name a ConfigMap themselves, or by a trust root.
    #[must_use]
    pub fn policies_by_map(
        &self,
        namespace: &str,
        map: &str,
    ) -> Vec<ObjectRef<DeserializeGuard<VerificationPolicy>>> {
        let roots: BTreeSet<String> =
            self.roots_in(namespace, map).into_iter().map(|root| root.name).collect();
        self.policies_in(namespace, |policy| {
            let wish = policy.spec.verification();
            verification::wanted(&wish).any(|wanted| wanted.name == map)
                || verification::roots_of(&wish).any(|root| roots.contains(root))
        })
    }

    /// The VerificationPolicies of a namespace that name a trust root.
    #[must_use]
    pub fn policies_by_root(
        &self,
        namespace: &str,
        root: &str,
    ) -> Vec<ObjectRef<DeserializeGuard<VerificationPolicy>>> {
        self.policies_in(namespace, |policy| {
            verification::roots_of(&policy.spec.verification()).any(|named| named == root)
        })
    }

    fn policies_in(
        &self,
        namespace: &str,
        is_meant: impl Fn(&VerificationPolicy) -> bool,
    ) -> Vec<ObjectRef<DeserializeGuard<VerificationPolicy>>> {
        let all = self.policies.state();
        let within = all.iter().filter(|policy| policy.namespace().as_deref() == Some(namespace));
        let meant = within.filter(|policy| policy.0.as_ref().is_ok_and(&is_meant));
        meant.map(|policy| ObjectRef::from_obj(policy.as_ref())).collect()
    }
}

/// What a namespace trusts.
pub struct Trusted {
    /// The decisions of the namespace and the floor.
    pub decisions: Vec<Decision>,
    /// The policy's own.
    pub own: Option<Decision>,
    /// The roots.
    pub roots: Roots,
    /// The exceptions that have not ended.
    pub exceptions: Vec<Exception>,
}

/// Reads what the namespace of a policy trusts.
pub async fn read(ctx: &Context, object: &UpdatePolicy, own: Option<Decision>, now: Timestamp) -> Trusted {
    let namespace = object.namespace().unwrap_or_default();
    let watched = ctx.stores.trust();
    let mut decisions = Vec::new();
    for stores in watched {
        if !matches!(tokio::time::timeout(FIRST_LISTING, stores.listed()).await, Ok(true)) {
            return unlisted();
        }
    }
    let within = |found: Option<String>| found.as_deref() == Some(namespace.as_str());
    let mut policies: Vec<_> = watched.iter().flat_map(|stores| stores.policies.state()).collect();
    policies.retain(|policy| within(policy.namespace()));
    policies.sort_by_key(|policy| policy.name_any());
    let entries = entries(ctx, &namespace, object, &policies).await;
    decisions.extend(policies.iter().map(|policy| match &policy.0 {
        Ok(policy) => decision(policy, &entries),
        Err(invalid) => {
            let why = Unreadable::Object(Reason::Unreadable, invalid.error.clone());
            verification::unreadable(Origin::VerificationPolicy(policy.name_any()), why)
        }
    }));
    decisions.extend(ctx.config.floor.clone());
    let own = own.map(|without_entries| match &object.spec.verification {
        Some(wish) => verification::decision(
            Origin::UpdatePolicy,
            Vec::new(),
            wish,
            &entries,
            // The policy was checked already: what a ConfigMap holds is no fault of its form.
            &mut Faults::default(),
        ),
        None => without_entries,
    });
    let kept = |name: &str| verification::kept_key(object.spec.verification.as_ref()?, name);
    let own = own.map(|own| papers::with_readable_keys(own, kept));
    let roots = roots(ctx, &namespace, |_| true).await;
    let exceptions = watched.iter().flat_map(|stores| stores.exceptions.state());
    let exceptions = exceptions
        .filter(|exception| within(exception.namespace()))
        .filter_map(|exception| verification::exception(exception.0.as_ref().ok()?))
        .filter(|exception| now < exception.ends)
        .collect();
    Trusted { decisions, own, roots, exceptions }
}

/// A decision of the security team with the roots that it names; `None` while the namespace has not been listed.
pub async fn of_policy(ctx: &Context, policy: &VerificationPolicy) -> Option<(Decision, Roots)> {
    for stores in ctx.stores.trust() {
        if !matches!(tokio::time::timeout(FIRST_LISTING, stores.listed()).await, Ok(true)) {
            return None;
        }
    }
    let namespace = policy.namespace().unwrap_or_default();
    let entries = entries_of(ctx, &namespace, &[policy.spec.verification()]).await;
    let decision = decision(policy, &entries);
    let named = |name: &str| {
        decision.authorities.iter().any(|one| match &one.means {
            Means::Keyless { root, .. } => root == name,
            Means::Key { .. } | Means::Unreadable { .. } => false,
        })
    };
    let roots = roots(ctx, &namespace, named).await;
    Some((decision, roots))
}

/// The trust roots of a namespace that are meant.
async fn roots(ctx: &Context, namespace: &str, is_meant: impl Fn(&str) -> bool) -> Roots {
    let mut roots = Roots::new();
    for root in ctx.stores.trust().iter().flat_map(|stores| stores.roots.state()) {
        let name = root.name_any();
        if root.namespace().as_deref() != Some(namespace) || !is_meant(&name) {
            continue;
        }
        let read = match &root.0 {
            Ok(root) => self::root(ctx, namespace, &name, &root.spec).await,
            Err(invalid) => {
                unreadable_root(&name, Unreadable::Object(Reason::Unreadable, invalid.error.clone()))
            }
        };
        roots.insert(name, read);
    }
    roots
}

/// Whether nobody said what is in a root.
#[must_use]
pub fn is_silent(root: &Root) -> bool {
    matches!(&root.content, RootContent::Unreadable { why } if why.is_silent())
}

/// While it is not known what the namespace trusts, nobody can satisfy it.
fn unlisted() -> Trusted {
    let why = Unreadable::Unlisted("they have not been listed yet".to_owned());
    let decision = verification::unreadable(Origin::VerificationPolicy("(unknown)".to_owned()), why);
    Trusted { decisions: vec![decision], own: None, roots: Roots::new(), exceptions: Vec::new() }
}

/// The decision of a `VerificationPolicy`, with the keys that ConfigMaps hold.
fn decision(policy: &VerificationPolicy, entries: &Entries) -> Decision {
    let wish = policy.spec.verification();
    papers::with_readable_keys(verification::policy(policy, entries), |name| {
        verification::kept_key(&wish, name)
    })
}

async fn entries(
    ctx: &Context,
    namespace: &str,
    object: &UpdatePolicy,
    policies: &[std::sync::Arc<DeserializeGuard<VerificationPolicy>>],
) -> Entries {
    let specs = policies.iter().filter_map(|policy| Some(policy.0.as_ref().ok()?.spec.verification()));
    let all: Vec<_> = specs.chain(object.spec.verification.clone()).collect();
    entries_of(ctx, namespace, &all).await
}

async fn entries_of(ctx: &Context, namespace: &str, all: &[Verification]) -> Entries {
    let mut entries = Entries::new();
    for wanted in all.iter().flat_map(verification::wanted) {
        let key = (wanted.name.clone(), wanted.key.clone());
        if let std::collections::btree_map::Entry::Vacant(vacant) = entries.entry(key) {
            vacant.insert(entry(ctx, namespace, wanted).await);
        }
    }
    entries
}

/// An entry of a ConfigMap, or why there is none.
async fn entry(ctx: &Context, namespace: &str, wanted: &ConfigMapKey) -> Result<String, Unreadable> {
    let kept = || verification::kept(wanted);
    let map: ConfigMap = match config_map(&ctx.client, namespace, &wanted.name).await {
        Ok(found) => found.ok_or_else(|| Unreadable::NoConfigMap(kept()))?,
        Err(NotRead::Forbidden(words)) => return Err(Unreadable::Forbidden(kept(), words)),
        Err(NotRead::Silent(words)) => {
            ctx.stores.trust().iter().for_each(|stores| stores.doubts.add(namespace, &wanted.name));
            return Err(Unreadable::Silent(kept(), words));
        }
    };
    let mut data = map.data.unwrap_or_default();
    let Some(value) = data.remove(&wanted.key) else {
        return Err(Unreadable::NoEntry(kept(), data.into_keys().collect()));
    };
    if MAX_ENTRY_BYTES < value.len() {
        return Err(Unreadable::Content(Some(kept()), "more than 256 KiB".to_owned()));
    }
    Ok(value)
}

fn unreadable_root(name: &str, why: Unreadable) -> Root {
    let content = RootContent::Unreadable { why };
    Root { name: name.to_owned(), hash: String::new(), content, expires: None, has_logs: false }
}

/// A trust root as it is now.
pub async fn root(ctx: &Context, namespace: &str, name: &str, spec: &TrustRootSpec) -> Root {
    let mut entries = Entries::new();
    if let Some(wanted) = verification::wanted_by_root(spec) {
        let read = entry(ctx, namespace, wanted).await;
        entries.insert((wanted.name.clone(), wanted.key.clone()), read);
    }
    let content = match verification::root_content(spec, &entries) {
        Ok(content) => content,
        Err(why) => return unreadable_root(name, why),
    };
    match ctx.roots.get(&content).await {
        Ok(KnownRoot { hash, expires, has_logs }) => {
            Root { name: name.to_owned(), hash, content, expires, has_logs }
        }
        Err(why) => {
            let kept = verification::wanted_by_root(spec).map(verification::kept);
            unreadable_root(name, Unreadable::Content(kept, why))
        }
    }
}

/// What was found out about contents of roots: parsing certificates at each pass would cost more than the pass.
#[derive(Debug, Default)]
pub struct KnownRoots(tokio::sync::Mutex<Known>);

type Known = BTreeMap<[u8; 32], Result<KnownRoot, String>>;

/// What is known of a content, without it.
#[derive(Debug, Clone)]
pub struct KnownRoot {
    hash: String,
    expires: Option<Timestamp>,
    has_logs: bool,
}

/// How many contents are remembered.
const MAX_KNOWN: usize = 256;

impl KnownRoots {
    /// What is known of a content, or why it is none.
    ///
    /// # Errors
    /// The engine's words.
    pub async fn get(&self, content: &RootContent) -> Result<KnownRoot, String> {
        use sha2::{Digest as _, Sha256};
        let key = match content {
            RootContent::PublicGood => Sha256::digest("built in: public good"),
            RootContent::GitHub => Sha256::digest("built in: GitHub"),
            RootContent::Json(text) => Sha256::digest(text),
            RootContent::Unreadable { why } => return Err(why.observed()),
        };
        let mut known = self.0.lock().await;
        if MAX_KNOWN <= known.len() {
            known.pop_first();
        }
        let found = known.entry(key.into()).or_insert_with(|| {
            let read = sigstore::Root::of(content).map_err(|fault| fault.message)?;
            let (hash, expires, has_logs) = (read.hash().to_owned(), read.expires(), read.has_logs());
            Ok(KnownRoot { hash, expires, has_logs })
        });
        found.clone()
    }
}
