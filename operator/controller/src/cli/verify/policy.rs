//! `--policy`: what a namespace would trust if it held the objects of a file. They are read as strictly as an apiserver would
//! read them: what cannot be is said with the number of the document, the field and what was expected.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{CustomResourceExt, ResourceExt};
use rollforward_api::exception::VerificationException;
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::trust_root::TrustRoot;
use rollforward_api::verification::{Verification, VerificationPolicy};
use rollforward_core::image::{Repository, is_named_by};
use rollforward_core::policy::Policy;
use rollforward_core::text::clean;
use rollforward_core::trust::unreadable::Needed;
use rollforward_core::trust::{Decision, Exception, Means, Origin, RootContent, Roots, Unreadable};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Trusted;
use crate::config::Config;
use crate::convert::policy::{self, Faults};
use crate::convert::strict;
use crate::convert::verification::{self, Entries};
use crate::{clock, convert, papers, sigstore};

/// The kinds that a file may hold.
const KINDS: &str = "VerificationPolicy, TrustRoot, UpdatePolicy, VerificationException or ConfigMap";

/// The objects of a file, each with where it stands in it.
#[derive(Default)]
struct Objects {
    policies: Vec<(String, VerificationPolicy)>,
    roots: Vec<(String, TrustRoot)>,
    exceptions: Vec<(String, VerificationException)>,
    own: Option<(String, UpdatePolicy)>,
    entries: Entries,
    namespace: Option<String>,
}

/// What the objects of a file amount to for a repository.
///
/// # Errors
/// What is wrong with the file: which document, which field, what was expected.
pub(super) fn read(
    path: &Path,
    trusted_root: Option<&Path>,
    config: Option<&Path>,
    repository: &Repository,
) -> anyhow::Result<Trusted> {
    let config = Config::load(config)?;
    let objects = Objects::read(path)?;
    let policies = objects.policies.iter();
    let mut decisions: Vec<Decision> = policies
        .map(|(place, policy)| of_policy(place, policy, &objects.entries))
        .collect::<Result<_, _>>()?;
    decisions.extend(config.floor.clone());
    let mut source = None;
    if let Some((place, own)) = &objects.own {
        let policy = own_policy(place, own, &config, repository)?;
        source = policy.source;
        let wish = own.spec.verification.as_ref();
        decisions.extend(wish.map(|wish| {
            let (origin, faults) = (Origin::UpdatePolicy, &mut Faults::default());
            let read = verification::decision(origin, Vec::new(), wish, &objects.entries, faults);
            papers::with_readable_keys(read, |name| verification::kept_key(wish, name))
        }));
    }
    let roots = roots(&objects, trusted_root, &decisions)?;
    let exceptions = objects.exceptions.iter().map(|(place, one)| exception(place, one));
    let exceptions = exceptions.collect::<Result<_, _>>()?;
    Ok(Trusted { decisions, roots, exceptions, soak_unsigned: config.defaults.soak, source })
}

impl Objects {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("could not read standard input")?;
            text
        } else {
            super::read(path)?
        };
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
            .map_err(|error| anyhow!("{shown} is no YAML: {}", clean(&error.to_string(), 300)))?;
        let mut objects = Self::default();
        for (n, document) in (1..).zip(documents).filter(|(_, document)| !document.is_null()) {
            let place = format!("{shown}, document {n}");
            match document["items"].as_array().filter(|_| document["kind"] == "List") {
                Some(items) => {
                    for (n, item) in (1..).zip(items) {
                        objects.add(&format!("{place}, item {n}"), item)?;
                    }
                }
                None => objects.add(&place, &document)?,
            }
        }
        if objects.policies.is_empty() && objects.own.is_none() {
            bail!("{shown}: expected at least one VerificationPolicy or UpdatePolicy, got none");
        }
        Ok(objects)
    }

    fn add(&mut self, place: &str, document: &Value) -> anyhow::Result<()> {
        let kind = document["kind"].as_str().unwrap_or_default();
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let place = format!("{place} ({} {})", clean(kind, 40), clean(name, 63));
        let version = if kind == "ConfigMap" { "v1" } else { "rollforward.dev/v1alpha1" };
        let is_known = KINDS.split([',', ' ']).any(|known| known == kind);
        if kind.is_empty() || !is_known {
            bail!("{place}, kind: expected {KINDS}, got {:?}", clean(kind, 40));
        }
        if document["apiVersion"] != version {
            bail!(
                "{place}, apiVersion: expected {version}, got {}",
                clean(&document["apiVersion"].to_string(), 60)
            );
        }
        if name.is_empty() {
            bail!("{place}, metadata.name: expected a name, got none");
        }
        self.same_namespace(&place, document["metadata"]["namespace"].as_str())?;
        match kind {
            "VerificationPolicy" => self.policies.push((place.clone(), typed(&place, document)?)),
            "TrustRoot" => self.roots.push((place.clone(), typed(&place, document)?)),
            "VerificationException" => self.exceptions.push((place.clone(), typed(&place, document)?)),
            "UpdatePolicy" => {
                if let Some((other, _)) = &self.own {
                    bail!("{place}: expected at most one UpdatePolicy, got another one in {other}");
                }
                self.own = Some((place.clone(), typed(&place, document)?));
            }
            _ => {
                let map: ConfigMap = serde_json::from_value(document.clone())
                    .map_err(|error| anyhow!("{place}: {}", clean(&error.to_string(), 200)))?;
                self.entries.extend(
                    map.data
                        .unwrap_or_default()
                        .into_iter()
                        .map(|(key, text)| ((name.to_owned(), key), Ok(text))),
                );
            }
        }
        Ok(())
    }

    /// No reference leaves a namespace: objects of two of them never meet.
    fn same_namespace(&mut self, place: &str, namespace: Option<&str>) -> anyhow::Result<()> {
        let Some(namespace) = namespace else { return Ok(()) };
        match &self.namespace {
            Some(known) if known != namespace => {
                bail!(
                    "{place}, metadata.namespace: expected {known}, as in the documents before it, got {namespace}"
                )
            }
            Some(_) | None => self.namespace = Some(namespace.to_owned()),
        }
        Ok(())
    }
}

