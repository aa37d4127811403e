//! Rows are written to a file before they go.

use crate::company::{Company, DUE, POLICY, SCHEMA};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of the kinds of values whose texts could be misread.
const KINDS: &str = "
    ALTER TABLE call ADD words text, ADD amount numeric, ADD bytes bytea, ADD day date, ADD span interval, ADD list text[], ADD ratio float8;
    UPDATE call SET words = CASE id % 6 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'a \"quoted\", 電話' WHEN 3 THEN E'two\\r\\nlines' WHEN 4 THEN 'NULL' ELSE '\\N' END,
        amount = id / 7.0, bytes = decode(md5(id::text), 'hex'), day = ended_at::date, span = id * interval '1 hour 3 months', list = ARRAY['a', NULL, 'b,c'], ratio = id / 3.0::float8;";

struct Archived {
    company: Company,
    folder: PathBuf,
}

impl Archived {
    fn open(more: &str) -> Self {
        let mut company = Company::with(&format!("{SCHEMA}{KINDS}{more}"), POLICY);
        company.workspace.configure("[limits]\nlease = \"5 s\"");
        let folder = company.workspace.path().join("archive");
        std::fs::create_dir(&folder).unwrap();
        allow(&folder, 0o700);
        let archived = Self { company, folder };
        archived.keep("10 years");
        archived
    }

    fn policy(&self, keep: &str) -> String {
        let to = self.folder.display();
        POLICY.replace(
            "because  = \"our",
            &format!("archive = {{ to = \"{to}\", keep = \"{keep}\" }}\nbecause  = \"our"),
        )
    }

    fn keep(&self, keep: &str) {
        let policy = self.policy(keep);
        self.company
            .workspace
            .write_policy("customer.toml", &policy);
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.folder).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect()
    }

    fn manifests(&self) -> Vec<serde_json::Value> {
        let read = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        self.files(".json").iter().map(read).collect()
    }

    /// The files of all manifests that hold rows of this table.
    fn files_of(&self, table: &str) -> Vec<serde_json::Value> {
        let manifests = self.manifests();
        let files = manifests
            .iter()
            .flat_map(|m| m["files"].as_array().unwrap());
        let table = format!("shop.public.{table}");
        let of = files.filter(|file| file["table"] == table.as_str());
        of.cloned().collect()
    }

    fn loaded(&self, table: &str) -> Vec<String> {
        let read = |file: serde_json::Value| {
            let path = self.folder.join(file["file"].as_str().unwrap());
            (file, std::fs::read(path).unwrap())
        };
        let files = self.files_of(table).into_iter().map(read);
        load(&self.company, table, files.collect())
    }

    fn rows(&self, table: &str, which: &str) -> Vec<String> {
        rows(&self.company, table, which)
    }

    fn due(&self) -> [Vec<String>; 2] {
        due(&self.company)
    }

    fn all_loaded(&self) -> [Vec<String>; 2] {
        [self.loaded("call"), self.loaded("note")]
    }
}

/// Each row of a table, called `c`.
fn rows(company: &Company, table: &str, which: &str) -> Vec<String> {
    let sql = format!("SELECT c::text FROM {table} c WHERE {which} ORDER BY id");
    let rows = company.server.query(&company.shop, &sql).into_iter();
    rows.map(|row| row[0].clone().unwrap()).collect()
}

/// The rows that are due, and those that go with them.
pub(crate) fn due(company: &Company) -> [Vec<String>; 2] {
    let with = format!("c.call IN (SELECT c.id FROM call c WHERE {DUE})");
    [rows(company, "call", DUE), rows(company, "note", &with)]
}

