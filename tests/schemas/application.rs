//! One application from its migrations to the last erasure.

use crate::decided::{Decided, entries, table_of};
use crate::definition::Definition;
use crate::fill::{ByHand, Filling};
use crate::oracle::{Database, Oracle};
use crate::support::{Server, Workspace, repository};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many leave at once, one group after the other.
const GROUPS: [usize; 3] = [1, 10, 1000];

/// The application's database with rows in it, and the program beside it.
struct Place {
    name: &'static str,
    server: &'static Server,
    database: String,
    control: String,
    workspace: Workspace,
    definition: Definition,
}

/// Migrates, fills, drafts, decides, erases; panics where the database is not as it must be.
#[track_caller]
pub(crate) fn erased_as_the_oracle_says(name: &'static str) {
    let place = migrated(name);
    let (policy, fill) = (told(name, "toml"), told(name, "fill.toml"));
    let fill: ByHand = toml::from_str(&fill).expect("names and SQL");
    let decided = Decided::read(&policy, &place.definition);
    let reached = place.definition.reached(decided.tables.iter().cloned());
    Filling {
        server: place.server,
        database: &place.database,
        definition: &place.definition,
        root: &decided.root,
        reached: &reached,
        by_hand: &fill,
    }
    .fill();
    place.server.execute(&place.database, "ANALYZE");
    place.says(&["migrate"], 0);
    let missed = place.draft(&decided);
    place.workspace.write_policy("policy.toml", &policy);
    place.checks(&[]);
    let mut figures = Vec::new();
    let mut met = BTreeSet::new();
    let by_keys = place.definition.reached([decided.root.clone()]);
    let rows = Database::read(place.server, &place.database, &place.definition).count();
    let mut next = 1;
    let mut disagreements = 0;
    for group in GROUPS {
        let (took, wrong) = place.erase(&decided, next, group, &mut met);
        next += group;
        disagreements += wrong.len();
        for line in wrong.iter().take(10) {
            eprintln!("{}: {line}", name);
        }
        figures.push(format!("{:.1} s", took.as_secs_f64()));
    }
    println!(
        "| {} | {} | {} | {} | {rows} | {missed} | {} | {disagreements} |",
        name,
        place.definition.tables.len(),
        place.definition.keys.len(),
        by_keys.len(),
        figures.join(" | "),
    );
    assert_eq!(disagreements, 0, "{name}");
    let never: Vec<_> = decided
        .tables
        .iter()
        .filter(|t| !met.contains(*t))
        .collect();
    assert!(never.is_empty(), "{name}: nobody had a row in {never:?}");
}

/// The database as the application's migrations leave it.
#[track_caller]
fn migrated(name: &'static str) -> Place {
    let server = Server::shared();
    let database = server.fresh_database(name);
    let made = Command::new(repository().join("scripts/schemas.sh"))
        .args([name, &server.url(&database)])
        .output()
        .expect("bash");
    assert!(
        made.status.success(),
        "{}{}",
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr)
    );
    let control = server.fresh_database("control");
    let systems = [("app", server.url(&database))];
    let mut workspace = Workspace::new(&server.url(&control), &systems);
    workspace.configure("[limits]\npoll = \"200ms\"\nstatement_timeout = \"10 min\"\n");
    Place {
        name,
        server,
        definition: Definition::read(server, &database),
        database,
        control,
        workspace,
    }
}

impl Place {
    #[track_caller]
    fn says(&self, arguments: &[&str], code: i32) -> String {
        let output = self.workspace.erasured(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {told}{out}"
        );
        out
    }

    /// `check` has no error but these codes.
    #[track_caller]
    fn checks(&self, codes: &[&str]) {
        let output = self
            .workspace
            .erasured(["check", "--format", "json"])
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let found: Vec<serde_json::Value> = serde_json::from_str(&out)
            .unwrap_or_else(|_| panic!("{out}{}", String::from_utf8_lossy(&output.stderr)));
        let errors = found.iter().filter(|d| d["severity"] == "error");
        let (known, other): (Vec<_>, Vec<_>) =
            errors.partition(|d| codes.contains(&d["code"].as_str().unwrap()));
        let told = other.iter().map(|d| {
            format!(
                "{}: {}: {}; {}\n",
                d["line"], d["code"], d["message"], d["help"]
            )
        });
        let told: String = told.collect();
        assert!(other.is_empty(), "{}: {told}", self.name);
        let mut warned: BTreeMap<&str, usize> = BTreeMap::new();
        for warning in found.iter().filter(|d| d["severity"] != "error") {
            *warned.entry(warning["code"].as_str().unwrap()).or_default() += 1;
        }
        eprintln!(
            "{}: {} to decide, warned {warned:?}",
            self.name,
            known.len()
        );
    }

