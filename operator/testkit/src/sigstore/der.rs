//! As much DER as certificates with a log's stamp and timestamps need: written by hand, and cut out of certificates.

/// A value with its tag and length.
pub(super) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match value.len() {
        short @ 0..=127 => out.push(u8::try_from(short).unwrap()),
        long => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap());
            out.extend(bytes);
        }
    }
    out.extend_from_slice(value);
    out
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(super) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

pub(super) fn integer(value: u8) -> Vec<u8> {
    tlv(0x02, &[value])
}

pub(super) fn octets(value: &[u8]) -> Vec<u8> {
    tlv(0x04, value)
}

pub(super) fn utf8(text: &str) -> Vec<u8> {
    tlv(0x0c, text.as_bytes())
}

pub(super) fn oid(numbers: &[u64]) -> Vec<u8> {
    let mut out = vec![u8::try_from(numbers[0] * 40 + numbers[1]).unwrap()];
    for number in &numbers[2..] {
        let mut bytes = vec![u8::try_from(number & 0x7f).unwrap()];
        let mut rest = number >> 7;
        while rest > 0 {
            bytes.push(0x80 | u8::try_from(rest & 0x7f).unwrap());
            rest >>= 7;
        }
        bytes.reverse();
        out.extend(bytes);
    }
    tlv(0x06, &out)
}

/// The values inside a constructed value, each with tag and length.
pub(super) fn parts(der: &[u8]) -> Vec<Vec<u8>> {
    let (start, end) = bounds(der);
    let mut rest = &der[start..end];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (_, end) = bounds(rest);
        found.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    found
}

/// Where the first value begins and ends.
fn bounds(der: &[u8]) -> (usize, usize) {
    let first = usize::from(der[1]);
    if first < 0x80 {
        return (2, 2 + first);
    }
    let width = first & 0x7f;
    let length = der[2..2 + width].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    (2 + width, 2 + width + length)
}
