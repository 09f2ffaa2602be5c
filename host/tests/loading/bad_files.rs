//! What identification refuses, and in which words.

use std::path::Path;

use exphost::plugin::error::Fault;
use exphost::plugin::identify::{ENTRY_SYMBOL, identify, identify_bytes};
use plugin_api::abi::identity::API_VERSION;

use crate::support::{Workbench, good, identified_as, patched, set, without_identity};

/// Identifies `bytes`; the message without the file, the hint.
fn refused(bytes: &[u8]) -> (String, String) {
    let bench = Workbench::new();
    let error = bench.identified(bytes).expect_err("refused");
    let text = error.to_string();
    let prefix = format!("{}: ", error.file().display());
    assert!(!text.contains('\n') && text.len() < prefix.len() + 200, "one short line: {text}");
    assert_eq!(error.step(), "identify");
    (text.strip_prefix(&prefix).expect("names the file").to_owned(), error.hint().expect("a hint"))
}

fn with_byte(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = good().to_vec();
    bytes[at] = value;
    bytes
}

#[test]
fn the_good_file_says_who_it_is() {
    let bench = Workbench::new();
    let identity = bench.identified(good()).expect("identified");
    assert_eq!(
        (identity.name.as_str(), identity.version.to_string()),
        ("handmade", "1.2.3".into())
    );
    assert_eq!(identity.api_version.to_string(), API_VERSION);
    assert!(identity.unwind);
    assert!(identity.rustc.starts_with("rustc 1."), "{}", identity.rustc);
    assert!(identity.description.starts_with("A plugin written by hand"));
    assert_eq!(identity.authors, ["The exphost founders"]);
    assert_eq!(identity.crate_name, "handmade");
    assert_eq!(identity.size, good().len() as u64);
    let hash = std::process::Command::new("sha256sum").arg(&identity.file).output();
    if let Ok(output) = hash {
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.split(' ').next(), Some(identity.sha256.as_str()));
    }
}

