//! A private PgBouncer in transaction mode before a server, gone with the test.

use super::server::{Server, as_postgres, free_port, wait_until};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running pooler.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    child: Child,
    // Of the server, which removes it.
    folder: std::path::PathBuf,
}

impl Pooler {
    /// Before a server, with so many sessions for each database and role. Everybody is let in who is
    /// named here and in the server.
    pub fn start(server: &Server, sessions: u32, roles: &[&str]) -> Pooler {
        assert!(
            Path::new(PROGRAM).exists(),
            "no {PROGRAM}: run scripts/install.sh test"
        );
        let port = free_port();
        let folder = server.socket_dir().join(format!("pooler-{port}"));
        let made = as_postgres("mkdir").arg(&folder).status();
        assert!(made.expect("mkdir").success());
        let write = |name: &str, text: String| {
            std::fs::write(folder.join(name), text).expect("a file of the pooler");
        };
        let known = roles.iter().map(|role| format!("\"{role}\" \"\"\n"));
        write("users", known.collect());
        write(
            "ini",
            format!(
                "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir = {}\nauth_type = trust\nauth_file = {}\n\
                 pool_mode = transaction\ndefault_pool_size = {sessions}\nmax_client_conn = 200\n\
                 server_round_robin = 1\n",
                server.socket_dir().display(),
                server.port(),
                folder.display(),
                folder.join("users").display(),
            ),
        );
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let child = as_postgres("setpriv")
            // Of the thread that starts it: the test's own.
            .args(["--pdeathsig", "KILL", PROGRAM])
            .arg(folder.join("ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the pooler");
        wait_until("the pooler", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Pooler {
            port,
            child,
            folder,
        }
    }

    /// A libpq URL for a role.
    pub fn url(&self, database: &str, role: &str) -> String {
        format!(
            "postgresql://{role}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// Its socket.
    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
