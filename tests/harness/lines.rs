//! Lines of a child's output, as they come.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// All lines so far, and a way to wait for one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lines {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads `source` to its end on a thread of its own.
    pub fn follow(source: impl Read + Send + 'static) -> Self {
        let lines = Self { shared: Arc::default() };
        let writer = lines.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(source);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.state().lines.push(text);
                writer.shared.1.notify_all();
                line.clear();
            }
            writer.state().ended = true;
            writer.shared.1.notify_all();
        });
        lines
    }

    /// The first line from number `from` on that contains all `parts`, with its number; `None` when
    /// the output ends or the deadline passes before.
    pub fn wait_for(
        &self,
        from: usize,
        parts: &[&str],
        deadline: Duration,
    ) -> Option<(usize, String)> {
        let end = Instant::now() + deadline;
        let mut state = self.state();
        let mut next = from;
        loop {
            while next < state.lines.len() {
                let line = &state.lines[next];
                if parts.iter().all(|part| line.contains(part)) {
                    return Some((next, line.clone()));
                }
                next += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state =
                self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the output has ended, and returns all of it.
    pub fn wait_for_end(&self, deadline: Duration) -> String {
        let (lock, changed) = &*self.shared;
        let state = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = changed
            .wait_timeout_while(state, deadline, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.lines.join("\n")
    }

    /// All lines so far.
    pub fn so_far(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
