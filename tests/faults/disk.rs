//! A disk is full: of a system, of the control database. What could not be written is tried again, as nobody's
//! fault, and goes on when there is room.

use crate::company::{Case, Company, QUICK, Running, people};
use crate::support::{Server, ServerOptions, wait_until};
use crate::{LONG, goes_on, metric};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// A file system of its own, small; gone with the test.
struct Disk(PathBuf);

impl Disk {
    /// `None`, and why, where this user may mount nothing.
    fn mount() -> Option<Disk> {
        let at = tempfile::Builder::new()
            .prefix("erasured-disk-")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        Self::mount_on(at)
    }

    fn mount_on(at: PathBuf) -> Option<Disk> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m,mode=777", "none"])
            .arg(&at)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Disk(at)),
            failed => {
                println!("skipped: no file system can be mounted here: {failed:?}");
                std::fs::remove_dir(at).ok();
                None
            }
        }
    }

    /// Moves a database there.
    fn takes(&self, case: &Case<'_>, database: &str) {
        let folder = self.0.join("tablespace");
        std::fs::create_dir(&folder).unwrap();
        let owner = std::fs::metadata(case.server().data_dir()).unwrap();
        use std::os::unix::fs::MetadataExt;
        std::os::unix::fs::chown(&folder, Some(owner.uid()), Some(owner.gid())).unwrap();
        let name = format!("disk_of_{database}");
        let server = case.server();
        server.execute(
            "postgres",
            &format!("CREATE TABLESPACE {name} LOCATION '{}'", folder.display()),
        );
        server.execute(
            "postgres",
            &format!("ALTER DATABASE {database} SET TABLESPACE {name}"),
        );
        // The first session there writes a file without which there are no others; not if it is told of
        // changes while it begins.
        wait_until("that file", LONG, || {
            server.value(database, "SELECT 1");
            let find = Command::new("find")
                .arg(&folder)
                .args(["-name", "pg_internal.init"])
                .output();
            !find.unwrap().stdout.is_empty()
        });
    }

    /// Until not a byte more goes in.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("ballast")).unwrap();
        let piece = vec![1; 1 << 16];
        while file.write_all(&piece).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status()
            .ok();
        std::fs::remove_dir(&self.0).ok();
    }
}

#[test]
fn the_disk_of_a_system_is_full() {
    let Some(disk) = Disk::mount() else { return };
    // It ends before its disk. Autovacuum would remove the file without which there are no sessions.
    let server = Server::start_with(ServerOptions {
        settings: vec![("autovacuum".into(), "off".into())],
        ..ServerOptions::default()
    });
    let company = Company::new(&server, 30, people(3));
    let case = company.copy();
    disk.takes(&case, &case.shop);
    disk.fill();
    let host = case.another_host(QUICK);
    let daemon = Running::start(&host, &["run"], "");
    let put_off = "SELECT count(*) FROM erasured.ticket WHERE problem = 'out_of_resources'";
    let end = std::time::Instant::now() + LONG;
    while case.control(put_off) != "3" {
        let problems =
            "SELECT string_agg(concat_ws(' ', state, problem), ', ') FROM erasured.ticket";
        assert!(
            std::time::Instant::now() < end,
            "put off for want of room: {}\n{}",
            case.control(problems),
            daemon.log()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    wait_until("the metric", LONG, || {
        metric(&host, "erasured_retries_total", "out_of_resources") >= 3.0
    });
    assert!(
        daemon.log().contains("53100"),
        "the log says why: {}",
        daemon.log()
    );
    let applied = "SELECT count(*) FROM erasured.applied_step";
    assert_eq!(case.server().value(&case.shop, applied), "0");
    disk.make_room();
    goes_on(&case, daemon);
}

#[test]
fn the_disk_of_the_control_database_is_full() {
    let Some(disk) = Disk::mount() else { return };
    let server = Server::start();
    let company = Company::new(&server, 30, people(3));
    let case = company.copy();
    disk.takes(&case, &case.control);
    let host = case.another_host(QUICK);
    let daemon = Running::start(&host, &["run"], "before-commit=sleep(300)");
    wait_until("work to begin", LONG, || {
        case.control("SELECT count(*) FROM erasured.ticket WHERE state = 'executing'") != "0"
    });
    disk.fill();
    // What still finds room in pages that are there does; then nothing does.
    wait_until("the daemon to say it", LONG, || {
        daemon.log().contains("No space left on device")
    });
    assert_eq!(
        crate::get(&host.http(), "/healthz", None).unwrap().0,
        200,
        "it lives"
    );
    disk.make_room();
    goes_on(&case, daemon);
}

/// Where the ledger's head is kept: it is written down later, and nobody is erased later for that.
#[test]
fn the_disk_of_the_state_directory_is_full() {
    let server = Server::start();
    let company = Company::new(&server, 30, people(3));
    let case = company.copy();
    let host = case.another_host(QUICK);
    let state = host.path().join("state");
    std::fs::create_dir_all(&state).unwrap();
    let head = state.join("ledger-head");
    let Some(disk) = Disk::mount_on(state) else {
        return;
    };
    disk.fill();
    let daemon = Running::start(&host, &["run"], "");
    wait_until("the daemon to say it", LONG, || {
        daemon
            .log()
            .contains("could not be written down in the state directory")
    });
    let done = "SELECT count(*) FROM erasured.ticket WHERE state IN ('completed', 'deferred')";
    wait_until("all to be done", LONG, || case.control(done) == "3");
    assert!(!head.exists());
    disk.make_room();
    wait_until("the head to be written down", LONG, || head.exists());
    goes_on(&case, daemon);
}
