//! Repositories, tags, digests and references: parsed once at the edge, types ever after.
//!
//! Spelling rules follow the distribution reference grammar, with the short names that Kubernetes accepts
//! (`nginx` is `docker.io/library/nginx`). A registry's host is one however it is spelled, or a pattern, a list and the memory
//! would each be got around by another spelling. What a user wrote as the name is kept, so that a write changes the tag and
//! the digest and nothing else. Versions inside tags: `version.rs`.

use std::fmt;

use thiserror::Error;

use crate::select::glob_matches;

/// Why a text is not a reference, tag or digest. The text itself is not repeated: it may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageError {
    /// Not `sha256:` and 64 lower-case hexadecimal digits.
    #[error("a digest is sha256: and 64 lower-case hexadecimal digits")]
    Digest,
    /// Outside `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    #[error("a tag is 1 to 128 of letters, digits, '_', '.' and '-', not starting with '.' or '-'")]
    Tag,
    /// Not a registry host and a lower-case path.
    #[error("a repository is host/path in lower case, for example ghcr.io/acme/web")]
    Repository,
}

/// A registry host and a path in it: `ghcr.io` and `acme/web`. The host in lower case and without the port that https has
/// anyway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Parses a name as a workload or a policy spells it, without tag or digest.
    ///
    /// # Errors
    /// [`ImageError::Repository`] where the grammar is not met.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if text.is_empty() || text.len() > 255 {
            return Err(ImageError::Repository);
        }
        let (registry, path) = match text.split_once('/') {
            Some((host, rest)) if is_host(host) => (one_spelling(host), rest.to_owned()),
            Some(_) => ("docker.io".to_owned(), text.to_owned()),
            None => ("docker.io".to_owned(), format!("library/{text}")),
        };
        if !path.split('/').all(is_component) || !is_registry(&registry) {
            return Err(ImageError::Repository);
        }
        Ok(Self { registry, path })
    }

    /// The registry's host, with a port where one was written.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path inside the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last component of the path: what people call the image.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.path)
    }
}

/// Whether a pattern of a user names a repository, which is given in its normal form. `*` stands for anything, slashes too.
#[must_use]
pub fn is_named_by(repository: &str, pattern: &str) -> bool {
    let Some((host, path)) = pattern.split_once('/') else {
        return glob_matches(&pattern.to_ascii_lowercase(), repository);
    };
    let host = host.to_ascii_lowercase();
    let matches = |host: &str| glob_matches(&format!("{host}/{path}"), repository);
    matches(&host) || matches(&one_spelling(&host))
}

/// A host in lower case, without the port of https, Docker Hub by its one name. What would be no host without its port keeps it:
/// `registry:443` is none of Docker Hub's.
fn one_spelling(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let parts = host.rsplit_once(':').map(|(bare, port)| (bare, port.parse::<u16>()));
    let host = match parts {
        Some((bare, Ok(443))) if is_host(bare) => bare.to_owned(),
        Some((bare, Ok(port))) => format!("{bare}:{port}"),
        Some((_, Err(_))) | None => host,
    };
    if host == "index.docker.io" { "docker.io".to_owned() } else { host }
}

fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains('.') || text.contains(':')
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_is_valid = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_is_valid = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        }
    };
    port_is_valid && host_is_valid
}

fn is_component(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        })
}

/// A mutable name in a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Parses a tag as a registry lists it or a reference spells it.
    ///
    /// # Errors
    /// [`ImageError::Tag`] where the grammar is not met.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if Self::is_valid(text) { Ok(Self(text.to_owned())) } else { Err(ImageError::Tag) }
    }

    /// Whether a text is a tag; copies nothing.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        let mut bytes = text.bytes();
        let first_is_valid = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let rest_is_valid =
            bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        first_is_valid && rest_is_valid && text.len() <= 128
    }

    /// The tag as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is verified and run: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Parses a digest. Only SHA-256: no registry or runtime in use writes another.
    ///
    /// # Errors
    /// [`ImageError::Digest`] where the grammar is not met.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        match text.strip_prefix("sha256:") {
            Some(hex)
                if hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ImageError::Digest),
        }
    }

    /// The digest in full.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight hexadecimal digits: what a sentence shows.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(7..15).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Any spelling of an image in a pod template: `name[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRef {
    /// The name as it was written: `nginx`, not `docker.io/library/nginx`.
    pub name: String,
    /// The name's normal form.
    pub repository: Repository,
    /// The tag, where one was written.
    pub tag: Option<Tag>,
    /// The digest, where one was written. With both, the digest is what runs.
    pub digest: Option<Digest>,
}

