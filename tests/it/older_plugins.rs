//! A plugin that was built for an older minor version of the boundary.

use crate::harness::project::Project;
use crate::harness::variants::{Variant, library};

#[test]
fn a_plugin_of_an_older_minor_version_runs() {
    let mut host = Project::new()
        .library("older.so", &library(Variant::OlderMinor))
        .config("fixture-minimal", "")
        .start();
    host.wait_until_running("fixture-minimal");
    assert_eq!(host.stop().0, Some(0));
    let log = host.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
