//! The name of a system's server leads nowhere for a while.

use crate::company::{QUICK, Running};
use crate::support::{Proxy, Workspace, repository, wait_until};
use crate::{LONG, goes_on, metric, small};
use std::process::Command;

/// In a name space of its own, where `/etc/hosts` is a file of the test's. `None`, and why, where that cannot be.
fn with_names(workspace: &Workspace) -> Option<Command> {
    let program = workspace.process(["run"]);
    let hosts = workspace.path().join("hosts");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$0\" /etc/hosts && exec \"$@\"",
    ]);
    command
        .arg(&hosts)
        .arg(program.get_program())
        .args(program.get_args());
    command.current_dir(workspace.path());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let may = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    match may {
        Ok(output) if output.status.success() => Some(command),
        failed => {
            println!("skipped: no name space can be made here: {failed:?}");
            None
        }
    }
}

#[test]
fn the_name_of_a_system_is_gone_for_a_while() {
    let case = small().copy();
    let proxy = Proxy::before(case.server());
    let url = format!(
        "postgresql://postgres@loyalty.company.example:{}/{}?sslmode=disable",
        proxy.port(),
        case.loyalty
    );
    let systems = [("shop", case.server().url(&case.shop)), ("loyalty", url)];
    let mut host = Workspace::new(&case.server().url(&case.control), &systems);
    host.copy_policies(&repository().join("policies/travel"));
    host.configure(QUICK);
    let hosts = host.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let Some(command) = with_names(&host) else {
        return;
    };
    let daemon = Running::spawn(&host, command, "");
    wait_until("it to say so", LONG, || {
        daemon
            .log()
            .contains("cannot reach PostgreSQL at loyalty.company.example")
    });
    wait_until("the metric", LONG, || {
        metric(&host, "erasured_retries_total", "unreachable") >= 1.0
    });
    assert_eq!(metric(&host, "erasured_system_up", "loyalty"), 0.0);
    let applied = "SELECT count(*) FROM erasured.applied_step";
    assert_eq!(
        case.server().value(&case.shop, applied),
        "0",
        "the root's system comes last"
    );
    std::fs::write(&hosts, "127.0.0.1 localhost loyalty.company.example\n").unwrap();
    goes_on(&case, daemon);
    assert_eq!(
        case.control("SELECT count(*) FROM erasured.ticket WHERE state = 'failed'"),
        "0"
    );
}
