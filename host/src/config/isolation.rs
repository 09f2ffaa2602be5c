//! `isolation` and `memory_limit`: where a service runs, and how much it may use there.

use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// Where a service runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// On a thread of the host's process.
    #[default]
    Thread,
    /// In a process of its own.
    Process {
        /// How much memory that may use; as much as there is if not given.
        memory_limit: Option<MemoryLimit>,
    },
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryLimit(u64);

/// Less than this the smallest service needs for itself.
const LEAST: u64 = 16 << 20;

/// The words that `isolation` may be.
const WORDS: [&str; 3] = ["none", "thread", "process"];

/// Names of units, the longer ones first, and their bytes.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl Isolation {
    /// Reads both keys of the table; `wrong` is told what is the matter with which.
    pub(super) fn read(table: &Value, wrong: &mut impl FnMut(&str, Problem)) -> Self {
        let is_process = table.get("isolation").and_then(Value::as_str) == Some("process");
        let memory_limit = table.get("memory_limit").and_then(|given| {
            let limit = MemoryLimit::read(given);
            limit.map_err(|problem| wrong("memory_limit", *problem)).ok().flatten()
        });
        if is_process {
            return Self::Process { memory_limit };
        }
        if memory_limit.is_some() {
            let problem = Problem::error(
                "memory_limit is for a service in a process of its own: threads share the host's memory",
            );
            wrong("memory_limit", problem.hint("add `isolation = \"process\"`, or remove it"));
        }
        Self::Thread
    }

    /// Whether it has a process of its own.
    #[must_use]
    pub const fn is_process(self) -> bool {
        matches!(self, Self::Process { .. })
    }
}

impl MemoryLimit {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// `None` for a value of a kind that the schema has refused.
    fn read(given: &Value) -> Result<Option<Self>, Box<Problem>> {
        let bytes = match given {
            Value::String(text) => Some(parse(text).ok_or_else(|| {
                let problem = Problem::error(format!("\"{text}\" is no amount of memory"));
                Box::new(
                    problem.hint("write for example \"512MiB\", \"2GiB\" or a number of bytes"),
                )
            })?),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        match bytes {
            Some(bytes) if bytes < LEAST => {
                let problem =
                    Problem::error(format!("{bytes} bytes are too little for any service"));
                Err(Box::new(problem.hint(format!("{} is the least", Self(LEAST)))))
            }
            bytes => Ok(bytes.map(Self)),
        }
    }
}

impl std::fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(bytes) = *self;
        let binary = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match binary.into_iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{} {name}", bytes / unit),
            None => write!(f, "{bytes} bytes"),
        }
    }
}

fn parse(text: &str) -> Option<u64> {
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// The schemas of both keys.
pub(super) fn properties() -> Map<String, Value> {
    let properties = json!({
        "isolation": {"enum": WORDS},
        "memory_limit": {"type": ["integer", "string"], "minimum": 0,
            "description": "Bytes of memory, or text with a unit as in \"512MiB\""},
    });
    match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: &Value) -> (Isolation, Vec<String>) {
        let mut said = Vec::new();
        let isolation = Isolation::read(table, &mut |key, problem| {
            said.push(format!("{key}: {}", problem.one_line()));
        });
        (isolation, said)
    }

    #[test]
    fn a_limit_is_a_number_of_bytes_or_has_a_unit() {
        for (given, bytes) in [
            (json!("512MiB"), 512 << 20),
            (json!("2 GiB"), 2 << 30),
            (json!("100MB"), 100_000_000),
            (json!("20000kB"), 20_000_000),
            (json!("20000000B"), 20_000_000),
            (json!(33_554_432), 32 << 20),
        ] {
            let (isolation, said) = read(&json!({"isolation": "process", "memory_limit": given}));
            let memory_limit = Some(MemoryLimit(bytes));
            assert_eq!((isolation, said), (Isolation::Process { memory_limit }, vec![]), "{given}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused_with_a_hint() {
        for (given, words) in [
            (json!("much"), "\"much\" is no amount of memory"),
            (json!("512"), "\"512\" is no amount"),
            (json!("-1MiB"), "is no amount"),
            (json!("99999999999999GiB"), "is no amount"),
            (json!("1MiB"), "16 MiB is the least"),
            (json!(5), "5 bytes are too little"),
        ] {
            let (isolation, said) = read(&json!({"isolation": "process", "memory_limit": given}));
            assert_eq!(isolation, Isolation::Process { memory_limit: None });
            assert!(said.len() == 1 && said[0].contains(words), "{given}: {said:?}");
        }
    }

    #[test]
    fn a_limit_without_a_process_is_a_mistake() {
        for table in [
            json!({"memory_limit": "64MiB"}),
            json!({"memory_limit": "64MiB", "isolation": "none"}),
        ] {
            let (isolation, said) = read(&table);
            assert_eq!(isolation, Isolation::Thread);
            assert!(said[0].contains("isolation = \"process\""), "{said:?}");
        }
        assert_eq!(read(&json!({"isolation": "thread"})), (Isolation::Thread, vec![]));
    }

    #[test]
    fn a_limit_reads_as_people_write_it() {
        for (bytes, text) in
            [(512 << 20, "512 MiB"), (3 << 30, "3 GiB"), (100_000_001, "100000001 bytes")]
        {
            assert_eq!(MemoryLimit(bytes).to_string(), text);
        }
    }
}
