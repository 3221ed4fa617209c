//! `rollforward verify`: is this image signed by whom I trust? The operator's own layers, without a cluster.
//!
//! Exit code 0 where everything that is required passes, 1 where something is refused, 2 where something could not be asked
//! or the question itself could not be read. What needs a cluster (soak, drift, what failed there) is not judged here. What the
//! objects of a file decide: `verify/policy.rs`. What is printed, and how: `verify/show.rs`.

mod policy;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use jiff::SignedDuration;
use rollforward_core::evidence::{Answer, Attached, Manifest, Shape, Unknown};
use rollforward_core::gate::offline::{self, Outcome};
use rollforward_core::gate::{Layer, Subject, Verdict, Word};
use rollforward_core::image::{Digest, ImageRef, Repository, Tag};
use rollforward_core::ledger::Ledger;
use rollforward_core::select::Order;
use rollforward_core::trust::{
    Authority, Binding, Decision, Effective, Exception, Means, Origin, Pattern, Root, RootContent, Roots,
    SOAK_UNSIGNED,
};

use super::resolve::{Output, docker_credential};
use crate::clock;
use crate::convert::policy::Faults;
use crate::convert::selection;
use crate::papers::Engine;
use crate::registry::{Credential, Registry, Settings};
use crate::sigstore;

