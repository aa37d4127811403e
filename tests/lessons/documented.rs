//! `docs/shapes.md` is true: each example's tables are made, person 1 is erased by its policy, and
//! what is left is what stands there, the neighbour's rows byte for byte.

use crate::parts::{Block, blocks, policy};
use crate::support::{Server, repository};
use crate::target::{Planned, Target, plan_on, subject, told};
use erasured::diagnostic::Diagnostic;
use erasured::lineage;
use erasured::policy::read;
use erasured::system::postgres::execute::Subject;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../../docs/shapes.md");
const POLICY: &str = "toml part of a policy";
const ROOT: &str = "public.customer";
type Rows = BTreeMap<String, Vec<String>>;

/// A section: its heading, the tables, the policies tried on them, and what the last one leaves.
struct Shape {
    heading: String,
    sql: String,
    policies: Vec<Block>,
    left: Option<String>,
}

fn shapes() -> (String, Vec<Shape>) {
    let (intro, rest) = DOCUMENT.split_once("\n## ").unwrap();
    let root = blocks(intro).into_iter().find(|b| b.info == "sql root");
    let of = |section: &str| {
        let mut shape = Shape {
            heading: section.lines().next().unwrap().to_owned(),
            sql: String::new(),
            policies: Vec::new(),
            left: None,
        };
        for block in blocks(section) {
            match block.info.as_str() {
                "sql" => shape.sql += &block.body,
                "left" => shape.left = Some(block.body),
                info if info.starts_with(POLICY) => shape.policies.push(block),
                other => panic!("{}: ```{other}", shape.heading),
            }
        }
        shape
    };
    (root.unwrap().body, rest.split("\n## ").map(of).collect())
}

fn codes(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|w| w.starts_with("E0")).collect()
}

