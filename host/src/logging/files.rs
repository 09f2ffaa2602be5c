//! One log file per service, and the host's own.
//!
//! * A line is one `write(2)` to a file opened with `O_APPEND`, so lines of several writers never
//!   mix and `copytruncate` works.
//! * The file's path is compared with the open file (device and inode), so that after a rename by
//!   logrotate lines soon go to a new file without any signal. A look may cost more than the write
//!   (3.6 µs beside 1.2 µs were measured), so a burst looks only every [`LOOK_EVERY`]: long before a
//!   compressor started by logrotate has read the old file to its end.
//! * An error neither stops nor delays anybody: the line is lost and counted.
//! * A name cannot leave the directory: see [`file_name`].

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// The host's own file, without its ending.
const HOST: &str = "exphost";

/// The host's own file.
pub const HOST_FILE: &str = "exphost.log";

/// After so many services the host's file takes what is left: descriptors are not endless.
const MOST_FILES: usize = 512;

/// How often lost lines are mentioned.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// How long a look at the path is trusted.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The open files of a directory.
pub(super) struct Files {
    directory: PathBuf,
    host: LogFile,
    services: RwLock<HashMap<String, Arc<LogFile>>>,
    losses: Mutex<Losses>,
}

#[derive(Default)]
struct Losses {
    lines: u64,
    mentioned: Option<Instant>,
}

impl Files {
    /// Makes the directory and opens the host's file.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let host = LogFile::new(directory.join(HOST_FILE));
        // An empty write opens the file: whether that works is the question.
        host.write_line(b"", Instant::now())?;
        Ok(Self {
            directory: directory.to_owned(),
            host,
            services: RwLock::default(),
            losses: Mutex::default(),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many lines could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).lines
    }

    /// Writes a finished line to the service's file, or the host's. When that fails and it is time
    /// to say so, the answer is what to say.
    pub(super) fn write(&self, service: Option<&str>, line: &[u8], now: Instant) -> Option<String> {
        let own = service.and_then(|service| self.of_service(service));
        let file = own.as_deref().unwrap_or(&self.host);
        let error = file.write_line(line, now).err()?;
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.lines += 1;
        if losses.mentioned.is_some_and(|at| now.duration_since(at) < COMPLAIN_EVERY) {
            return None;
        }
        losses.mentioned = Some(now);
        Some(format!(
            "cannot write {}: {error}; {} lines of log lost so far, everything else goes on \
             (hint: free space, or let the host's user write there)",
            file.path.display(),
            losses.lines,
        ))
    }

    fn of_service(&self, service: &str) -> Option<Arc<LogFile>> {
        let known = self.services.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = known.get(service) {
            return Some(Arc::clone(file));
        }
        drop(known);
        let mut known = self.services.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_FILES {
            return known.get(service).map(Arc::clone);
        }
        let file = known.entry(service.to_owned()).or_insert_with(|| {
            Arc::new(LogFile::new(self.directory.join(file_name(service, ".log"))))
        });
        Some(Arc::clone(file))
    }
}