    /// Drafts, and says how many rules it made, how many it left open, and of how many of our tables
    /// it could only say in a comment that something may be the person's.
    #[track_caller]
    fn draft(&self, decided: &Decided) -> String {
        let file = self.workspace.path().join("policies/draft.toml");
        let shown = file.display().to_string();
        self.says(
            &[
                "discover",
                "--system",
                "app",
                "--root",
                &decided.root,
                "--output",
                &shown,
            ],
            0,
        );
        self.checks(&["E0119"]);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(
            repository().join(format!("target/schemas/{}.draft.toml", self.name)),
            &text,
        )
        .unwrap();
        std::fs::remove_file(file).unwrap();
        let rules = entries(&text);
        let of = |word: &str| {
            rules
                .iter()
                .filter(|r| r["action"].as_str() == Some(word))
                .count()
        };
        let known: BTreeSet<String> = rules.iter().map(|r| table_of(&r["name"])).collect();
        let missed: BTreeSet<&String> = decided
            .tables
            .iter()
            .filter(|t| !known.contains(*t))
            .collect();
        let is_told = |t: &&&String| text.contains(&format!("# - {t}: "));
        let told = missed.iter().filter(is_told).map(|t| (*t).clone());
        // What hangs off a table that is only told comes with the next `discover --update`.
        let behind = self.definition.reached(told);
        let untold: Vec<_> = missed.iter().filter(|t| !behind.contains(**t)).collect();
        assert!(
            untold.is_empty(),
            "{}: the draft says nothing of {untold:?}",
            self.name
        );
        format!("{} | {} | {}", rules.len(), of("decide"), missed.len())
    }

    /// Erases so many persons from this number on; how long the daemon took, and what is wrong.
    #[track_caller]
    fn erase(
        &self,
        decided: &Decided,
        first: usize,
        group: usize,
        met: &mut BTreeSet<String>,
    ) -> (Duration, Vec<String>) {
        let today = self.server.value(&self.database, "SELECT current_date");
        let oracle = Oracle {
            definition: &self.definition,
            decided,
            today: &today,
        };
        let before = Database::read(self.server, &self.database, &self.definition);
        let (name, column) = &decided.found_by;
        let at = self.definition.tables[&decided.root].at(column);
        let mut all: Vec<String> = before.tables[&decided.root]
            .iter()
            .filter_map(|r| r[at].clone())
            .collect();
        all.sort();
        // Anybody may have gone with another; those who leave are spread over the rest.
        let who: BTreeSet<String> = all
            .iter()
            .skip(first % 7)
            .step_by(if group > all.len() / 2 { 1 } else { 2 })
            .take(group)
            .cloned()
            .collect();
        self.file(decided, name, &who, first);
        let begun = Instant::now();
        let ran = self.workspace.erasured(["run", "--until-idle"]).output();
        let took = begun.elapsed();
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        let open = self.open();
        assert!(
            open.is_empty() && ran.status.success(),
            "{}: {}\n{}",
            self.name,
            open.concat(),
            last_lines(&said)
        );
        let left = oracle.erase(&before, column, &who);
        met.extend(left.claimed.keys().cloned());
        let found = Database::read(self.server, &self.database, &self.definition);
        (took, oracle.disagreements(&left, &found))
    }

    /// Tickets that are not closed, each with its problem and where something was left.
    fn open(&self) -> Vec<String> {
        let sql = "SELECT reference, state::text, problem::text FROM erasured.ticket_status
                   WHERE state::text NOT IN ('completed', 'deferred') LIMIT 3";
        let open = self.server.query(&self.control, sql);
        let shown = open.iter().map(|row| {
            let reference = row[0].clone().unwrap();
            let shown = self
                .workspace
                .erasured(["ticket", "show", &reference])
                .output();
            String::from_utf8_lossy(&shown.unwrap().stdout).into_owned()
        });
        shown.collect()
    }

    fn file(&self, decided: &Decided, identifier: &str, who: &BTreeSet<String>, first: usize) {
        // The daemon publishes its scopes when it starts.
        self.says(&["run", "--until-idle"], 0);
        let tickets: Vec<String> = who.iter().enumerate().map(|(n, value)| {
            format!(
                "t := erasured.submit_ticket('T-{}', '{}', '{{\"{identifier}\": \"{value}\"}}', 'account', 'policy');
                 PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'callback');
                 PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);",
                first + n, decided.subject
            )
        }).collect();
        let sql = format!(
            "DO $do$ DECLARE t uuid; BEGIN {} END $do$",
            tickets.concat()
        );
        self.server.execute(&self.control, &sql);
    }
}

/// `tests/schemas/NAME.toml` is our policy, `NAME.fill.toml` what filling needs to be told.
fn told(name: &str, ending: &str) -> String {
    let file = repository().join(format!("tests/schemas/{name}.{ending}"));
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