/// The name of the one trust root that there is here.
const ROOT: &str = "trusted-root";

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["policy", "key", "certificate_identity"]))]
pub(crate) struct Arguments {
    /// The image: `HOST/PATH:TAG`, or with a digest.
    #[arg(value_name = "IMAGE")]
    image: String,
    /// A file with VerificationPolicies, and what else of a namespace counts with them, as YAML (TrustRoots, an UpdatePolicy,
    /// VerificationExceptions, ConfigMaps); `-` for standard input. All that match the image must be satisfied.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The operator's configuration file: its `verification` counts too.
    #[arg(long, value_name = "FILE", requires = "policy")]
    config: Option<PathBuf>,
    /// A public key in PEM that must have signed it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Who must have signed it: the exact subject of the certificate.
    #[arg(long, value_name = "IDENTITY", requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,
    /// Who must vouch for the subject: the exact issuer.
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// The trust root, a `trusted_root.json`; without it the public-good instance of Sigstore as it is built in. With
    /// `--policy`: the content of a TrustRoot that the policies name and the file does not hold.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Speaks plain http with the registry.
    #[arg(long)]
    plain_http: bool,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// What was found out, as it is printed.
pub(crate) struct Verified {
    image: ImageRef,
    digest: Option<Digest>,
    attached: Option<Attached>,
    verdicts: Vec<(Layer, Verdict)>,
    outcome: Outcome,
    /// Who decided, where a file says so.
    decided: Option<Decided>,
}

/// Whose word counted.
pub(crate) struct Decided {
    /// The decisions that are about the repository.
    by: Vec<String>,
    /// Those that are not, with their patterns.
    not_about: Vec<String>,
}

/// What is trusted, by options or by a file.
struct Trusted {
    decisions: Vec<Decision>,
    roots: Roots,
    exceptions: Vec<Exception>,
    soak_unsigned: SignedDuration,
    /// The repository where the image is judged, where that is not the one that is written.
    source: Option<Repository>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let verified = match verify(&arguments).await {
        Ok(verified) => verified,
        // Nothing was judged: neither 0 nor 1 would be true.
        Err(error) => {
            let _ = super::failed(&error);
            return Ok(ExitCode::from(2));
        }
    };
    match arguments.output {
        Output::Table => super::tell(&show::table(&verified)),
        Output::Json => super::tell(&format!("{:#}\n", show::json(&verified))),
        Output::Yaml => {
            super::tell(&serde_saphyr::to_string(&show::json(&verified)).context("the answer")?);
        }
    }
    Ok(match verified.outcome {
        Outcome::Verified => ExitCode::SUCCESS,
        Outcome::Refused => ExitCode::from(1),
        Outcome::Unknown => ExitCode::from(2),
    })
}

async fn verify(arguments: &Arguments) -> anyhow::Result<Verified> {
    let image = ImageRef::parse(&arguments.image).with_context(|| format!("image {:?}", arguments.image))?;
    let trusted = match &arguments.policy {
        Some(path) => {
            let (root, config) = (arguments.trusted_root.as_deref(), arguments.config.as_deref());
            policy::read(path, root, config, &image.repository)?
        }
        None => by_options(arguments)?,
    };
    let asked = trusted.source.clone().unwrap_or_else(|| image.repository.clone());
    let mut names = vec![asked.to_string(), image.repository.to_string()];
    names.dedup();
    let image = ImageRef { repository: asked, ..image };
    let decisions = trusted.decisions.iter();
    let effective = Effective::among(decisions, &names, &trusted.roots, trusted.soak_unsigned);
    let plain_http =
        if arguments.plain_http { vec![image.repository.registry().to_owned()] } else { Vec::new() };
    let registry = Registry::new(Settings { plain_http, ..Settings::default() })?;
    let credential = docker_credential(&image.repository)?;
    let fetched = fetch(&registry, &image, &effective, &trusted.roots, credential.as_ref()).await?;
    let verdicts = judge(&image, &names, &effective, &trusted.exceptions, &fetched);
    let decided = arguments.policy.as_ref().map(|_| decided(&trusted, &effective));
    let outcome = offline::outcome(&verdicts);
    let Fetched { digest, attached, .. } = fetched;
    let found = |answer: Answer<Attached>| match answer {
        Answer::Found(attached) => Some(attached),
        Answer::Absent | Answer::Unknown(_) => None,
    };
    let digest = match digest {
        Answer::Found(digest) => Some(digest),
        Answer::Absent | Answer::Unknown(_) => None,
    };
    Ok(Verified { image, digest, attached: attached.and_then(found), verdicts, outcome, decided })
}

fn decided(trusted: &Trusted, effective: &Effective<'_>) -> Decided {
    let counts = |one: &Decision| effective.decisions.iter().any(|other| std::ptr::eq(*other, one));
    let (by, others): (Vec<_>, Vec<_>) = trusted.decisions.iter().partition(|one| counts(one));
    let not_about = |one: &&Decision| format!("{} ({})", one.origin, one.repositories.join(", "));
    Decided {
        by: by.iter().map(|one| one.origin.to_string()).collect(),
        not_about: others.iter().map(not_about).collect(),
    }
}

/// A trust root of this content.
fn root(name: &str, content: RootContent) -> anyhow::Result<Root> {
    let engine = sigstore::Root::of(&content).map_err(|fault| anyhow!("{}", fault.message))?;
    let (hash, expires, has_logs) = (engine.hash().to_owned(), engine.expires(), engine.has_logs());
    Ok(Root { name: name.to_owned(), hash, content, expires, has_logs })
}

/// What the options say, as a policy would say it.
fn by_options(arguments: &Arguments) -> anyhow::Result<Trusted> {
    let content = match &arguments.trusted_root {
        Some(path) => RootContent::Json(read(path)?),
        None => RootContent::PublicGood,
    };
    let fault = |fault: rollforward_core::evidence::Fault| anyhow!("{}", fault.message);
    let root = root(ROOT, content).context("the trust root")?;
    let (name, means) = match &arguments.key {
        Some(path) => {
            let pem = read(path)?;
            sigstore::Key::from_pem(&pem).map_err(fault).with_context(|| path.display().to_string())?;
            ("key", Means::Key { pem })
        }
        None => {
            let exact = |text: &Option<String>| Pattern::Exact(text.clone().unwrap_or_default());
            let means = Means::Keyless {
                root: ROOT.to_owned(),
                issuer: exact(&arguments.certificate_oidc_issuer),
                subject: exact(&arguments.certificate_identity),
                claims: std::collections::BTreeMap::new(),
            };
            ("identity", means)
        }
    };
    let authority = Authority { name: name.to_owned(), means, require_log: false };
    let decision = Decision { authorities: vec![authority], ..Decision::new(Origin::UpdatePolicy) };
    Ok(Trusted {
        decisions: vec![decision],
        roots: [(root.name.clone(), root)].into(),
        exceptions: Vec::new(),
        soak_unsigned: SOAK_UNSIGNED,
        source: None,
    })
}

/// What a registry said of an image.
struct Fetched {
    digest: Answer<Digest>,
    manifest: Option<Answer<Manifest>>,
    shape: Option<Shape>,
    attached: Option<Answer<Attached>>,
    /// What the repository has under the version that the image's label names, where that is not the tag that is asked for.
    labelled: Vec<(Tag, Answer<Digest>)>,
}

/// Resolves the tag once; everything after is asked of the digest.
async fn fetch(
    registry: &Registry,
    image: &ImageRef,
    effective: &Effective<'_>,
    roots: &Roots,
    credential: Option<&Credential>,
) -> anyhow::Result<Fetched> {
    let repository = &image.repository;
    let answer = match (&image.digest, &image.tag) {
        (Some(digest), _) => Answer::Found(digest.clone()),
        (None, Some(tag)) => registry.resolve(repository, tag, credential).await,
        (None, None) => registry.resolve(repository, &Tag::parse("latest")?, credential).await,
    };
    let Answer::Found(digest) = &answer else {
        let (manifest, shape, attached, labelled) = (None, None, None, Vec::new());
        return Ok(Fetched { digest: answer, manifest, shape, attached, labelled });
    };
    let manifest = registry.manifest(repository, digest, credential).await;
    let shape = shape(registry, image, &manifest, credential).await;
    let now = clock::now();
    let questions = effective.questions(now);
    let engine = Engine::default();
    let asked = ("", &questions); // outside any namespace
    let attached = engine.ask(registry, (repository, digest), asked, roots, credential, now).await;
    let attached = Some(Answer::Found(attached));
    let labelled = if effective.binding() == Binding::Off {
        Vec::new()
    } else {
        labelled(registry, image, shape.as_ref(), credential).await
    };
    Ok(Fetched { digest: answer, manifest: Some(manifest), shape, attached, labelled })
}

/// A label counts where the repository has that version. The operator knows it from its scan; here it is asked for by name.
async fn labelled(
    registry: &Registry,
    image: &ImageRef,
    shape: Option<&Shape>,
    credential: Option<&Credential>,
) -> Vec<(Tag, Answer<Digest>)> {
    let plain = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
    let label = shape.and_then(|shape| shape.labels.get("version")).map(|label| plain(label));
    let (Some(label), Some(asked)) = (label, &image.tag) else { return Vec::new() };
    if label == plain(asked.as_str()) {
        return Vec::new();
    }
    let mut known = Vec::new();
    for tag in [label.clone(), format!("v{label}")].iter().filter_map(|text| Tag::parse(text).ok()) {
        let answer = registry.resolve(&image.repository, &tag, credential).await;
        let is_there = matches!(answer, Answer::Found(_));
        known.push((tag, answer));
        if is_there {
            break;
        }
    }
    known
}

/// The labels of the image, or of the first image of an index: under the digest that is signed.
async fn shape(
    registry: &Registry,
    image: &ImageRef,
    manifest: &Answer<Manifest>,
    credential: Option<&Credential>,
) -> Option<Shape> {
    let Answer::Found(manifest) = manifest else { return None };
    if manifest.shape.is_some() {
        return manifest.shape.clone();
    }
    let child = manifest.images.values().next().or(manifest.child.as_ref())?;
    match registry.manifest(&image.repository, child, credential).await {
        Answer::Found(child) => child.shape,
        Answer::Absent | Answer::Unknown(_) => None,
    }
}

fn judge(
    image: &ImageRef,
    names: &[String],
    effective: &Effective<'_>,
    exceptions: &[Exception],
    fetched: &Fetched,
) -> Vec<(Layer, Verdict)> {
    let mut faults = Faults::default();
    let rule = selection::rule(None, &mut faults).0;
    let filter = selection::filter(None, &mut faults);
    let digest = match &fetched.digest {
        Answer::Found(digest) => Some(digest),
        Answer::Absent | Answer::Unknown(_) => None,
    };
    // Layers compare it only where there is one: see `has_tag`.
    let latest = Tag::parse("latest").ok();
    let Some(tag) = image.tag.as_ref().or(latest.as_ref()) else { return Vec::new() };
    let now = clock::now();
    // No memory: what was taken away before this look is not known here. That the repository has the tag is, and so is whether
    // it has the one that a label names.
    let mut ledger = Ledger::new(image.repository.clone());
    if let Some((tag, digest)) = image.tag.as_ref().zip(digest) {
        ledger.saw(tag, digest, now);
    }
    let labelled = || fetched.labelled.iter();
    let found = labelled().find_map(|(tag, answer)| match answer {
        Answer::Found(digest) => Some((tag, digest)),
        Answer::Absent | Answer::Unknown(_) => None,
    });
    let unanswered = labelled().find_map(|(tag, answer)| match answer {
        Answer::Unknown(unknown) => Some((tag, unknown)),
        Answer::Found(_) | Answer::Absent => None,
    });
    if let Some((tag, digest)) = found {
        ledger.saw(tag, digest, now);
    }
    let silent = unanswered.filter(|_| found.is_none());
    let judged = |ledger: &Ledger| {
        let subject = Subject {
            policy: "",
            tag,
            digest,
            answer: Some(&fetched.digest),
            manifest: fetched.manifest.as_ref(),
            mirror: None,
            ledger,
            running: None,
            left: None,
            order: Order { rule: &rule, filter: &filter },
            repositories: names,
            attached: fetched.attached.as_ref(),
            running_attached: None,
            shape: fetched.shape.as_ref(),
            running_shape: None,
            scan: None,
        };
        offline::judge(&subject, effective, exceptions, image.tag.is_some(), now)
    };
    let verdicts = judged(&ledger);
    let (Some((named, unknown)), Some(digest)) = (silent, digest) else { return verdicts };
    ledger.saw(named, digest, now);
    doubted(verdicts, &judged(&ledger), named, unknown)
}

/// Where it matters whether the repository has the tag that a label names, and it did not answer, nothing is known of the version.
fn doubted(
    verdicts: Vec<(Layer, Verdict)>,
    with_tag: &[(Layer, Verdict)],
    named: &Tag,
    unknown: &Unknown,
) -> Vec<(Layer, Verdict)> {
    let matters = |layer: Layer, verdict: &Verdict| {
        let other = with_tag.iter().find(|(one, _)| *one == layer).map(|(_, verdict)| verdict);
        other.is_some_and(|other| other.lets_through() != verdict.lets_through())
    };
    let expected = format!("to know whether the repository has {named}, the version that its label names");
    let told = |(layer, verdict): (Layer, Verdict)| {
        if !matters(layer, &verdict) {
            return (layer, verdict);
        }
        let verdict = Verdict::new(Word::Unknown, unknown.reason, expected.clone(), unknown.message.clone());
        (layer, verdict.hint("Nothing is concluded from silence: ask again."))
    };
    verdicts.into_iter().map(told).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}
