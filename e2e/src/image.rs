//! Sample images without an image builder: one static program in one layer, pushed by the registry's HTTP API.
//!
//! The program is compiled once a process; each version carries its own VERSION file, so that digests differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An image to push.
#[derive(Debug, Clone)]
pub struct Image {
    version: String,
    arguments: Vec<String>,
    entrypoint: Option<String>,
    user: String,
    architecture: String,
    foreign: bool,
}

impl Image {
    /// A well-behaved program of this version.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            arguments: Vec::new(),
            entrypoint: None,
            user: String::new(),
            architecture: native_architecture().to_owned(),
            foreign: false,
        }
    }

    /// Arguments of the program: see `images/app.c`.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// Another entrypoint than the program that is there.
    pub fn entrypoint(mut self, path: &str) -> Self {
        self.entrypoint = Some(path.to_owned());
        self
    }

    /// The user of the image's config.
    pub fn user(mut self, user: &str) -> Self {
        self.user = user.to_owned();
        self
    }

    /// A program of another machine, whatever the config says.
    pub fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// The architecture of the image's config.
    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.to_owned();
        self
    }
}

/// The architecture of this machine as images name it.
pub fn native_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Pushes to one registry.
#[derive(Debug, Clone)]
pub struct Pusher {
    base: String,
    http: reqwest::Client,
    program: Vec<u8>,
}

impl Pusher {
    /// For the registry at `host:port`, plain http; compiles the sample program into the folder.
    pub fn new(host: &str, folder: &Path) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().build().context("an http client")?;
        Ok(Self { base: format!("http://{host}/v2"), http, program: compile(folder)? })
    }

    /// Pushes an image and answers its digest.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> anyhow::Result<String> {
        let layer = self.layer(image)?;
        let entrypoint = image.entrypoint.clone().unwrap_or_else(|| "/app".to_owned());
        let config = json!({
            "architecture": image.architecture,
            "os": "linux",
            "config": {"Entrypoint": [entrypoint], "Cmd": image.arguments, "User": image.user,
                       "Labels": {"org.opencontainers.image.version": image.version}},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        self.push_parts(repository, tag, &config, &[("application/vnd.oci.image.layer.v1.tar", layer)]).await
    }

    /// Pushes a config and layers as an image.
    pub async fn push_parts(
        &self,
        repository: &str,
        tag: &str,
        config: &Value,
        layers: &[(&str, Vec<u8>)],
    ) -> anyhow::Result<String> {
        let config = serde_json::to_vec(config)?;
        self.blob(repository, &config).await?;
        let mut described = Vec::new();
        for (kind, layer) in layers {
            self.blob(repository, layer).await?;
            described.push(json!({"mediaType": kind, "digest": digest(layer), "size": layer.len()}));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
            "layers": described,
        });
        let manifest = serde_json::to_vec(&manifest)?;
        self.manifest(repository, tag, "application/vnd.oci.image.manifest.v1+json", manifest).await
    }

    /// Puts a manifest as it is.
    pub async fn manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<String> {
        let named = digest(&body);
        let url = format!("{}/{repository}/manifests/{tag}", self.base);
        let answer = self.http.put(url).header("content-type", kind).body(body).send().await?;
        if !answer.status().is_success() {
            bail!("PUT manifest {repository}:{tag}: {} {}", answer.status(), answer.text().await?);
        }
        Ok(named)
    }

    /// Deletes a manifest by digest.
    pub async fn delete(&self, repository: &str, digest: &str) -> anyhow::Result<()> {
        let url = format!("{}/{repository}/manifests/{digest}", self.base);
        let answer = self.http.delete(url).send().await?;
        if !answer.status().is_success() {
            bail!("DELETE manifest {repository}@{digest}: {}", answer.status());
        }
        Ok(())
    }

    /// Puts a blob that is not there yet.
    pub async fn blob(&self, repository: &str, content: &[u8]) -> anyhow::Result<()> {
        let named = digest(content);
        let head = self.http.head(format!("{}/{repository}/blobs/{named}", self.base)).send().await?;
        if head.status().is_success() {
            return Ok(());
        }
        let begun = self.http.post(format!("{}/{repository}/blobs/uploads/", self.base)).send().await?;
        let place = begun.headers().get("location").context("an upload's location")?.to_str()?.to_owned();
        let mark = if place.contains('?') { '&' } else { '?' };
        let url = format!("{place}{mark}digest={named}");
        let put =
            self.http.put(url).header("content-type", "application/octet-stream").body(content.to_vec());
        let done = put.send().await?;
        if !done.status().is_success() {
            bail!("PUT blob {repository}@{named}: {} {}", done.status(), done.text().await?);
        }
        Ok(())
    }

    fn layer(&self, image: &Image) -> anyhow::Result<Vec<u8>> {
        let mut program = self.program.clone();
        if image.foreign {
            // An ELF file names its machine in the two bytes at 18; this is RISC-V.
            program[18..20].copy_from_slice(&[0xf3, 0]);
        }
        archive(&[
            ("app".to_owned(), 0o755, program),
            ("VERSION".to_owned(), 0o644, image.version.as_bytes().to_vec()),
        ])
    }
}

/// A tar archive of files: path, mode, content.
pub fn archive(files: &[(String, u32, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_cksum();
        builder.append_data(&mut header, path, content.as_slice())?;
    }
    Ok(builder.into_inner()?)
}

/// `sha256:` and the hash of the content.
pub fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn compile(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/app.c");
    let program: PathBuf = folder.join("app");
    let built = Command::new("gcc").args(["-static", "-O2", "-s", "-o"]).arg(&program).arg(&source).status();
    if !built.context("gcc")?.success() {
        bail!("gcc could not compile {} statically: apt-get install libc6-dev", source.display());
    }
    std::fs::read(&program).context("the compiled sample program")
}

/// Labels of the sample workloads.
pub fn labels(name: &str) -> BTreeMap<String, String> {
    [("app".to_owned(), name.to_owned())].into()
}
