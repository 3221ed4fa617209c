//! `verification`, `VerificationPolicy` and `VerificationException` → core's decisions and exceptions.
//!
//! Every fault is told. A `VerificationPolicy` that cannot be read still counts: as a decision whose authority cannot be asked,
//! so that a misspelt one never lets anything through.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kube::ResourceExt;
use rollforward_api::exception::VerificationException;
use rollforward_api::trust_root::TrustRootSpec;
use rollforward_api::verification::{
    self as api, Attestation, ConfigMapKey, Keyless, LiftedLayer, Verification, VerificationPolicy,
    VersionBinding,
};
use rollforward_core::gate::Layer;
use rollforward_core::gate::source::plain;
use rollforward_core::image::Digest;
use rollforward_core::reason::Reason;
use rollforward_core::text;
use rollforward_core::trust::{
    AttestationRule, Authority, Binding, Decision, Demand, Exception, Kept, Listed, Means, Origin, Pattern,
    RootContent, Soak, Unreadable, Unsigned,
};

use super::policy::{Fault, Faults};
use crate::config::parse_duration;

/// The longest that an exception counts.
pub const LONGEST_EXCEPTION: SignedDuration = SignedDuration::from_hours(72);

/// Entries of ConfigMaps, or why there is none.
pub type Entries = BTreeMap<(String, String), Result<String, Unreadable>>;

/// The entries of ConfigMaps that a decision names.
pub fn wanted(verification: &Verification) -> impl Iterator<Item = &ConfigMapKey> {
    let authorities = verification.authorities.iter().flatten();
    authorities.filter_map(|authority| authority.key.as_ref()?.config_map.as_ref())
}

/// The trust roots that a decision names.
pub fn roots_of(verification: &Verification) -> impl Iterator<Item = &str> {
    let authorities = verification.authorities.iter().flatten();
    authorities.filter_map(|authority| Some(authority.keyless.as_ref()?.trust_root.as_str()))
}

/// A decision. `repositories` are patterns; none is all.
pub fn decision(
    origin: Origin,
    repositories: Vec<String>,
    verification: &Verification,
    entries: &Entries,
    faults: &mut Faults,
) -> Decision {
    let Verification {
        unsigned,
        authorities,
        require,
        attestations,
        layers,
        version_binding,
        source_repository,
        soak,
        deny,
        allow,
        recheck,
        trust_ledger,
    } = verification;
    let authorities: Vec<Authority> =
        authorities.iter().flatten().map(|one| authority(one, entries, faults)).collect();
    let require = usize::try_from(require.unwrap_or(1)).unwrap_or(1).max(1);
    if !authorities.is_empty() && authorities.len() < require {
        faults.invalid("verification.require", "expected at most the number of authorities");
    }
    lessened(*unsigned, layers.as_ref(), faults);
    let attestations =
        attestations.iter().flatten().map(|one| attestation(one, &authorities, faults)).collect();
    let soak = soak.clone().unwrap_or_default();
    Decision {
        origin,
        repositories,
        require,
        attestations,
        layers: layers.as_ref().map(|layers| self::layers(layers, faults)).unwrap_or_default(),
        binding: match version_binding {
            Some(VersionBinding::Auto) | None => Binding::Auto,
            Some(VersionBinding::Required) => Binding::Required,
            Some(VersionBinding::Off) => Binding::Off,
            Some(VersionBinding::Newer) => {
                faults.newer("verification.versionBinding");
                Binding::Required
            }
        },
        source: source_repository.as_ref().and_then(|one| source(one, &authorities, faults)),
        soak: Soak {
            routine: duration("verification.soak.routine", soak.routine.as_ref(), faults),
            unsigned: duration("verification.soak.unsigned", soak.unsigned.as_ref(), faults),
        },
        unsigned: match unsigned {
            Some(api::Unsigned::Allow) => Some(Unsigned::Allow),
            Some(api::Unsigned::Deny) => Some(Unsigned::Deny),
            Some(api::Unsigned::Newer) => {
                faults.newer("verification.unsigned");
                Some(Unsigned::Deny)
            }
            None => None,
        },
        deny: listed("verification.deny", deny.as_ref(), faults),
        allow: listed("verification.allow", allow.as_ref(), faults),
        recheck: duration("verification.recheck", recheck.as_ref(), faults),
        score_gates: match trust_ledger {
            Some(api::TrustLedger::Gate) => true,
            Some(api::TrustLedger::Report) | None => false,
            Some(api::TrustLedger::Newer) => {
                faults.newer("verification.trustLedger");
                true
            }
        },
        authorities,
    }
}

