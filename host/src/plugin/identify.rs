//! Who a plugin file says it is, without running any of its code.
//!
//! Everything here works on the bytes of the file alone. Nothing in the file is trusted: each
//! offset is checked against the length before it is followed, by this module or by `object`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::{Endianness, elf};
use plugin_api::abi::identity;
use sha2::{Digest, Sha256};

use super::error::{Fault, LoadError};

/// The symbol that `export_service!` defines and the loader looks up.
pub const ENTRY_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

/// No plugin is larger; a file that is must not fill the memory.
pub const SIZE_LIMIT: u64 = 1 << 30;

/// What is known of a plugin file before any of its code has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file.
    pub file: PathBuf,
    /// The plugin's name: the name of its package.
    pub name: String,
    /// Its version.
    pub version: semver::Version,
    /// The plugin-api it was built with.
    pub api_version: semver::Version,
    /// The compiler it was built by.
    pub rustc: String,
    /// The target triple it was built for.
    pub target: String,
    /// Whether a panic in it unwinds; always true in an accepted file.
    pub unwind: bool,
    /// Its description; may be empty.
    pub description: String,
    /// Its authors; may be empty.
    pub authors: Vec<String>,
    /// Root module of its log targets.
    pub crate_name: String,
    /// Hash of the file's content, in hexadecimal.
    pub sha256: String,
    /// Bytes in the file.
    pub size: u64,
}

impl Identity {
    /// Whether it was built with a plugin-api that has what version `1.minor` brought.
    #[must_use]
    pub fn speaks(&self, minor: u64) -> bool {
        (self.api_version.major, self.api_version.minor) >= (1, minor)
    }
}

/// Reads who `path` is, and checks all that can be checked without running it.
///
/// # Errors
/// When it is not a plugin that this host could load.
pub fn identify(path: &Path) -> Result<Identity, LoadError> {
    read(path)
        .and_then(|bytes| identify_bytes(path, &bytes))
        .map_err(|fault| LoadError::new(path, fault))
}

/// [`identify`] for content that was read already.
///
/// # Errors
/// As [`identify`].
pub fn identify_bytes(file: &Path, bytes: &[u8]) -> Result<Identity, Fault> {
    let library = check_library(bytes)?;
    let record = library.identity_record()?;
    let identity = read_record(file, bytes, record)?;
    check_api_version(&identity.api_version)?;
    if !identity.unwind {
        return Err(Fault::PanicAbort);
    }
    if !library.exports(ENTRY_SYMBOL)? {
        return Err(Fault::NoEntry { symbol: ENTRY_SYMBOL });
    }
    Ok(identity)
}

/// A SHA-256 as it is written: in hexadecimal.
pub(super) fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().fold(String::with_capacity(hash.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Opens a plugin file for reading, if it is a regular one. Never waits, as opening a FIFO would.
pub(super) fn open(path: &Path) -> Result<File, Fault> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let kind = std::fs::metadata(path).map_err(Fault::Unreadable)?.file_type();
    if !kind.is_file() {
        let what = match kind {
            kind if kind.is_dir() => "a directory",
            kind if kind.is_fifo() => "a pipe",
            kind if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Err(Fault::NotAFile { what });
    }
    let opened = File::options().read(true).custom_flags(nonblocking).open(path);
    opened.map_err(Fault::Unreadable)
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let file = open(path)?;
    let size = file.metadata().map_err(Fault::Unreadable)?.len();
    if size > SIZE_LIMIT {
        return Err(Fault::TooLarge { size, limit: SIZE_LIMIT });
    }
    let mut bytes = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(Fault::Unreadable)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(Fault::TooLarge { size: bytes.len() as u64, limit: SIZE_LIMIT });
    }
    Ok(bytes)
}

type Header = elf::FileHeader64<Endianness>;

/// A file that is a complete shared library for this machine, as far as its tables say.
struct SharedLibrary<'data> {
    bytes: &'data [u8],
    endian: Endianness,
    sections: SectionTable<'data, Header>,
}

