//! exphost: runs the services of an installation from shared libraries.

use std::process::ExitCode;

use exphost::cli::{self, Exit};
use exphost::environment::{Mode, Process, ProcessEnv};
use exphost::isolated;
use exphost::plugin::probe;

fn main() -> ExitCode {
    // The probe is this executable too: it loads a plugin file where it can do no harm.
    if let Some(file) = probe::is_probe(std::env::args_os().skip(1)) {
        probe::probe_main(&file);
    }
    // So is the process of a service that has one of its own.
    if isolated::is_service_process(std::env::args_os().skip(1)) {
        isolated::service_main();
    }
    static ENV: ProcessEnv = ProcessEnv;
    let env = &ENV;
    let executable = match std::env::current_exe() {
        Ok(executable) => executable,
        Err(error) => {
            cli::complain(&format!("error: cannot tell where this executable is: {error}"));
            return Exit::Failed.into();
        }
    };
    let mode = Mode::of_this_machine(env);
    cli::main(&Process { env, mode, executable }).into()
}
