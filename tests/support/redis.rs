//! A Redis server of a test's own, on a free port of 127.0.0.1, gone with the test.

use super::server::{free_port, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server. Killed when dropped, and with the thread that started it.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: tempfile::TempDir,
    child: Child,
    password: Option<String>,
}

impl Redis {
    /// A server without a password that writes nothing to the disk.
    pub fn start() -> Redis {
        Redis::start_with(&[], None)
    }

    /// With further settings, each as on the command line, and a password.
    pub fn start_with(settings: &[&str], password: Option<&str>) -> Redis {
        let (port, folder) = (
            free_port(),
            tempfile::tempdir().expect("a temporary folder"),
        );
        let child = spawn(port, folder.path(), settings, password);
        let redis = Redis {
            port,
            folder,
            child,
            password: password.map(str::to_owned),
        };
        redis.is_up();
        redis
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As if it had crashed.
    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts the stopped server again, on the same port, empty.
    pub fn start_again(&mut self) {
        self.child = spawn(self.port, self.folder.path(), &[], self.password.as_deref());
        self.is_up();
    }

    fn is_up(&self) {
        wait_until("redis-server", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Runs commands, words separated by single spaces; the answers, each as redis-cli would show it in
    /// one line, lists joined by spaces.
    pub fn run(&self, commands: &[&str]) -> Vec<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let mut answers = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut ask = |command: &str| {
            let words: Vec<&str> = command.split(' ').collect();
            let mut text = format!("*{}\r\n", words.len());
            for word in words {
                text += &format!("${}\r\n{word}\r\n", word.len());
            }
            (&stream).write_all(text.as_bytes()).expect("sent");
            answer(&mut answers)
        };
        if let Some(password) = &self.password {
            ask(&format!("AUTH {password}"));
        }
        commands.iter().map(|command| ask(command)).collect()
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.run(&["KEYS *"]).remove(0);
        let mut keys: Vec<String> = keys.split_whitespace().map(str::to_owned).collect();
        keys.sort();
        keys
    }
}

fn spawn(port: u16, folder: &std::path::Path, settings: &[&str], password: Option<&str>) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server"]);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--dir"]).arg(folder);
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    command.args(settings);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server: run scripts/install.sh test")
}

fn answer(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("an answer");
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let length = || rest.parse::<usize>().ok();
    match kind {
        "$" => match length() {
            None => "(nil)".into(),
            Some(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes).expect("all of it");
                String::from_utf8_lossy(&bytes[..length]).into_owned()
            }
        },
        "*" => {
            let parts: Vec<String> = (0..length().unwrap_or(0)).map(|_| answer(from)).collect();
            parts.join(" ")
        }
        _ => rest.to_owned(),
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
