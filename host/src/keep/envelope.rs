//! What every kept file begins with: a line that says what it is, in which format, and the checksum
//! of the rest.

use sha2::{Digest, Sha256};

/// The format that is written. A host reads this one and no other.
const FORMAT: u32 = 1;
const NAME: &str = "exphost";

/// Why a kept file is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It does not begin as it should.
    #[error("it was not written by exphost, or its beginning is damaged")]
    Foreign,
    /// It is of another format.
    #[error("it is of format {0}, and this exphost reads format {FORMAT}")]
    OtherFormat(u32),
    /// It is not what was written.
    #[error("it is damaged: its checksum does not fit")]
    Damaged,
    /// The checksum fits, and the content makes no sense.
    #[error("its content makes no sense: {0}")]
    Senseless(String),
    /// It is the state of something else.
    #[error("it holds the state of {found}, not of {wanted}")]
    OfSomethingElse {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// It is larger than any state may be.
    #[error("it has {0} bytes, more than any state may have")]
    TooLarge(u64),
    /// The operating system does not let it be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// The bytes of a file of this kind.
pub(super) fn seal(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{NAME} {kind} {FORMAT} {}\n", checksum(body)).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The body of a file of this kind.
pub(super) fn open<'a>(kind: &str, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Broken::Foreign)?;
    let (line, rest) = bytes.split_at(end);
    let line = std::str::from_utf8(line).map_err(|_| Broken::Foreign)?;
    let mut words = line.split(' ');
    if (words.next(), words.next()) != (Some(NAME), Some(kind)) {
        return Err(Broken::Foreign);
    }
    let format = words.next().and_then(|word| word.parse().ok()).ok_or(Broken::Foreign)?;
    if format != FORMAT {
        return Err(Broken::OtherFormat(format));
    }
    let body = rest.get(1..).unwrap_or_default();
    if words.next() != Some(checksum(body).as_str()) || words.next().is_some() {
        return Err(Broken::Damaged);
    }
    Ok(body)
}

fn checksum(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_can_be_opened_and_only_as_what_it_is() {
        let sealed = seal("state", b"body\nwith lines");
        assert_eq!(open("state", &sealed), Ok(&b"body\nwith lines"[..]));
        assert_eq!(open("orders", &sealed), Err(Broken::Foreign));
        assert_eq!(open("state", &seal("state", b"")), Ok(&b""[..]));
    }

    #[test]
    fn every_changed_byte_and_every_missing_end_is_noticed() {
        let sealed = seal("state", b"some body");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(open("state", &damaged).is_err(), "byte {at}");
            assert!(open("state", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_format_is_told_by_its_number() {
        let sealed = String::from_utf8(seal("state", b"x")).expect("text");
        let newer = sealed.replace("state 1 ", "state 2 ");
        assert_eq!(open("state", newer.as_bytes()), Err(Broken::OtherFormat(2)));
        assert_eq!(open("state", b""), Err(Broken::Foreign));
        assert_eq!(open("state", b"\n"), Err(Broken::Foreign));
    }
}
