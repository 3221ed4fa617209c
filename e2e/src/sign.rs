//! Attaches signatures to images of the sample registry: a manifest that refers to the image, and the index under the
//! fallback tag in which a registry without the referrers API keeps it.
//!
//! What is attached is minted by the testkit's Sigstore; what it is worth is for the operator to say.

use rollforward_testkit::sigstore::{BUNDLE, MiniSigstore};
use serde_json::{Value, json};

use crate::image::{Pusher, digest};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The issuer of the workflows that sign here.
pub const ISSUER: &str = "https://token.actions.githubusercontent.com";
/// The repository whose workflows sign here.
pub const SOURCE: &str = "https://github.com/acme/web";

/// Signs a digest as a workflow of [`SOURCE`] would: `release.yml` at `refs/tags/v1.0.8`.
///
/// # Errors
/// What the registry refused.
pub async fn sign(
    sigstore: &MiniSigstore,
    pusher: &Pusher,
    (repository, subject): (&str, &str),
    (workflow, git_ref): (&str, &str),
) -> anyhow::Result<()> {
    let bundle = sigstore.by_workflow(subject, (SOURCE, workflow, git_ref));
    attach(pusher, repository, subject, &[bundle]).await
}

/// Attaches bundles to a digest; those that were attached before are no longer listed.
///
/// # Errors
/// What the registry refused.
pub async fn attach(
    pusher: &Pusher,
    repository: &str,
    subject: &str,
    bundles: &[Value],
) -> anyhow::Result<()> {
    let mut listed = Vec::new();
    pusher.blob(repository, b"{}").await?;
    for bundle in bundles {
        let bundle = serde_json::to_vec(bundle)?;
        pusher.blob(repository, &bundle).await?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE,
            "config": {"mediaType": EMPTY, "digest": digest(b"{}"), "size": 2},
            "layers": [{"mediaType": BUNDLE, "digest": digest(&bundle), "size": bundle.len()}],
            "subject": {"mediaType": MANIFEST, "digest": subject, "size": 0},
        }))?;
        let named = digest(&manifest);
        listed.push(
            json!({"mediaType": MANIFEST, "digest": named, "size": manifest.len(), "artifactType": BUNDLE}),
        );
        pusher.manifest(repository, &named, MANIFEST, manifest).await?;
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
    let tag = subject.replace(':', "-");
    pusher.manifest(repository, &tag, INDEX, serde_json::to_vec(&index)?).await?;
    Ok(())
}

/// A TrustRoot of this Sigstore and a VerificationPolicy under which `release.yml` at a tag alone may sign.
pub fn trust(sigstore: &MiniSigstore) -> String {
    let root = serde_json::to_string(&sigstore.trusted_root(None)).unwrap_or_default();
    format!(
        r#"apiVersion: rollforward.dev/v1alpha1
kind: TrustRoot
metadata: {{name: acme}}
spec:
  trustedRoot: {{inline: {root}}}
---
apiVersion: rollforward.dev/v1alpha1
kind: VerificationPolicy
metadata: {{name: acme}}
spec:
  authorities:
  - name: release
    keyless:
      trustRoot: acme
      issuer: {ISSUER}
      subjectRegExp: "{SOURCE}/\\.github/workflows/release\\.yml@refs/tags/v.*"
  soak: {{routine: 1s}}
"#
    )
}
