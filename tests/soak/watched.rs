//! A daemon, and what is seen of it from outside: its memory, its open files, its figures.

use crate::company::{Running, get};
use crate::support::{History, Workspace};
use crate::world::World;
use std::time::{Duration, Instant};

/// Memory may grow so much, in KiB, from the second quarter to the last.
const GROWS: f64 = 16_384.0;
/// Open files that one at rest has at most.
const FILES: usize = 90;
/// How long a figure may lag behind.
const CENSUS: Duration = Duration::from_secs(90);

pub struct Watched {
    name: &'static str,
    pub host: Workspace,
    pub running: Option<Running>,
    pub stopped: bool,
    begun: Instant,
    /// Seconds since the start, KiB, open files; of this process.
    samples: Vec<(f64, f64, usize)>,
    /// The counter of tickets that ended in time, of processes that are gone, and of this one as last seen.
    in_time: (f64, f64),
}

impl Watched {
    pub fn start(world: &World, name: &'static str) -> Watched {
        let mut daemon = Watched {
            name,
            host: world.host(),
            running: None,
            stopped: false,
            begun: Instant::now(),
            samples: Vec::new(),
            in_time: (0.0, 0.0),
        };
        daemon.begin();
        daemon
    }

    /// Starts it, or starts it again.
    pub fn begin(&mut self) {
        let silence = "silence=return(6000)";
        self.running = Some(Running::start(&self.host, &["run"], silence));
        (self.begun, self.stopped) = (Instant::now(), false);
        self.samples.clear();
    }

    pub fn kill(&mut self) {
        self.in_time = (self.in_time.0 + self.in_time.1, 0.0);
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    pub fn log(&self) -> String {
        let log = self.running.as_ref().map(Running::log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub fn sample(&mut self, world: &World) {
        let Some(running) = self.running.as_mut().filter(|_| !self.stopped) else {
            return;
        };
        assert!(
            !running.has_ended(),
            "{} has ended by itself: {}\n{}",
            self.name,
            running.log(),
            world.told()
        );
        let process = format!("/proc/{}", running.id());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse()
                .ok()
        });
        let files = std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
        if let Some(rss) = rss {
            self.samples
                .push((self.begun.elapsed().as_secs_f64(), rss, files));
        }
        if let Some(seen) = self.figure("erasured_sla_met_total") {
            self.in_time.1 = seen;
        }
    }

    /// The sum of a metric's lines.
    fn figure(&self, name: &str) -> Option<f64> {
        let token = std::fs::read_to_string(self.host.path().join("keys/http.token")).ok()?;
        let (200, text) = get(&self.host.http(), "/metrics", Some(token.trim()))? else {
            return None;
        };
        let lines = text.lines().filter(|line| line.starts_with(name));
        Some(
            lines
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum(),
        )
    }

    /// Mean memory of the second quarter and of the last, and the slope over what follows the first, in KiB a minute.
    fn memory(&self) -> (f64, f64, f64) {
        let n = self.samples.len();
        let mean = |some: &[(f64, f64, usize)]| {
            some.iter().map(|s| s.1).sum::<f64>() / some.len().max(1) as f64
        };
        let some = &self.samples[n / 4..];
        let (x, y) = (
            some.iter().map(|s| s.0).sum::<f64>() / some.len().max(1) as f64,
            mean(some),
        );
        let over: f64 = some.iter().map(|s| (s.0 - x) * (s.1 - y)).sum();
        let under: f64 = some.iter().map(|s| (s.0 - x).powi(2)).sum();
        (
            mean(&self.samples[n / 4..n / 2]),
            mean(&self.samples[n - n / 4..]),
            60.0 * over / under.max(1.0),
        )
    }

    pub fn told(&self) -> String {
        self.samples
            .last()
            .map_or_else(String::new, |(_, rss, files)| {
                format!("{}: {:.1} MiB, {files} files", self.name, rss / 1024.0)
            })
    }

    /// Told to stop; what it has left behind.
    pub fn end(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (early, late, slope) = self.memory();
        let files = self.samples.last().map_or(0, |s| s.2);
        println!(
            "{}: {:.0} s, memory {:.1} MiB in its second quarter and {:.1} in its last, slope {slope:.0} KiB a minute, {files} open files at rest",
            self.name,
            self.begun.elapsed().as_secs_f64(),
            early / 1024.0,
            late / 1024.0
        );
        if self.samples.len() > 120 && late - early > GROWS {
            wrong.push(format!("{} grew by {:.0} KiB", self.name, late - early));
        }
        if files > FILES {
            wrong.push(format!("{} has {files} files open", self.name));
        }
        if let Some(running) = self.running.take() {
            running.signal("TERM");
            let (status, log) = running.end(Duration::from_secs(90));
            if status.code() != Some(0) {
                wrong.push(format!(
                    "{} ended with {status}: {}",
                    self.name,
                    log.lines().last().unwrap_or_default()
                ));
            }
        }
        let state = std::fs::read_dir(self.host.path().join("state")).unwrap();
        let left = state
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "ledger-head");
        wrong.extend(left.map(|name| format!("{} has left {name}", self.name)));
        wrong
    }
}

/// What the figures say otherwise than ledger and tickets. Of those of a process that was killed some may never
/// have been seen.
pub fn disagree(daemons: &mut [Watched; 2], history: &History, certified: usize) -> Vec<String> {
    let control = &history.control;
    let in_time = control
        .tickets
        .iter()
        .filter(|t| t.sla_met == Some(true))
        .count();
    let of = |state: &str| control.tickets.iter().filter(|t| t.state == state).count();
    let expected = [
        ("erasured_sla_due_tickets", 0),
        ("erasured_sla_overdue_tickets", 0),
        ("erasured_leased_tickets", 0),
        ("erasured_ledger_pending_events", 0),
        ("erasured_tickets{state=\"completed\"}", of("completed")),
        ("erasured_tickets{state=\"failed\"}", of("failed")),
    ];
    let mut wrong = Vec::new();
    let mut seen = 0.0;
    for daemon in daemons {
        for (name, expected) in expected {
            // What is closed is counted for a hundredth of the time at most.
            let asked = Instant::now();
            let mut figure = daemon.figure(name);
            while figure != Some(expected as f64) && asked.elapsed() < CENSUS {
                std::thread::sleep(Duration::from_millis(500));
                figure = daemon.figure(name);
            }
            if figure != Some(expected as f64) {
                wrong.push(format!(
                    "{}: {name} is {figure:?}, and {expected} by the tickets",
                    daemon.name
                ));
            }
        }
        daemon.in_time.1 = daemon
            .figure("erasured_sla_met_total")
            .unwrap_or(daemon.in_time.1);
        seen += daemon.in_time.0 + daemon.in_time.1;
    }
    println!(
        "in time: {in_time} by the ledger's tickets, {seen} by the counters that were seen, {certified} certificates"
    );
    if seen > in_time as f64 {
        wrong.push(format!(
            "{seen} in time by the counters, {in_time} by the tickets"
        ));
    }
    wrong
}
