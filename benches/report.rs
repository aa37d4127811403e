//! `target/bench.json`: a list with one entry for each bar, and the table for people.

use crate::support::{Server, repository};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// On which side of the bar a figure must lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Must {
    /// Not below it.
    BeAtLeast,
    /// Not above it.
    BeAtMost,
}

/// One bar and the figure held against it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What is measured; entries of one name replace each other.
    pub name: String,
    /// Our figure.
    pub ours: f64,
    /// The other figure; none where the bar is on our figure itself.
    pub theirs: Option<f64>,
    /// Of both.
    pub unit: String,
    /// Ours over theirs, round by round, the median of the rounds.
    pub ratio: Option<f64>,
    /// For the ratio, or for our figure where there is no ratio.
    pub bar: f64,
    /// Which side of it is right.
    pub must: Must,
    /// Whether it is met.
    pub holds: bool,
    /// What one must know to read it.
    pub how: String,
    /// Figures by the way, which no bar is on.
    pub also: BTreeMap<String, f64>,
    /// Rows (or tickets) by what they are.
    pub rows: BTreeMap<String, u64>,
    /// Server version.
    pub server: String,
    /// Processor, cores and memory.
    pub machine: Machine,
    /// Whether this was an optimised build.
    pub optimised: bool,
    /// When it was measured.
    pub at: String,
}

/// The machine it was measured on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Processor.
    pub cpu: String,
    /// How many of its cores this process may use.
    pub cores: usize,
    /// In MiB.
    pub memory_mib: u64,
}

/// What a part knows before it measures.
pub(crate) struct Setting {
    server: String,
    rows: BTreeMap<String, u64>,
}

impl Setting {
    pub(crate) fn new(server: &Server) -> Self {
        let version = server.value("postgres", "SHOW server_version");
        Self {
            server: format!("PostgreSQL {version}"),
            rows: BTreeMap::new(),
        }
    }

    pub(crate) fn rows(mut self, what: &str, rows: u64) -> Self {
        self.rows.insert(what.into(), rows);
        self
    }

    /// Rounds of ours and theirs; the figures are medians, the ratio is the median of ratios.
    pub(crate) fn compared(
        &self,
        name: &str,
        unit: &str,
        rounds: &[(f64, f64)],
        (must, bar): (Must, f64),
        how: &str,
    ) -> Entry {
        let ours = median(rounds.iter().map(|r| r.0));
        let theirs = median(rounds.iter().map(|r| r.1));
        let ratio = median(rounds.iter().map(|r| r.0 / r.1));
        let also = BTreeMap::from([
            (
                "ratio, lowest round".to_owned(),
                rounds.iter().map(|r| r.0 / r.1).fold(f64::MAX, f64::min),
            ),
            (
                "ratio, highest round".to_owned(),
                rounds.iter().map(|r| r.0 / r.1).fold(f64::MIN, f64::max),
            ),
        ]);
        Entry {
            theirs: Some(theirs),
            ratio: Some(ratio),
            holds: must.hold(ratio, bar),
            also,
            ..self.absolute(name, unit, ours, (must, bar), how)
        }
    }

    /// A figure with a bar of its own.
    pub(crate) fn absolute(
        &self,
        name: &str,
        unit: &str,
        ours: f64,
        (must, bar): (Must, f64),
        how: &str,
    ) -> Entry {
        Entry {
            name: name.into(),
            ours,
            theirs: None,
            unit: unit.into(),
            ratio: None,
            bar,
            must,
            holds: must.hold(ours, bar),
            how: how.into(),
            also: BTreeMap::new(),
            rows: self.rows.clone(),
            server: self.server.clone(),
            machine: machine(),
            optimised: !cfg!(debug_assertions),
            at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        }
    }
}

impl Must {
    fn hold(self, figure: f64, bar: f64) -> bool {
        match self {
            Self::BeAtLeast => figure >= bar,
            Self::BeAtMost => figure <= bar,
        }
    }
}

impl Entry {
    /// Adds a figure by the way.
    pub(crate) fn with(mut self, what: &str, figure: f64) -> Self {
        self.also.insert(what.into(), figure);
        self
    }
}

pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    assert!(!figures.is_empty(), "a median of something");
    figures[figures.len() / 2]
}

fn machine() -> Machine {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let after = |text: &str, word: &str| {
        let line = text.lines().find(|line| line.starts_with(word));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let kib: u64 = after(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    Machine {
        cpu: after(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_mib: kib / 1024,
    }
}

/// All figures measured so far, this time and before.
pub(crate) struct Report {
    file: PathBuf,
    entries: Vec<Entry>,
}

impl Report {
    /// Takes up what an earlier run left; a file of another shape is begun anew.
    pub(crate) fn open() -> Self {
        let file = repository().join("target/bench.json");
        let entries = std::fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Self { file, entries }
    }

    /// Adds an entry, or replaces the one of its name.
    pub(crate) fn add(&mut self, entry: Entry) {
        println!("{entry}");
        match self.entries.iter_mut().find(|e| e.name == entry.name) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn save(&self) {
        let folder = self.file.parent().expect("target/");
        std::fs::create_dir_all(folder).expect("target/");
        let text = serde_json::to_string_pretty(&self.entries).expect("entries are always JSON");
        let new = self.file.with_extension("json.new");
        std::fs::write(&new, text + "\n").expect("target/bench.json.new");
        std::fs::rename(&new, &self.file).expect("target/bench.json");
    }
}

/// One line of the table.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |x: f64| {
            let decimals = if x.abs() >= 100.0 { 0 } else { 2 };
            format!("{x:.decimals$}")
        };
        let bar = match self.must {
            Must::BeAtLeast => "≥",
            Must::BeAtMost => "≤",
        };
        write!(
            f,
            "{:<58} {:>9} {:>9} {:<10} {:>6}  {bar} {:<5} {}",
            self.name,
            figure(self.ours),
            self.theirs.map_or_else(|| "—".into(), figure),
            self.unit,
            self.ratio.map_or_else(|| "—".into(), |r| format!("{r:.2}")),
            self.bar,
            if self.holds { "holds" } else { "DOES NOT HOLD" }
        )
    }
}

/// The table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut machines: Vec<String> = Vec::new();
        for entry in &self.entries {
            let Machine {
                cpu,
                cores,
                memory_mib,
            } = &entry.machine;
            let build = if entry.optimised {
                ""
            } else {
                ", NOT AN OPTIMISED BUILD"
            };
            let line = format!(
                "{}; {cpu}, {cores} cores, {memory_mib} MiB{build}",
                entry.server
            );
            if !machines.contains(&line) {
                machines.push(line);
            }
        }
        writeln!(f, "{}", machines.join("\n"))?;
        writeln!(
            f,
            "{:<58} {:>9} {:>9} {:<10} {:>6}  {:<7} ",
            "", "ours", "theirs", "", "ratio", "bar"
        )?;
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
            for (what, figure) in &entry.also {
                if !what.starts_with("ratio") {
                    writeln!(f, "    by the way: {what} {figure:.1}")?;
                }
            }
        }
        write!(f, "In {}", self.file.display())
    }
}
