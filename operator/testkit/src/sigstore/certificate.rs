//! A certificate authority as Fulcio is one: short-lived certificates with claims, and the stamp of a certificate log in them.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, SigningKey as _,
};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::der::{octets, oid, parts, sequence, utf8};

const FULCIO: [u64; 8] = [1, 3, 6, 1, 4, 1, 57264, 1];
const STAMPS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// An authority that signs certificates.
#[derive(Debug)]
pub(super) struct Authority {
    key: KeyPair,
    parameters: CertificateParams,
    pub(super) certificate: Vec<u8>,
}

impl Authority {
    pub(super) fn new(name: &str, now: Timestamp) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.not_before = moment(now, -SignedDuration::from_hours(24 * 30));
        parameters.not_after = moment(now, SignedDuration::from_hours(24 * 365));
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().der().to_vec();
        Self { key, parameters, certificate }
    }

    fn issue(&self, parameters: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        let mut parameters = parameters.clone();
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let issuer = Issuer::from_params(&self.parameters, &self.key);
        parameters.signed_by(key, &issuer).unwrap().der().to_vec()
    }

    /// A certificate for timestamps.
    pub(super) fn for_timestamps(&self, key: &KeyPair, now: Timestamp) -> Vec<u8> {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "timestamps");
        // Critical, as RFC 3161 wants it.
        let usage = sequence(&[oid(&[1, 3, 6, 1, 5, 5, 7, 3, 8])]);
        let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], usage);
        usage.set_criticality(true);
        parameters.custom_extensions.push(usage);
        parameters.not_before = moment(now, -SignedDuration::from_hours(24 * 20));
        parameters.not_after = moment(now, SignedDuration::from_hours(24 * 300));
        self.issue(&parameters, key)
    }

    /// A signer's certificate: subject, issuer, claims by the number of their extension, valid for ten minutes from a time.
    pub(super) fn for_signing(
        &self,
        key: &KeyPair,
        who: &Who<'_>,
        log: Option<&KeyPair>,
        not_before: Timestamp,
    ) -> Vec<u8> {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.serial_number = Some(SerialNumber::from(77_u64));
        parameters.subject_alt_names = vec![SanType::URI(who.subject.try_into().unwrap())];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        parameters.not_before = moment(not_before, SignedDuration::ZERO);
        parameters.not_after = moment(not_before, SignedDuration::from_mins(10));
        // The issuer twice: as bytes under its old number, which verifiers still ask for, and as text under its new one.
        let old: Vec<u64> = FULCIO.into_iter().chain([1]).collect();
        let old = CustomExtension::from_oid_content(&old, who.issuer.as_bytes().to_vec());
        parameters.custom_extensions.push(old);
        for (claim, value) in [(8, who.issuer)].into_iter().chain(who.claims.iter().copied()) {
            let number: Vec<u64> = FULCIO.into_iter().chain([claim]).collect();
            parameters.custom_extensions.push(CustomExtension::from_oid_content(&number, utf8(value)));
        }
        if let Some(log) = log {
            // The log stamps the certificate as it is without the stamp.
            let bare = parts(&self.issue(&parameters, key))[0].clone();
            let stamp = octets(&self.stamp(log, &bare, not_before));
            parameters.custom_extensions.push(CustomExtension::from_oid_content(STAMPS, stamp));
        }
        self.issue(&parameters, key)
    }

    /// A list of one signed certificate timestamp (RFC 6962, 3.2 and 3.3).
    fn stamp(&self, log: &KeyPair, certificate: &[u8], at: Timestamp) -> Vec<u8> {
        let time = u64::try_from(at.as_millisecond()).unwrap().to_be_bytes();
        let length = u32::try_from(certificate.len()).unwrap().to_be_bytes();
        let issuer = Sha256::digest(self.key.subject_public_key_info());
        let signed = [&[0, 0][..], &time, &[0, 1], &issuer, &length[1..], certificate, &[0, 0]].concat();
        let signature = log.sign(&signed).unwrap();
        let id = Sha256::digest(log.subject_public_key_info());
        let length = u16::try_from(signature.len()).unwrap().to_be_bytes();
        let stamp = [&[0][..], &id, &time, &[0, 0, 4, 3], &length, &signature].concat();
        let length = u16::try_from(stamp.len()).unwrap();
        [&(length + 2).to_be_bytes()[..], &length.to_be_bytes(), &stamp].concat()
    }
}

/// Who signs.
#[derive(Debug, Clone)]
pub struct Who<'a> {
    /// The subject of the certificate.
    pub subject: &'a str,
    /// Who vouches for the subject.
    pub issuer: &'a str,
    /// Claims, by the number of Fulcio's extension: 14 is the ref of the source repository.
    pub claims: Vec<(u64, &'a str)>,
}

fn moment(at: Timestamp, offset: SignedDuration) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.checked_add(offset).unwrap().as_second()).unwrap()
}
