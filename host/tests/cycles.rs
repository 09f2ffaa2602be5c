//! Loading, running and closing one plugin again and again leaves nothing behind in the process.
//!
//! A binary of its own, so that no other test's threads and descriptors are among those counted.
//! `EXPHOST_CYCLES` says how often; above a thousand also the memory is judged:
//! `EXPHOST_CYCLES=3000 cargo test -p exphost --test cycles -- --nocapture`

#[allow(dead_code, reason = "the other binary uses the rest")]
#[path = "loading/running.rs"]
mod running;
#[allow(dead_code, reason = "the other binary uses the rest")]
#[path = "loading/support.rs"]
mod support;

use std::sync::Arc;

use exphost::environment::{Env, ProcessEnv};
use exphost::plugin::library::Library;
use exphost::plugin::unload::{Unloaded, unload};

use running::{House, leaving};
use support::{DEADLINE, Workbench, fixture};

/// What a process has little of.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    descriptors: usize,
    /// Files of plugins that are mapped.
    plugins: usize,
    /// pthread keys that can still be had.
    keys: usize,
}

impl Held {
    fn now(bench: &Workbench) -> Self {
        let entries = |path| std::fs::read_dir(path).expect("Linux").count();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
        let staging = bench.staging.path().to_str().expect("no strange name");
        Self {
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
            plugins: maps.lines().filter(|line| line.contains(staging)).count(),
            keys: keys_to_be_had(),
        }
    }
}

#[allow(unsafe_code, reason = "the C library has no other way of telling")]
fn keys_to_be_had() -> usize {
    let mut keys = Vec::new();
    loop {
        let mut key = 0;
        // SAFETY: the pointer is to a local; without a destructor nothing ever runs for the key.
        if unsafe { libc::pthread_key_create(&raw mut key, None) } != 0 {
            break;
        }
        keys.push(key);
    }
    for key in &keys {
        // SAFETY: made above, used nowhere.
        unsafe { libc::pthread_key_delete(*key) };
    }
    keys.len()
}

/// Bytes of the process that are in memory and belong to no file.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kilobytes * 1024
}

#[test]
fn nothing_is_left_of_a_plugin_that_was_closed() {
    let cycles =
        ProcessEnv.get("EXPHOST_CYCLES").map_or(50, |text| text.parse().expect("a number"));
    // So that what plugins log goes all the way.
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the first");
    let bench = Workbench::new();
    let house = House::new();
    let bytes = fixture("fixture-leftovers");
    let config = leaving("nothing");
    let mut generation = 0;
    let mut cycle = || {
        generation += 1;
        let library = Arc::new(Library::open(bench.staged_as(&bytes, generation)).expect("opened"));
        library.manifest().expect("a manifest");
        assert_eq!(library.check_config(config.to_string().as_bytes()), []);
        house.run(&library, &config);
        let library = Arc::into_inner(library).expect("nobody else has it");
        assert_eq!(unload(library, DEADLINE), Unloaded::Closed, "in cycle {generation}");
    };
    // The first few fill what is filled once: callsites, caches, arenas of the allocator.
    (0..10).for_each(|_| cycle());
    let (before, memory_before) = (Held::now(&bench), memory());
    (0..cycles).for_each(|_| cycle());
    let (after, memory_after) = (Held::now(&bench), memory());
    let growth = (memory_after as f64 - memory_before as f64) / f64::from(cycles);
    #[allow(clippy::print_stderr, reason = "the figures are asked for")]
    {
        eprintln!("{cycles} cycles, {growth:.0} bytes each; {after:?}");
    }
    assert_eq!(after, before);
    assert_eq!(after.plugins, 0);
    assert!(cycles < 1000 || growth <= 1024.0, "{growth:.0} bytes a cycle");
}
