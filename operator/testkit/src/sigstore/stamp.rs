//! A timestamp authority: RFC 3161 tokens, by hand.

use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey as _};
use sha2::{Digest as _, Sha256};

use super::der::{integer, octets, oid, parts, sequence, set, tlv};

const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const TST_INFO: &[u64] = &[1, 2, 840, 113_549, 1, 9, 16, 1, 4];
const SIGNED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];
const CONTENT_TYPE: &[u64] = &[1, 2, 840, 113_549, 1, 9, 3];
const MESSAGE_DIGEST: &[u64] = &[1, 2, 840, 113_549, 1, 9, 4];

/// A token over a signature, by the authority with this key and certificate.
pub(super) fn token(key: &KeyPair, certificate: &[u8], signature: &[u8], at: Timestamp) -> Vec<u8> {
    let time = at.strftime("%Y%m%d%H%M%SZ").to_string();
    let info = sequence(&[
        integer(1),
        oid(&[1, 3, 6, 1, 4, 1, 57264, 2]),
        sequence(&[sequence(&[oid(SHA256)]), octets(&Sha256::digest(signature))]),
        integer(7),
        tlv(0x18, time.as_bytes()),
    ]);
    let attributes = [
        sequence(&[oid(CONTENT_TYPE), set(&[oid(TST_INFO)])]),
        sequence(&[oid(MESSAGE_DIGEST), set(&[octets(&Sha256::digest(&info))])]),
    ];
    let signed = key.sign(&set(&attributes)).unwrap();
    // Of a certificate: version, serial number, algorithm, issuer.
    let signed_part = parts(&parts(certificate)[0]);
    let signer = sequence(&[
        integer(1),
        sequence(&[signed_part[3].clone(), signed_part[1].clone()]),
        sequence(&[oid(SHA256)]),
        tlv(0xa0, &attributes.concat()),
        sequence(&[oid(ECDSA_WITH_SHA256)]),
        octets(&signed),
    ]);
    let data = sequence(&[
        integer(3),
        set(&[sequence(&[oid(SHA256)])]),
        sequence(&[oid(TST_INFO), tlv(0xa0, &octets(&info))]),
        set(&[signer]),
    ]);
    let content = sequence(&[oid(SIGNED_DATA), tlv(0xa0, &data)]);
    sequence(&[sequence(&[integer(0)]), content])
}
