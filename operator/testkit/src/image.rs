//! Images as bytes: configs, manifests and indexes with true digests.

use rollforward_core::image::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The media type of a single image.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of an image's config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A manifest, and the config it names, as a registry stores them.
#[derive(Debug, Clone)]
pub struct Image {
    /// What the manifest is served as.
    pub media_type: String,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The config's bytes; `None` for an index.
    pub config: Option<Vec<u8>>,
}

impl Image {
    /// The manifest's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of(&self.manifest)
    }
}

/// The digest of bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(&format!("sha256:{hex}")).unwrap()
}

/// A single image for a platform. Another `salt` is another digest.
#[must_use]
pub fn image(os: &str, architecture: &str, salt: &str) -> Image {
    image_with_config(json!({"os": os, "architecture": architecture, "config": {"Labels": {"salt": salt}},
        "rootfs": {"type": "layers", "diff_ids": []}}))
}

/// A single image with any config.
#[must_use]
pub fn image_with_config(config: serde_json::Value) -> Image {
    let config = config.to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "config":
        {"mediaType": CONFIG, "size": config.len(), "digest": digest_of(&config).as_str()}});
    Image { media_type: IMAGE.to_owned(), manifest: manifest.to_string().into_bytes(), config: Some(config) }
}

/// The same with annotations on its manifest.
#[must_use]
pub fn annotate(image: &Image, annotations: &serde_json::Value) -> Image {
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["annotations"] = annotations.clone();
    Image { manifest: manifest.to_string().into_bytes(), ..image.clone() }
}

/// Something attached to a digest: a manifest with layers of a media type, each with its annotations. `subject` is left out in
/// the layouts of tags.
#[must_use]
pub fn attachment(
    subject: Option<&Digest>,
    layers: &[(&str, &[u8], &std::collections::BTreeMap<String, String>)],
) -> Image {
    let layers: Vec<serde_json::Value> = layers
        .iter()
        .map(|(media_type, bytes, annotations)| {
            json!({"mediaType": media_type, "size": bytes.len(), "digest": digest_of(bytes).as_str(),
                "annotations": annotations})
        })
        .collect();
    let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
        "digest": digest_of(b"{}").as_str()});
    let mut manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": empty, "layers": layers});
    if let Some(subject) = subject {
        manifest["subject"] = json!({"mediaType": IMAGE, "digest": subject.as_str(), "size": 2});
        manifest["artifactType"] = manifest["layers"][0]["mediaType"].clone();
    }
    Image { media_type: IMAGE.to_owned(), manifest: manifest.to_string().into_bytes(), config: None }
}

/// An index of images for platforms, with an attestation beside the first, as BuildKit writes it.
#[must_use]
pub fn index(platforms: &[(&str, &str)], salt: &str) -> Image {
    let mut entries: Vec<serde_json::Value> = platforms
        .iter()
        .map(|(os, architecture)| {
            let part = image(os, architecture, salt);
            json!({"mediaType": IMAGE, "size": part.manifest.len(), "digest": part.digest().as_str(),
                "platform": {"os": os, "architecture": architecture}})
        })
        .collect();
    let attestation = digest_of(salt.as_bytes());
    entries.push(json!({"mediaType": IMAGE, "size": 100, "digest": attestation.as_str(),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}));
    let manifest = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    Image { media_type: INDEX.to_owned(), manifest: manifest.to_string().into_bytes(), config: None }
}
