//! `rollforward verify-bundle`: one Sigstore bundle against one file or digest, by the command line of the public conformance
//! suite (github.com/sigstore/sigstore-conformance). Exit code 0 where it holds, 1 where it does not.
//!
//! Stricter than the gates: a log entry is always required. Images and policies: `verify.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rollforward_core::image::Digest;
use rollforward_core::text::clean;
use rollforward_core::trust::RootContent;

use crate::sigstore::{Document, Key, Root, Subject};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["key", "certificate_identity"]))]
pub(crate) struct Arguments {
    /// The bundle, as JSON.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Who must have signed: the exact subject of the certificate.
    #[arg(long, value_name = "IDENTITY", requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,
    /// Who must vouch for the subject: the exact issuer.
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// A public key in PEM instead of an identity.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The trust root; without it the public-good instance of Sigstore as it is built in.
    #[arg(long, value_name = "FILE", conflicts_with = "staging")]
    trusted_root: Option<PathBuf>,
    /// The public staging instance instead.
    #[arg(long)]
    staging: bool,
    /// What was signed: a file, or `sha256:` and its digest.
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: String,
}

/// Answers where the bundle holds; an error says what does not.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let root = root(arguments)?;
    let bundle = read(&arguments.bundle)?;
    let document = Document::bundle(&bundle).map_err(|fault| refused(&fault))?;
    let digest = Digest::parse(&arguments.artifact).ok();
    let bytes = match digest {
        Some(_) => Vec::new(),
        None => read(Path::new(&arguments.artifact))?,
    };
    let subject = digest.as_ref().map_or(Subject::Bytes(&bytes), Subject::Digest);
    let signer = match &arguments.key {
        Some(path) => {
            let pem = String::from_utf8(read(path)?).context("the key is no text")?;
            let key = Key::from_pem(&pem).map_err(|fault| refused(&fault))?;
            document.check_key(subject, &key, &[&root])
        }
        None => document.check_root(subject, &root),
    };
    let signer = signer.map_err(|fault| refused(&fault))?;
    if !signer.in_log {
        bail!("Log: expected an entry in a log of the trust root, observed none that holds");
    }
    if arguments.key.is_none() {
        let expect = |what: &str, expected: &Option<String>, actual: &Option<String>| {
            let shown = |text: &Option<String>| clean(text.as_deref().unwrap_or("none"), 200);
            if expected != actual {
                bail!("{what}: expected {}, observed {}", shown(expected), shown(actual));
            }
            Ok(())
        };
        expect("identity", &arguments.certificate_identity, &signer.subject)?;
        expect("issuer", &arguments.certificate_oidc_issuer, &signer.issuer)?;
    }
    super::tell("verified\n");
    Ok(ExitCode::SUCCESS)
}

fn root(arguments: &Arguments) -> anyhow::Result<Root> {
    let root = match &arguments.trusted_root {
        Some(path) => {
            let text = String::from_utf8(read(path)?).context("the trust root is no text")?;
            Root::of(&RootContent::Json(text))
        }
        None if arguments.staging => Root::staging(),
        None => Root::of(&RootContent::PublicGood),
    };
    root.map_err(|fault| refused(&fault))
}

fn refused(fault: &rollforward_core::evidence::Fault) -> anyhow::Error {
    anyhow::anyhow!("{:?}: {}", fault.kind, fault.message)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("could not read {}", path.display()))
}
