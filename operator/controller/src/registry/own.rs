//! The operator's own credentials: docker configuration files for named hosts, then credential providers.
//!
//! They come after the workload's, as the node's come after the pod's: shown where it has none or the registry refuses all that
//! it has (`Registry::credential`). A file is for its host alone, whatever else it holds.

use std::path::PathBuf;

use rollforward_core::image::Repository;
use thiserror::Error;

use super::credential::Credential;
use super::files::{FileError, FromFiles};
use super::provider::{Provider, ProviderError, ProviderSettings};
use super::pull_secret::Keyring;

/// Why the operator's own credential for a repository could not be found out.
#[derive(Debug, Error)]
pub enum OwnCredentialError {
    /// A docker configuration file.
    #[error("the operator's docker configuration for {host} cannot be used: {source}")]
    File {
        /// For which host.
        host: String,
        /// Why.
        #[source]
        source: FileError,
    },
    /// A credential provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

pub(super) struct OwnCredentials {
    files: Vec<(String, FromFiles<Keyring>, PathBuf)>,
    providers: Vec<Provider>,
}

impl OwnCredentials {
    pub(super) fn new(files: &[(String, PathBuf)], providers: &[ProviderSettings]) -> Self {
        let files = files.iter().cloned();
        Self {
            files: files.map(|(host, path)| (host, FromFiles::new(vec![path.clone()]), path)).collect(),
            providers: providers.iter().cloned().map(Provider::new).collect(),
        }
    }

    pub(super) async fn credential_for(
        &self,
        repository: &Repository,
    ) -> Result<Option<Credential>, OwnCredentialError> {
        for (host, file, path) in &self.files {
            if host != repository.registry() {
                continue;
            }
            let keyring = file
                .get(|contents| {
                    let bytes = contents.first().map(Vec::as_slice).unwrap_or_default();
                    Keyring::from_docker_config_json(bytes).map_err(|error| FileError::Content {
                        path: path.display().to_string(),
                        expected: "a docker configuration (config.json)",
                        words: error.to_string(),
                    })
                })
                .map_err(|source| OwnCredentialError::File { host: host.clone(), source })?;
            if let Some(credential) = keyring.credential_for(repository) {
                return Ok(Some(credential));
            }
        }
        for provider in &self.providers {
            if let Some(credential) = provider.credential_for(repository).await? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}
