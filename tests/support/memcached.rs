//! A memcached of a test's own, on a free port of 127.0.0.1, gone with the test.

use super::server::{free_port, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server. Killed when dropped, and with the thread that started it.
#[derive(Debug)]
pub struct Memcached {
    port: u16,
    child: Child,
}

impl Memcached {
    pub fn start() -> Self {
        let port = free_port();
        let child = Self::spawn(port);
        Self { port, child }
    }

    fn spawn(port: u16) -> Child {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "memcached", "-l", "127.0.0.1"]);
        command.args(["-p", &port.to_string(), "-U", "0", "-u", "root"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("memcached: run scripts/install.sh test");
        let up = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until("memcached", Duration::from_secs(20), up);
        child
    }

    /// As if it had crashed; it keeps nothing.
    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Empty, on the same port.
    pub fn start_again(&mut self) {
        self.child = Self::spawn(self.port);
    }

    /// Says this, and the first line of the answer.
    pub fn say(&self, lines: &str) -> String {
        let mut server = TcpStream::connect(("127.0.0.1", self.port)).expect("memcached answers");
        server
            .write_all(lines.as_bytes())
            .expect("memcached answers");
        let mut said = String::new();
        BufReader::new(server)
            .read_line(&mut said)
            .expect("memcached answers");
        said.trim_end().to_owned()
    }

    pub fn set(&self, keys: &[&str]) {
        for key in keys {
            assert_eq!(self.say(&format!("set {key} 0 0 1\r\nx\r\n")), "STORED");
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn has(&self, key: &str) -> bool {
        self.say(&format!("mg {key}\r\n")) == "HD"
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.stop();
    }
}
