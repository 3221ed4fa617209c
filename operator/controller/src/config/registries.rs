//! The section `registries` of the configuration: hosts, credentials, credential providers.
//!
//! Every entry is checked when the file is read; the files that it names are read when they are used, and again when they
//! change. What the values mean: `registry.rs` and what it names.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rollforward_core::image::Repository;
use serde::Deserialize;

use super::{ConfigError, duration};
use crate::registry::{
    HostSettings, PROVIDER_API_VERSION, ProviderSettings, Secret, Settings, go_duration, is_proxy,
};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    plain_http: Option<Vec<String>>,
    timeout: Option<String>,
    hosts: Option<Vec<HostFile>>,
    credentials: Option<Vec<CredentialFile>>,
    credential_providers: Option<ProvidersFile>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HostFile {
    host: String,
    plain_http: Option<bool>,
    realms: Option<Vec<String>>,
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    proxy: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CredentialFile {
    host: String,
    docker_config_file: PathBuf,
}

/// The kubelet's `CredentialProviderConfig`, with the folder that the kubelet takes as an argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProvidersFile {
    bin_dir: PathBuf,
    providers: Vec<ProviderFile>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProviderFile {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: String,
    api_version: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<VariableFile>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariableFile {
    name: String,
    value: String,
}

impl File {
    /// The settings, or the first key that is not as it should be.
    pub(super) fn checked(self) -> Result<Settings, ConfigError> {
        let timeout = duration("registries.timeout", self.timeout, "15s")?;
        let mut settings = Settings {
            timeout: Duration::try_from(timeout).unwrap_or(Duration::from_secs(15)),
            ..Settings::default()
        };
        for host in self.plain_http.unwrap_or_default() {
            settings.plain_http.push(checked_host("registries.plainHttp", host)?);
        }
        let mut known = BTreeSet::new();
        for host in self.hosts.unwrap_or_default() {
            if !known.insert(host.host.clone()) {
                return Err(refused("registries.hosts.host", host.host, "each host once"));
            }
            host.add_to(&mut settings)?;
        }
        for entry in self.credentials.unwrap_or_default() {
            let host = checked_host("registries.credentials.host", entry.host)?;
            settings.credential_files.push((host, entry.docker_config_file));
        }
        if let Some(ProvidersFile { bin_dir, providers }) = self.credential_providers {
            let mut known = BTreeSet::new();
            for provider in providers {
                if !known.insert(provider.name.clone()) {
                    return Err(refused(PROVIDER_NAME, provider.name, "each provider once"));
                }
                settings.credential_providers.push(provider.checked(bin_dir.clone())?);
            }
        }
        Ok(settings)
    }
}

impl HostFile {
    fn add_to(self, settings: &mut Settings) -> Result<(), ConfigError> {
        let host = checked_host("registries.hosts.host", self.host)?;
        if self.plain_http == Some(true) {
            settings.plain_http.push(host.clone());
        }
        for realm in self.realms.unwrap_or_default() {
            settings.realms.push((host.clone(), checked_host("registries.hosts.realms", realm)?));
        }
        let client_certificate = match (self.client_cert_file, self.client_key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let expected = "clientCertFile and clientKeyFile together";
                return Err(refused("registries.hosts.clientCertFile", host, expected));
            }
        };
        if self.proxy.as_deref().is_some_and(|proxy| !is_proxy(proxy)) {
            // The value may hold a password.
            let expected = "a URL such as http://proxy.example.com:3128";
            return Err(refused("registries.hosts.proxy", "***".to_owned(), expected));
        }
        let proxy = self.proxy.map(Secret::new);
        if self.ca_file.is_some() || client_certificate.is_some() || proxy.is_some() {
            settings.hosts.push(HostSettings { host, ca_file: self.ca_file, client_certificate, proxy });
        }
        Ok(())
    }
}

const PROVIDER_NAME: &str = "registries.credentialProviders.providers.name";

impl ProviderFile {
    fn checked(self, folder: PathBuf) -> Result<ProviderSettings, ConfigError> {
        let is_name = !matches!(self.name.as_str(), "" | "." | "..")
            && !self.name.contains(|letter: char| letter == '/' || letter.is_whitespace());
        if !is_name {
            return Err(refused(PROVIDER_NAME, self.name, "the name of a file in binDir"));
        }
        if self.api_version != PROVIDER_API_VERSION {
            let field = "registries.credentialProviders.providers.apiVersion";
            return Err(refused(field, self.api_version, PROVIDER_API_VERSION));
        }
        if self.match_images.is_empty() {
            let field = "registries.credentialProviders.providers.matchImages";
            return Err(refused(
                field,
                "empty".to_owned(),
                "at least one image, such as *.dkr.ecr.*.amazonaws.com",
            ));
        }
        let Some(default_cache) = go_duration(&self.default_cache_duration) else {
            let field = "registries.credentialProviders.providers.defaultCacheDuration";
            return Err(refused(field, self.default_cache_duration, "a duration such as 12h or 0s"));
        };
        Ok(ProviderSettings {
            name: self.name,
            folder,
            match_images: self.match_images,
            default_cache,
            arguments: self.args,
            variables: self.env.into_iter().map(|variable| (variable.name, variable.value)).collect(),
        })
    }
}

/// A host as repositories have it.
fn checked_host(field: &'static str, host: String) -> Result<String, ConfigError> {
    let named = Repository::parse(&format!("{host}/x")).ok();
    if let Some(named) = named.filter(|named| named.path() == "x") {
        return Ok(named.registry().to_owned());
    }
    Err(refused(field, host, "a host with an optional port, such as registry.example.com:5000"))
}

fn refused(field: &'static str, value: String, expected: &'static str) -> ConfigError {
    ConfigError::Value { field, value, expected }
}