fn damaged(error: object::Error) -> Fault {
    Fault::Damaged(error.to_string())
}

fn check_library(bytes: &[u8]) -> Result<SharedLibrary<'_>, Fault> {
    let header = check_header(bytes)?;
    let endian = header.endian().map_err(damaged)?;
    let segments = header.program_headers(endian, bytes).map_err(damaged)?;
    for segment in segments {
        let (start, size) = segment.file_range(endian);
        within(bytes, "a segment", start, size)?;
    }
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    for section in sections.iter() {
        if let Some((start, size)) = section.file_range(endian) {
            within(bytes, "a section", start, size)?;
        }
    }
    check_kind(header, endian, segments, bytes)?;
    Ok(SharedLibrary { bytes, endian, sections })
}

/// Class, machine and the places of the two tables, in the order in which people would want to hear
/// of a mistake.
fn check_header(bytes: &[u8]) -> Result<&Header, Fault> {
    const HEADER_SIZE: u64 = size_of::<Header>() as u64;
    if bytes.is_empty() {
        return Err(Fault::Empty);
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(Fault::NotElf);
    }
    // The class byte follows the magic; 1 stands for 32 bits.
    if bytes.get(4) == Some(&1) {
        return Err(Fault::Bits32);
    }
    within(bytes, "the file header", 0, HEADER_SIZE)?;
    let header = Header::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let machine = header.e_machine(endian);
    if machine != HOST_MACHINE || header.is_little_endian() != cfg!(target_endian = "little") {
        return Err(Fault::OtherMachine {
            file: machine_name(machine),
            host: std::env::consts::ARCH,
        });
    }
    let segments = u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian));
    within(bytes, "the segment table", header.e_phoff(endian), segments)?;
    let sections = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
    within(bytes, "the section table", header.e_shoff(endian), sections)?;
    Ok(header)
}

fn within(bytes: &[u8], what: &'static str, start: u64, size: u64) -> Result<(), Fault> {
    let has = bytes.len() as u64;
    match start.checked_add(size) {
        Some(needs) if needs <= has => Ok(()),
        Some(needs) => Err(Fault::Truncated { what, needs, has }),
        None => Err(Fault::Damaged(format!("{what} is larger than any file"))),
    }
}

fn check_kind(
    header: &Header,
    endian: Endianness,
    segments: &[elf::ProgramHeader64<Endianness>],
    bytes: &[u8],
) -> Result<(), Fault> {
    let what = match header.e_type(endian) {
        elf::ET_DYN if is_executable(endian, segments, bytes)? => "an executable",
        elf::ET_DYN => return Ok(()),
        elf::ET_EXEC => "an executable",
        elf::ET_REL => "an object file that was not linked",
        elf::ET_CORE => "a core dump",
        _ => "another kind of ELF file",
    };
    Err(Fault::OtherKind { what })
}

