//! The sweep reads from a standby, but only from one that shows the erasure.

use crate::desk::{Desk, stdout};
use crate::support::wait_until;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn a_standby_is_read_once_it_has_replayed_the_erasure() {
    let mut desk = Desk::open(120);
    let standby = desk.server.standby();
    let url = standby.url_as(&desk.demo.shop, "erasured_demo");
    desk.workspace
        .configure(&format!("[system.shop.sweep]\nurl = \"{url}\"\n"));
    standby.execute("postgres", "SELECT pg_wal_replay_pause()");
    desk.file("S-1", "member_no=TM-0000005");

    let mut run = std::process::Command::new(crate::support::erasured().get_program());
    run.args(["run", "--until-idle", "--config"])
        .arg(desk.workspace.config())
        .stderr(Stdio::null());
    let mut daemon = run.spawn().unwrap();
    wait_until("the erasure", Duration::from_secs(30), || {
        desk.ticket("S-1", "state") == "verifying"
    });
    // The standby still shows the customer: to call that a residual would be as wrong as to sign.
    assert_eq!(
        standby.count(
            &desk.demo.shop,
            "SELECT count(*) FROM customer WHERE id = 5"
        ),
        1
    );
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(desk.ticket("S-1", "state"), "verifying");
    standby.execute("postgres", "SELECT pg_wal_replay_resume()");
    wait_until("the certificate", Duration::from_secs(60), || {
        desk.ticket("S-1", "state") == "deferred"
    });
    assert!(daemon.wait().unwrap().success());

    let show = ["certificate", "show", "S-1", "--format", "json"];
    let certificate: serde_json::Value =
        serde_json::from_str(&stdout(desk.erasured(show))).unwrap();
    let read_from = |system: &str| {
        let sweeps = certificate["sweep"].as_array().unwrap();
        let of = sweeps.iter().find(|s| s["system"] == system).unwrap();
        of["read_from"].as_str().unwrap().to_owned()
    };
    assert_eq!(read_from("shop"), "standby");
    assert_eq!(read_from("loyalty"), "primary");
}
