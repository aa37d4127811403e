//! The documents are true: what the program can say, know or show is in them, and nothing else.

#![allow(clippy::unwrap_used)] // a test may

#[path = "support/explained.rs"]
mod explained;

use erasured::diagnostic::{Diagnostic, to_json};
use erasured::{config, explanation, policy, ticket::sla};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Words = BTreeSet<String>;
/// Series of a Prometheus test: name and values.
type Series<'a> = &'a [(&'a str, &'a str)];
/// What is seen, and which alerts must fire then.
type Scene<'a> = (Series<'a>, &'a dyn Fn(&str) -> bool);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file under a folder, with one of these endings.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if endings
            .iter()
            .any(|end| path.extension().is_some_and(|e| e == *end))
        {
            found.push(path);
        }
    }
    found
}

/// Words such as `E0201`: a prefix, then exactly so many digits.
fn codes(text: &str, prefix: &str, digits: usize) -> Words {
    text.match_indices(prefix)
        .filter_map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            let count = rest.bytes().take_while(u8::is_ascii_digit).count();
            (count == digits).then(|| text[at..at + prefix.len() + digits].to_owned())
        })
        .collect()
}

/// Identifiers that begin with this.
fn names(text: &str, prefix: &str) -> Words {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !part(c))
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .map(str::to_owned)
        .collect()
}

/// What stands between backticks, line by line, code blocks left out.
fn spans(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut spans = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    spans
}

/// The words of all code spans.
fn span_words(text: &str) -> Words {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    spans(text)
        .iter()
        .flat_map(|span| span.split(|c: char| !part(c)))
        .map(str::to_owned)
        .collect()
}

/// First cells of the rows of every table whose header begins with this.
fn rows<'t>(text: &'t str, header: &str) -> Vec<&'t str> {
    let mut inside = false;
    let mut rows = Vec::new();
    for line in text.lines() {
        if line.starts_with(&format!("| {header} |")) {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("| ---") {
            rows.push(line);
        }
    }
    rows
}

fn cell(row: &str, at: usize) -> &str {
    row.split('|').nth(at + 1).unwrap().trim()
}

fn first_spans(text: &str, header: &str) -> Words {
    rows(text, header)
        .iter()
        .flat_map(|row| spans(cell(row, 0)))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn same(what: &str, program: &Words, document: &Words) {
    let missing: Vec<_> = program.difference(document).collect();
    let invented: Vec<_> = document.difference(program).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}: not in the document: {missing:?}; only in the document: {invented:?}"
    );
}

