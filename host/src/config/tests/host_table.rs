//! The table `[exphost]`.

use super::*;

fn read(toml: &str) -> ServiceFile {
    ServiceFile::parse("core", Path::new("core.toml"), toml)
}

#[track_caller]
fn check_directives(toml: &str, expected: &[&str]) {
    let problems: Vec<_> = read(toml).problems.iter().map(ToString::to_string).collect();
    assert_told(&problems, expected);
}

#[test]
fn the_hosts_table_is_read_and_refused_like_the_rest() {
    let file = read(
        "[exphost]\nplugin = \"p\"\nversion = \">=1.2, <2\"\nenabled = false\n\
         depends_on = [\"a\", \"b\"]\nstop_timeout = 0.5\nrestart = \"never\"\nisolation = \"none\"\n",
    );
    assert_eq!(file.problems, []);
    assert_eq!(file.plugin(), "p");
    assert!(!file.directives.enabled && file.is_for_host && file.table.is_empty());
    assert_eq!(file.directives.depends_on, ["a", "b"]);
    assert_eq!(file.directives.stop_timeout, Some(std::time::Duration::from_millis(500)));
    check_directives("[exphost]\nrestart = \"always\"\nisolation = \"process\"\n", &["?"]);
    check_directives("[exphost]\nversion = \"one\"\nstop_timeout = 0\ndepend_on = []\n", &["?"]);
    check_directives("[exphost]\nstop_timeout = 1e300\nenabled = \"yes\"\n", &["?"]);
    check_directives("exphost = 5\n", &["?"]);
    check_directives("[exphost]\ndepends_on = [\"core\"]\n", &["?"]);
}
