//! A server that speaks S3, moto from PyPI, and what an application does there: written by hand, so that
//! nothing of ours is tried by itself.

use crate::support::{free_port, repository, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Moto {
    pub(crate) port: u16,
    server: Child,
}

pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let program = repository().join(".cache/moto/bin/moto_server");
        assert!(program.exists(), "run scripts/install.sh test");
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().unwrap();
        let moto = Self { port, server };
        wait_until("moto", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        moto
    }

    /// Sends a request as it is; moto believes an unsigned one.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &str, body: &str) -> Said {
        // Who says nothing of themselves may not do all; whether it is true is not asked.
        let somebody = "authorization: AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x\r\n";
        send(
            self.port,
            method,
            target,
            &format!("{somebody}{headers}"),
            body,
        )
    }

    /// The same, and it must have gone well.
    #[track_caller]
    pub(crate) fn well(&self, method: &str, target: &str, headers: &str, body: &str) -> Said {
        let said = self.send(method, target, headers, body);
        assert!(said.status < 300, "{target}: {} {}", said.head, said.body);
        said
    }

    #[track_caller]
    pub(crate) fn put(&self, target: &str) {
        self.well("PUT", target, "", "bytes");
    }

    /// Keys of all versions and deletion markers, as the server lists them.
    pub(crate) fn versions(&self, bucket: &str) -> Vec<String> {
        let said = self.well("GET", &format!("/{bucket}?versions"), "", "");
        all(&said.body, "Key")
    }

    pub(crate) fn uploads(&self, bucket: &str) -> Vec<String> {
        let said = self.well("GET", &format!("/{bucket}?uploads"), "", "");
        all(&said.body, "Key")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// Sends a request of this machine's as it is.
pub(crate) fn send(port: u16, method: &str, target: &str, headers: &str, body: &str) -> Said {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}",
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    Said {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// The texts of all elements of this name, sorted.
pub(crate) fn all(xml: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(begin.as_str()).skip(1);
    let mut texts: Vec<String> = parts
        .map(|part| part.split(end.as_str()).next().unwrap().to_owned())
        .collect();
    texts.sort();
    texts
}
