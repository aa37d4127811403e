//! A private PostgreSQL server in a temporary folder, reached by a Unix socket.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio_postgres::{Client, NoTls};

pub(crate) struct Server {
    folder: tempfile::TempDir,
}

fn program(name: &str) -> Command {
    let bin = std::env::var_os("ERASURED_TEST_PGBIN").map_or_else(
        || PathBuf::from("/usr/lib/postgresql/15/bin"),
        PathBuf::from,
    );
    let root = Command::new("id").arg("-u").output().expect("id").stdout == b"0\n";
    if root {
        // The server refuses to run as root.
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ]);
        command.arg(bin.join(name));
        command
    } else {
        Command::new(bin.join(name))
    }
}

fn succeed(command: &mut Command) {
    let done = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    assert!(
        done.status().expect("the program starts").success(),
        "{command:?}"
    );
}

impl Server {
    pub(crate) fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("rights on the folder");
        let server = Self { folder };
        let data = server.data();
        succeed(program("initdb").arg("-D").arg(&data).args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-N",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]));
        let socket = server.folder.path().display().to_string();
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off {settings}"
        );
        let log = server.folder.path().join("log");
        succeed(
            program("pg_ctl")
                .arg("-D")
                .arg(&data)
                .arg("-l")
                .arg(log)
                .args(["-w", "-o", &options, "start"]),
        );
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) async fn connect(&self, user: &str) -> Client {
        let socket: &Path = self.folder.path();
        let text = format!("host={} user={user} dbname=postgres", socket.display());
        let (client, connection) = tokio_postgres::connect(&text, NoTls)
            .await
            .expect("connects");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        succeed(program("pg_ctl").arg("-D").arg(self.data()).args([
            "-m",
            "immediate",
            "-w",
            "stop",
        ]));
    }
}
