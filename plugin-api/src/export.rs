//! The two macros an author uses: `config!` and `export_service!`.

/// Makes a service the one that this library offers.
///
/// Write it once, at the top level of a crate of type `cdylib`. The plugin's name, version,
/// description and authors are those of its Cargo.toml.
#[macro_export]
macro_rules! export_service {
    ($service:ty) => {
        #[doc(hidden)]
        #[allow(unsafe_code, missing_docs, unreachable_pub, unused_imports)]
        mod __exphost {
            use super::*;
            use $crate::abi::export as __export;
            use $crate::abi::identity as __identity;

            enum Exported {}

            impl $crate::abi::runner::Plugin for Exported {
                type Service = $service;
                const NAME: &'static str = env!("CARGO_PKG_NAME");
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");
                const CRATE_NAME: &'static str = env!("CARGO_CRATE_NAME");
            }

            const PARTS: &[&str] = &[
                "name",
                env!("CARGO_PKG_NAME"),
                "version",
                env!("CARGO_PKG_VERSION"),
                "crate",
                env!("CARGO_CRATE_NAME"),
                "description",
                env!("CARGO_PKG_DESCRIPTION"),
                "authors",
                env!("CARGO_PKG_AUTHORS"),
                "api",
                __identity::API_VERSION,
                "rustc",
                __identity::RUSTC,
                "target",
                __identity::TARGET,
                "unwind",
                if cfg!(panic = "unwind") { "true" } else { "false" },
            ];

            // Readable in the file without running it; the host identifies a plugin by it.
            #[unsafe(link_section = ".exphost_identity")]
            #[unsafe(export_name = "EXPHOST_IDENTITY")]
            pub static IDENTITY: [u8; __identity::record_len(PARTS)] = __identity::record(PARTS);

            extern "C" fn constructor() -> __export::RootModuleResult {
                __export::__call_root_module_loader($crate::abi::runner::root_module::<Exported>)
            }

            // So that the host can tell when nothing of this library is in use any more.
            $crate::__pthread_hooks!();

            // SAFETY: `constructor` returns the module of the type named here, and the layout is
            // checked before the host uses it.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static ROOT: __export::LibHeader = unsafe {
                __export::LibHeader::from_constructor::<$crate::abi::PluginModuleRef>(
                    constructor,
                    __export::CheckTypeLayout::Yes,
                )
            };
        }
    };
}

/// Declares a configuration type, defaults beside the fields.
///
/// The struct gets `Debug`, `Clone`, serde, JSON Schema and `Default`; keys that it does not know
/// are refused. Doc comments become help, `#[schemars(range(min = …, max = …))]` becomes a check
/// that the host makes before the service runs. A choice between names is an `enum`, written in
/// TOML in snake case, whose `#[default]` variant is the default.
///
/// ```
/// use plugin_api::prelude::*;
///
/// config! {
///     /// Configuration of the camera.
///     pub struct Config {
///         /// Frames per second.
///         #[schemars(range(min = 1, max = 120))]
///         pub fps: u32 = 30,
///         /// What to do in the dark.
///         pub darkness: Darkness = Darkness::default(),
///     }
/// }
/// config! {
///     /// What to do in the dark.
///     pub enum Darkness {
///         /// Go on.
///         #[default]
///         Ignore,
///         /// Wait for light.
///         Wait,
///     }
/// }
/// assert_eq!(Config::default().fps, 30);
/// ```
#[macro_export]
macro_rules! config {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$fmeta:meta])* $fvis:vis $field:ident: $type:ty = $default:expr ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, $crate::serde::Serialize, $crate::serde::Deserialize, $crate::schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields, crate = "plugin_api::serde")]
        #[schemars(crate = "plugin_api::schemars")]
        $vis struct $name {
            $( $(#[$fmeta])* $fvis $field: $type ),*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default ),* }
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident { $($variants:tt)* }
    ) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq,
            $crate::serde::Serialize, $crate::serde::Deserialize, $crate::schemars::JsonSchema
        )]
        #[serde(rename_all = "snake_case", crate = "plugin_api::serde")]
        #[schemars(crate = "plugin_api::schemars")]
        $vis enum $name { $($variants)* }
    };
}

/// Defines this library's own pthread functions, which write down what passes through them: see
/// `abi/pthreads.rs`. At most once in a library, and at item level.
///
/// A hidden symbol of the library wins against the C library's when it is linked, for everything in
/// it, the standard library included. It is defined by a stub and not by a Rust function of that
/// name, which the linker's rules for exported names would show to other libraries.
#[cfg(pthread_hooks)]
#[doc(hidden)]
#[macro_export]
macro_rules! __pthread_hooks {
    () => {
        $crate::__pthread_hooks!("pthread_key_create", $crate::abi::pthreads::key_create);
        $crate::__pthread_hooks!("pthread_key_delete", $crate::abi::pthreads::key_delete);
        $crate::__pthread_hooks!("pthread_create", $crate::abi::pthreads::create);
    };
    ($name:literal, $hook:path) => {
        ::core::arch::global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",%progbits"),
            ".p2align 4",
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!(".type ", $name, ",%function"),
            concat!($name, ":"),
            $crate::__pthread_jump!(),
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            hook = sym $hook,
        );
    };
}

/// Where there are no stubs the host keeps each library mapped.
#[cfg(not(pthread_hooks))]
#[doc(hidden)]
#[macro_export]
macro_rules! __pthread_hooks {
    () => {};
}

#[cfg(all(pthread_hooks, target_arch = "x86_64"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __pthread_jump {
    () => {
        "jmp {hook}"
    };
}

#[cfg(all(pthread_hooks, target_arch = "aarch64"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __pthread_jump {
    () => {
        "b {hook}"
    };
}