/// A signature that nothing waits for is an unsigned image that may run: that has to be written.
fn lessened(unsigned: Option<api::Unsigned>, layers: Option<&api::Layers>, faults: &mut Faults) {
    let lessened = layers.and_then(|layers| layers.signature).is_some_and(|demand| match demand {
        api::Demand::Advisory | api::Demand::Off => true,
        api::Demand::Required | api::Demand::Newer => false,
    });
    if lessened && unsigned != Some(api::Unsigned::Allow) {
        let expected = "expected `unsigned: Allow` to be written where layers.signature is not Required";
        faults.invalid("verification.layers.signature", expected);
    }
}

fn source(one: &api::SourceRepository, authorities: &[Authority], faults: &mut Faults) -> Option<Pattern> {
    let field = "verification.sourceRepository";
    if authorities.is_empty() {
        faults.invalid(field, "expected authorities with it: a source that nobody signed says nothing");
    }
    let exact = one.exact.as_deref().map(plain);
    pattern(field, exact.as_ref(), one.reg_exp.as_ref(), faults)
}

/// The decision of a `VerificationPolicy`; one that cannot be read denies what it is about.
#[must_use]
pub fn policy(object: &VerificationPolicy, entries: &Entries) -> Decision {
    let mut faults = Faults::default();
    let origin = Origin::VerificationPolicy(object.name_any());
    let repositories = object.spec.repositories.clone().unwrap_or_default();
    let read =
        decision(origin.clone(), repositories.clone(), &object.spec.verification(), entries, &mut faults);
    match faults.0.first() {
        None => read,
        Some(fault) => Decision { repositories, ..unreadable(origin, faulty(fault)) },
    }
}

/// The first fault of a `VerificationPolicy`, by the path that it has there.
#[must_use]
pub fn faulty(fault: &Fault) -> Unreadable {
    let path = fault.field.strip_prefix("verification").map(|rest| format!("spec{rest}"));
    let path = path.unwrap_or_else(|| fault.field.to_owned());
    Unreadable::Object(fault.reason, format!("{path}: {}", fault.message))
}

/// A decision that nobody can satisfy, for what it says is not known.
#[must_use]
pub fn unreadable(origin: Origin, why: Unreadable) -> Decision {
    let authority =
        Authority { name: "unknown".to_owned(), means: Means::Unreadable { why }, require_log: false };
    Decision { authorities: vec![authority], unsigned: Some(Unsigned::Deny), ..Decision::new(origin) }
}

/// The entry of a ConfigMap that a trust root names.
#[must_use]
pub fn wanted_by_root(spec: &TrustRootSpec) -> Option<&ConfigMapKey> {
    spec.trusted_root.as_ref()?.config_map.as_ref()
}

/// What is in a trust root.
///
/// # Errors
/// Why nothing is.
pub fn root_content(spec: &TrustRootSpec, entries: &Entries) -> Result<RootContent, Unreadable> {
    let one_of = |fields: &str| {
        let why = format!("expected exactly one of {fields}");
        Err(Unreadable::Object(Reason::InvalidPolicy, why))
    };
    match (&spec.public_good, &spec.git_hub, &spec.trusted_root) {
        (Some(_), None, None) => Ok(RootContent::PublicGood),
        (None, Some(_), None) => Ok(RootContent::GitHub),
        (None, None, Some(trusted)) => match (&trusted.inline, &trusted.config_map) {
            (Some(text), None) => Ok(RootContent::Json(text.clone())),
            (None, Some(wanted)) => entry(wanted, entries).map(RootContent::Json),
            (Some(_), Some(_)) | (None, None) => one_of("inline and configMap"),
        },
        (Some(_) | None, _, _) => one_of("publicGood, gitHub and trustedRoot"),
    }
}

