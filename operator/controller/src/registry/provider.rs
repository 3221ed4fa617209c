//! Credential providers: the kubelet's exec protocol, one program each for ECR, GAR, ACR and whoever speaks it.
//!
//! A program gets a `CredentialProviderRequest` on its standard input and answers a `CredentialProviderResponse`
//! (`credentialprovider.kubelet.k8s.io/v1`). Time and output are bounded; what it prints is a secret and is never repeated,
//! except the cleaned end of its standard error. Matching is the kubelet's (`pull_secret.rs`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollforward_core::image::Repository;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::credential::{Credential, Secret};
use super::pull_secret::{Keyring, Place};
use super::words::clean;

/// The one version of the protocol that is spoken.
pub const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

/// How long a program may take; the kubelet's number.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How much it may print: tokens are a few kilobytes each.
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;
/// How much of its complaints is read.
const MAX_ERROR_BYTES: u64 = 16 * 1024;
/// No answer is kept for longer, whatever the program says.
const LONGEST_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How many answers of one program are kept.
const MAX_KEPT: usize = 10_000;

/// A program, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Its name: the file in `folder`, and what a sentence calls it.
    pub name: String,
    /// Where the programs are.
    pub folder: PathBuf,
    /// The images that it is asked for, as the kubelet's `matchImages`.
    pub match_images: Vec<String>,
    /// How long an answer is kept that does not say.
    pub default_cache: Duration,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside the operator's own.
    pub variables: Vec<(String, String)>,
}

/// Why a program gave no credential. Never its output.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// It could not be started, or its pipes broke.
    #[error("credential provider {name} cannot be run: {source}")]
    Run {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with a fault.
    #[error("credential provider {name} ended with {status}: \"{words}\"")]
    Failed {
        /// Which one.
        name: String,
        /// How it ended.
        status: String,
        /// What it said on its standard error, cleaned and cut.
        words: String,
    },
    /// It took too long.
    #[error("credential provider {name} gave no answer within {seconds} s")]
    Silent {
        /// Which one.
        name: String,
        /// The limit.
        seconds: u64,
    },
    /// It printed too much.
    #[error("credential provider {name} printed more than {bytes} bytes")]
    TooMuch {
        /// Which one.
        name: String,
        /// The limit.
        bytes: u64,
    },
    /// Its answer is not of the protocol.
    #[error(
        "credential provider {name} answered with {what}; expected a CredentialProviderResponse of {API_VERSION}"
    )]
    Answer {
        /// Which one.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    kind: &'static str,
    api_version: &'static str,
    image: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    cache_key_type: String,
    cache_duration: Option<String>,
    #[serde(default)]
    auth: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// What an answer is kept for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Image(String),
    Registry(String),
    Global,
}

