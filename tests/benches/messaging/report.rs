//! What was measured, as tables for people and as one JSON document.

use serde_json::{Value, json};

use crate::Options;
use crate::contender::Round;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Messages; more is better.
    PerSecond,
    /// Time; less is better.
    Microseconds,
}

/// What one contender's rounds came to.
pub(crate) struct Row {
    name: &'static str,
    rounds: Vec<f64>,
    p99: Vec<f64>,
    messages: u64,
    cpu_ns: u64,
}

impl Row {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new(), p99: Vec::new(), messages: 0, cpu_ns: 0 }
    }

    pub(crate) fn add(&mut self, round: &Round, cpu_ns: u64) {
        self.rounds.push(round.figure);
        self.p99.extend(round.p99);
        self.messages += round.messages;
        self.cpu_ns += cpu_ns;
    }

    /// Processor time of the contender's process for each message, in microseconds.
    fn cpu_us(&self) -> f64 {
        self.cpu_ns as f64 / 1000.0 / self.messages.max(1) as f64
    }

    fn figures(&self, unit: Unit) -> Value {
        let p99 = median(&self.p99);
        match unit {
            Unit::PerSecond => json!({"name": self.name, "median": figure(median(&self.rounds)),
                "cpu_us": figure(self.cpu_us()), "rounds": figures(&self.rounds)}),
            Unit::Microseconds => json!({"name": self.name, "p50": figure(median(&self.rounds)),
                "p99": figure(p99), "cpu_us": figure(self.cpu_us()), "p50_rounds": figures(&self.rounds),
                "p99_rounds": figures(&self.p99)}),
        }
    }
}

/// One scenario with one size.
pub(crate) struct Case {
    pub(crate) scenario: &'static str,
    pub(crate) what: &'static str,
    pub(crate) size: usize,
    pub(crate) unit: Unit,
    pub(crate) rows: Vec<Row>,
}

impl Case {
    /// The median, over the rounds, of the first row's figure divided by this one's: the host comes first.
    fn ours_to(&self, row: &Row) -> Option<f64> {
        let ours = self.rows.first().filter(|first| first.name == "exphost")?;
        let ratios: Vec<_> =
            ours.rounds.iter().zip(&row.rounds).map(|(ours, theirs)| ours / theirs).collect();
        Some(median(&ratios))
    }

    fn json(&self) -> Value {
        let others = self.rows.iter().skip(1);
        let ratios: serde_json::Map<_, _> = others
            .filter_map(|row| Some((row.name.to_owned(), json!(rounded(self.ours_to(row)?)))))
            .collect();
        let rows: Vec<_> = self.rows.iter().map(|row| row.figures(self.unit)).collect();
        let unit = if self.unit == Unit::PerSecond { "1/s" } else { "us" };
        json!({"scenario": self.scenario, "what": self.what, "bytes": self.size, "unit": unit,
            "contenders": rows, "exphost_to": ratios})
    }

    fn print(&self) {
        let size = Self::size(self.size);
        println!("\n{}, {size}: {}", self.scenario, self.what);
        let heads = match self.unit {
            Unit::PerSecond => ["messages/s", "least", "most"],
            Unit::Microseconds => ["p50 us", "p99 us", "worst p99"],
        };
        let [first, second, third] = heads;
        print!("  {:<16}{first:>12}{second:>12}{third:>12}", "");
        println!("{:>16}{:>14}", "CPU us/message", "exphost : it");
        for row in &self.rows {
            let most = |values: &[f64]| values.iter().copied().fold(f64::NAN, f64::max);
            let least = row.rounds.iter().copied().fold(f64::NAN, f64::min);
            let (second, third) = match self.unit {
                Unit::PerSecond => (least, most(&row.rounds)),
                Unit::Microseconds => (median(&row.p99), most(&row.p99)),
            };
            let ratio = self.ours_to(row).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [first, second, third] = [median(&row.rounds), second, third].map(shown);
            print!("  {:<16}{first:>12}{second:>12}{third:>12}", row.name);
            println!("{:>16}{ratio:>14}", shown(row.cpu_us()));
        }
    }

    fn size(bytes: usize) -> String {
        match bytes {
            0..1024 => format!("{bytes} B"),
            1024..1_048_576 => format!("{} KiB", bytes >> 10),
            _ => format!("{} MiB", bytes >> 20),
        }
    }
}

/// Everything of one run.
pub(crate) struct Report {
    as_json: bool,
    rounds: usize,
    round_ms: u128,
    cases: Vec<Value>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let (rounds, round_ms) = (options.rounds, options.round.as_millis());
        if !options.json {
            println!(
                "{rounds} rounds of {round_ms} ms each; the contenders take turns; {} processors",
                processors()
            );
            println!("`exphost : it` is the median of the ratios, round by round");
        }
        Self { as_json: options.json, rounds, round_ms, cases: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: Case) {
        if self.as_json {
            self.cases.push(case.json());
        } else {
            case.print();
        }
    }

    pub(crate) fn finish(self) {
        if self.as_json {
            let (major, minor, patch) = zmq2::version();
            let document = json!({"rounds": self.rounds, "round_ms": self.round_ms,
                "processors": processors(), "libzmq": format!("{major}.{minor}.{patch}"),
                "cases": self.cases});
            println!("{document}");
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn figures(values: &[f64]) -> Vec<f64> {
    values.iter().copied().map(figure).collect()
}

/// Three digits: no more of them would come again in the next run.
fn figure(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(2.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

fn shown(value: f64) -> String {
    let value = figure(value);
    if value < 100.0 { format!("{value:.3}")[..4].to_owned() } else { format!("{value:.0}") }
}
