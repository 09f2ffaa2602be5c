//! Any file, variable and `--set` against the layers: nothing panics, and what is said fits on a line.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use exphost::config::{Override, ServiceFile, resolve, show};
use libfuzzer_sys::fuzz_target;
use plugin_api::manifest::Manifest;
use plugin_api::{schemars, zmq::PubSubConfig};

plugin_api::config! {
    /// A key of every kind.
    struct Config {
        #[schemars(range(min = 1, max = 120))]
        fps: u32 = 30,
        ratio: f64 = 0.5,
        visualize: bool = true,
        name: String = "studio".to_owned(),
        token: plugin_api::Secret = plugin_api::Secret::default(),
        region: Vec<i32> = Vec::new(),
        extra: plugin_api::serde_json::Value = plugin_api::serde_json::Value::Null,
        zmq: PubSubConfig = PubSubConfig::default(),
    }
}

static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| Manifest {
    name: "studio".to_owned(),
    version: "1.0.0".to_owned(),
    crate_name: "studio".to_owned(),
    config_schema: schemars::schema_for!(Config).to_value(),
    config_defaults: serde_json::to_value(Config::default()).unwrap_or_default(),
    arguments: Vec::new(),
});

fuzz_target!(|input: (String, Vec<(String, String)>, Vec<String>)| {
    let (toml, variables, sets) = input;
    let file = ServiceFile::parse("studio", Path::new("studio.toml"), &toml);
    let variables: BTreeMap<_, _> = variables
        .into_iter()
        .map(|(name, value)| (format!("EXPERIMANCE_{}", name.to_uppercase()), value))
        .collect();
    let sets: Vec<_> =
        sets.iter().filter_map(|set| Override::parse(&format!("studio.{set}")).ok()).collect();
    let resolved = resolve(&file, &MANIFEST, &variables, &sets);
    for problem in &resolved.problems {
        assert!(!problem.one_line().contains('\n'));
        let _ = problem.with_line(&toml);
    }
    if resolved.problems.is_empty() {
        let read = serde_json::from_value::<Config>(resolved.value.clone());
        assert!(read.is_ok(), "found good, and refused by the type: {read:?}");
    }
    let _ = show::effective(&resolved, &MANIFEST);
});
