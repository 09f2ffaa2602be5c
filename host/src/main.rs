//! The exphost binary.

fn main() {
    if let Some(file) = exphost::plugin::probe::is_probe(std::env::args_os().skip(1)) {
        exphost::plugin::probe::probe_main(&file);
    }
}
