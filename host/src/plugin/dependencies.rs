//! Which libraries a plugin needs that the host itself does not have.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use object::read::ReadCache;
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, elf};

/// Parts of the C library and the compiler's that start no threads of their own, whether or not the
/// host happens to need them.
const HARMLESS: [&str; 7] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

static HOSTS_OWN: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Remembers what is loaded. The first call counts, so it is to be made before any plugin is opened.
pub(super) fn remember_the_hosts_own_libraries() {
    HOSTS_OWN.get_or_init(loaded);
}

/// The libraries that a plugin file needs and that the host did not have when it was alone.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn brought_along(file: &Path) -> io::Result<Vec<String>> {
    let own = HOSTS_OWN.get_or_init(loaded);
    let mut needed = needed_by(file)?;
    needed.retain(|name| !own.contains(name) && !HARMLESS.contains(&name.as_str()));
    Ok(needed)
}

fn needed_by(file: &Path) -> io::Result<Vec<String>> {
    let bytes = ReadCache::new(File::open(file)?);
    let damaged = |error: object::Error| io::Error::other(error.to_string());
    let library = ElfFile64::<Endianness, _>::parse(&bytes).map_err(damaged)?;
    let table = library
        .elf_section_table()
        .dynamic_table(library.elf_header().endian().map_err(damaged)?, &bytes)
        .map_err(damaged)?;
    let needed = table.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    needed
        .map(|entry| {
            let name = table.string(entry).map_err(damaged)?;
            Ok(String::from_utf8_lossy(name).into_owned())
        })
        .collect()
}

/// The file names of the libraries in this process.
fn loaded() -> BTreeSet<String> {
    unsafe extern "C" fn add(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        names: *mut c_void,
    ) -> c_int {
        // SAFETY: the linker passes a description that is valid for the call.
        let name = unsafe { (*info).dlpi_name };
        if name.is_null() {
            return 0;
        }
        // SAFETY: a name that is there is a C string, valid for the call.
        let path = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        if let Some(name) = Path::new(&*path).file_name() {
            // SAFETY: what `loaded` passed below, which waits for this.
            let names = unsafe { &mut *names.cast::<BTreeSet<String>>() };
            names.insert(name.to_string_lossy().into_owned());
        }
        0
    }
    let mut names = BTreeSet::new();
    // SAFETY: the callback keeps nothing of what it is given, and gets the set that it expects.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut names).cast()) };
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_program_needs_is_loaded_in_it() {
        let this = std::env::current_exe().expect("a path");
        let needed = needed_by(&this).expect("readable");
        assert!(needed.contains(&"libc.so.6".to_owned()), "{needed:?}");
        let loaded = loaded();
        let missing: Vec<_> = needed.iter().filter(|name| !loaded.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?} are not in {loaded:?}");
        assert_eq!(brought_along(&this).expect("readable"), [""; 0]);
    }
}
