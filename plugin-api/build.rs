//! Records who compiles this crate, so that a plugin file can say so without being run.

#![allow(clippy::disallowed_methods, reason = "cargo speaks to build scripts by variables")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "unknown compiler".to_owned());
    println!("cargo::rustc-env=PLUGIN_API_RUSTC={}", version.trim());
    println!("cargo::rustc-env=PLUGIN_API_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
