//! Reads log files while they are written, for `exphost logs`: the last lines, then what comes, over the
//! rotations of logrotate in either of its ways.
//!
//! Nothing here holds more than a part of a file: [`MOST_BYTES`] of its end, then what one look brings.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How much of a file's end is looked at for its last lines, and how much one look takes in.
pub const MOST_BYTES: u64 = 4 << 20;

/// A line is cut here: those of the host itself are shorter.
const LONGEST_LINE: usize = 1 << 20;

/// A file that is followed.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// What tells it from a file that has taken its place.
    identity: (u64, u64),
    /// How far it was read.
    at: u64,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Tail {
    /// A file and its last lines, at most `last` of them. One that does not exist yet has none.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    pub fn open(path: &Path, last: usize) -> io::Result<(Self, Vec<String>)> {
        let mut tail = Self { path: path.to_owned(), open: None };
        let Some(mut open) = Open::at(path)? else { return Ok((tail, Vec::new())) };
        let start = open.file.metadata()?.len().saturating_sub(MOST_BYTES);
        open.at = start;
        let mut lines = open.read()?;
        if start > 0 && !lines.is_empty() {
            // Its beginning was not read.
            lines.remove(0);
        }
        lines.drain(..lines.len().saturating_sub(last));
        tail.open = Some(open);
        Ok((tail, lines))
    }

    /// The lines that have come since.
    ///
    /// # Errors
    /// When the file cannot be read; the next look begins where this one ended.
    pub fn more(&mut self) -> io::Result<Vec<String>> {
        // Looked at first: what is written to the old file until it is read to its end is not lost.
        let present = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some(identity(&metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(open) = &mut self.open else {
            self.open = Open::at(&self.path)?;
            return self.open.as_mut().map_or_else(|| Ok(Vec::new()), Open::read);
        };
        if open.file.metadata()?.len() < open.at {
            // It was copied and emptied.
            (open.at, open.begun) = (0, Vec::new());
        }
        let lines = open.read()?;
        // A writer may hold the old file a little longer; it is left when a look at it brings nothing.
        if lines.is_empty() && present.is_some_and(|present| present != open.identity) {
            let rest = std::mem::take(&mut open.begun);
            self.open = Open::at(&self.path)?;
            let mut lines: Vec<_> = (!rest.is_empty()).then(|| text(&rest)).into_iter().collect();
            if let Some(open) = &mut self.open {
                lines.extend(open.read()?);
            }
            return Ok(lines);
        }
        Ok(lines)
    }
}

impl Open {
    /// The file at a path, if there is one.
    fn at(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Some(Self { identity: identity(&metadata), file, at: 0, begun: Vec::new() }))
    }

    /// The whole lines from where the last look ended.
    fn read(&mut self) -> io::Result<Vec<String>> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        self.at += (&self.file).take(MOST_BYTES).read_to_end(&mut bytes)? as u64;
        let mut lines = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = LONGEST_LINE.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&part[..part.len().min(room)]);
            // What stands behind the last line end is the beginning of a line.
            if parts.peek().is_some() {
                lines.push(text(&std::mem::take(&mut self.begun)));
            }
        }
        Ok(lines)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn followed(content: &str, last: usize) -> (tempfile::TempDir, PathBuf, Tail, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("core.log");
        append(&path, content);
        let (tail, lines) = Tail::open(&path, last).unwrap();
        (directory, path, tail, lines)
    }

    #[test]
    fn the_last_lines_come_first_and_then_what_is_written() {
        let (_directory, path, mut tail, lines) = followed("one\ntwo\nthree\nhal", 2);
        assert_eq!(lines, ["two", "three"]);
        assert_eq!(tail.more().unwrap(), [""; 0]);
        append(&path, "f\nfour\n");
        assert_eq!(tail.more().unwrap(), ["half", "four"]);
        assert_eq!(tail.more().unwrap(), [""; 0]);
    }

    #[test]
    fn a_file_that_was_moved_is_read_to_its_end() {
        let (directory, path, mut tail, _) = followed("one\n", 0);
        let rotated = directory.path().join("core.log.1");
        std::fs::rename(&path, &rotated).unwrap();
        append(&rotated, "two\ntorn");
        append(&path, "three\n");
        assert_eq!(tail.more().unwrap(), ["two"]);
        assert_eq!(tail.more().unwrap(), ["torn", "three"]);
        append(&path, "four\n");
        assert_eq!(tail.more().unwrap(), ["four"]);
    }

    #[test]
    fn a_file_that_was_copied_and_emptied_is_read_from_its_beginning() {
        let (_directory, path, mut tail, _) = followed("one\ntwo\n", 0);
        std::fs::write(&path, "").unwrap();
        append(&path, "new\n");
        assert_eq!(tail.more().unwrap(), ["new"]);
    }

    #[test]
    fn a_file_may_come_later_and_go_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("core.log");
        let (mut tail, lines) = Tail::open(&path, 5).unwrap();
        assert_eq!((lines.len(), tail.more().unwrap().len()), (0, 0));
        append(&path, "one\n");
        assert_eq!(tail.more().unwrap(), ["one"]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tail.more().unwrap(), [""; 0]);
        append(&path, "two\n");
        assert_eq!(tail.more().unwrap(), ["two"]);
        assert!(Tail::open(directory.path(), 1).is_err(), "a directory is no log");
    }

    #[test]
    fn only_the_end_of_a_large_file_is_read_and_lines_are_bounded() {
        let line = format!("{}\n", "x".repeat(LONGEST_LINE + 10));
        let (_directory, _, _, lines) = followed(&line.repeat(6), 100);
        assert_eq!(lines.len(), 3, "of four megabytes the first line is torn");
        assert!(lines.iter().all(|line| line.len() == LONGEST_LINE));
    }
}