/// The rows of files, each with what its manifest says of it, read by somebody else's CSV and checked by somebody
/// else's SHA-256, as they stood in the table.
pub(crate) fn load(
    company: &Company,
    table: &str,
    files: Vec<(serde_json::Value, Vec<u8>)>,
) -> Vec<String> {
    let loaded = format!("loaded_{table}");
    company.execute(&format!(
        "DROP TABLE IF EXISTS {loaded}; CREATE TABLE {loaded} (LIKE {table})"
    ));
    let mut texts = Vec::new();
    for (file, bytes) in files {
        let copy = company.workspace.path().join("copy");
        std::fs::write(&copy, &bytes).unwrap();
        let sum = std::process::Command::new("sha256sum").arg(&copy).output();
        let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
        assert!(sum.starts_with(file["sha256"].as_str().unwrap()), "{file}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        let columns: Vec<&str> = (file["columns"].as_array().unwrap().iter())
            .map(|column| column[0].as_str().unwrap())
            .collect();
        assert!(text.starts_with(&(columns.join(",") + "\r\n")));
        texts.push((text, columns.join(", "), file["rows"].as_u64().unwrap()));
    }
    let url = company.server.url(&company.shop);
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        for (text, columns, rows) in texts {
            let copy = format!("COPY {loaded} ({columns}) FROM STDIN (FORMAT csv, HEADER)");
            let sink = client.copy_in::<_, bytes::Bytes>(&copy).await.unwrap();
            let mut sink = std::pin::pin!(sink);
            futures_util::SinkExt::send(&mut sink, bytes::Bytes::from(text))
                .await
                .unwrap();
            assert_eq!(sink.as_mut().finish().await.unwrap(), rows);
        }
    });
    rows(company, &loaded, "true")
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The rows themselves and those that go with them; of a survey, which stays, nothing.
#[test]
fn what_goes_is_in_the_archive_and_nothing_else() {
    let archived = Archived::open("");
    let company = &archived.company;
    let due = archived.due();
    let rows = due[0].len() + due[1].len();
    let said = company.says(&["check"], 0);
    assert!(said.contains("E0263") && !said.contains("E0264"), "{said}");
    planned(&archived);
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(archived.all_loaded(), due);
    assert_eq!(archived.files_of("survey").len(), 0);
    let files = archived.files_of("call").len();
    assert!(files > 1);
    let all = files + archived.files_of("note").len();
    assert_eq!(
        run["archived"],
        serde_json::json!({ "files": all, "rows": rows, "ended": 0 })
    );
    for file in archived.files("") {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(archived.files(".pending").len(), 0);
    certified(&archived, run["run"].as_str().unwrap());
    let event = format!(
        "SELECT count(*) FROM erasured.event WHERE kind = 'retention_ended' AND body->'archive'->>'rows' = '{rows}'"
    );
    assert_eq!(company.server.count(&company.control, &event), 1);
    let manifest = &archived.manifests()[0];
    assert_eq!(
        (&manifest["run"], &manifest["rule"]),
        (&run["run"], &"calls".into())
    );
    let kept = "SELECT (extract(year FROM now()) + 10)::int8";
    let until = manifest["keep_until"].as_str().unwrap();
    let year: i64 = until[..4].parse().unwrap();
    assert!((year - company.count(kept)).abs() <= 1, "{until}");
}

/// The plan says what will be where.
fn planned(archived: &Archived) {
    let company = &archived.company;
    let plan = company.json(&["retention", "plan", "calls"]);
    let archive = &plan[0]["archive"];
    assert_eq!(
        (archive["to"].as_str(), &archive["tables"]),
        (
            archived.folder.to_str(),
            &serde_json::json!(["public.call", "public.note"])
        )
    );
    let until = archive["keep_until"].as_str().unwrap();
    let said = company.says(&["retention", "plan", "calls"], 0);
    let line = format!(
        "archive:  rows of public.call, public.note to {}, kept until {until}",
        archived.folder.display()
    );
    assert!(said.contains(&line), "{said}");
}

/// The run's certificate names each file, as it is found in the folder.
fn certified(archived: &Archived, run: &str) {
    let certificate = archived.company.json(&["certificate", "show", run]);
    let folder = archived.folder.display();
    let mut expected = Vec::new();
    for manifest in archived.manifests() {
        for of in manifest["files"].as_array().unwrap() {
            let file = of["file"].as_str().unwrap();
            let table = of["table"].as_str().unwrap().trim_start_matches("shop.");
            expected.push(serde_json::json!({
                "table": table, "file": format!("{folder}/{file}"), "sha256": of["sha256"],
                "rows": of["rows"], "keep_until": manifest["keep_until"],
            }));
        }
    }
    expected.sort_by_key(|file| file["file"].to_string());
    assert_eq!(certificate["archives"], serde_json::json!(expected));
    let text = archived.company.says(&["certificate", "show", run], 0);
    assert!(
        text.contains(expected[0]["sha256"].as_str().unwrap()),
        "{text}"
    );
}

/// What hangs on a row is archived as it is when it goes: whoever changes it meanwhile is waited for.
#[test]
fn a_row_that_is_changed_meanwhile_is_archived_as_it_went() {
    let archived = Archived::open("");
    let company = &archived.company;
    let url = company.server.url(&company.shop);
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        let other = crate::support::connect(&url).await;
        let change = "BEGIN; UPDATE note SET body = 'changed' WHERE call = 2880";
        client.batch_execute(change).await.unwrap();
        let run = company
            .workspace
            .process(["retention", "run", "calls"])
            .stdout(std::process::Stdio::null())
            .spawn();
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
        assert!(run.unwrap().wait().unwrap().success());
    });
    archived.loaded("note");
    let changed = "SELECT count(*) FROM loaded_note WHERE call = 2880 AND body = 'changed'";
    assert!(company.count(changed) > 0);
    assert_eq!(
        company.count("SELECT count(*) FROM loaded_note WHERE call = 2880 AND body <> 'changed'"),
        0
    );
}

