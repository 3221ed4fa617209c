//! The cluster's certificate authority, its certificates, and kubeconfig files made of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

/// A certificate authority with its files in a folder.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// A new authority; writes `ca.crt`, `ca.key` and the ServiceAccount key `sa.key`, `sa.pub`.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "rollforward-e2e");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?.pem();
        fs::write(folder.join("ca.crt"), &certificate)?;
        fs::write(folder.join("ca.key"), key.serialize_pem())?;
        let accounts = KeyPair::generate()?;
        fs::write(folder.join("sa.key"), accounts.serialize_pem())?;
        fs::write(folder.join("sa.pub"), accounts.public_key_pem())?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key), certificate })
    }

    /// The authority's certificate file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Issues a certificate and answers its two files.
    pub fn issue(
        &self,
        name: &str,
        common_name: &str,
        groups: &[&str],
        addresses: &[&str],
    ) -> anyhow::Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = addresses
            .iter()
            .map(|address| match address.parse() {
                Ok(ip) => Ok(SanType::IpAddress(ip)),
                Err(_) => Ok(SanType::DnsName((*address).try_into()?)),
            })
            .collect::<anyhow::Result<_>>()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = (self.folder.join(format!("{name}.crt")), self.folder.join(format!("{name}.key")));
        fs::write(&files.0, certificate.pem())?;
        fs::write(&files.1, key.serialize_pem())?;
        Ok(files)
    }

    /// Issues a client certificate and writes a kubeconfig with it.
    pub fn kubeconfig(
        &self,
        name: &str,
        user: &str,
        groups: &[&str],
        server: &str,
    ) -> anyhow::Result<PathBuf> {
        let (certificate, key) = self.issue(name, user, groups, &[])?;
        let file = self.folder.join(format!("{name}.kubeconfig"));
        let encode =
            |path: &Path| fs::read(path).map(|bytes| STANDARD.encode(bytes)).context("a certificate");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "rollforward",
            "clusters": [{"name": "rollforward", "cluster": {
                "server": server, "certificate-authority-data": STANDARD.encode(&self.certificate)}}],
            "users": [{"name": name, "user": {
                "client-certificate-data": encode(&certificate)?, "client-key-data": encode(&key)?}}],
            "contexts": [{"name": "rollforward", "context": {"cluster": "rollforward", "user": name}}],
        });
        fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        Ok(file)
    }
}
