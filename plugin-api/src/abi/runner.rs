//! The plugin's functions, generic over the service: what `export_service!` puts into the module.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use abi_stable::prefix_type::{PrefixRefTrait, WithMetadata};
use abi_stable::std_types::RSlice;
use schemars::generate::SchemaSettings;
use serde::Serialize;

use super::{
    ByteSink, HostHandle, PluginModule, PluginModuleRef, RunArguments, RunOutcome, pthreads,
};
use crate::manifest::Manifest;
use crate::runtime;
use crate::service::Service;

/// A service with the names of its crate.
pub trait Plugin: 'static {
    /// The service.
    type Service: Service;
    /// The package's name.
    const NAME: &'static str;
    /// The package's version.
    const VERSION: &'static str;
    /// The root of its module paths.
    const CRATE_NAME: &'static str;
}

/// The module of a plugin. It is a part of the library, so nothing of it is left when that goes.
#[must_use]
pub fn root_module<P: Plugin>() -> PluginModuleRef {
    PluginModuleRef::from_prefix_ref(Table::<P>::MODULE.static_as_prefix())
}

struct Table<P>(PhantomData<P>);

impl<P: Plugin> Table<P> {
    const MODULE: &'static WithMetadata<PluginModule> = &WithMetadata::new(PluginModule {
        manifest: manifest::<P>,
        check_config: check_config::<P>,
        run: run::<P>,
        live_threads,
        unload,
    });
}

extern "C" fn manifest<P: Plugin>(out: ByteSink) -> bool {
    guarded_write(out, || serde_json::to_vec(&describe::<P>()).map_err(|error| error.to_string()))
}

/// Writes what `make` returns; false with the reason when it fails or panics.
fn guarded_write(out: ByteSink, make: impl FnOnce() -> Result<Vec<u8>, String>) -> bool {
    let made = catch_unwind(AssertUnwindSafe(make))
        .unwrap_or_else(|payload| Err(runtime::panic_message(payload)));
    match &made {
        Ok(bytes) => out.write(bytes),
        Err(reason) => out.write(reason.as_bytes()),
    }
    made.is_ok()
}

fn describe<P: Plugin>() -> Manifest {
    type Config<P> = <<P as Plugin>::Service as Service>::Config;
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = generator.into_root_schema_for::<Config<P>>();
    let defaults = serde_json::from_str::<Config<P>>("{}").ok();
    Manifest {
        name: P::NAME.to_owned(),
        version: P::VERSION.to_owned(),
        crate_name: P::CRATE_NAME.to_owned(),
        config_schema: schema.to_value(),
        config_defaults: defaults.and_then(as_json).unwrap_or_default(),
        arguments: P::Service::arguments(),
    }
}

fn as_json(config: impl Serialize) -> Option<serde_json::Value> {
    serde_json::to_value(config).ok()
}

extern "C" fn check_config<P: Plugin>(config: RSlice<'_, u8>, out: ByteSink) -> bool {
    let mut fits = false;
    let written = guarded_write(out, || {
        let read = runtime::read_config::<P::Service>(config.as_slice());
        let problems = read.err().unwrap_or_default();
        fits = problems.is_empty();
        serde_json::to_vec(&problems).map_err(|error| error.to_string())
    });
    written && fits
}

extern "C" fn run<P: Plugin>(host: HostHandle, arguments: &RunArguments<'_>) -> u8 {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let request = runtime::Request {
            service: arguments.service.as_str().to_owned(),
            project: arguments.project.as_str().to_owned(),
            stop_timeout: Duration::try_from_secs_f64(arguments.stop_timeout)
                .unwrap_or(crate::constants::DEFAULT_TIMEOUT),
        };
        runtime::run::<P::Service>(host, request, || {
            runtime::read_config::<P::Service>(arguments.config.as_slice())
        })
    }));
    match outcome {
        Ok(outcome) => outcome.code(),
        Err(payload) => {
            std::mem::forget(payload);
            RunOutcome::Panicked.code()
        }
    }
}

/// Writes what the hooks have seen of this library's threads; see [`PluginModule::live_threads`].
pub extern "C" fn live_threads(out: ByteSink) -> bool {
    guarded_write(out, || {
        serde_json::to_vec(&pthreads::live_threads()?).map_err(|error| error.to_string())
    })
}

/// Prepares the library for being closed; see [`PluginModule::unload`].
pub extern "C" fn unload(out: ByteSink) -> bool {
    guarded_write(out, || {
        if !pthreads::are_hooked() {
            return Err(pthreads::NOT_HOOKED.to_owned());
        }
        // The hook in place is a box, which nobody else would free.
        drop(std::panic::take_hook());
        // Last, so that what the above may have made is among them.
        serde_json::to_vec(&pthreads::keys()?).map_err(|error| error.to_string())
    })
}