fn said(found: &[Diagnostic]) -> BTreeSet<&str> {
    found.iter().map(|d| d.code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_shapes_does_what_it_says() {
    let (root, shapes) = shapes();
    let (mut wrong, mut erased) = (Vec::new(), 0);
    for shape in &shapes {
        let mut compared = false;
        for block in &shape.policies {
            let database = Server::shared().fresh_database("shape");
            let target = Target::of("shop", &database);
            target.execute(&root);
            target.execute(&shape.sql);
            match one(&target, shape, block).await {
                Ok(done) => compared |= done,
                Err(why) => wrong.push(format!("## {}\n{why}", shape.heading)),
            }
        }
        erased += u32::from(compared);
        if compared != shape.left.is_some() && wrong.is_empty() {
            wrong.push(format!("## {}: `left` for no erasure", shape.heading));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        shapes.len() >= 34 && erased >= 28,
        "{} {erased}",
        shapes.len()
    );
}

/// Whether it came to an erasure.
async fn one(target: &Target, shape: &Shape, block: &Block) -> Result<bool, String> {
    let text = policy(&block.body);
    let claim = block.info.strip_prefix(POLICY).unwrap_or_default();
    if claim.contains("refused") {
        let daemon;
        let by = if claim.contains("by the daemon's role") {
            daemon = daemons_role(target);
            &daemon
        } else {
            target
        };
        let found = plan_on(&[by], &text, "account").await.err();
        let found = found.ok_or("not refused")?;
        return if said(&found) == codes(claim) {
            Ok(false)
        } else {
            Err(format!("refused by: {}", told(&found)))
        };
    }
    let read = read::read("f", &text).map_err(|e| told(&e))?;
    let catalogs = BTreeMap::from([(target.system.clone(), target.catalog().await.0)]);
    let (_, warnings) = lineage::trace_all(&read, &catalogs);
    if said(&warnings) != codes(claim) {
        return Err(format!("warns: {}", told(&warnings)));
    }
    let planned = plan_on(&[target], &text, "account").await;
    let planned = planned.map_err(|e| told(&e))?;
    let subjects = [Subject {
        identifiers: BTreeMap::from([("member_no".into(), vec!["mine".into()])]),
        ..subject(1)
    }];
    let before = target.rows();
    if claim.contains("stops while it runs") {
        let stopped = target.run(&planned, &subjects).await.is_err();
        let as_before = target.rows() == before;
        return match stopped && as_before {
            true => Ok(false),
            false => Err("it ran".into()),
        };
    }
    erase(target, &planned, &subjects, &before, shape).await?;
    Ok(true)
}

async fn erase(
    target: &Target,
    planned: &Planned,
    subjects: &[Subject],
    before: &Rows,
    shape: &Shape,
) -> Result<(), String> {
    let dry = target.dry_run(planned, subjects).await;
    let dry = dry.map_err(|e| format!("dry run: {e}"))?;
    let outcome = target.run(planned, subjects).await;
    let outcome = outcome.map_err(|e| e.to_string())?;
    if outcome.counts != dry {
        return Err(format!("counted {:?}, before {dry:?}", outcome.counts));
    }
    let mut after = target.rows();
    if shape.sql.contains("CREATE VIEW object ") {
        let objects =
            Server::shared().query(&target.database, "SELECT o::text FROM object o ORDER BY 1");
        let objects = objects.into_iter().filter_map(|row| row[0].clone());
        after.insert("public.object".into(), objects.collect());
    }
    let marked = |rows: &Rows, mark: &str| -> Vec<String> {
        let rows = rows.iter().filter(|(table, _)| *table != ROOT);
        let rows =
            rows.flat_map(|(table, rows)| rows.iter().map(move |row| format!("{table} {row}")));
        rows.filter(|row| row.contains(mark)).collect()
    };
    if marked(before, "theirs") != marked(&after, "theirs") {
        return Err(format!("the neighbour's rows changed: {after:?}"));
    }
    let mine = marked(&after, "mine");
    if !mine.is_empty() {
        return Err(format!("left of the subject: {mine:?}"));
    }
    let root = &after[ROOT];
    let plain = root.len() == 1 && root[0].starts_with("(2,theirs");
    if !plain {
        return Err(format!("customer: {root:?}"));
    }
    let shown = |(table, rows): (&String, &Vec<String>)| -> Vec<String> {
        let table = table.strip_prefix("public.").unwrap_or(table).to_owned();
        rows.iter().map(|row| format!("{table} {row}")).collect()
    };
    let left: Vec<String> = after
        .iter()
        .filter(|(table, rows)| *table != ROOT || rows[0] != "(2,theirs)")
        .flat_map(shown)
        .collect();
    let left = match left.as_slice() {
        [] => "(nothing but customer 2)".to_owned(),
        rows => rows.join("\n"),
    };
    let expected = shape.left.as_deref();
    if expected != Some(&left) {
        return Err(format!("left:\n```left\n{left}\n```"));
    }
    Ok(())
}

/// A role that is no superuser and has the rights that `sql/roles/target.sql` gives.
fn daemons_role(target: &Target) -> Target {
    target.execute(
        "DROP ROLE IF EXISTS daemon_shapes; CREATE ROLE daemon_shapes LOGIN;
         GRANT USAGE ON SCHEMA erasured, public TO daemon_shapes;
         GRANT SELECT, INSERT ON erasured.applied_step, erasured.applied_piece TO daemon_shapes;
         GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO daemon_shapes",
    );
    Target::as_role("shop", &target.database, "daemon_shapes")
}

/// The list of contents names every section, and the other documents lead here.
#[test]
fn the_shapes_are_linked() {
    for document in ["README.md", "docs/policies.md"] {
        let text = std::fs::read_to_string(repository().join(document)).unwrap();
        assert!(text.contains("shapes.md"), "{document}");
    }
    for shape in shapes().1 {
        let anchor: String = shape
            .heading
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        assert!(DOCUMENT.contains(&format!("](#{anchor})")), "{anchor}");
    }
}
