//! Who a library file says it is, readable without running any of its code.
//!
//! `export_service!` leaves a record in a section of its own: the magic line, then `key=value`
//! entries, each ended by a zero byte. The host reads it out of the file's bytes.

/// Name of the ELF section that holds the record.
pub const SECTION: &str = ".exphost_identity";

/// How the record begins. A change of the record's form changes this text.
pub const MAGIC: &str = "exphost-plugin 1";

/// Version of this crate, and so of the boundary: see [`compatible`].
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The compiler that built this crate, as `rustc --version` says it.
pub const RUSTC: &str = env!("PLUGIN_API_RUSTC");

/// The target triple that this crate was built for.
pub const TARGET: &str = env!("PLUGIN_API_TARGET");

/// Whether a host with plugin-api `host` may load a plugin built with plugin-api `plugin`, both as
/// (major, minor): the same major, and a minor that the host knows. A newer minor may call host
/// functions that an older host does not have.
#[must_use]
pub const fn compatible(host: (u64, u64), plugin: (u64, u64)) -> bool {
    host.0 == plugin.0 && plugin.1 <= host.1
}

/// Length of the record of `parts`: the magic, then key, value, key, value…
#[must_use]
pub const fn record_len(parts: &[&str]) -> usize {
    let mut len = MAGIC.len() + 1;
    let mut i = 0;
    while i < parts.len() {
        len += parts[i].len() + 1;
        i += 1;
    }
    len
}

/// The record of `parts`, built at compile time; `N` is [`record_len`] of the same parts.
#[must_use]
pub const fn record<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut out = [0_u8; N];
    let mut at = copy(&mut out, 0, MAGIC.as_bytes());
    at += 1;
    let mut i = 0;
    while i < parts.len() {
        at = copy(&mut out, at, parts[i].as_bytes());
        if i % 2 == 0 {
            out[at] = b'=';
        }
        at += 1;
        i += 1;
    }
    out
}

const fn copy(out: &mut [u8], mut at: usize, bytes: &[u8]) -> usize {
    let mut i = 0;
    while i < bytes.len() {
        out[at] = bytes[i];
        at += 1;
        i += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_reads_back() {
        const PARTS: &[&str] = &["name", "heartbeat", "version", "1.2.3"];
        const RECORD: [u8; record_len(PARTS)] = record(PARTS);
        assert_eq!(&RECORD[..], b"exphost-plugin 1\0name=heartbeat\0version=1.2.3\0");
    }

    #[test]
    fn only_the_same_major_and_a_known_minor_are_compatible() {
        assert!(compatible((1, 2), (1, 2)));
        assert!(compatible((1, 2), (1, 0)));
        assert!(!compatible((1, 2), (1, 3)));
        assert!(!compatible((2, 0), (1, 0)));
        assert!(!compatible((1, 0), (2, 0)));
    }
}