/// Large objects are in no table's row, and so in no file.
#[test]
fn of_large_objects_it_is_said_that_they_are_in_no_archive() {
    let archived = Archived::open("ALTER TABLE note ADD scan oid;");
    let policy = archived.policy("10 years").replace(
        "name   = \"shop.public.note\"",
        "name = \"shop.public.note\"\nlarge_objects = [\"scan\"]",
    );
    let workspace = &archived.company.workspace;
    workspace.write_policy("customer.toml", &policy);
    let said = archived.company.says(&["check"], 0);
    assert!(said.contains("E0264"), "{said}");
}

/// Nothing goes that cannot be written first.
#[test]
fn without_the_folder_no_row_goes() {
    let archived = Archived::open("");
    let company = &archived.company;
    let before = company.rows("false");
    let told = |command: &[&str]| {
        let said = company.says(command, 0);
        said.contains("E0532") && said.contains("could be archived here")
    };
    let dry = ["retention", "run", "calls", "--dry-run"];
    assert!(!told(&["check"]) && !told(&dry));
    for mode in [0o750, 0o701] {
        allow(&archived.folder, mode);
        assert!(told(&["check"]) && told(&dry), "{mode:o}");
        let said = company.says(&["retention", "run", "calls"], 1);
        assert!(
            said.contains("E0532") && said.contains("mode 0700"),
            "{said}"
        );
    }
    std::fs::remove_dir(&archived.folder).unwrap();
    assert!(told(&["check"]) && told(&dry));
    assert!(
        company
            .says(&["retention", "run", "calls"], 1)
            .contains("E0532")
    );
    assert_eq!(company.rows("false"), before);
    assert_eq!(
        company.json(&["retention", "runs"])[0]["problem_code"],
        "E0532"
    );
}

/// Dead before the COMMIT, or just after it: no row is in neither place, and none in both when the next run
/// has looked.
#[test]
fn a_crash_leaves_no_row_in_no_place_and_none_in_two() {
    for failpoint in ["before-commit", "after-last-word", "after-commit"] {
        let archived = Archived::open("");
        let company = &archived.company;
        let all = archived.due();
        let mut killed = company.workspace.process(["retention", "run", "calls"]);
        let how = match failpoint {
            "after-last-word" => "1*panic",
            _ => "return(abort)",
        };
        let killed = killed
            .env("FAILPOINTS", format!("{failpoint}={how}"))
            .output()
            .unwrap();
        assert!(!killed.status.success());
        let (there, pending) = (archived.rows("call", DUE).len(), archived.files(".pending"));
        assert_eq!(pending.len(), 1, "{failpoint}");
        assert_eq!(there < all[0].len(), failpoint == "after-commit");
        std::thread::sleep(Duration::from_millis(5500));
        let run = company.json(&["retention", "run", "calls"]);
        assert_eq!(archived.files(".pending").len(), 0, "{failpoint}");
        assert_eq!(archived.all_loaded(), all, "{failpoint}");
        assert_eq!(
            run["archived"]["rows"].as_u64(),
            Some((all[0].len() + all[1].len()) as u64),
            "{run}"
        );
        let data = archived.files(".csv.gz").len();
        let known = archived.files_of("call").len() + archived.files_of("note").len();
        assert_eq!(data, known, "no file without a manifest");
    }
}

