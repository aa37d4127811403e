//! gcp-storage-emulator from PyPI, a server that speaks as Google Cloud Storage does, and what an
//! application does there. In front of it stands a service that answers for uploads in parts, which it does
//! not know, and passes everything else on.

use crate::bucket::send;
use crate::gcs_documented::{Uploads, aborted, parts, uploads};
use crate::service::{Service, decoded};
use crate::support::{free_port, repository, wait_until};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct Emulator {
    pub(crate) front: Service,
    port: u16,
    uploads: Arc<Mutex<Uploads>>,
    server: Child,
    _folder: TempDir,
}

impl Emulator {
    /// With a bucket.
    pub(crate) fn start(bucket: &str) -> Self {
        let program = repository().join(".cache/gcs/bin/gcp-storage-emulator");
        assert!(program.exists(), "run scripts/install.sh test");
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let mut command = Command::new(program);
        command.args(["start", "-q", "--in-memory", "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string(), "--default-bucket", bucket]);
        command.current_dir(folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().unwrap();
        let begun: Arc<Mutex<Uploads>> = Arc::default();
        let known = begun.clone();
        let beginning = format!("/{bucket}/");
        let front = Service::by(move |asked| {
            let (path, query) = parts(asked);
            let mut begun = known.lock().unwrap();
            if query.contains_key("uploads") {
                return uploads(&begun, &query);
            }
            if let Some(id) = query.get("uploadId") {
                let name = decoded(path.strip_prefix(&beginning).unwrap());
                return aborted(&mut begun, &name, id);
            }
            let said = send(port, &asked.method, &asked.target, "", "");
            format!("{}\r\n\r\n{}", said.head, said.body)
        });
        let emulator = Self {
            front,
            port,
            uploads: begun,
            server,
            _folder: folder,
        };
        wait_until("the emulator", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        emulator
    }

    #[track_caller]
    fn well(&self, method: &str, target: &str, body: &str) -> serde_json::Value {
        let said = send(self.port, method, target, "", body);
        assert!(said.status < 300, "{target}: {} {}", said.head, said.body);
        serde_json::from_str(&said.body).unwrap()
    }

    /// An object in the bucket `plain`; the name as it stands in a query.
    #[track_caller]
    pub(crate) fn put(&self, name: &str) {
        let target = format!("/upload/storage/v1/b/plain/o?uploadType=media&name={name}");
        self.well("POST", &target, "bytes");
    }

    pub(crate) fn begin_upload(&self, name: &str, id: &str) {
        let mut uploads = self.uploads.lock().unwrap();
        uploads.push((name.to_owned(), id.to_owned()));
    }

    /// Names of all objects and uploads.
    pub(crate) fn names(&self) -> Vec<String> {
        let listed = self.well("GET", "/storage/v1/b/plain/o", "");
        let items = listed["items"].as_array().unwrap().iter();
        let mut names: Vec<String> = items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect();
        let uploads = self.uploads.lock().unwrap();
        names.extend(uploads.iter().map(|(name, _)| format!("{name} begun")));
        names.sort();
        names
    }

    /// Names of what was deleted and is kept.
    pub(crate) fn softly_deleted(&self) -> usize {
        let listed = self.well("GET", "/storage/v1/b/plain/o?softDeleted=true", "");
        listed["items"].as_array().unwrap().len()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
