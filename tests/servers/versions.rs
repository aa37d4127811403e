//! One ticket over servers of two major versions.

use crate::company::{QUICK, Running, file, people, prepare};
use crate::support::{Server, ServerOptions, Workspace, load_demo, repository};
use crate::truth::Truth;
use std::process::Command;

#[test]
fn one_ticket_over_two_versions() {
    let programs = Command::new(repository().join("scripts/postgres.sh"))
        .arg("18")
        .output()
        .unwrap();
    assert!(programs.status.success(), "{programs:?}");
    let bin = String::from_utf8(programs.stdout).unwrap().trim().into();
    let old = Server::start();
    let new = Server::start_with(ServerOptions {
        bin: Some(bin),
        ..ServerOptions::default()
    });
    assert_eq!(new.major(), 18);
    let (of_old, of_new) = (load_demo(&old, 60), load_demo(&new, 60));
    let people = people(4);
    let control = old.fresh_database("control");
    let mut workspace = Workspace::new(
        &old.url(&control),
        &[
            ("shop", new.url(&of_new.shop)),
            ("loyalty", old.url(&of_old.loyalty)),
        ],
    );
    workspace.copy_policies(&repository().join("policies/travel"));
    workspace.configure(QUICK);
    prepare(&old, &workspace);
    file(&old, &control, &people, "CRM");
    // What is to be, told by one server that has both.
    let truth = Truth::of(&old, &of_old.shop, &of_old.loyalty, &people);
    Running::start(&workspace, &["run", "--until-idle"], "").ends_well();
    let open = "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
    assert_eq!(old.count(&control, open), 0);
    for n in &people {
        let show = [
            "certificate",
            "show",
            &format!("CRM-{n}"),
            "--format",
            "json",
        ]
        .map(str::to_owned);
        let output = workspace.erasured(show).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut versions = Vec::new();
        for system in shown["systems"].as_array().unwrap() {
            versions.push(system["server_version"].to_string());
            for table in system["tables"].as_array().unwrap() {
                for kind in ["deleted", "anonymized", "detached"] {
                    let name = format!(
                        "{}.{} {kind}",
                        system["system"].as_str().unwrap(),
                        table["table"].as_str().unwrap()
                    );
                    let expected = truth.counts[n].get(&name).copied().unwrap_or(0);
                    assert_eq!(
                        table[kind].as_u64().unwrap_or(0),
                        expected,
                        "CRM-{n} {name}"
                    );
                }
            }
        }
        println!("CRM-{n}: {versions:?}");
    }
    let left = "SELECT count(*) FROM customer WHERE id = ANY (ARRAY[1, 3, 5, 9])";
    assert_eq!(new.count(&of_new.shop, left), 0);
}
