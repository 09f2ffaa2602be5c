//! What the child process finds out, and that the parent survives all of it.

use std::path::Path;
use std::time::{Duration, Instant};

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection};

use exphost::plugin::error::{Fault, LoadError, OpenFault};
use exphost::plugin::identify::identify;
use exphost::plugin::library::Library;
use exphost::plugin::probe::probe;

use crate::support::{DEADLINE, EXPHOST, Workbench, behaving, good, identified_as, patched, set};

fn message(error: &LoadError) -> String {
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text.split_once(": ").expect("names the file").1.to_owned()
}

fn refused(bytes: &[u8]) -> LoadError {
    let error = Workbench::new().probed(bytes).expect_err("refused");
    assert!(error.hint().is_some());
    assert!(error.file().ends_with("libx.so"), "the original is named, not the copy");
    error
}

#[test]
fn a_good_plugin_gives_its_manifest_and_reads_configurations() {
    let bench = Workbench::new();
    let staged = bench.staged(good());
    let ask = |config: Option<&[u8]>| probe(Path::new(EXPHOST), &staged, config, DEADLINE);
    let report = ask(None).expect("good");
    assert_eq!(report.manifest.name, "handmade");
    assert_eq!(report.manifest.config_defaults["mode"], "serve");
    assert_eq!(report.config_problems, []);
    assert_eq!(ask(Some(br#"{"mode": "serve"}"#)).expect("good").config_problems, []);
    let report = ask(Some(br#"{"mode": 3}"#)).expect("good");
    assert_eq!((report.config_problems[0].key.as_str(), report.config_problems.len()), ("mode", 1));
    // Larger than a pipe, so that the parent has to feed it bit by bit.
    let large = format!(r#"{{"mode": "{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(ask(Some(large.as_bytes())).expect("good").config_problems, []);
}

#[test]
fn what_a_plugin_prints_is_not_taken_for_the_report() {
    let report = Workbench::new().probed(&behaving("noise")).expect("good");
    assert_eq!(report.manifest.name, "handmade");
    let report = Workbench::new().probed(&behaving("flood")).expect("good");
    assert_eq!(report.manifest.name, "handmade");
}

#[test]
fn a_plugin_that_crashes_is_refused() {
    let error = refused(&behaving("abort"));
    assert_eq!(
        message(&error),
        "cannot be loaded safely: the probe was killed by signal 6 (SIGABRT)"
    );
    assert_eq!(error.step(), "probe");
}

/// A copy that is as long as it should be, and zeros where the rest was not written yet: the tables
/// are whole, so only running it shows that the code is not there.
#[test]
fn a_file_with_holes_is_refused() {
    let library = ElfFile64::<Endianness>::parse(good()).expect("a library");
    let code = library.section_by_name(".text").and_then(|section| section.file_range());
    let (start, size) = code.expect("code");
    let mut bytes = good().to_vec();
    bytes[start as usize..(start + size) as usize].fill(0);
    let error = refused(&bytes);
    let expected = "cannot be loaded safely: the probe was killed by signal 11 (SIGSEGV)";
    assert_eq!(message(&error), expected);
    assert!(error.hint().is_some_and(|hint| hint.starts_with("is it still being written?")));
}

#[test]
fn a_plugin_that_exits_is_refused() {
    let error = refused(&behaving("exit"));
    assert_eq!(message(&error), "cannot be loaded safely: the probe ended early with exit code 7");
}

#[test]
fn a_plugin_that_hangs_is_given_up_at_the_deadline() {
    let bench = Workbench::new();
    let staged = bench.staged(&behaving("hang"));
    let begun = Instant::now();
    let error =
        probe(Path::new(EXPHOST), &staged, None, Duration::from_millis(300)).expect_err("late");
    assert_eq!(message(&error), "cannot be loaded safely: the probe did not end within 0.3 s");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_manifest_that_fails_is_told() {
    let error = refused(&behaving("fail"));
    assert_eq!(message(&error), "cannot give its manifest: the schema cannot be built");
    assert_eq!(error.step(), "manifest");
    assert_eq!(message(&refused(&behaving("panic"))), "cannot give its manifest: it panicked");
    let text = message(&refused(&behaving("garbage")));
    assert!(text.starts_with("cannot give its manifest: it is no manifest: "), "{text}");
}

#[test]
fn file_and_manifest_must_be_of_one_plugin() {
    let text = message(&refused(&behaving("rename")));
    assert_eq!(text, "its manifest says name `other`, its identity record `handmade`");
    let text = message(&refused(&identified_as(set("version", "3.2.1"))));
    assert_eq!(text, "its manifest says version `1.2.3`, its identity record `3.2.1`");
}

#[test]
fn a_program_that_is_no_probe_is_told_apart() {
    let bench = Workbench::new();
    let staged = bench.staged(good());
    let run = |exe: &str| probe(Path::new(exe), &staged, None, DEADLINE).expect_err("no probe");
    assert_eq!(
        message(&run("/bin/false")),
        "cannot be loaded safely: the probe ended early with exit code 1"
    );
    let text = message(&run("/bin/echo"));
    assert!(text.contains("report cannot be read"), "{text}");
    assert!(message(&run("/no/such/program")).starts_with("cannot be probed: No such file"));
}

#[test]
fn a_grandchild_that_holds_the_pipes_does_not_keep_the_parent() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Workbench::new();
    let staged = bench.staged(good());
    let script = bench.staging.path().join("script");
    std::fs::write(&script, "#!/bin/sh\nsetsid sleep 20 &\nexit 3\n").expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("set");
    let begun = Instant::now();
    let error = probe(&script, &staged, None, DEADLINE).expect_err("no probe");
    assert!(matches!(error.fault(), Fault::ProbeExited { code: 3, .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_missing_symbol_is_told_in_the_linkers_words() {
    // `RTLD_NOW`: it is missed at once, not at the first call.
    let bytes = patched(b"\0pthread_setspecific\0", b"\0pthread_setspecifiX\0");
    let text = message(&refused(&bytes));
    assert!(text.starts_with("cannot be opened: undefined symbol: pthread_setspecifiX"), "{text}");
}

#[test]
fn a_missing_library_is_named() {
    let error = refused(&patched(b"\0libc.so.6\0", b"\0libq.so.6\0"));
    let text = message(&error);
    assert!(text.contains("libq.so.6: cannot open shared object file"), "{text}");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("install the library")));
}

#[test]
fn types_that_differ_are_named_with_both_figures() {
    let bytes = patched(b"entered_at_ms", b"entered_at_us");
    let error = refused(&bytes);
    assert_eq!(error.step(), "layout");
    let text = message(&error);
    assert!(text.contains("TransitionReply (at run.vtable.transition): "), "{text}");
    assert!(
        text.contains("field: `entered_at_ms` in the host, `entered_at_us` in the plugin"),
        "{text}"
    );
    assert!(text.len() < 800, "{text}");
    assert!(error.detail().is_some_and(|report| report.len() > 1000), "the whole report is kept");
    // Opened in this process, it is refused in the same words.
    let bench = Workbench::new();
    let error = Library::open(bench.staged(&bytes)).expect_err("refused");
    assert_eq!(message(&error), text);
    assert!(matches!(error.fault(), Fault::Open(OpenFault::Layout { .. })));
}

#[test]
fn a_file_that_changed_after_it_was_identified_is_not_staged() {
    let bench = Workbench::new();
    let file = bench.file(good());
    let identity = identify(&file).expect("identified");
    bench.file(&behaving("abort"));
    let error = bench.staging.stage(&identity, 1).expect_err("changed");
    assert_eq!(
        (message(&error).as_str(), error.step()),
        ("changed while it was being loaded", "stage")
    );
    let left = std::fs::read_dir(bench.staging.path()).expect("read").count();
    assert_eq!(left, 0, "no half copy is left");
}

#[test]
fn copies_are_private_and_go_away() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Workbench::new();
    let staged = bench.staged(good());
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(bench.staging.path()), 0o700);
    assert_eq!(mode(staged.path()), 0o500);
    let hash = &staged.identity().sha256[..8];
    assert!(staged.path().ends_with(format!("handmade.1.{hash}.so")));
    let path = staged.path().to_owned();
    drop(staged);
    assert!(!path.exists());
    let directory = bench.staging.path().to_owned();
    drop(bench);
    assert!(!directory.exists());
}
