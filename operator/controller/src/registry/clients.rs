//! The HTTP clients: one for all registries, and one for each host that has its own authority, certificate or proxy.
//!
//! A client holds no credential and no cookie. A host's own client is used for that host alone: a client certificate is
//! shown to nobody else, and a redirect to an object store goes by the common client. Proxies of the environment
//! (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) are used by the common client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy};

use super::credential::Secret;
use super::files::{FileError, FromFiles};
use super::{RegistryError, Settings, USER_AGENT};

/// How one host is spoken to.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// The host as references spell it, with the port.
    pub host: String,
    /// A bundle of authorities that are trusted for it beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and key, for a host that asks for one.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The proxy to go through. May hold a password.
    pub proxy: Option<Secret>,
}

struct Own {
    settings: HostSettings,
    client: FromFiles<Client>,
}

pub(super) struct Clients {
    common: Client,
    own: BTreeMap<String, Own>,
    timeouts: (Duration, Duration),
}

impl Clients {
    pub(super) fn new(settings: &Settings) -> Result<Self, RegistryError> {
        let timeouts = (settings.connect_timeout, settings.timeout);
        let common = builder(timeouts).build().map_err(RegistryError::Client)?;
        let mut own = BTreeMap::new();
        for settings in &settings.hosts {
            let certificate = settings.client_certificate.iter().flat_map(|(own, key)| [own, key]);
            let paths = settings.ca_file.iter().chain(certificate).cloned().collect();
            let entry = Own { settings: settings.clone(), client: FromFiles::new(paths) };
            // What Docker Hub is called in references is not where it lives.
            let host = match settings.host.as_str() {
                "docker.io" => "registry-1.docker.io",
                other => other,
            };
            own.insert(host.to_owned(), entry);
        }
        let clients = Self { common, own, timeouts };
        for (host, own) in &clients.own {
            let fault = |source| RegistryError::Host { host: host.clone(), source };
            clients.own_client(own).map_err(fault)?;
        }
        Ok(clients)
    }

    /// The client for a host. `Err` where a file of its own was replaced by one that cannot be used.
    pub(super) fn of(&self, host: &str) -> Result<Client, FileError> {
        match self.own.get(host) {
            None => Ok(self.common.clone()),
            Some(own) => self.own_client(own).map(|client| Client::clone(&client)),
        }
    }

    fn own_client(&self, own: &Own) -> Result<Arc<Client>, FileError> {
        let settings = &own.settings;
        own.client.get(|contents| {
            let mut contents = contents.iter();
            let mut builder = builder(self.timeouts);
            if let (Some(path), Some(bundle)) =
                (&settings.ca_file, settings.ca_file.as_ref().and_then(|_| contents.next()))
            {
                builder = builder.tls_certs_merge(authorities(path, bundle)?);
            }
            if let (Some((path, _)), Some(certificate), Some(key)) =
                (&settings.client_certificate, contents.next(), contents.next())
            {
                let pem = [certificate.as_slice(), b"\n", key.as_slice()].concat();
                let identity = Identity::from_pem(&pem).map_err(|_| FileError::Content {
                    path: path.display().to_string(),
                    expected: "a certificate, and beside it its key, both as PEM",
                    words: "no such pair".to_owned(),
                })?;
                builder = builder.identity(identity);
            }
            if let Some(proxy) = &settings.proxy {
                // Checked when the configuration was read.
                builder = Proxy::all(proxy.expose())
                    .map_or_else(|_| ClientBuilder::new(), |proxy| builder.proxy(proxy));
            }
            builder.build().map_err(|_| FileError::Content {
                path: settings.host.clone(),
                expected: "certificates and a key that fit together",
                words: "TLS that cannot be set up with them".to_owned(),
            })
        })
    }
}

fn authorities(path: &std::path::Path, bundle: &[u8]) -> Result<Vec<Certificate>, FileError> {
    let found = Certificate::from_pem_bundle(bundle).unwrap_or_default();
    if found.is_empty() {
        return Err(FileError::Content {
            path: path.display().to_string(),
            expected: "a bundle of certificates as PEM",
            words: "none that can be read".to_owned(),
        });
    }
    Ok(found)
}

fn builder((connect, whole): (Duration, Duration)) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(connect)
        .timeout(whole)
        .pool_max_idle_per_host(4)
        .pool_idle_timeout(Duration::from_secs(30))
}

/// Whether a text can be used as a proxy.
pub(crate) fn is_proxy(text: &str) -> bool {
    let named = reqwest::Url::parse(text);
    named.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        && Proxy::all(text).is_ok()
}