/// The answer to the COMMIT is lost; batches fail and are halved: still each row once.
#[test]
fn lost_answers_and_failed_batches_leave_one_copy() {
    let archived = Archived::open(
        "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           IF OLD.tag = 'veto' THEN RAISE EXCEPTION 'no'; END IF; RETURN OLD; END $$; \
         CREATE TRIGGER veto BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION veto(); \
         UPDATE call SET tag = 'veto' WHERE id = 2400;",
    );
    let company = &archived.company;
    let all = archived.rows("call", &format!("{DUE} AND tag <> 'veto'"));
    let mut run = company.workspace.process(["retention", "run", "calls"]);
    let run = run
        .env("FAILPOINTS", "after-commit=2*return")
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    assert_eq!(archived.loaded("call"), all);
    assert_eq!(archived.files(".pending").len(), 0);
    let by_row: BTreeMap<&String, usize> = all.iter().map(|row| (row, 1)).collect();
    assert_eq!(by_row.len(), all.len());
}

/// The answer to the COMMIT is lost, and trying again fails before it can be learnt that it had happened: the rows
/// are in the file alone.
#[test]
fn a_file_stays_whose_rows_may_have_gone() {
    let archived = Archived::open(
        "CREATE FUNCTION drift() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           CREATE TABLE IF NOT EXISTS public.drifted (id int); RETURN NULL; END $$; \
         CREATE TRIGGER drift AFTER DELETE ON call FOR EACH STATEMENT EXECUTE FUNCTION drift();",
    );
    let company = &archived.company;
    let all = archived.rows("call", DUE);
    let mut run = company.workspace.process(["retention", "run", "calls"]);
    let run = run.env("FAILPOINTS", "after-commit=1*return").output();
    let run = run.unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("catalog of shop changed"), "{said}");
    let left = archived.rows("call", DUE);
    assert!(left.len() < all.len(), "the COMMIT had happened");
    let mut both = [archived.loaded("call"), left].concat();
    both.sort_by_key(|row| {
        let id = row.trim_start_matches('(').split(',').next().unwrap();
        id.parse::<i32>().unwrap()
    });
    assert_eq!(both, all);
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(archived.loaded("call"), all);
    assert_eq!(archived.files(".pending").len(), 0);
}

/// An archive ends too, with its rule's next run, and not before.
#[test]
fn an_archive_ends_on_its_day() {
    let archived = Archived::open("");
    let company = &archived.company;
    company.says(&["retention", "run", "calls"], 0);
    let (files, manifests) = (archived.files(".csv.gz").len(), archived.manifests().len());
    let name = archived.files(".json").remove(0);
    let of: serde_json::Value = serde_json::from_slice(&std::fs::read(&name).unwrap()).unwrap();
    let of = of["files"].as_array().unwrap().len();
    assert_eq!(of, 2);
    for (days, ended) in [(0, 0), (1, of)] {
        let mut manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&name).unwrap()).unwrap();
        let day = format!("SELECT ((now() AT TIME ZONE 'Asia/Tokyo')::date - {days})::text");
        let day = company.server.query(&company.shop, &day)[0][0].clone();
        manifest["keep_until"] = day.into();
        std::fs::write(&name, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let run = company.json(&["retention", "run", "calls"]);
        assert_eq!(run["archived"]["ended"], ended, "{run}");
        assert_eq!(archived.files(".csv.gz").len(), files - ended);
    }
    assert_eq!(archived.manifests().len(), manifests - 1);
    let event = "SELECT count(*) FROM erasured.event WHERE kind = 'retention_ended' AND body->'archive'->>'ended' = '2'";
    assert_eq!(company.server.count(&company.control, event), 1);
}