#[test]
fn what_is_no_library_is_told_apart() {
    let executable = std::fs::read(std::env::current_exe().expect("a path")).expect("read");
    let mut object_file = with_byte(16, 1);
    object_file[17] = 0;
    for (bytes, message) in [
        (&b""[..], "empty file"),
        (b"[config]\nname = \"x\"\n", "not a shared library"),
        (b"\x7fEL", "not a shared library"),
        (&executable, "not a shared library but an executable"),
        (&with_byte(16, 2), "not a shared library but an executable"),
        (&object_file, "not a shared library but an object file that was not linked"),
        (&with_byte(4, 1), "a 32-bit library; this host is 64-bit"),
    ] {
        assert_eq!(refused(bytes).0, message);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn another_machine_is_named_with_this_one() {
    let (message, hint) = refused(&with_byte(18, 183));
    assert_eq!(message, "built for aarch64; this host runs on x86_64");
    assert_eq!(hint, "build the plugin for x86_64");
}

#[test]
fn what_is_no_file_or_not_readable_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = identify(directory.path()).expect_err("refused");
    assert!(error.to_string().ends_with(": not a file but a directory"), "{error}");
    let error = identify(&directory.path().join("no.so")).expect_err("refused");
    assert!(error.to_string().contains("no.so: cannot be read: No such file"), "{error}");
    let pipe = directory.path().join("pipe.so");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
    assert!(made.success());
    let error = identify(&pipe).expect_err("refused, and without waiting for a writer");
    assert!(error.to_string().ends_with(": not a file but a pipe"), "{error}");
}

#[test]
fn a_library_that_is_no_plugin_is_told() {
    let (message, hint) = refused(&without_identity());
    assert_eq!(message, "not an exphost plugin: no identity record, so no export_service!");
    assert!(hint.contains("export_service!"), "{hint}");
    let mut other = ENTRY_SYMBOL.to_owned().into_bytes();
    other[0] = b'X';
    let message = refused(&patched(ENTRY_SYMBOL.as_bytes(), &other)).0;
    assert_eq!(message, format!("exports no entry for the host ({ENTRY_SYMBOL})"));
}

#[test]
fn an_identity_record_that_cannot_be_read_is_told() {
    let message = refused(&patched(b"exphost-plugin 1\0", b"exphost-plugin 2\0")).0;
    assert_eq!(
        message,
        "its identity record begins with `exphost-plugin 2`; this host reads `exphost-plugin 1`"
    );
    for (bytes, reason) in [
        (identified_as(set("name", "../etc")), "`../etc` is not a name for a plugin"),
        (identified_as(set("unwind", "yes")), "unwind is `yes`"),
        (identified_as(|entries| entries.retain(|e| !e.starts_with("rustc="))), "no `rustc` in it"),
        (identified_as(|entries| entries[3] = "api".into()), "an entry has no key"),
        (
            identified_as(|entries| entries.insert(1, "name=x".into())),
            "a key is there twice: two export_service! in one library?",
        ),
        (patched(b"unwind=true\0", b"unwind=\xff\xff\xff\xff\0"), "it is not UTF-8"),
    ] {
        assert_eq!(refused(&bytes).0, format!("its identity record cannot be read: {reason}"));
    }
}

#[test]
fn versions_are_judged() {
    let (message, hint) = refused(&identified_as(set("version", "1.2")));
    assert!(message.starts_with("its version `1.2` is not a version: "), "{message}");
    assert!(hint.contains("Cargo.toml"));
    let (message, hint) = refused(&identified_as(set("api", "2.0.0")));
    assert_eq!(
        message,
        format!("built with plugin-api 2.0.0; this host has {API_VERSION}, another major version")
    );
    assert_eq!(hint, "update exphost to one with plugin-api 2.0");
    let (_, hint) = refused(&identified_as(set("api", "0.9.0")));
    assert_eq!(hint, format!("rebuild the plugin with plugin-api {API_VERSION}"));
    let (message, hint) = refused(&identified_as(set("api", "1.99.0")));
    assert_eq!(
        message,
        format!("built with plugin-api 1.99.0, newer than this host's {API_VERSION}")
    );
    assert!(hint.contains("update exphost") && hint.contains("rebuild"), "{hint}");
    let bench = Workbench::new();
    let patch = identified_as(set("api", "1.0.99"));
    assert_eq!(
        bench.identified(&patch).expect("a patch version is no matter").api_version.patch,
        99
    );
}

#[test]
fn a_plugin_that_aborts_on_panic_is_refused() {
    let (message, hint) = refused(&identified_as(set("unwind", "false")));
    assert_eq!(message, "built with panic = \"abort\": a panic in it would kill the host");
    assert!(hint.contains("profile"), "{hint}");
}

#[test]
fn terminal_control_characters_do_not_pass() {
    let bench = Workbench::new();
    let identity = bench.identified(&identified_as(set("rustc", "a\x1b[2Jb\nc"))).expect("good");
    assert_eq!(identity.rustc, "a [2Jb c");
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = good();
    let file = Path::new("x.so");
    let steps = bytes.len() / 4000 + 1;
    let ends =
        (0..2048).chain((2048..bytes.len()).step_by(steps)).chain(bytes.len() - 512..bytes.len());
    let mut truncated = 0;
    for end in ends {
        match identify_bytes(file, &bytes[..end]).expect_err("truncated") {
            Fault::Truncated { needs, has, .. } => {
                assert!(has == end as u64 && needs > has);
                truncated += 1;
            }
            fault => assert!(end < 16, "at {end}: {fault}"),
        }
    }
    assert!(truncated > 4000, "{truncated}");
    let (message, hint) = refused(&bytes[..300_000.min(bytes.len() - 1)]);
    assert!(message.starts_with("truncated: the section table ends at byte "), "{message}");
    assert!(hint.starts_with("is it still being written?"), "{hint}");
}

/// A generator of the same numbers on each run (xorshift), so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Damages the parts that are read: the headers, the tables, the record. Whatever comes of it, it
/// must be an answer and not a panic.
#[test]
fn no_damage_makes_identification_panic() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut bytes = good().to_vec();
    let sections = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes")) as usize;
    let record = crate::support::only_place(&bytes, b"exphost-plugin 1\0");
    let regions =
        [(0, 64), (0, 1024), (sections, bytes.len()), (record, record + 256), (0, bytes.len())];
    let mut accepted = 0;
    for round in 0..4_000 {
        let (start, end) = regions[round % regions.len()];
        let flips: Vec<(usize, u8)> = (0..=numbers.below(4))
            .map(|_| (start + numbers.below(end - start), numbers.below(255) as u8 + 1))
            .collect();
        for (at, mask) in &flips {
            bytes[*at] ^= mask;
        }
        accepted += usize::from(identify_bytes(Path::new("x.so"), &bytes).is_ok());
        for (at, mask) in &flips {
            bytes[*at] ^= mask;
        }
    }
    assert!((1..4_000).contains(&accepted), "{accepted} accepted: the damage hits nothing or all");
}
