//! Records who compiles this crate, so that a plugin file can say so without being run, and whether
//! the target is one where a plugin can account for its threads (`abi/pthreads.rs`).

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
    println!("cargo::rustc-check-cfg=cfg(pthread_hooks)");
    if has_pthread_hooks() {
        println!("cargo::rustc-cfg=pthread_hooks");
    }
}

/// Where the assembler stubs exist, and the C library is a shared one to look the real functions up
/// in.
fn has_pthread_hooks() -> bool {
    let target = |key: &str| std::env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    target("OS") == "linux"
        && target("ENV") == "gnu"
        && ["x86_64", "aarch64"].contains(&target("ARCH").as_str())
        && !target("FEATURE").split(',').any(|feature| feature == "crt-static")
}
