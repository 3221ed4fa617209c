//! Manifest bytes to what the operator wants to know of them: the platforms, or the config that names one, and the version
//! that an image gives itself.
//!
//! The types are `oci_distribution`'s, and it fetched the bytes (`pull.rs`). They have already been hashed.

use std::collections::{BTreeMap, BTreeSet};

use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE, ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
    OciImageIndex, OciImageManifest,
};
use rollforward_core::evidence::{Platform, Shape};
use rollforward_core::image::Digest;
use serde::Deserialize;

use super::words::clean;

/// What we ask for: both forms of an image and of an index. Schema 1 is deliberately absent.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Where an image says its own version: in the annotations of a manifest, or in the labels of a config.
const VERSION: &str = "org.opencontainers.image.version";
/// The longest version that is looked at, in bytes: as long as a tag.
const MAX_VERSION_BYTES: usize = 128;

/// The labels that are kept: those whose meaning is agreed on.
const LABELS: &str = "org.opencontainers.image.";
/// The longest part of a shape that is kept, in bytes.
const MAX_WORD_BYTES: usize = 256;
/// The most parts of one kind that are kept: an image has a handful.
const MAX_WORDS: usize = 64;
/// The most layers that are kept; overlayfs itself ends at 128.
const MAX_LAYERS: usize = 128;

/// What a manifest turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// An index: the platforms of its images, its own version, the first image, and each platform's.
    Index {
        platforms: BTreeSet<Platform>,
        version: Option<String>,
        first: Option<Digest>,
        images: BTreeMap<Platform, Digest>,
    },
    /// A single image; its config names the platform.
    Image { config: Digest, version: Option<String>, layers: Vec<String>, size_bytes: u64 },
}

/// The fields that decide what the rest is.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "schemaVersion")]
    schema_version: u64,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

/// Reads a manifest. `Err` says what is wrong with it, cleaned.
///
/// The body's own `mediaType` and the header must agree, and a body that is both index and image is neither: two
/// programs that read it differently would run different images (CVE-2021-41190).
pub(super) fn read(body: &[u8], content_type: Option<&str>) -> Result<Content, String> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|error| format!("not a manifest: {}", place(&error)))?;
    if envelope.schema_version != 2 {
        return Err(format!(
            "a manifest of schema {}, which cannot be verified; push it again with a current tool",
            envelope.schema_version
        ));
    }
    let named = content_type.filter(|name| is_manifest_type(name));
    if let (Some(inner), Some(outer)) = (envelope.media_type.as_deref(), named)
        && inner != outer
    {
        return Err(format!("a manifest that calls itself {} and is served as {outer}", clean(inner)));
    }
    let has_index = envelope.manifests.is_some();
    let has_image = envelope.config.is_some() || envelope.layers.is_some();
    match (envelope.media_type.as_deref().or(named), has_index, has_image) {
        (_, true, true) => Err("a manifest that is an index and an image at once".to_owned()),
        (_, false, false) => Err("a manifest without images and without layers".to_owned()),
        (None | Some(OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE), true, false) => {
            read_index(body)
        }
        (None | Some(OCI_IMAGE_MEDIA_TYPE | IMAGE_MANIFEST_MEDIA_TYPE), false, true) => read_image(body),
        (Some(other), _, _) => Err(format!("a manifest of type {}, with other content", clean(other))),
    }
}

fn read_index(body: &[u8]) -> Result<Content, String> {
    let index: OciImageIndex =
        serde_json::from_slice(body).map_err(|error| format!("not an image index: {}", place(&error)))?;
    let images: Vec<&ImageIndexEntry> = index.manifests.iter().filter(|entry| is_image(entry)).collect();
    if images.is_empty() {
        return Err(
            "an image index without an image: only attestations, old schemas or other artefacts".to_owned()
        );
    }
    let on = |entry: &ImageIndexEntry| {
        let platform = entry.platform.as_ref()?;
        named(&platform.os.to_string(), &platform.architecture.to_string(), platform.variant.as_deref())
    };
    let platforms = images.iter().filter_map(|entry| on(entry)).collect();
    let first = images.first().and_then(|entry| Digest::parse(&entry.digest).ok());
    // Of two images for one platform the runtime takes the first.
    let by_platform = images
        .iter()
        .rev()
        .filter_map(|entry| Some((on(entry)?, Digest::parse(&entry.digest).ok()?)))
        .collect();
    let version = index.annotations.as_ref().and_then(version);
    Ok(Content::Index { platforms, version, first, images: by_platform })
}

