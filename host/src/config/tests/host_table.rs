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
         depends_on = [\"a\", \"b\"]\nstop_timeout = 0.5\nrestart = \"never\"\nisolation = \"none\"\n\
         unload = \"never\"\n",
    );
    assert_eq!(file.problems, []);
    assert_eq!(file.plugin(), "p");
    assert!(!file.directives.enabled && file.is_for_host && file.table.is_empty());
    assert_eq!(file.directives.depends_on, ["a", "b"]);
    assert_eq!(file.directives.stop_timeout, Some(std::time::Duration::from_millis(500)));
    assert_eq!(file.directives.unload, Unload::Never);
    assert_eq!(read("[exphost]\nunload = \"auto\"\n").directives.unload, Unload::Auto);
    assert_eq!(read("").directives.unload, Unload::Auto);
    check_directives(
        "[exphost]\nunload = \"always\"\n",
        &["core.toml:2:10: error: exphost.unload: must be `auto` or `never`, is `always`"],
    );
    check_directives(
        "[exphost]\nrestart = \"sometimes\"\nrestart_limit = 0\nretry_every = -1\n",
        &[
            "core.toml:2:11: error: exphost.restart: must be `never`, `on-failure` or `always`, is `sometimes`",
            "core.toml:3:17: error: exphost.restart_limit: must be at least 1, is 0\n  hint: use 1 to 1000 (Restarts within `restart_window`, at most)",
            "core.toml:4:15: error: exphost.retry_every: must be at least 0, is -1\n  hint: use 0 to 86400 (Seconds between two tries of a service that has reached its limit; 0 for none)",
        ],
    );
    check_directives(
        "[exphost]\nrestart_delay = 5\nrestart_delay_max = 2.5\n",
        &[
            "core.toml:3:21: error: exphost.restart_delay_max: is 2.5, less than `restart_delay`, which is 5\n  hint: make it at least as long, or leave it out",
        ],
    );
    check_directives(
        "[exphost]\nisolation = \"vm\"\nmemory_limit = \"64MiB\"\n",
        &[
            "core.toml:2:13: error: exphost.isolation: must be `none`, `thread` or `process`, is `vm`",
            "core.toml:3:16: error: exphost.memory_limit: memory_limit is for a service in a process of its own: threads share the host's memory\n  hint: add `isolation = \"process\"`, or remove it",
        ],
    );
    check_directives(
        "[exphost]\nversion = \"one\"\nstop_timeout = 0\ndepend_on = []\n",
        &[
            "core.toml:3:16: error: exphost.stop_timeout: must be more than 0, is 0\n  hint: Seconds the service may take to stop",
            "core.toml:4:1: error: exphost.depend_on: unknown key `depend_on`\n  hint: did you mean `depends_on`?",
            "core.toml:2:11: error: exphost.version: is not a version requirement: unexpected character 'o' while parsing major version number\n  hint: write for example \"1.2\", \">=1.2, <2\" or \"=1.2.3\"",
        ],
    );
    check_directives(
        "[exphost]\nstop_timeout = 1e300\nenabled = \"yes\"\n",
        &[
            "core.toml:2:16: error: exphost.stop_timeout: must be at most 86400, is 1e+300\n  hint: Seconds the service may take to stop",
            "core.toml:3:11: error: exphost.enabled: expected true or false, found text\n  hint: write true or false, without quotes",
        ],
    );
    check_directives(
        "exphost = 5\n",
        &[
            "core.toml:1:11: error: exphost: expected a table, found the number 5\n  hint: write a table: [its.key] on a line of its own, or { key = … }",
        ],
    );
    check_directives(
        "[exphost]\ndepends_on = [\"core\"]\n",
        &[
            "core.toml:2:14: error: exphost.depends_on: `core` depends on itself\n  hint: remove its own name from the list",
        ],
    );
}