/// The name of a service's file. Letters, digits, `-`, `_` and inner dots stay; every other byte
/// becomes `%XX`, so that different services have different files and none is outside of the
/// directory, hidden, or the host's own. `ending` comes with its dot.
#[must_use]
pub fn file_name(service: &str, ending: &str) -> String {
    let mut name = String::with_capacity(service.len() + 4);
    for (at, c) in service.char_indices() {
        let plain = c.is_alphanumeric() || matches!(c, '-' | '_') || (c == '.' && at > 0);
        if plain && !(at == 0 && service == HOST) {
            name.push(c);
        } else {
            let mut bytes = [0_u8; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    if name.len() > 200 {
        let digest = Sha256::digest(service.as_bytes());
        name.truncate(name.floor_char_boundary(180));
        name.push('%');
        for byte in &digest[..8] {
            let _ = write!(name, "{byte:02x}");
        }
    }
    name.push_str(ending);
    name
}

/// One file, opened when the first line comes and again when it was moved away.
struct LogFile {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// When the path was last compared with the file.
    looked: Instant,
    /// The last line was cut off in its middle: the disk filled up.
    torn: bool,
}

impl LogFile {
    fn new(path: PathBuf) -> Self {
        Self { path, open: Mutex::new(None) }
    }

    fn write_line(&self, line: &[u8], now: Instant) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &mut *open
            && now.duration_since(known.looked) >= LOOK_EVERY
        {
            known.looked = now;
            if self.was_moved(known) {
                *open = None;
            }
        }
        let open = match &mut *open {
            Some(open) => open,
            none => none.insert(Open::at(&self.path, now)?),
        };
        open.write(line)
    }

    fn was_moved(&self, open: &Open) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(now) => (now.dev(), now.ino()) != (open.device, open.inode),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Open {
    fn at(path: &Path, now: Instant) -> io::Result<Self> {
        let file = match Self::append_to(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                Self::append_to(path)?
            }
            other => other?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), file, looked: now, torn: false })
    }

    /// One write(2) for the line; another only for what it left over.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.torn = rest.len() < line.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn append_to(path: &Path) -> io::Result<File> {
        // Without waiting: somebody may have put a pipe there that nobody reads.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        OpenOptions::new().append(true).create(true).custom_flags(flags).open(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn names_stay_inside_and_apart() {
        assert_eq!(file_name("heartbeat", ".log"), "heartbeat.log");
        assert_eq!(file_name("küche-2_b.c", ".log"), "küche-2_b.c.log");
        assert_eq!(file_name("../../etc/passwd", ".log"), "%2E.%2F..%2Fetc%2Fpasswd.log");
        assert_eq!(file_name("/abs", ".log"), "%2Fabs.log");
        assert_eq!(file_name(".hidden", ".log"), "%2Ehidden.log");
        assert_eq!(file_name("a\n\0b", ".log"), "a%0A%00b.log");
        assert_eq!(file_name("exphost", ".log"), "%65xphost.log");
        assert_eq!(file_name("", ".log"), "%.log");
        let long = "a".repeat(400);
        assert!(file_name(&long, ".log").len() <= 255);
        assert_ne!(file_name(&long, ".log"), file_name(&format!("{long}b"), ".log"));
    }

    #[test]
    fn each_service_has_its_file_below_a_directory_that_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("a/b");
        let files = Files::open(&logs).unwrap();
        assert_eq!(files.write(Some("core"), b"one\n", Instant::now()), None);
        assert_eq!(files.write(None, b"two\n", Instant::now()), None);
        assert_eq!(read(logs.join("core.log")), "one\n");
        assert_eq!(read(logs.join("exphost.log")), "two\n");
    }

    #[test]
    fn a_moved_or_removed_file_is_made_anew_at_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let (log, rotated) = (dir.path().join("core.log"), dir.path().join("core.log.1"));
        let start = Instant::now();
        let say = |looks: u32, line: &[u8]| {
            assert_eq!(files.write(Some("core"), line, start + LOOK_EVERY * looks), None);
        };
        say(0, b"one\n");
        std::fs::rename(&log, &rotated).unwrap();
        // Within a look's time the line is in the old file, which is no loss.
        say(0, b"two\n");
        say(1, b"three\n");
        assert_eq!((read(&rotated), read(&log)), ("one\ntwo\n".into(), "three\n".into()));
        std::fs::remove_file(&log).unwrap();
        say(2, b"four\n");
        assert_eq!(read(&log), "four\n");
        // logrotate's `create` puts an empty file there itself.
        std::fs::rename(&log, &rotated).unwrap();
        std::fs::write(&log, b"").unwrap();
        say(3, b"five\n");
        assert_eq!(read(&log), "five\n");
        std::fs::remove_dir_all(dir.path()).unwrap();
        say(4, b"six\n");
        assert_eq!(read(&log), "six\n");
    }

    #[test]
    fn losses_are_counted_and_mentioned_once_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        // A directory in the file's place refuses every user, root too.
        std::fs::create_dir(dir.path().join("core.log")).unwrap();
        let start = Instant::now();
        let said = files.write(Some("core"), b"x\n", start).unwrap();
        assert!(said.contains("core.log") && !said.contains('\n'), "{said}");
        assert_eq!(files.write(Some("core"), b"x\n", start + Duration::from_secs(59)), None);
        let said = files.write(Some("core"), b"x\n", start + Duration::from_secs(60)).unwrap();
        assert!(said.contains(" 3 lines"), "{said}");
        assert_eq!(files.lost(), 3);
        std::fs::remove_dir(dir.path().join("core.log")).unwrap();
        assert_eq!(files.write(Some("core"), b"back\n", start), None);
        assert_eq!(read(dir.path().join("core.log")), "back\n");
    }

    #[test]
    fn a_pipe_that_nobody_reads_does_not_hold_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let pipe = dir.path().join("core.log");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(files.write(Some("core"), b"x\n", Instant::now()).is_some());
    }

    #[test]
    fn a_full_disk_is_an_error_and_nothing_more() {
        let path = PathBuf::from("/dev/full");
        let file = Open::append_to(&path).unwrap();
        let metadata = file.metadata().unwrap();
        let (device, inode, now) = (metadata.dev(), metadata.ino(), Instant::now());
        let open = Open { file, device, inode, looked: now, torn: false };
        let full = LogFile { path, open: Mutex::new(Some(open)) };
        for _ in 0..2 {
            let error = full.write_line(b"x\n", now).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn a_line_after_a_torn_one_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (file, now) = (LogFile::new(dir.path().join("core.log")), Instant::now());
        file.write_line(b"half a li", now).unwrap();
        file.open.lock().unwrap().as_mut().unwrap().torn = true;
        file.write_line(b"one\n", now).unwrap();
        file.write_line(b"two\n", now).unwrap();
        assert_eq!(read(dir.path().join("core.log")), "half a li\none\ntwo\n");
    }
}