/// Attestations sit beside the images, as platform unknown/unknown: claims about them, nothing that can run.
fn is_image(entry: &ImageIndexEntry) -> bool {
    let is_attestation = entry
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key("vnd.docker.reference.type"));
    let is_nowhere = entry.platform.as_ref().is_some_and(|platform| {
        platform.os.to_string() == "unknown" && platform.architecture.to_string() == "unknown"
    });
    is_manifest_type(&entry.media_type) && !is_attestation && !is_nowhere
}

fn read_image(body: &[u8]) -> Result<Content, String> {
    let image: OciImageManifest =
        serde_json::from_slice(body).map_err(|error| format!("not an image manifest: {}", place(&error)))?;
    let kind = image.config.media_type.as_str();
    if ![IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE].contains(&kind) {
        return Err(format!("an artefact with a config of type {}, not an image", clean(kind)));
    }
    let config = Digest::parse(&image.config.digest).map_err(|error| format!("its config: {error}"))?;
    let size = |total: u64, size: i64| total.saturating_add(u64::try_from(size).unwrap_or_default());
    Ok(Content::Image {
        config,
        version: image.annotations.as_ref().and_then(version),
        size_bytes: image.layers.iter().map(|layer| layer.size).fold(0, size),
        layers: image.layers.iter().take(MAX_LAYERS).map(|layer| short(&layer.digest)).collect(),
    })
}

fn version(annotations: &BTreeMap<String, String>) -> Option<String> {
    annotations.get(VERSION).filter(|version| (1..=MAX_VERSION_BYTES).contains(&version.len())).cloned()
}

/// Reads the version out of an image's config. A label in another form than a label's is none, and no fault of the image.
pub(super) fn read_label(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        config: Container,
    }
    #[derive(Deserialize)]
    struct Container {
        #[serde(rename = "Labels")]
        labels: BTreeMap<String, String>,
    }
    let config: Config = serde_json::from_slice(body).ok()?;
    version(&config.config.labels)
}

/// Reads the platform out of an image's config. `None` where it names none.
pub(super) fn read_config(body: &[u8]) -> Result<Option<Platform>, String> {
    // Two fields, not `ConfigFile`: that one refuses a config without them, which old builders wrote.
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        os: String,
        #[serde(default)]
        architecture: String,
        variant: Option<String>,
    }
    let config: Config =
        serde_json::from_slice(body).map_err(|error| format!("not an image config: {}", place(&error)))?;
    Ok(named(&config.os, &config.architecture, config.variant.as_deref()))
}

/// Reads the shape out of an image's config, bounded. What is in another form than it should be is none: the shape is told, it
/// is not what an image is refused for.
pub(super) fn read_shape(body: &[u8], layers: Vec<String>, size_bytes: u64) -> Shape {
    #[derive(Deserialize, Default)]
    struct Config {
        #[serde(default)]
        config: serde_json::Value,
        created: Option<String>,
    }
    let config: Config = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| config.config.get(name);
    let texts = |name: &str| -> Vec<String> {
        let list = field(name).and_then(|value| value.as_array()).into_iter().flatten();
        list.filter_map(|one| one.as_str()).take(MAX_WORDS).map(bounded).collect()
    };
    let keys = |name: &str| -> BTreeSet<String> {
        let map = field(name).and_then(|value| value.as_object()).into_iter().flatten();
        map.take(MAX_WORDS).map(|(key, _)| bounded(key)).collect()
    };
    let labels = field("Labels").and_then(|value| value.as_object()).into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| {
        let key = key.strip_prefix(LABELS).filter(|key| key.len() <= MAX_WORD_BYTES)?;
        Some((key.to_owned(), bounded(value.as_str()?)))
    });
    Shape {
        user: field("User").and_then(|user| user.as_str()).map(bounded).unwrap_or_default(),
        entrypoint: texts("Entrypoint"),
        command: texts("Cmd"),
        ports: keys("ExposedPorts"),
        volumes: keys("Volumes"),
        environment: texts("Env")
            .iter()
            .filter_map(|variable| variable.split_once('=').map(|(name, _)| name.to_owned()))
            .collect(),
        labels: labels.take(MAX_WORDS).collect(),
        created: config.created.and_then(|text| text.parse().ok()),
        size_bytes,
        layers,
    }
}