impl ImageRef {
    /// Parses a container's `image` field.
    ///
    /// # Errors
    /// [`ImageError`] names the part that is not valid.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it is a port.
        let after_slash = rest.rfind('/').map_or(0, |at| at.saturating_add(1));
        let (name, tag) = match rest.rfind(':') {
            Some(at) if after_slash <= at => {
                let (name, tag) = rest.split_at(at);
                (name, Some(Tag::parse(tag.trim_start_matches(':'))?))
            }
            _ => (rest, None),
        };
        Ok(Self { name: name.to_owned(), repository: Repository::parse(name)?, tag, digest })
    }

    /// The same name with another tag, pinned to a digest: what a run writes.
    #[must_use]
    pub fn pinned(&self, tag: &Tag, digest: &Digest) -> Self {
        Self { tag: Some(tag.clone()), digest: Some(digest.clone()), ..self.clone() }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;

    fn check(text: &str, repository: &str, tag: Option<&str>, written_back: &str) {
        let image = ImageRef::parse(text).unwrap();
        assert_eq!(image.repository.to_string(), repository, "{text}");
        assert_eq!(image.tag.as_ref().map(Tag::as_str), tag, "{text}");
        assert_eq!(image.to_string(), written_back, "{text}");
    }

    #[test]
    fn a_reference_is_read_as_kubernetes_reads_it_and_written_back_as_the_user_wrote_it() {
        check("nginx", "docker.io/library/nginx", None, "nginx");
        check("acme/web:1.2", "docker.io/acme/web", Some("1.2"), "acme/web:1.2");
        check("127.0.0.1:5000/web:1.0.1", "127.0.0.1:5000/web", Some("1.0.1"), "127.0.0.1:5000/web:1.0.1");
        check("localhost/web", "localhost/web", None, "localhost/web");
        check("index.docker.io/acme/web:1", "docker.io/acme/web", Some("1"), "index.docker.io/acme/web:1");
        check("GHCR.IO/acme/web:1", "ghcr.io/acme/web", Some("1"), "GHCR.IO/acme/web:1");
        check("ghcr.io:443/acme/web", "ghcr.io/acme/web", None, "ghcr.io:443/acme/web");
        check("Index.Docker.io:0443/acme/web", "docker.io/acme/web", None, "Index.Docker.io:0443/acme/web");
        check("registry:443/web:1", "registry:443/web", Some("1"), "registry:443/web:1");
        check("ghcr.io:8443/acme/web", "ghcr.io:8443/acme/web", None, "ghcr.io:8443/acme/web");
        check("[::1]:443/web", "[::1]/web", None, "[::1]:443/web");
        check("[fe80::443]/web", "[fe80::443]/web", None, "[fe80::443]/web");
        let pinned = format!("ghcr.io/acme/web:1@sha256:{}", "a".repeat(64));
        check(&pinned, "ghcr.io/acme/web", Some("1"), &pinned);
    }

    #[test]
    fn a_normal_form_is_its_own_and_a_pattern_names_a_host_however_it_spells_it() {
        for text in ["registry:443/web", "[::1]/web", "ghcr.io/acme/web", "localhost/web", "r.test:5000/web"]
        {
            assert_eq!(Repository::parse(text).unwrap().to_string(), text);
        }
        let check = |pattern: &str, repository: &str, expected: bool| {
            assert_eq!(is_named_by(repository, pattern), expected, "{pattern} {repository}");
        };
        for pattern in ["ghcr.io/acme/*", "GHCR.io/acme/*", "ghcr.io:443/acme/*", "*/acme/web", "ghcr*", "*"]
        {
            check(pattern, "ghcr.io/acme/web", true);
        }
        check("GHCR*", "ghcr.io/acme/web", true);
        check("index.docker.io/acme/*", "docker.io/acme/web", true);
        check("registry:443/*", "registry:443/web", true);
        check("registry/*", "registry:443/web", false);
        check("ghcr.io/Acme/*", "ghcr.io/acme/web", false);
        check("ghcr.io:8443/*", "ghcr.io/acme/web", false);
    }

    #[test]
    fn a_text_outside_the_grammar_is_refused_by_the_part_that_is_wrong() {
        let refused = |text: &str| ImageRef::parse(text).unwrap_err();
        assert_eq!(refused(""), ImageError::Repository);
        assert_eq!(refused("ghcr.io/Acme/web"), ImageError::Repository);
        assert_eq!(refused("ghcr.io/acme/web:"), ImageError::Tag);
        assert_eq!(refused("ghcr.io/acme/web:-x"), ImageError::Tag);
        assert_eq!(refused("ghcr.io/acme/web@sha256:abc"), ImageError::Digest);
        assert_eq!(refused("host:99999/web"), ImageError::Repository);
        assert_eq!(refused("ghcr.io/\u{1b}[2J"), ImageError::Repository);
    }
}