/// One program and its answers.
pub(super) struct Provider {
    settings: ProviderSettings,
    places: Vec<Place>,
    kept: Mutex<BTreeMap<Scope, (Keyring, Instant)>>,
    /// One run at a time for an image.
    running: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl Provider {
    pub(super) fn new(settings: ProviderSettings) -> Self {
        let places = settings.match_images.iter().map(|text| Place::parse(text)).collect();
        Self { settings, places, kept: Mutex::default(), running: Mutex::default() }
    }

    /// The credential for a repository; `None` where the program is not for it or has none.
    pub(super) async fn credential_for(
        &self,
        repository: &Repository,
    ) -> Result<Option<Credential>, ProviderError> {
        if !self.places.iter().any(|place| place.holds(repository)) {
            return Ok(None);
        }
        let image = repository.to_string();
        let turn = Arc::clone(self.running.lock().await.entry(image.clone()).or_default());
        let turn = turn.lock().await;
        let keyring = match self.kept(repository, &image).await {
            Some(keyring) => keyring,
            None => self.ask(repository, &image).await?,
        };
        drop(turn);
        // Nobody waits for it any more, or whoever does has it already.
        self.running.lock().await.retain(|_, turn| 1 < Arc::strong_count(turn));
        Ok(keyring.credential_for(repository))
    }

    async fn kept(&self, repository: &Repository, image: &str) -> Option<Keyring> {
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        kept.retain(|_, (_, until)| now < *until);
        let scopes = [
            Scope::Image(image.to_owned()),
            Scope::Registry(repository.registry().to_owned()),
            Scope::Global,
        ];
        scopes.iter().find_map(|scope| kept.get(scope)).map(|(keyring, _)| keyring.clone())
    }

    async fn ask(&self, repository: &Repository, image: &str) -> Result<Keyring, ProviderError> {
        let output = self.run(image).await?;
        let fault = |what| ProviderError::Answer { name: self.settings.name.clone(), what };
        // The parser's own words could quote a password.
        let response: Response =
            serde_json::from_slice(&output).map_err(|_| fault("JSON of another form"))?;
        if response.api_version != API_VERSION || response.kind != "CredentialProviderResponse" {
            return Err(fault("another kind or version"));
        }
        let scope = match response.cache_key_type.as_str() {
            "Image" => Scope::Image(image.to_owned()),
            "Registry" => Scope::Registry(repository.registry().to_owned()),
            "Global" => Scope::Global,
            _ => return Err(fault("no valid cacheKeyType")),
        };
        let kept_for = match &response.cache_duration {
            None => self.settings.default_cache,
            Some(text) => go_duration(text).ok_or_else(|| fault("a cacheDuration that is none"))?,
        };
        let mut keyring = Keyring::default();
        for (location, auth) in response.auth {
            keyring.add(&location, Credential::new(auth.username, Secret::new(auth.password)));
        }
        if !kept_for.is_zero() {
            let mut kept = self.kept.lock().await;
            if MAX_KEPT <= kept.len() {
                kept.clear();
            }
            let until = Instant::now().checked_add(kept_for.min(LONGEST_KEPT));
            kept.extend(until.map(|until| (scope, (keyring.clone(), until))));
        }
        Ok(keyring)
    }

    async fn run(&self, image: &str) -> Result<Vec<u8>, ProviderError> {
        let name = || self.settings.name.clone();
        let failed = |source| ProviderError::Run { name: name(), source };
        let request = Request { kind: "CredentialProviderRequest", api_version: API_VERSION, image };
        let request = serde_json::to_vec(&request).map_err(|error| failed(error.into()))?;
        let mut child = Command::new(self.settings.folder.join(&self.settings.name))
            .args(&self.settings.arguments)
            .envs(self.settings.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let talk = talk(&mut child, &request);
        let Ok(result) = tokio::time::timeout(TIMEOUT, talk).await else {
            return Err(ProviderError::Silent { name: name(), seconds: TIMEOUT.as_secs() });
        };
        let (output, words) = result.map_err(failed)?;
        if MAX_OUTPUT_BYTES <= output.len() as u64 {
            return Err(ProviderError::TooMuch { name: name(), bytes: MAX_OUTPUT_BYTES });
        }
        let Ok(status) = tokio::time::timeout(TIMEOUT, child.wait()).await else {
            return Err(ProviderError::Silent { name: name(), seconds: TIMEOUT.as_secs() });
        };
        let status = status.map_err(failed)?;
        if status.success() {
            return Ok(output);
        }
        let words = clean(String::from_utf8_lossy(&words).trim());
        Err(ProviderError::Failed { name: name(), status: status.to_string(), words })
    }
}

/// Hands over the request and reads what is printed, both within their limits.
async fn talk(child: &mut Child, request: &[u8]) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input may still answer.
            let _ = stdin.write_all(request).await;
        }
    };
    let (mut output, mut words) = (Vec::new(), Vec::new());
    let read_output = async {
        match stdout {
            Some(stdout) => stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut output).await,
            None => Ok(0),
        }
    };
    let read_words = async {
        match stderr {
            Some(stderr) => stderr.take(MAX_ERROR_BYTES).read_to_end(&mut words).await,
            None => Ok(0),
        }
    };
    let ((), first, second) = tokio::join!(write, read_output, read_words);
    first.and(second)?;
    Ok((output, words))
}

/// A duration as Go prints it: `6h0m0s`, `1.5h`, `300ms`.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_go_prints_it_and_nothing_else() {
        let millis = |text: &str| go_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("6h0m0s"), Some(21_600_000));
        assert_eq!(millis("1.5h"), Some(5_400_000));
        assert_eq!(millis("300ms"), Some(300));
        assert_eq!(millis("0s"), Some(0));
        assert_eq!(millis("0"), Some(0));
        for hostile in ["", "1", "-1h", "1d", "h", ".h", "99999999999999999999999h", "1h2", "NaNs", "1e9h"] {
            assert_eq!(millis(hostile), None, "{hostile:?}");
        }
    }
}