/// Of each file: the types of its columns, and its rows; numbers of days and of microseconds for dates and times.
const READ: &str = r#"
import json, sys, pyarrow, pyarrow.parquet
rows, types = [], {}
for path in sys.argv[1:]:
    table = pyarrow.parquet.read_table(path)
    types = {field.name: str(field.type) for field in table.schema}
    def plain(column):
        if pyarrow.types.is_timestamp(column.type):
            return column.cast(pyarrow.int64())
        return column.cast(pyarrow.int32()) if pyarrow.types.is_date(column.type) else column
    rows += [list(row) for row in zip(*(plain(column).to_pylist() for column in table.columns))]
print(json.dumps({"types": types, "rows": sorted(rows, key=lambda row: row[0])}))
"#;

/// Read by somebody else: each column of its kind, each value what it was.
#[test]
fn parquet_holds_what_the_table_held() {
    let archived = Archived::open(
        "ALTER TABLE call ADD heard boolean, ADD small smallint, ADD big bigint, ADD share real, ADD local timestamp;
         UPDATE call SET heard = CASE id % 3 WHEN 0 THEN NULL WHEN 1 THEN true ELSE false END, small = -(id % 100), big = id * 10000000000,
            share = id / 7.0, local = '1969-12-31 23:59:59.999999'::timestamp + id * interval '1 day 1 microsecond', day = '1960-02-29'::date + id
           WHERE id % 5 <> 0;",
    );
    let company = &archived.company;
    let policy = archived.policy("10 years");
    let policy = policy.replace(
        "keep = \"10 years\"",
        "format = \"parquet\", keep = \"10 years\"",
    );
    company.workspace.write_policy("customer.toml", &policy);
    // What Parquet's dates cannot say stops it.
    company.execute("UPDATE call SET day = 'infinity' WHERE id = 2880");
    let before = company.rows("false");
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(
        said.contains("E0532") && said.contains("the column day"),
        "{said}"
    );
    assert_eq!(company.rows("false"), before);
    company.execute("UPDATE call SET day = NULL WHERE id = 2880");
    let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::int8");
    let expected = company.server.value(
        &company.shop,
        &format!(
            "SELECT json_agg(json_build_array(id, customer, {}, tag, words, amount::text, bytes::text, day - '1970-01-01'::date, list::text, ratio, \
                heard, small, big, share::float8, {}) ORDER BY id)::text FROM call c WHERE {DUE}",
            micros("ended_at"),
            micros("local")
        ),
    );
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    company.says(&["retention", "run", "calls"], 0);
    let python = crate::support::repository().join(".cache/moto/bin/python");
    let files = archived.files(".call.parquet");
    assert!(files.len() > 1);
    let read = std::process::Command::new(python)
        .args(["-c", READ])
        .args(&files)
        .output()
        .unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let mut read: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    for (column, of) in [
        ("id", "int32"),
        ("ended_at", "timestamp[us, tz=UTC]"),
        ("local", "timestamp[us]"),
        ("day", "date32[day]"),
        ("ratio", "double"),
        ("share", "float"),
        ("heard", "bool"),
        ("small", "int16"),
        ("big", "int64"),
        ("amount", "string"),
        ("span", "string"),
    ] {
        assert_eq!(read["types"][column], of, "{column}");
    }
    let span = 8;
    for row in read["rows"].as_array_mut().unwrap() {
        assert!(row[span].as_str().unwrap().starts_with('P'), "{row}");
        row.as_array_mut().unwrap().remove(span);
    }
    assert_eq!(numbers_alike(&read["rows"]), numbers_alike(&expected));
}

/// 721 and 721.0 are one number; none here has more digits than these hold.
fn numbers_alike(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(values) => values.iter().map(numbers_alike).collect(),
        serde_json::Value::Number(number) => number.as_f64().into(),
        other => other.clone(),
    }
}