/// An exception, where it can be read. One that cannot be lifts nothing.
#[must_use]
pub fn exception(object: &VerificationException) -> Option<Exception> {
    let created = object.metadata.creation_timestamp.as_ref()?.0;
    let duration = parse_duration(&object.spec.duration)?.min(LONGEST_EXCEPTION);
    let layers = object.spec.layers.iter().filter_map(|layer| match layer {
        LiftedLayer::Ledger => Some(Layer::Ledger),
        LiftedLayer::Signature => Some(Layer::Signature),
        LiftedLayer::Binding => Some(Layer::Binding),
        LiftedLayer::Log => Some(Layer::Log),
        LiftedLayer::Provenance => Some(Layer::Provenance),
        LiftedLayer::Sbom => Some(Layer::Sbom),
        LiftedLayer::Drift => Some(Layer::Drift),
        LiftedLayer::Soak => Some(Layer::Soak),
        LiftedLayer::Score => Some(Layer::Score),
        LiftedLayer::Newer => None,
    });
    Some(Exception {
        name: object.name_any(),
        digest: Digest::parse(&object.spec.digest).ok()?,
        layers: layers.collect(),
        ends: created.checked_add(duration).ok()?,
        why: text::clean(&object.spec.reason, 200),
    })
}

fn duration(field: &'static str, text: Option<&String>, faults: &mut Faults) -> Option<SignedDuration> {
    text.map(|text| faults.duration(field, Some(text), SignedDuration::MAX))
}

fn listed(field: &'static str, listed: Option<&api::Listed>, faults: &mut Faults) -> Listed {
    let listed = listed.cloned().unwrap_or_default();
    let mut digests = BTreeSet::new();
    for text in listed.digests.unwrap_or_default() {
        match Digest::parse(&text) {
            Ok(digest) => {
                digests.insert(digest);
            }
            Err(error) => faults.invalid(field, error.to_string()),
        }
    }
    Listed { repositories: listed.repositories.unwrap_or_default(), digests }
}

fn layers(layers: &api::Layers, faults: &mut Faults) -> BTreeMap<Layer, Demand> {
    let api::Layers { signature, binding, log, provenance, sbom, drift } = layers;
    let named = [
        (Layer::Signature, signature),
        (Layer::Binding, binding),
        (Layer::Log, log),
        (Layer::Provenance, provenance),
        (Layer::Sbom, sbom),
        (Layer::Drift, drift),
    ];
    let mut read = BTreeMap::new();
    for (layer, demand) in named {
        let demand = match demand {
            None => continue,
            Some(api::Demand::Required) => Demand::Required,
            Some(api::Demand::Advisory) => Demand::Advisory,
            Some(api::Demand::Off) => Demand::Off,
            Some(api::Demand::Newer) => {
                faults.newer("verification.layers");
                Demand::Required
            }
        };
        read.insert(layer, demand);
    }
    read
}

fn authority(one: &api::Authority, entries: &Entries, faults: &mut Faults) -> Authority {
    let n_before = faults.0.len();
    let read = unnamed_authority(one, entries, faults);
    for fault in faults.0.iter_mut().skip(n_before) {
        fault.message = format!("{}: {}", read.name, fault.message);
    }
    read
}

fn unnamed_authority(one: &api::Authority, entries: &Entries, faults: &mut Faults) -> Authority {
    let means = match (&one.key, &one.keyless) {
        (Some(key), None) => match (&key.inline, &key.config_map) {
            (Some(pem), None) => Means::Key { pem: pem.trim().to_owned() },
            (None, Some(wanted)) => entry(wanted, entries).map_or_else(
                |why| Means::Unreadable { why },
                |pem| Means::Key { pem: pem.trim().to_owned() },
            ),
            (Some(_), Some(_)) | (None, None) => {
                faults
                    .invalid("verification.authorities.key", "expected exactly one of inline and configMap");
                Means::Unreadable { why: Unreadable::Content(None, "no key".to_owned()) }
            }
        },
        (None, Some(keyless)) => self::keyless(keyless, faults),
        (Some(_), Some(_)) | (None, None) => {
            faults.invalid("verification.authorities", "expected exactly one of key and keyless");
            Means::Unreadable { why: Unreadable::Content(None, "nobody named".to_owned()) }
        }
    };
    Authority { name: text::clean(&one.name, 63), means, require_log: one.require_log.unwrap_or(false) }
}

