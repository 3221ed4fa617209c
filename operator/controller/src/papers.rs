//! From a digest to what is attached to it, checked: where the registry and the signature engine meet.
//!
//! One bad thing never stops the others: each gets a fault of its own. Answers are kept by whoever asks (`reconcile/gather.rs`);
//! what is kept here are trust roots in their read form. Who may sign is not known here.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rollforward_core::evidence::{Attached, Content, Fault, FaultKind, Item, Questions, Signer, Verifier};
use rollforward_core::image::{Digest, Repository};
use rollforward_core::text::instant;
use rollforward_core::trust::{Decision, Kept, Means, RootContent, Roots, Unreadable};

use crate::registry::{Attachment, Attachments, Credential, Form, Registry};
use crate::sigstore::{Document, Key, Root, Subject};

/// How many trust roots are kept in their read form.
const MAX_ROOTS: usize = 64;

/// Trust roots in their read form, by the hash that names their content.
#[derive(Debug, Default)]
pub struct Engine {
    roots: Mutex<BTreeMap<String, Result<Arc<Root>, Fault>>>,
}

/// A decision whose keys are keys: an authority with another text cannot be asked, and that is no absence of its signature. `kept` says
/// where the key of an authority is.
#[must_use]
pub fn with_readable_keys(mut decision: Decision, kept: impl Fn(&str) -> Option<Kept>) -> Decision {
    for authority in &mut decision.authorities {
        if let Means::Key { pem } = &authority.means
            && let Err(fault) = Key::from_pem(pem)
        {
            let why = Unreadable::Content(kept(&authority.name), fault.message);
            authority.means = Means::Unreadable { why };
        }
    }
    decision
}

/// What a question is checked with.
enum Checker {
    Key(Result<Key, Fault>),
    Root(Result<Arc<Root>, Fault>),
}

impl Engine {
    /// Reads and checks what is attached to a digest; a namespace asks. Each place where it looked has its own answer.
    pub async fn ask(
        &self,
        registry: &Registry,
        image: (&Repository, &Digest),
        (namespace, questions): (&str, &Questions),
        roots: &Roots,
        credential: Option<&Credential>,
        now: Timestamp,
    ) -> Attached {
        let (repository, digest) = image;
        let checkers = self.checkers(questions, roots, now);
        let logs = self.logs(roots, now);
        let attachments = registry.attachments(repository, digest, credential).await;
        let Attachments { listed, looked_in, n_left_out, exhausted } = attachments;
        let (digest, namespace, questions) = (digest.clone(), namespace.to_owned(), questions.clone());
        // A millisecond or so for each, all of it computation: not on a thread that serves requests.
        let items = tokio::task::spawn_blocking(move || {
            listed.iter().map(|one| item(one, &digest, (&namespace, &questions), &checkers, &logs)).collect()
        });
        Attached { items: items.await.unwrap_or_default(), looked_in, n_left_out, exhausted }
    }

    fn checkers(&self, questions: &Questions, roots: &Roots, now: Timestamp) -> Vec<(Verifier, Checker)> {
        let checker = |verifier: &Verifier| match verifier {
            Verifier::Key { pem } => Checker::Key(Key::from_pem(pem)),
            Verifier::Root { name, hash } => {
                let root = roots.get(name).filter(|root| root.hash == *hash);
                let fault = |message: String| Fault { kind: FaultKind::Root, message };
                Checker::Root(match root {
                    None => Err(fault(format!("there is no trust root {name} with this content"))),
                    Some(root) => match root.expires.filter(|_| !root.is_valid(now)) {
                        Some(end) => Err(fault(format!("trust root {name} ended {}", instant(end)))),
                        None => self.root(hash, &root.content),
                    },
                })
            }
        };
        questions.verifiers.iter().map(|verifier| (verifier.clone(), checker(verifier))).collect()
    }

    /// The roots whose logs may vouch for a signature by a key: those of the namespace that have not ended, and the public one,
    /// where cosign writes to without being told.
    fn logs(&self, roots: &Roots, now: Timestamp) -> Vec<Arc<Root>> {
        let own = roots.values().filter(|root| root.is_valid(now));
        let own = own.filter_map(|root| self.root(&root.hash, &root.content).ok());
        let public = self.root("public-good", &RootContent::PublicGood).ok();
        own.chain(public.filter(|root| root.expires().is_none_or(|end| now < end))).collect()
    }

    fn root(&self, hash: &str, content: &RootContent) -> Result<Arc<Root>, Fault> {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = roots.get(hash) {
            return known.clone();
        }
        let read = Root::of(content).map(Arc::new);
        if MAX_ROOTS <= roots.len() {
            roots.pop_first();
        }
        roots.insert(hash.to_owned(), read.clone());
        read
    }
}

/// One attachment, read and checked. The engine parses what strangers wrote: where it gives up, this one is unreadable.
fn item(
    attachment: &Attachment,
    digest: &Digest,
    (namespace, questions): (&str, &Questions),
    checkers: &[(Verifier, Checker)],
    logs: &[Arc<Root>],
) -> Item {
    let unreadable = |why: String| Item {
        place: attachment.place,
        content: Content::Unreadable { why },
        checks: BTreeMap::new(),
    };
    let document = match &attachment.content {
        Err(why) => return unreadable(why.clone()),
        Ok(bytes) => guarded(|| read(attachment.form, bytes, &attachment.annotations)),
    };
    let document = match document {
        Ok(document) => document,
        Err(fault) => return unreadable(fault.message),
    };
    let check = |checker: &Checker| match checker {
        Checker::Key(key) => {
            let key = key.as_ref().map_err(Clone::clone)?;
            let logs: Vec<&Root> = logs.iter().map(AsRef::as_ref).collect();
            guarded(|| document.check_key(Subject::Digest(digest), key, &logs))
        }
        Checker::Root(root) => {
            let root = root.as_ref().map_err(Clone::clone)?;
            guarded(|| document.check_root(Subject::Digest(digest), root))
        }
    };
    let checks: BTreeMap<Verifier, Result<Signer, Fault>> =
        checkers.iter().map(|(verifier, checker)| (verifier.clone(), check(checker))).collect();
    let content = document.content(digest);
    if !checks.values().any(Result::is_ok) {
        return Item { place: attachment.place, content: content.bare(), checks };
    }
    let mut content = content;
    // Rules are run over what somebody vouches for, and only over the type that they were written for.
    if let Content::Attestation { predicate_type, rules, .. } = &mut content
        && let Some(wanted) = questions.rules.get(predicate_type)
    {
        let wanted: Vec<String> = wanted.iter().cloned().collect();
        *rules = document.run_rules(namespace, &wanted);
    }
    Item { place: attachment.place, content, checks }
}

fn read(form: Form, bytes: &[u8], annotations: &BTreeMap<String, String>) -> Result<Document, Fault> {
    match form {
        Form::Bundle => Document::bundle(bytes),
        Form::SimpleSigning => Document::simple_signing(bytes, annotations),
        Form::Envelope => Document::attestation(bytes, annotations),
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Fault { kind: FaultKind::Malformed, message: "the engine gave up on it".to_owned() })
    })
}