/// A document as its kind, where the schema allows it.
fn typed<T: CustomResourceExt + DeserializeOwned>(place: &str, document: &Value) -> anyhow::Result<T> {
    let versions = T::crd().spec.versions;
    let schema = versions.first().and_then(|version| version.schema.as_ref());
    let schema = json!(schema.and_then(|schema| schema.open_api_v3_schema.as_ref()));
    if let Some(fault) = strict::fault(&schema["properties"]["spec"], &document["spec"], "spec") {
        bail!("{place}, {fault}");
    }
    serde_json::from_value(document.clone())
        .map_err(|error| anyhow!("{place}: {}", clean(&error.to_string(), 200)))
}

/// The first fault, by the path that it has in the document.
fn refuse(place: &str, spec: &str, faults: &[policy::Fault]) -> anyhow::Result<()> {
    let Some(fault) = faults.first() else { return Ok(()) };
    let field = fault.field.strip_prefix("verification").map(|rest| format!("{spec}{rest}"));
    bail!("{place}, {}: {}", field.unwrap_or_else(|| fault.field.to_owned()), fault.message)
}

/// A key that is written into the document is one, or it is said; what lies in a ConfigMap is judged as the operator would.
fn keys(place: &str, spec: &str, wish: &Verification) -> anyhow::Result<()> {
    for (n, one) in wish.authorities.iter().flatten().enumerate() {
        if let Some(pem) = one.key.as_ref().and_then(|key| key.inline.as_ref())
            && let Err(fault) = sigstore::Key::from_pem(pem.trim())
        {
            bail!(
                "{place}, {spec}.authorities[{n}].key.inline: expected a public key in PEM: {}",
                fault.message
            );
        }
    }
    Ok(())
}

fn of_policy(place: &str, object: &VerificationPolicy, entries: &Entries) -> anyhow::Result<Decision> {
    let wish = object.spec.verification();
    keys(place, "spec", &wish)?;
    let (origin, mut faults) = (Origin::VerificationPolicy(object.name_any()), Faults::default());
    let repositories = object.spec.repositories.clone().unwrap_or_default();
    let read = verification::decision(origin, repositories, &wish, entries, &mut faults);
    refuse(place, "spec", &faults.0)?;
    Ok(papers::with_readable_keys(read, |name| verification::kept_key(&wish, name)))
}

fn own_policy(
    place: &str,
    own: &UpdatePolicy,
    config: &Config,
    repository: &Repository,
) -> anyhow::Result<Policy> {
    if let Some(wish) = &own.spec.verification {
        keys(place, "spec.verification", wish)?;
    }
    let read = policy::policy(own, &config.defaults);
    let read = read.map_err(|faults| match refuse(place, "spec.verification", &faults) {
        Err(error) => error,
        Ok(()) => anyhow!("{place} is not valid"),
    })?;
    let patterns = own.spec.image.as_ref().and_then(|image| image.repositories.clone()).unwrap_or_default();
    let name = repository.to_string();
    if !patterns.is_empty() && !patterns.iter().any(|pattern| is_named_by(&name, pattern)) {
        bail!("{place}, spec.image.repositories: expected a pattern for {name}, got {}", patterns.join(", "));
    }
    Ok(read)
}

/// The trust roots of the file; one that is named and is not there is the one of `--trusted-root`.
fn roots(objects: &Objects, trusted_root: Option<&Path>, decisions: &[Decision]) -> anyhow::Result<Roots> {
    let mut roots = Roots::new();
    for (place, object) in &objects.roots {
        let content = verification::root_content(&object.spec, &objects.entries)
            .map_err(|why| anyhow!("{place}, spec: {}", unread(&object.name_any(), &why)))?;
        let root = super::root(&object.name_any(), content).with_context(|| format!("{place}, spec"))?;
        roots.insert(root.name.clone(), root);
    }
    let Some(path) = trusted_root else { return Ok(roots) };
    let named =
        decisions.iter().flat_map(|decision| &decision.authorities).filter_map(|one| match &one.means {
            Means::Keyless { root, .. } => Some(root.clone()),
            Means::Key { .. } | Means::Unreadable { .. } => None,
        });
    let lacking: BTreeSet<String> = named.filter(|name| !roots.contains_key(name)).collect();
    if lacking.is_empty() {
        bail!(
            "--trusted-root: expected a TrustRoot that the policies name and the file does not hold, got none"
        );
    }
    for name in lacking {
        let content = RootContent::Json(super::read(path)?);
        roots.insert(name.clone(), super::root(&name, content).context("--trusted-root")?);
    }
    Ok(roots)
}

/// Why a trust root has no content, in the words of its status.
fn unread(name: &str, why: &Unreadable) -> String {
    let needed = Needed::Root(name);
    format!("expected {}, observed {}", why.expected(needed), why.observed())
}

/// An exception; one that was not created yet counts as if it were now.
fn exception(place: &str, object: &VerificationException) -> anyhow::Result<Exception> {
    let mut object = object.clone();
    object.metadata.creation_timestamp.get_or_insert_with(|| convert::time(clock::now()));
    verification::exception(&object).ok_or_else(|| {
        anyhow!(
            "{place}, spec.duration: expected a time such as 24h, at most 72h, got {:?}",
            object.spec.duration
        )
    })
}