/// An entry of a ConfigMap, as it was read.
///
/// # Errors
/// Why there is none.
pub fn entry(wanted: &ConfigMapKey, entries: &Entries) -> Result<String, Unreadable> {
    if let Some(read) = entries.get(&(wanted.name.clone(), wanted.key.clone())) {
        return read.clone();
    }
    // All that is wanted was read; without a cluster what is known is what the file holds.
    let others = entries.keys().filter(|(name, _)| *name == wanted.name).map(|(_, key)| key.clone());
    let others: Vec<String> = others.collect();
    Err(if others.is_empty() {
        Unreadable::NoConfigMap(kept(wanted))
    } else {
        Unreadable::NoEntry(kept(wanted), others)
    })
}

/// Where a key or root is.
#[must_use]
pub fn kept(wanted: &ConfigMapKey) -> Kept {
    Kept { config_map: wanted.name.clone(), entry: wanted.key.clone() }
}

/// Where the key of an authority is; `None` where it is written inline.
#[must_use]
pub fn kept_key(verification: &Verification, authority: &str) -> Option<Kept> {
    let mut authorities = verification.authorities.iter().flatten();
    let one = authorities.find(|one| text::clean(&one.name, 63) == authority)?;
    one.key.as_ref()?.config_map.as_ref().map(kept)
}

fn keyless(keyless: &Keyless, faults: &mut Faults) -> Means {
    let issuer = pattern(
        "verification.authorities.keyless.issuer",
        keyless.issuer.as_ref(),
        keyless.issuer_reg_exp.as_ref(),
        faults,
    );
    let subject = pattern(
        "verification.authorities.keyless.subject",
        keyless.subject.as_ref(),
        keyless.subject_reg_exp.as_ref(),
        faults,
    );
    match (issuer, subject) {
        (Some(issuer), Some(subject)) => Means::Keyless {
            root: keyless.trust_root.clone(),
            issuer,
            subject,
            claims: keyless.claims.clone().unwrap_or_default(),
        },
        (None, _) | (_, None) => {
            let why = "an issuer or subject that cannot be read".to_owned();
            Means::Unreadable { why: Unreadable::Content(None, why) }
        }
    }
}

fn pattern(
    field: &'static str,
    exact: Option<&String>,
    expression: Option<&String>,
    faults: &mut Faults,
) -> Option<Pattern> {
    let anybody = "expected a text that is not empty: it would mean anybody";
    match (exact, expression) {
        (Some(text), None) if !text.is_empty() => Some(Pattern::Exact(text.clone())),
        (None, Some(text)) => match Pattern::matching(text) {
            Ok(pattern) if !pattern.matches("") => Some(pattern),
            Ok(_) => {
                faults.invalid(field, anybody);
                None
            }
            Err(error) => {
                faults.invalid(field, text::clean(&error.to_string(), 200));
                None
            }
        },
        (Some(_), None) => {
            faults.invalid(field, anybody);
            None
        }
        (Some(_), Some(_)) | (None, None) => {
            faults.invalid(field, "expected exactly one of the exact text and the expression");
            None
        }
    }
}

fn attestation(one: &Attestation, authorities: &[Authority], faults: &mut Faults) -> AttestationRule {
    let named = one.authorities.clone().unwrap_or_default();
    if authorities.is_empty() || named.iter().any(|name| !authorities.iter().any(|one| one.name == *name)) {
        faults.invalid("verification.attestations.authorities", "expected names of the authorities");
    }
    AttestationRule {
        predicate_type: one.predicate_type.clone(),
        authorities: named,
        rule: one.rule.clone(),
        required: one.required.unwrap_or(true),
    }
}