/// At most so many bytes of a text, cut between letters.
fn bounded(text: &str) -> String {
    text.char_indices()
        .take_while(|(at, letter)| at.saturating_add(letter.len_utf8()) <= MAX_WORD_BYTES)
        .map(|(_, letter)| letter)
        .collect()
}

/// As much of a layer's digest as tells it from the other layers of two images: `sha256:` and 16 digits.
fn short(digest: &str) -> String {
    digest.chars().take(23).collect()
}

fn is_manifest_type(name: &str) -> bool {
    [
        OCI_IMAGE_INDEX_MEDIA_TYPE,
        IMAGE_MANIFEST_LIST_MEDIA_TYPE,
        OCI_IMAGE_MEDIA_TYPE,
        IMAGE_MANIFEST_MEDIA_TYPE,
    ]
    .contains(&name)
}

/// A platform that a node could have. Names outside letters, digits and `._-` are nobody's; such a variant is none.
fn named(os: &str, architecture: &str, variant: Option<&str>) -> Option<Platform> {
    let is_name = |text: &str| {
        (1..=64).contains(&text.len())
            && text != "unknown"
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let variant = variant.filter(|variant| is_name(variant)).map(str::to_owned);
    (is_name(os) && is_name(architecture)).then(|| Platform { variant, ..Platform::new(os, architecture) })
}

/// Where the JSON is wrong. The parser's own words quote the body.
fn place(error: &serde_json::Error) -> String {
    format!("the JSON is not valid at line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;

    const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn refused(body: &str, content_type: Option<&str>, part: &str) {
        let why = read(body.as_bytes(), content_type).unwrap_err();
        assert!(why.contains(part), "{body}: {why}");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        refused("{", None, "not valid at line 1");
        refused(r#"{"schemaVersion": 1}"#, None, "schema 1");
        refused(r#"{"schemaVersion": 2, "manifests": [], "layers": []}"#, None, "at once");
        refused(r#"{"schemaVersion": 2}"#, None, "without images");
        let index = format!(
            r#"{{"schemaVersion": 2, "mediaType": "{OCI_IMAGE_INDEX_MEDIA_TYPE}", "manifests": []}}"#
        );
        refused(&index, Some(OCI_IMAGE_MEDIA_TYPE), "is served as");
        let image = r#"{"schemaVersion": 2, "config": {}, "layers": []}"#;
        refused(image, Some(OCI_IMAGE_INDEX_MEDIA_TYPE), "with other content");
        refused(r#"{"schemaVersion": 2, "schemaVersion": 1, "layers": []}"#, None, "not valid");
    }

    fn entry(media_type: &str, rest: &str) -> String {
        format!(r#"{{"mediaType": "{media_type}", "size": 2, "digest": "sha256:{HEX}"{rest}}}"#)
    }

    #[test]
    fn of_an_index_only_what_can_run_counts_and_without_that_it_is_refused() {
        let of = |entries: &[String]| {
            let body = format!(r#"{{"schemaVersion": 2, "manifests": [{}]}}"#, entries.join(","));
            read(body.as_bytes(), None)
        };
        let on = |platform: &str| format!(r#", "platform": {{{platform}}}"#);
        let armv7 =
            entry(OCI_IMAGE_MEDIA_TYPE, &on(r#""os": "linux", "architecture": "arm", "variant": "v7""#));
        let bare = entry(OCI_IMAGE_MEDIA_TYPE, "");
        let unknown = entry(OCI_IMAGE_MEDIA_TYPE, &on(r#""os": "unknown", "architecture": "unknown""#));
        let old = entry("application/vnd.docker.distribution.manifest.v1+json", "");
        let annotation = r#", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}"#;
        let attestation = entry(OCI_IMAGE_MEDIA_TYPE, annotation);
        let arm = Platform::new("linux", "arm").with_variant("v7");
        let mixed = of(&[armv7, bare.clone(), unknown.clone(), old.clone(), attestation.clone()]);
        let first = Digest::parse(&format!("sha256:{HEX}")).ok();
        let index = |platforms: BTreeSet<Platform>| Content::Index {
            images: platforms.iter().cloned().zip(first.clone()).collect(),
            platforms,
            version: None,
            first: first.clone(),
        };
        assert_eq!(mixed.unwrap(), index(BTreeSet::from([arm])));
        assert_eq!(of(&[bare]).unwrap(), index(BTreeSet::new()), "an image that names no platform");
        for without in [&[][..], &[unknown], &[old], &[attestation]] {
            assert!(of(without).unwrap_err().contains("without an image"), "{without:?}");
        }
    }

    #[test]
    fn an_artefact_is_not_an_image() {
        let body = format!(
            r#"{{"schemaVersion": 2, "layers": [], "config": {{"size": 2, "digest": "sha256:{HEX}",
                "mediaType": "application/vnd.cncf.helm.config.v1+json"}}}}"#
        );
        refused(&body, None, "helm.config");
    }

    #[test]
    fn a_version_is_read_from_a_label_and_what_is_no_label_is_none() {
        let labels = |labels: &str| read_label(format!(r#"{{"config": {{"Labels": {labels}}}}}"#).as_bytes());
        assert_eq!(labels(&format!(r#"{{"a": "b", "{VERSION}": "1.4.7"}}"#)).as_deref(), Some("1.4.7"));
        let long = "1".repeat(129);
        for none in [
            "null".to_owned(),
            "{}".to_owned(),
            "[]".to_owned(),
            format!(r#"{{"{VERSION}": 1}}"#),
            format!(r#"{{"{VERSION}": ""}}"#),
            format!(r#"{{"{VERSION}": "{long}"}}"#),
        ] {
            assert_eq!(labels(&none), None, "{none}");
        }
        for body in ["{}", r#"{"config": null}"#, "{"] {
            assert_eq!(read_label(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_shape_is_read_bounded_and_what_is_in_another_form_is_none() {
        let body = br#"{"created": "2026-11-01T08:00:00Z", "config": {"User": "1000", "Entrypoint": ["/app"],
            "Cmd": null, "ExposedPorts": {"8080/tcp": {}}, "Env": ["PATH=/bin", "TOKEN=secret", "odd"],
            "Labels": {"org.opencontainers.image.version": "1.4.3", "other": "x", "org.opencontainers.image.n": 1}}}"#;
        let shape = read_shape(body, vec!["sha256:aa".to_owned()], 7);
        assert_eq!((shape.user.as_str(), shape.entrypoint.join(" ").as_str()), ("1000", "/app"));
        assert!(shape.command.is_empty() && shape.volumes.is_empty(), "{shape:?}");
        assert_eq!(shape.environment.iter().map(String::as_str).collect::<Vec<_>>(), ["PATH", "TOKEN"]);
        assert_eq!(shape.labels.get("version").map(String::as_str), Some("1.4.3"));
        assert_eq!((shape.labels.len(), shape.ports.len(), shape.size_bytes), (1, 1, 7));
        assert_eq!(shape.created.map(|at| at.to_string()).as_deref(), Some("2026-11-01T08:00:00Z"));
        for body in ["{", "{}", r#"{"config": 1}"#, r#"{"config": {"User": 0, "Env": "x"}, "created": "x"}"#]
        {
            let shape = read_shape(body.as_bytes(), Vec::new(), 0);
            assert_eq!(shape, Shape::default(), "{body}");
        }
        let long = format!(r#"{{"config": {{"User": "{}"}}}}"#, "ä".repeat(200));
        assert_eq!(read_shape(long.as_bytes(), Vec::new(), 0).user.len(), MAX_WORD_BYTES);
    }

    #[test]
    fn a_config_without_a_platform_names_none_and_a_hostile_name_is_nobodys() {
        assert_eq!(read_config(b"{}").unwrap(), None);
        assert_eq!(read_config(br#"{"os": "linux\u001b", "architecture": "amd64"}"#).unwrap(), None);
        let found = read_config(br#"{"os": "linux", "architecture": "arm64"}"#).unwrap().unwrap();
        assert_eq!((found.os.as_str(), found.architecture.as_str()), ("linux", "arm64"));
    }
}
