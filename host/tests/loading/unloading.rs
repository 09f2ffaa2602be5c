//! A library is closed when nothing leads into it any more, and else says why it is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exphost::message::Envelope;
use exphost::plugin::library::Library;
use exphost::plugin::unload::{KeptReason, Unloaded, WITHIN, unload};
use plugin_api::abi::{EnvelopeKind, RunOutcome};
use serde_json::json;

use crate::running::{House, leaving};
use crate::support::{DEADLINE, Workbench, fixture, good};

/// Whether anything of a file is mapped into this process.
fn is_mapped(file: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    maps.contains(file.to_str().expect("no strange name"))
}

/// Opens a fixture; also where its private copy is.
fn opened(bench: &Workbench, package: &str) -> (Arc<Library>, PathBuf) {
    let staged = bench.staged(&fixture(package));
    let path = staged.path().to_owned();
    (Arc::new(Library::open(staged).expect("opened")), path)
}

fn sole(library: Arc<Library>) -> Library {
    Arc::into_inner(library).expect("nobody else has it")
}

/// Runs `fixture-leftovers` and takes leave of it.
fn after_leaving(what: &str, within: Duration) -> (Unloaded, Workbench, PathBuf) {
    let bench = Workbench::new();
    let (library, path) = opened(&bench, "fixture-leftovers");
    House::new().run(&library, &leaving(what));
    assert!(is_mapped(&path));
    (unload(sole(library), within), bench, path)
}

#[test]
fn a_plugin_that_ended_cleanly_is_closed_and_its_copy_deleted() {
    let (unloaded, _bench, path) = after_leaving("nothing", WITHIN);
    assert_eq!(unloaded, Unloaded::Closed);
    assert!(!is_mapped(&path));
    assert!(!path.exists());
}

#[test]
fn a_plugin_that_only_answered_questions_is_closed() {
    let bench = Workbench::new();
    let (library, path) = opened(&bench, "fixture-leftovers");
    assert_eq!(library.manifest().expect("a manifest").name, "fixture-leftovers");
    assert_eq!(library.check_config(br#"{"leave": "the planet"}"#).len(), 1);
    assert_eq!(unload(sole(library), WITHIN), Unloaded::Closed);
    assert!(!is_mapped(&path));
}

#[test]
fn a_thread_that_ends_a_little_later_is_waited_for() {
    let (unloaded, _bench, path) = after_leaving("late_thread", DEADLINE);
    assert_eq!(unloaded, Unloaded::Closed);
    assert!(!is_mapped(&path));
}

#[test]
fn a_thread_that_never_ends_is_named_and_keeps_its_library() {
    let (unloaded, _bench, path) = after_leaving("thread", Duration::from_millis(20));
    let Unloaded::Kept { reason: KeptReason::Threads { alive } } = &unloaded else {
        panic!("{unloaded:?}");
    };
    assert_eq!(alive.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["endless"]);
    assert!(alive.iter().all(|(number, _)| *number > 0));
    assert!(is_mapped(&path) && path.exists());
}

#[test]
fn a_signal_handler_keeps_its_library() {
    let (unloaded, _bench, path) = after_leaving("signal_handler", WITHIN);
    let Unloaded::Kept { reason } = unloaded else { panic!("closed with the handler in it") };
    assert_eq!(reason.to_string(), "the handler of SIGUSR1 is in it");
    assert!(is_mapped(&path));
}

#[test]
fn a_library_that_came_along_keeps_the_plugin() {
    let bench = Workbench::new();
    let (library, path) = opened(&bench, "fixture-companion");
    House::new().run(&library, &json!({}));
    let reason = KeptReason::BroughtAlong { libraries: vec!["libutil.so.1".to_owned()] };
    assert_eq!(unload(sole(library), WITHIN), Unloaded::Kept { reason });
    assert!(is_mapped(&path));
}

#[test]
fn a_plugin_that_cannot_tell_is_kept() {
    let bench = Workbench::new();
    let library = bench.opened(good());
    let unloaded = unload(sole(library), WITHIN);
    let Unloaded::Kept { reason: KeptReason::CannotTell(reason) } = unloaded else {
        panic!("{unloaded:?}");
    };
    assert!(reason.starts_with("it cannot count its threads and keys"), "{reason}");
}

#[test]
fn what_the_linker_keeps_is_seen_and_held() {
    let bench = Workbench::new();
    let (library, path) = opened(&bench, "fixture-leftovers");
    // Somebody else has it open too.
    #[allow(unsafe_code, reason = "its constructors have run already")]
    // SAFETY: no constructor runs, because it is open.
    let other = unsafe { libloading::Library::new(&path) }.expect("open");
    let reason = KeptReason::Linker;
    assert_eq!(unload(sole(library), WITHIN), Unloaded::Kept { reason });
    drop(other);
    assert!(is_mapped(&path), "it must not go later, with its keys undeleted");
}

#[test]
fn a_library_that_is_dropped_stays() {
    let bench = Workbench::new();
    let (library, path) = opened(&bench, "fixture-leftovers");
    let gone = sole(library);
    let _ = gone;
    assert!(is_mapped(&path));
}

#[test]
fn a_hung_service_that_was_cut_off_changes_nothing_any_more() {
    let bench = Workbench::new();
    let (library, _) = opened(&bench, "fixture-leftovers");
    let until = bench.staging.path().join("until");
    let mut config = leaving("itself");
    config["until"] = json!(until);
    let house = House::new();
    let running = house.begin(Arc::clone(&library), &config);
    let states = running.hosted.states().log();
    // The last that it says before it hangs, and the bus has sent it.
    let is_sent = || {
        let counted = running.hosted.count_up();
        let mut sockets = counted.sockets.iter();
        counted.messages_sent == 3 && sockets.all(|it| it.sent == 3 && it.queue_depth == 0)
    };
    while !is_sent() {
        std::thread::yield_now();
    }
    let mailbox = running.hosted.mailbox();
    mailbox.push_batch(&mut vec![Envelope::control(EnvelopeKind::Message)]);
    running.instance.cut_off();
    mailbox.change_reader().expect("a descriptor");
    let before = (states.history(), running.hosted.count_up());
    assert!(!running.instance.is_finished());
    std::fs::write(&until, "").expect("written");
    // It comes back, finds nobody, and is told to stop. It cannot report that it does.
    assert_eq!(running.outcome(), RunOutcome::Failed);
    assert_eq!((states.history(), running.hosted.count_up()), before);
    let hosted = Arc::downgrade(&running.hosted);
    drop(running.hosted);
    assert!(hosted.upgrade().is_none(), "the run holds nothing of the host's");
    assert!(Arc::strong_count(&library) > 1, "as long as the thread is not joined");
    running.instance.join();
    assert_eq!(unload(sole(library), WITHIN), Unloaded::Closed);
}