fn sources() -> String {
    files(&repository().join("src"), &["rs"])
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// What the program can say.
fn error_codes() -> Words {
    let mut program = codes(&sources(), "E0", 3);
    program.remove("E0000"); // what the tests of diagnostics say
    program
}

#[test]
fn every_error_code_is_explained() {
    let program = error_codes();
    let document = first_spans(&read("docs/operations.md"), "code");
    let document: Words = document
        .into_iter()
        .filter(|c| c.starts_with("E0"))
        .collect();
    assert!(program.len() > 70, "{program:?}");
    same("error codes", &program, &document);
}

/// `erasured explain` has half a page on each, and on nothing else.
#[test]
fn every_error_code_has_its_section() {
    let sections = explanation::all();
    let explained: Words = sections.iter().map(|e| e.code.to_owned()).collect();
    let program = error_codes();
    let missing: Vec<_> = program.difference(&explained).collect();
    assert!(
        missing.is_empty(),
        "docs/errors.md lacks a section `## E0…: title` for {missing:?}"
    );
    same("sections of docs/errors.md", &program, &explained);
    assert_eq!(sections.len(), explained.len(), "a code has two sections");
    let headings = read("docs/errors.md").matches("\n## ").count();
    assert_eq!(sections.len(), headings, "a heading is not `## E0…: title`");
    assert!(sections.is_sorted_by_key(|e| e.code), "out of order");
    for section in sections {
        let (code, body) = (section.code, section.body);
        assert!(body.contains("```"), "{code} has no example");
        assert!(body.contains("\n**What to do.** "), "{code} has no advice");
        assert!(body.lines().count() <= 45, "{code} is over half a page");
    }
}

/// What is said as a warning is called one, and nothing else is.
#[test]
fn sections_say_what_is_a_warning() {
    let sources = sources();
    let squeezed: String = sources.split_whitespace().collect();
    let after = |call: &str| -> Words {
        let calls = squeezed.split(call).skip(1);
        calls
            .flat_map(|rest| codes(rest.get(..7).unwrap_or(""), "E0", 3))
            .collect()
    };
    let warned: Words = ["warn(", "Diagnostic::warning("]
        .into_iter()
        .flat_map(after)
        .collect();
    let warned: Words = warned.into_iter().filter(|c| c != "E0000").collect();
    assert!(warned.len() > 4, "{warned:?}");
    let said = explanation::all().into_iter();
    let said = said.filter(|e| e.body.contains("**warning**"));
    let said: Words = said.map(|e| e.code.to_owned()).collect();
    same("warnings", &warned, &said);
}

/// An example that shows a mistake gives that code and no other; the others read well. Mistakes
/// against a database (`E02…`) are tried by `tests/cli/explain.rs`.
#[test]
fn examples_of_mistakes_make_them() {
    const CONFIG: &str = r#"
        control.url = ""
        system.shop.url = ""
        keys = { signing = { env = "A" }, hash = { env = "B" } }
    "#;
    let (mut tried, mut wrong) = (0, Vec::new());
    let mut compare = |section: &str, got: Option<Vec<Diagnostic>>, claim: Option<String>| {
        let got: Words = got.iter().flatten().map(|d| d.code.to_owned()).collect();
        if got != claim.into_iter().collect() {
            wrong.push(format!("the example of {section} gives {got:?}"));
        }
        tried += 1;
    };
    for (section, claim, part) in explained::examples("toml part of a policy") {
        let offline = claim.filter(|c| !c.starts_with("E02"));
        let read = policy::read::read("f", &explained::policy(&part));
        compare(section.code, read.err(), offline);
    }
    for (section, claim, part) in explained::examples("toml part of erasured.toml") {
        let read = config::read("f", &format!("{CONFIG}{part}\n"));
        compare(section.code, read.err(), claim);
    }
    for (section, claim, part) in explained::examples("toml part of identity.toml") {
        compare(section.code, policy::proof::read("f", &part).err(), claim);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 50, "{tried}");
    for section in explanation::all() {
        for block in explained::blocks(&section) {
            let known = block.info.is_empty()
                || block.info == "sql"
                || block.info.starts_with("toml part of ");
            assert!(known, "{}: ```{}", section.code, block.info);
            let claim = block
                .info
                .rsplit(' ')
                .next()
                .filter(|c| c.starts_with("E0"));
            assert!(
                claim.is_none_or(|c| c == section.code),
                "{}: another code",
                section.code
            );
        }
    }
}

#[test]
fn every_sqlstate_of_ours_is_explained() {
    let sql: String = files(&repository().join("sql"), &["sql"])
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let program = codes(&(sources() + &sql), "ER", 3);
    assert!(program.len() > 10, "{program:?}");
    assert!(program.len() > 9, "{program:?}");
    same(
        "SQLSTATEs",
        &program,
        &first_spans(&read("docs/operations.md"), "SQLSTATE"),
    );
}

fn metric_names() -> Words {
    let source = read("src/metrics.rs");
    source
        .lines()
        .filter(|line| line.starts_with("pub const "))
        .flat_map(|line| names(line, "erasured_"))
        .collect()
}

#[test]
fn every_metric_asks_something_and_alerts_name_real_ones() {
    let program = metric_names();
    assert!(program.len() > 20, "{program:?}");
    same(
        "metrics",
        &program,
        &first_spans(&read("docs/operations.md"), "metric"),
    );
    let alerted = names(&read("docs/alerts.yml"), "erasured_");
    assert!(!alerted.is_empty());
    assert!(alerted.is_subset(&program), "{alerted:?}");
}

/// What stands in quotes.
fn quoted(text: &str) -> Words {
    let parts = text.split('"').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

#[test]
fn every_cause_of_a_retry_is_listed() {
    let part = |file: &str, from: &str, to: &str| {
        let text = read(file);
        let (_, rest) = text.split_once(from).unwrap();
        quoted(rest.split_once(to).unwrap().0)
    };
    let mut causes = part("src/erasure/batch/setback.rs", "fn shared(", "\n}");
    let states = part(
        "src/system/postgres/failure.rs",
        "Failure::Transient(match code {",
        "\n    })",
    );
    causes.extend(
        states
            .into_iter()
            .filter(|word| word.len() > 5 && !word.starts_with(|c: char| c.is_ascii_digit())),
    );
    assert!(
        causes.contains("drift") && causes.contains("deadlock"),
        "{causes:?}"
    );
    let document = read("docs/operations.md");
    let row = document
        .lines()
        .find(|line| line.starts_with("| `erasured_retries_total`"))
        .unwrap();
    let listed = span_words(row);
    let missing: Vec<_> = causes.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn promtool(arguments: &[&str]) -> String {
    let ran = Command::new("promtool")
        .args(arguments)
        .output()
        .expect("promtool, which `scripts/install.sh test` installs");
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    said
}

/// What Prometheus sees of a daemon in trouble, every five minutes for two days.
const TROUBLE: Series<'_> = &[
    (r#"erasured_sla_overdue_tickets{instance="a"}"#, "2x576"),
    (r#"erasured_sla_unconfirmed_tickets{instance="a"}"#, "1x576"),
    (r#"erasured_sla_escalated_tickets{instance="a"}"#, "1x576"),
    (
        r#"erasured_sla_nearest_due_seconds{instance="a"}"#,
        "-5x576",
    ),
    (
        r#"erasured_tickets{instance="a",state="scheduled"}"#,
        "3x576",
    ),
    (r#"erasured_tickets{instance="a",state="failed"}"#, "1x576"),
    (
        r#"erasured_tickets{instance="a",state="verifying"}"#,
        "4x576",
    ),
    (
        r#"erasured_sweep_findings_total{instance="a",system="shop"}"#,
        "_x570 1x6",
    ),
    (
        r#"erasured_came_back_total{instance="a",subject="customer"}"#,
        "_x570 1x6",
    ),
    (
        r#"erasured_retries_total{instance="a",cause="drift"}"#,
        "0+1000x576",
    ),
    (r#"erasured_unfound_tickets{instance="a"}"#, "2x576"),
    (r#"erasured_deferrals_overdue{instance="a"}"#, "1x576"),
    (r#"erasured_policies_current{instance="a"}"#, "0x576"),
    (
        r#"erasured_policy_overlooked{instance="a",subject="customer"}"#,
        "2x576",
    ),
    (
        r#"erasured_policy_fits{instance="a",subject="customer"}"#,
        "0x576",
    ),
    (
        r#"erasured_in_doubt_seconds{instance="a",system="shop"}"#,
        "90+300x576",
    ),
    (r#"erasured_system_up{instance="a",system="shop"}"#, "0x576"),
    (
        r#"erasured_system_maintenance{instance="a",system="crm"}"#,
        "1x576",
    ),
    (
        r#"erasured_partial_overdue_tickets{instance="a",system="crm"}"#,
        "2x576",
    ),
    (r#"erasured_ledger_pending_events{instance="a"}"#, "9x576"),
    (r#"erasured_ledger_height_entries{instance="a"}"#, "40x576"),
    (
        r#"erasured_outbox_dead_messages{instance="a",target="callback/crm"}"#,
        "1x576",
    ),
    (
        r#"erasured_outbox_unserved_messages{instance="a",target="callback/crm"}"#,
        "1x576",
    ),
    (r#"up{instance="a",job="erasured"}"#, "0x576"),
    (
        r#"erasured_retention_lag_seconds{instance="a",rule="calls"}"#,
        "200000x576",
    ),
    (
        r#"erasured_retention_failures{instance="a",rule="calls"}"#,
        "_x570 1x6",
    ),
    (
        r#"erasured_retention_throttle_seconds_total{instance="a",rule="calls",reason="unknown"}"#,
        "0+300x576",
    ),
    (r#"erasured_hold_blocks_total{instance="a"}"#, "0+1x576"),
];
/// And of one that is well and has work.
const WELL: Series<'_> = &[
    (r#"erasured_unfound_tickets{instance="a"}"#, "0x576"),
    (r#"erasured_deferrals_overdue{instance="a"}"#, "0x576"),
    (r#"erasured_sla_overdue_tickets{instance="a"}"#, "0x576"),
    (r#"erasured_sla_unconfirmed_tickets{instance="a"}"#, "0x576"),
    (r#"erasured_sla_escalated_tickets{instance="a"}"#, "0x576"),
    (
        r#"erasured_sla_nearest_due_seconds{instance="a"}"#,
        "9999999x576",
    ),
    (
        r#"erasured_tickets{instance="a",state="scheduled"}"#,
        "3x576",
    ),
    (
        r#"erasured_tickets{instance="a",state="verifying"}"#,
        "4x576",
    ),
    (
        r#"erasured_rows_total{instance="a",system="shop",table="public.t",action="deleted"}"#,
        "0+5x576",
    ),
    (
        r#"erasured_sweep_read_bytes_total{instance="a",system="shop"}"#,
        "0+1000x576",
    ),
    (
        r#"erasured_sweep_findings_total{instance="a",system="shop"}"#,
        "1x576",
    ),
    (
        r#"erasured_came_back_total{instance="a",subject="customer"}"#,
        "1x576",
    ),
    (r#"erasured_policies_current{instance="a"}"#, "1x576"),
    (
        r#"erasured_policy_overlooked{instance="a",subject="customer"}"#,
        "0x576",
    ),
    (
        r#"erasured_policy_fits{instance="a",subject="customer"}"#,
        "1x576",
    ),
    (
        r#"erasured_in_doubt_seconds{instance="a",system="shop"}"#,
        "2x576",
    ),
    (r#"erasured_system_up{instance="a",system="shop"}"#, "1x576"),
    (
        r#"erasured_system_maintenance{instance="a",system="crm"}"#,
        "0x576",
    ),
    (
        r#"erasured_partial_overdue_tickets{instance="a",system="crm"}"#,
        "0x576",
    ),
    (r#"erasured_ledger_pending_events{instance="a"}"#, "9x576"),
    (r#"erasured_ledger_height_entries{instance="a"}"#, "0+1x576"),
    (
        r#"erasured_outbox_dead_messages{instance="a",target="callback/crm"}"#,
        "0x576",
    ),
    (
        r#"erasured_outbox_unserved_messages{instance="a",target="callback/crm"}"#,
        "0x576",
    ),
    (r#"up{instance="a",job="erasured"}"#, "1x576"),
    (
        r#"erasured_retention_lag_seconds{instance="a",rule="calls"}"#,
        "3600x576",
    ),
    (
        r#"erasured_retention_failures{instance="a",rule="calls"}"#,
        "0x576",
    ),
    (
        r#"erasured_retention_throttle_seconds_total{instance="a",rule="calls",reason="unknown"}"#,
        "0+5x576",
    ),
    (
        r#"erasured_retention_throttle_seconds_total{instance="a",rule="calls",reason="lag"}"#,
        "0+300x576",
    ),
    (r#"erasured_hold_blocks_total{instance="a"}"#, "7x576"),
];

#[test]
fn alerts_fire_in_trouble_and_only_then() {
    let rules = repository().join("docs/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()]);
    let all: Vec<String> = read("docs/alerts.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned))
        .collect();
    assert!(all.len() >= 16);
    let soon: Vec<_> = WELL
        .iter()
        .map(|(name, values)| match name.contains("escalated") {
            true => (*name, "2x576"),
            false => (*name, *values),
        })
        .collect();
    // That one is silent while something is overdue already.
    let due_soon = |alert: &str| alert == "ErasureDueSoon";
    let scenes: [Scene<'_>; 3] = [
        (TROUBLE, &|alert| !due_soon(alert)),
        (WELL, &|_| false),
        (&soon, &due_soon),
    ];
    let mut file = format!(
        "rule_files: [{:?}]\nevaluation_interval: 5m\ntests:\n",
        rules
    );
    for (series, fires) in scenes {
        file += "  - interval: 5m\n    input_series:\n";
        for (name, values) in series {
            file += &format!("      - {{series: '{name}', values: '{values}'}}\n");
        }
        file += "    promql_expr_test:\n";
        for alert in &all {
            let state = u8::from(fires(alert));
            file += &format!(
                "      - {{expr: 'count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}) or vector(0)', eval_time: 47h50m, exp_samples: [{{labels: '{{}}', value: {state}}}]}}\n"
            );
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.yml");
    fs::write(&path, file).unwrap();
    promtool(&["test", "rules", path.to_str().unwrap()]);
}

/// The lists of words that these mistakes offer.
fn offered(mistakes: &[Diagnostic], code: &str) -> Words {
    let json = to_json(mistakes);
    let mut words = Words::new();
    for mistake in json.as_array().unwrap() {
        let help = mistake["help"].as_str().unwrap();
        if mistake["code"] == code
            && let Some((_, list)) = help.split_once("known here: ")
        {
            let list = list.split(';').next().unwrap();
            words.extend(list.split(", ").map(str::to_owned));
        }
    }
    words
}

/// The parts of keys such as `limits.batch` or `[system.NAME.sweep]`; what the file names itself
/// is in capitals.
fn key_parts(keys: &Words) -> Words {
    keys.iter()
        .flat_map(|key| key.trim_matches(['[', ']']).split('.'))
        .filter(|part| !part.chars().all(|c| c.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_key_of_the_configuration_is_in_its_reference() {
    const NOBODY_KNOWS: &str = r#"
        qqqqqqqq = 1
        control = { url = "", qqqqqqqq = 1, tls = { qqqqqqqq = 1 } }
        system.a = { url = "", qqqqqqqq = 1, sweep = { url = "", qqqqqqqq = 1 }, throttle = { load = { qqqqqqqq = 1 }, qqqqqqqq = 1 } }
        system.b = { kind = "command", command = ["/x"], qqqqqqqq = 1 }
        system.c = { kind = "redis", url = "redis://localhost", qqqqqqqq = 1 }
        system.m = { kind = "memcached", address = "localhost:1", qqqqqqqq = 1 }
        system.d = { kind = "http", url = "", check = { qqqqqqqq = 1 }, find = { qqqqqqqq = 1 }, erase = { qqqqqqqq = 1 }, status = { qqqqqqqq = 1 }, auth = { basic = { qqqqqqqq = 1 }, qqqqqqqq = 1 }, qqqqqqqq = 1 }
        system.e = { kind = "http", auth = { header = { qqqqqqqq = 1 } } }
        system.f = { kind = "object-store", bucket = "b", access_key = { qqqqqqqq = 1 }, qqqqqqqq = 1 }
        system.f = { kind = "object-store", folder = "b", qqqqqqqq = 1 }
        keys = { signing = { qqqqqqqq = 1 }, hash = { env = "A" }, qqqqqqqq = 1 }
        http.qqqqqqqq = 1
        log.qqqqqqqq = 1
        limits.qqqqqqqq = 1
        notices.qqqqqqqq = 1
        outbox.qqqqqqqq = 1
        callback.a = { url = "http://localhost", qqqqqqqq = 1 }
        api = { listen = "127.0.0.1:1", tokens = "t", control = { url = "", qqqqqqqq = 1 }, qqqqqqqq = 1 }
        opendsr = { domain = "a", certificate = "b", subject = "c", scope = "d", identities = { e = "f" }, grounds = { qqqqqqqq = "" }, qqqqqqqq = 1 }
        drop = { folder = "f", control = { url = "", qqqqqqqq = 1 }, qqqqqqqq = 1 }
        hook.a = { command = ["/x"], qqqqqqqq = 1 }
        bucket.abc = { region = "a", access_key = { env = "A" }, secret_key = { env = "B" }, qqqqqqqq = 1 }
    "#;
    let known = offered(&config::read("f", NOBODY_KNOWS).unwrap_err(), "E0003");
    assert!(
        known.contains("lease") && known.contains("ca_file"),
        "{known:?}"
    );
    let document = read("docs/operations.md");
    let section = &document
        [document.find("## erasured.toml").unwrap()..document.find("## Connections").unwrap()];
    let missing: Vec<_> = known.difference(&span_words(section)).cloned().collect();
    assert!(missing.is_empty(), "not explained: {missing:?}");
    let explained = key_parts(&first_spans(section, "key"));
    assert!(
        explained.is_subset(&known),
        "{:?}",
        explained.difference(&known)
    );
}

#[test]
fn the_limits_have_the_defaults_that_their_reference_says() {
    let mut seen = 0;
    for row in rows(&read("docs/operations.md"), "key") {
        let Some(key) = cell(row, 0).trim_matches('`').strip_prefix("limits.") else {
            continue;
        };
        let default = cell(row, 2).trim_matches('`');
        let file = format!(
            "control.url = \"\"\nsystem.a.url = \"\"\nkeys = {{ signing = {{ env = \"A\" }}, hash = {{ env = \"B\" }} }}\nlimits.{key} = {default}"
        );
        let limits = config::read("f", &file).unwrap().limits;
        assert_eq!(limits, config::Limits::default(), "{key} = {default}");
        seen += 1;
    }
    assert_eq!(seen, 11);
}

/// A policy in which every table has a key, and every word a value, that nobody knows.
const BAD_POLICY: &str = r#"
    qqqqqqqq = 1
    subject = "a"
    root = "s.p.t"
    identifier.a = { column = "c", type = "qqqqqqqq", qqqqqqqq = 1 }
    scope.a = { tables = "qqqqqqqq", sla = "qqqqqqqq", qqqqqqqq = 1, verify = { at_least = "qqqqqqqq", qqqqqqqq = 1, doubtful = { at_least = "qqqqqqqq", qqqqqqqq = 1 } } }
    category.a = { qqqqqqqq = 1 }
    sweep = { when = "qqqqqqqq", qqqqqqqq = 1 }
    identity = { qqqqqqqq = 1, point.a = { column = "c", type = "qqqqqqqq", qqqqqqqq = 1 }, changed.a = { column = "c", within = "1 day", qqqqqqqq = 1 } }
    [[table]]
    name = "s.p.t"
    action = "qqqqqqqq"
    qqqqqqqq = 1
    until = { column = "c", plus = "1 day", qqqqqqqq = 1 }
    then = "qqqqqqqq"
    link = { json = { column = "c", path = ["a"], qqqqqqqq = 1 }, to = "s.p.u", qqqqqqqq = 1 }
    set = { a = { qqqqqqqq = 1 }, b = { truncate = "qqqqqqqq" }, c = "qqqqqqqq" }
    [[place]]
    system = "c"
    name = "n"
    keys = ["a{a}"]
    action = "qqqqqqqq"
    qqqqqqqq = 1
    [[retention]]
    name = "r"
    action = "qqqqqqqq"
    qqqqqqqq = 1
    keep = { qqqqqqqq = 1 }
"#;

#[test]
fn every_key_and_word_of_policies_is_in_their_reference() {
    let mistakes = policy::read::read("f", BAD_POLICY).unwrap_err();
    let document = read("docs/policies.md");
    let explained = span_words(&document);
    let keys = offered(&mistakes, "E0103");
    for key in [
        "cooling_off",
        "via",
        "path",
        "constant",
        "plus",
        "schedule",
        "region",
        "categories",
        "scopes",
        "fiscal_year_ends",
        "stop_above",
    ] {
        assert!(keys.contains(key), "{key} in {keys:?}");
    }
    let missing: Vec<_> = keys.difference(&explained).collect();
    assert!(missing.is_empty(), "keys not explained: {missing:?}");
    let listed = key_parts(&first_spans(&document, "key"));
    assert!(listed.is_subset(&keys), "{:?}", listed.difference(&keys));

    let words = offered(&mistakes, "E0107");
    for word in [
        "delete",
        "reasonably-high",
        "jp-appi",
        "month",
        "phone",
        "redact",
    ] {
        assert!(words.contains(word), "{word} in {words:?}");
    }
    for word in &words {
        let known = explained.contains(word) || spans(&document).contains(&&*format!("\"{word}\""));
        assert!(known, "{word} is not explained");
    }
}

fn length(length: sla::Length) -> String {
    let plural = |n: u16| if n == 1 { "" } else { "s" };
    match length {
        sla::Length::Days(n) => format!("{n} day{}", plural(n)),
        sla::Length::WorkingDays(n) => format!("{n} working day{}", plural(n)),
        sla::Length::Months(n) => format!("{n} month{}", plural(n.into())),
    }
}

#[test]
fn actions_clocks_and_bases_are_listed() {
    let document = read("docs/policies.md");
    let actions = [
        "delete",
        "anonymize",
        "detach",
        "retain",
        "shared",
        "exempt",
    ];
    same(
        "actions",
        &actions.map(str::to_owned).into(),
        &first_spans(&document, "action"),
    );
    let clocks = policy::clocks::built_in();
    let bases = policy::basis::built_in().keys().cloned();
    let known: Words = clocks.keys().cloned().chain(bases).collect();
    same("clocks and bases", &known, &first_spans(&document, "code"));
    for row in rows(&document, "code") {
        let code = cell(row, 0).trim_matches('`');
        let (said, known) = match (clocks.get(code), policy::basis::built_in().get(code)) {
            (Some(profile), _) => (
                cell(row, 1),
                profile.length.map_or("none".to_owned(), length),
            ),
            (None, basis) => (cell(row, 2), basis.unwrap().term()),
        };
        assert!(said.starts_with(&known), "{code}: {said:?}, not {known:?}");
        if let Some(clock) = clocks.get(code) {
            assert_eq!(cell(row, 3), clock.source, "{code}");
            let said = |at: usize| cell(row, at).trim_matches('`').to_owned();
            let or_none = |of: Option<sla::Length>| of.map_or("–".to_owned(), length);
            assert_eq!(said(4), or_none(clock.acknowledge), "{code}");
            assert_eq!(said(5), or_none(clock.extend), "{code}");
            let pause = match clock.pause {
                sla::Pause::None => "none",
                sla::Pause::RestartOnId => "restart-on-id",
                sla::Pause::SuspendWhileAsked => "suspend-while-asked",
            };
            let end = match clock.when_due {
                sla::WhenDue::Late => "late",
                sla::WhenDue::Explain => "explain",
            };
            assert_eq!((said(6).as_str(), said(7).as_str()), (pause, end), "{code}");
        }
    }
}

/// Each method with its level and what it demands, and every key of the file.
#[test]
fn ways_to_prove_who_is_asking_are_listed() {
    let document = read("docs/policies.md");
    let built_in = policy::proof::built_in();
    let known: Words = built_in.methods.keys().cloned().collect();
    same("methods", &known, &first_spans(&document, "method"));
    for row in rows(&document, "method") {
        let method = &built_in.methods[cell(row, 0).trim_matches('`')];
        let level = serde_json::to_value(method.level).unwrap();
        assert_eq!(cell(row, 1), level.as_str().unwrap(), "{row}");
        assert_eq!(cell(row, 2), method.demands.word(), "{row}");
        assert_eq!(cell(row, 3), method.en, "{row}");
    }
    for never in built_in.never.values() {
        assert!(document.contains(&never.en), "{}", never.en);
    }
    let unknown = "qqqqqqqq = 1\nlimits.qqqqqqqq = 1\nmethod.a.qqqqqqqq = 1\nnever.a.qqqqqqqq = 1";
    let mistakes = policy::proof::read("f", unknown).unwrap_err();
    let missing: Words = &offered(&mistakes, "E0103") - &span_words(&document);
    assert!(missing.is_empty(), "keys not explained: {missing:?}");
}

/// Code blocks with what stands behind their opening fence.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        blocks.push((info.to_owned(), body.join("\n")));
    }
    blocks
}

#[test]
fn examples_read() {
    let (mut policies, mut configs, mut clocks) = (0, 0, 0);
    let (mut proofs, mut grounds, mut bases) = (0, 0, 0);
    for file in [
        "docs/policies.md",
        "docs/operations.md",
        "docs/integration.md",
    ] {
        for (info, body) in blocks(&read(file)) {
            match info.as_str() {
                "toml policy" => {
                    policy::read::read(file, &body).unwrap();
                    policies += 1;
                }
                "toml config" => {
                    config::read(file, &body).unwrap();
                    configs += 1;
                }
                "toml sla.toml" => {
                    policy::clocks::read(file, &body).unwrap();
                    clocks += 1;
                }
                "toml identity.toml" => {
                    policy::proof::read(file, &body).unwrap();
                    proofs += 1;
                }
                "toml bases.toml" => {
                    policy::basis::read(file, &body).unwrap();
                    bases += 1;
                }
                "toml grounds.toml" => {
                    policy::grounds::read(file, &body).unwrap();
                    grounds += 1;
                }
                "toml lines" => body.lines().for_each(|line| {
                    toml::from_str::<toml::Table>(line).unwrap();
                }),
                "toml" => {
                    toml::from_str::<toml::Table>(&body).unwrap_or_else(|e| panic!("{e}\n{body}"));
                }
                _ => {}
            }
        }
    }
    assert_eq!(
        (policies, configs, clocks, proofs, grounds, bases),
        (1, 2, 1, 1, 1, 1)
    );
}

#[test]
fn every_field_of_a_certificate_is_explained() {
    let source = read("src/certificate/mod.rs");
    let of_runs = read("src/certificate/run.rs");
    let fields = source[..source.find("pub struct Totals").unwrap()]
        .lines()
        .chain(of_runs.lines())
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "))
        .map(|(field, _)| field.to_owned());
    let explained = span_words(&read("docs/audit.md"));
    let missing: Vec<String> = fields.filter(|f| !explained.contains(f)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_state_and_path_is_explained() {
    let sql = read("sql/control/V1__control.sql");
    let (_, states) = sql
        .split_once("DEFAULT 'received' CHECK (state IN")
        .unwrap();
    let states = states.split_once(')').unwrap().0;
    let states: Words = states
        .split('\'')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let document = read("docs/operations.md");
    assert_eq!(states.len(), 11);
    same("states", &states, &first_spans(&document, "state"));

    let source = read("src/http.rs");
    let routes: Words = source
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().replace("{id}", "ID"))
        .collect();
    assert_eq!(routes.len(), 4);
    same("paths", &routes, &first_spans(&document, "path"));
}

#[test]
fn every_request_is_in_the_guide() {
    let document: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let requests: Words = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let guide = read("docs/integration.md");
    same("requests", &requests, &first_spans(&guide, "request"));
}

#[test]
fn the_architecture_names_every_part() {
    let document = read("docs/architecture.md");
    for entry in fs::read_dir(repository().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(
            document.contains(&format!("(../src/{name}")),
            "{name} is not in the layout"
        );
    }
}

/// As GitHub makes anchors of headings.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> Words {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut documents = files(&repository().join("docs"), &["md"]);
    let readme = repository().join("README.md");
    if readme.exists() {
        documents.push(readme);
    }
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            assert!(target.exists(), "{}: {link}", document.display());
            if !place.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(place), "{}: {link}", document.display());
            }
            links += 1;
        }
    }
    assert!(links > 50, "{links} links");
}

/// How a kind of system is added is shown by one that is compiled: whole files word for word, parts line by line.
#[test]
fn the_example_of_a_kind_of_ones_own_is_what_is_compiled() {
    let page = read("docs/systems.md");
    let (mut whole, mut parts) = (0, 0);
    for block in page.split("\n```rust ").skip(1) {
        let block = block.split_once("\n```").unwrap().0;
        let (info, shown) = block.split_once('\n').unwrap();
        if let Some(file) = info.strip_prefix("part of ") {
            let text = read(file);
            let mut lines = text.lines();
            for line in shown.lines() {
                assert!(lines.any(|l| l == line), "{file} lacks, in order: {line}");
            }
            parts += 1;
        } else {
            let text = read(info);
            assert!(
                text.trim_end() == shown,
                "docs/systems.md shows another {info}"
            );
            whole += 1;
        }
    }
    assert_eq!((whole, parts), (2, 3));
}