/// A position-independent executable looks like a library, but names an interpreter or says so in
/// its dynamic flags.
fn is_executable(
    endian: Endianness,
    segments: &[elf::ProgramHeader64<Endianness>],
    bytes: &[u8],
) -> Result<bool, Fault> {
    for segment in segments {
        if segment.p_type(endian) == elf::PT_INTERP {
            return Ok(true);
        }
        for entry in segment.dynamic(endian, bytes).map_err(damaged)?.unwrap_or_default() {
            let says_so = elf::DF_1_PIE.0;
            if entry.tag(endian) == elf::DT_FLAGS_1 && entry.val(endian) & says_so != 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl<'data> SharedLibrary<'data> {
    fn identity_record(&self) -> Result<&'data [u8], Fault> {
        let found = self.sections.section_by_name(self.endian, identity::SECTION.as_bytes());
        let (_, section) = found.ok_or(Fault::NotAPlugin)?;
        section.data(self.endian, self.bytes).map_err(damaged)
    }

    fn exports(&self, name: &str) -> Result<bool, Fault> {
        let symbols =
            self.sections.symbols(self.endian, self.bytes, elf::SHT_DYNSYM).map_err(damaged)?;
        Ok(symbols.iter().any(|symbol| {
            !symbol.is_undefined(self.endian)
                && symbol.name(self.endian, symbols.strings()).is_ok_and(|n| n == name.as_bytes())
        }))
    }
}

fn read_record(file: &Path, bytes: &[u8], record: &[u8]) -> Result<Identity, Fault> {
    let record = Record::parse(record)?;
    let name = record.required("name")?;
    let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fit) {
        return Err(Fault::BadIdentity(format!("`{name}` is not a name for a plugin")));
    }
    let authors = record.required("authors")?;
    Ok(Identity {
        file: file.to_owned(),
        version: record.version("version", "version")?,
        api_version: record.version("api", "plugin-api version")?,
        rustc: record.required("rustc")?,
        target: record.required("target")?,
        unwind: match record.required("unwind")?.as_str() {
            "true" => true,
            "false" => false,
            other => return Err(Fault::BadIdentity(format!("unwind is `{other}`"))),
        },
        description: record.required("description")?,
        authors: authors.split(':').filter(|a| !a.is_empty()).map(str::to_owned).collect(),
        crate_name: record.required("crate")?,
        sha256: hexadecimal(&Sha256::digest(bytes)),
        size: bytes.len() as u64,
        name,
    })
}

/// The entries of the identity record.
struct Record<'a> {
    entries: Vec<(&'a str, &'a str)>,
}

impl<'a> Record<'a> {
    fn parse(record: &'a [u8]) -> Result<Self, Fault> {
        let bad = |what: &str| Fault::BadIdentity(what.to_owned());
        let text = std::str::from_utf8(record).map_err(|_| bad("it is not UTF-8"))?;
        let mut parts = text.split('\0');
        let magic = parts.next().unwrap_or_default();
        if magic != identity::MAGIC {
            let found = magic.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(Fault::OtherIdentity { found });
        }
        let mut entries: Vec<(&str, &str)> = Vec::new();
        for part in parts.filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| bad("an entry has no key"))?;
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(bad("a key is there twice: two export_service! in one library?"));
            }
            entries.push((key, value));
        }
        Ok(Self { entries })
    }

    /// The value of a key, fit to be shown on a terminal.
    fn required(&self, key: &str) -> Result<String, Fault> {
        let found = self.entries.iter().find(|(known, _)| *known == key);
        let (_, value) = found.ok_or_else(|| Fault::BadIdentity(format!("no `{key}` in it")))?;
        Ok(value.replace(char::is_control, " ").trim().to_owned())
    }

    fn version(&self, key: &str, what: &'static str) -> Result<semver::Version, Fault> {
        let text = self.required(key)?;
        semver::Version::parse(&text).map_err(|error| Fault::BadVersion {
            what,
            text,
            reason: error.to_string(),
        })
    }
}

fn check_api_version(plugin: &semver::Version) -> Result<(), Fault> {
    let host = semver::Version::parse(identity::API_VERSION)
        .map_err(|error| Fault::BadIdentity(format!("the host's own plugin-api: {error}")))?;
    let plugin = plugin.clone();
    if identity::compatible((host.major, host.minor), (plugin.major, plugin.minor)) {
        Ok(())
    } else if plugin.major == host.major {
        Err(Fault::NewerMinor { plugin, host })
    } else {
        Err(Fault::OtherMajor { plugin, host })
    }
}

#[cfg(target_arch = "x86_64")]
const HOST_MACHINE: elf::Machine = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const HOST_MACHINE: elf::Machine = elf::EM_AARCH64;
#[cfg(target_arch = "riscv64")]
const HOST_MACHINE: elf::Machine = elf::EM_RISCV;

fn machine_name(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        elf::EM_386 => "x86".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_PPC64 => "powerpc64".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        other => format!("another machine (ELF number {})", other.0),
    }
}
