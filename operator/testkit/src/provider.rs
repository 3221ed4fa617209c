//! A credential provider of our own: a program that speaks the kubelet's exec protocol and remembers what it was asked.
//!
//! A shell script, so that it runs wherever the tests do; it is what the kubelet would start, with the same input.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A program in a folder of its own.
#[derive(Debug)]
pub struct TestProvider {
    folder: PathBuf,
    name: String,
}

impl TestProvider {
    /// Writes the program. It prints `answer` and ends with `status`; each request is appended to its log.
    #[must_use]
    pub fn new(folder: &Path, name: &str, answer: &str, status: u8) -> Self {
        let provider = Self { folder: folder.to_owned(), name: name.to_owned() };
        provider.say(answer, status);
        provider
    }

    /// Changes what the program prints.
    pub fn say(&self, answer: &str, status: u8) {
        let log = self.log();
        let body = format!(
            "#!/bin/sh\n{{ cat; echo \" $TEST_VARIABLE $*\"; }} >> '{}'\ncat <<'ANSWER'\n{answer}\nANSWER\n\
             echo 'words on standard error' >&2\nexit {status}\n",
            log.display()
        );
        self.script(&body);
    }

    /// Makes the program any script.
    pub fn script(&self, body: &str) {
        // A new file under the same name: one that is running cannot be written to.
        let (new, path) = (self.folder.join("new"), self.folder.join(&self.name));
        std::fs::write(&new, body).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    /// What it was asked so far, a line a request.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

/// An answer in the protocol's form.
#[must_use]
pub fn answer(cache_key_type: &str, cache_duration: Option<&str>, auth: &[(&str, &str, &str)]) -> String {
    let auth: serde_json::Map<String, serde_json::Value> = auth
        .iter()
        .map(|(image, username, password)| {
            ((*image).to_owned(), serde_json::json!({"username": username, "password": password}))
        })
        .collect();
    let mut body = serde_json::json!({"kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "cacheKeyType": cache_key_type, "auth": auth});
    if let Some(duration) = cache_duration {
        body["cacheDuration"] = duration.into();
    }
    body.to_string()
}
