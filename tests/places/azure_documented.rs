//! What Azurite does not know, as Microsoft's documentation says that Azure does it: versions, holds,
//! policies, and that a blob whose blocks were never committed is listed and not there.

use crate::service::{Asked, Service, bare, decoded};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// So few in a page, whatever is asked for.
const PAGE: usize = 2;

#[derive(Clone, Default)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) snapshot: Option<String>,
    /// It is what the name alone means.
    pub(crate) current: bool,
    pub(crate) uncommitted: bool,
    pub(crate) hold: bool,
    pub(crate) until: Option<&'static str>,
    /// It is not deleted, for this code.
    pub(crate) refused: Option<&'static str>,
}

#[derive(Default)]
pub(crate) struct Account {
    pub(crate) blobs: Vec<Blob>,
    pub(crate) keeps_versions: bool,
    pub(crate) container_hold: bool,
    pub(crate) container_policy: bool,
    /// New blobs may be under a policy at once.
    pub(crate) locks_all: bool,
    pub(crate) soft_delete: Option<u32>,
    /// It is put there as soon as something is deleted.
    pub(crate) appears: Option<Blob>,
    /// Its listing names nothing.
    pub(crate) lists_nothing: bool,
}

pub(crate) struct Documented {
    pub(crate) service: Service,
    account: Arc<Mutex<Account>>,
}

pub(crate) fn blob(name: &str) -> Blob {
    Blob {
        name: name.into(),
        current: true,
        ..Blob::default()
    }
}

/// The current one, as a version.
pub(crate) fn current(name: &str, version: &str) -> Blob {
    Blob {
        version: Some(version.into()),
        ..blob(name)
    }
}

pub(crate) fn version(name: &str, version: &str) -> Blob {
    Blob {
        current: false,
        ..current(name, version)
    }
}

pub(crate) fn snapshot(name: &str, at: &str) -> Blob {
    Blob {
        current: false,
        snapshot: Some(at.into()),
        ..blob(name)
    }
}

impl Documented {
    pub(crate) fn start(account: Account) -> Self {
        let account = Arc::new(Mutex::new(account));
        let state = account.clone();
        let service = Service::by(move |asked| state.lock().unwrap().answer(asked));
        Self { service, account }
    }

    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap()
    }

    /// What is there: names, and which of each.
    pub(crate) fn left(&self) -> Vec<String> {
        let account = self.account();
        let left = account.blobs.iter();
        let mut left: Vec<String> = left.map(Blob::called).collect();
        left.sort();
        left
    }
}

impl Blob {
    fn called(&self) -> String {
        let version = self.version.as_ref().map(|id| format!(" v{id}"));
        let snapshot = self.snapshot.as_ref().map(|at| format!(" s{at}"));
        let current = if self.current { " current" } else { "" };
        format!(
            "{}{}{}{current}",
            self.name,
            version.unwrap_or_default(),
            snapshot.unwrap_or_default()
        )
    }

    fn is(&self, name: &str, query: &BTreeMap<String, String>) -> bool {
        self.name == name
            && match (query.get("versionid"), query.get("snapshot")) {
                (Some(id), _) => self.version.as_ref() == Some(id),
                (None, Some(at)) => self.snapshot.as_ref() == Some(at),
                (None, None) => self.current && !self.uncommitted,
            }
    }

    fn element(&self) -> String {
        let tag = |name: &str, text: &Option<String>| {
            let text = text.as_ref();
            text.map_or_else(String::new, |text| format!("<{name}>{text}</{name}>"))
        };
        let current = match self.current && self.version.is_some() {
            true => "<IsCurrentVersion>true</IsCurrentVersion>",
            false => "",
        };
        format!(
            "<Blob><Name>{}</Name>{}{}{current}<Properties><Etag>0x8</Etag></Properties></Blob>",
            self.name,
            tag("Snapshot", &self.snapshot),
            tag("VersionId", &self.version),
        )
    }
}

impl Account {
    fn answer(&mut self, asked: &Asked) -> String {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: BTreeMap<String, String> = pairs
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let of = |name: &str| query.get(name).map(String::as_str);
        match (asked.method.as_str(), path, of("restype"), of("comp")) {
            ("GET", "/", Some("service"), Some("properties")) => self.properties(),
            ("GET", "/files", Some("container"), Some("list")) => self.list(&query),
            ("HEAD", "/files", Some("container"), None) => bare(
                200,
                &format!(
                    "x-ms-has-legal-hold: {}\r\nx-ms-has-immutability-policy: {}\r\nx-ms-immutable-storage-with-versioning-enabled: {}\r\n",
                    self.container_hold, self.container_policy, self.locks_all
                ),
            ),
            (method, path, None, None) => {
                let name = decoded(path.strip_prefix("/files/").unwrap());
                match method {
                    "HEAD" => self.head(&name, &query),
                    "DELETE" => self.delete(&name, &query),
                    "PUT" => self.put(&name, &asked.headers),
                    _ => refusal(405, "UnsupportedHttpVerb"),
                }
            }
            _ => refusal(400, "InvalidQueryParameterValue"),
        }
    }

    fn properties(&self) -> String {
        let policy = match self.soft_delete {
            Some(days) => format!("<Enabled>true</Enabled><Days>{days}</Days>"),
            None => "<Enabled>false</Enabled>".to_owned(),
        };
        xml(&format!(
            "<StorageServiceProperties><DeleteRetentionPolicy>{policy}</DeleteRetentionPolicy></StorageServiceProperties>"
        ))
    }

    fn list(&self, query: &BTreeMap<String, String>) -> String {
        let include = query["include"].split(',').collect::<Vec<_>>();
        let has = |what: &str| include.contains(&what);
        let prefix = query.get("prefix").map_or("", String::as_str);
        let mut blobs: Vec<&Blob> = self.blobs.iter().collect();
        blobs.retain(|blob| {
            blob.name.starts_with(prefix)
                && !self.lists_nothing
                && (blob.snapshot.is_none() || has("snapshots"))
                && (blob.current || blob.snapshot.is_some() || has("versions"))
                && (!blob.uncommitted || has("uncommittedblobs"))
        });
        blobs.sort_by_key(|blob| (&blob.name, &blob.snapshot, &blob.version));
        let from: usize = query.get("marker").map_or(0, |text| text.parse().unwrap());
        let page = blobs.iter().skip(from).take(PAGE);
        let page: String = page.map(|blob| blob.element()).collect();
        let next = match from + PAGE < blobs.len() {
            true => format!("<NextMarker>{}</NextMarker>", from + PAGE),
            false => "<NextMarker />".to_owned(),
        };
        xml(&format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://x/\" ContainerName=\"files\"><Blobs>{page}</Blobs>{next}</EnumerationResults>"
        ))
    }

    fn head(&self, name: &str, query: &BTreeMap<String, String>) -> String {
        let Some(blob) = self.blobs.iter().find(|blob| blob.is(name, query)) else {
            return refusal(404, "BlobNotFound");
        };
        let mut headers = format!("x-ms-legal-hold: {}\r\n", blob.hold);
        if let Some(until) = blob.until {
            headers += &format!("x-ms-immutability-policy-until-date: {until}\r\n");
        }
        bare(200, &headers)
    }

    fn delete(&mut self, name: &str, query: &BTreeMap<String, String>) -> String {
        self.blobs.extend(self.appears.take());
        let Some(at) = self.blobs.iter().position(|blob| blob.is(name, query)) else {
            return refusal(404, "BlobNotFound");
        };
        let blob = &self.blobs[at];
        let by_name_alone = !query.contains_key("versionid") && !query.contains_key("snapshot");
        if let Some(code) = blob.refused {
            return refusal(409, code);
        }
        if query.contains_key("versionid") && blob.current {
            return refusal(403, "OperationNotAllowedOnRootBlob");
        }
        let hangs = |other: &Blob| other.name == name && other.snapshot.is_some();
        if by_name_alone && self.blobs.iter().any(hangs) {
            return refusal(409, "SnapshotsPresent");
        }
        // Of what is kept as a version the name may be taken away.
        if by_name_alone && self.keeps_versions {
            let blob = &mut self.blobs[at];
            blob.current = false;
            blob.version.get_or_insert_with(|| "made".to_owned());
            return bare(202, "");
        }
        let kept = blob.hold || blob.until.is_some_and(|until| until.contains("2099"));
        if kept || self.container_hold || self.container_policy {
            return refusal(409, "BlobImmutableDueToPolicy");
        }
        self.blobs.remove(at);
        bare(202, "")
    }

    fn put(&mut self, name: &str, headers: &BTreeMap<String, String>) -> String {
        let known = |blob: &Blob| blob.name == name && blob.current && !blob.uncommitted;
        if headers.get("if-none-match").map(String::as_str) != Some("*")
            || headers.get("content-length").map(String::as_str) != Some("0")
            || self.blobs.iter().any(known)
        {
            return refusal(409, "BlobAlreadyExists");
        }
        self.blobs
            .retain(|blob| blob.name != name || !blob.uncommitted);
        if !self.keeps_versions {
            self.blobs.push(blob(name));
            return bare(201, "");
        }
        self.blobs.push(current(name, "new"));
        bare(201, "x-ms-version-id: new\r\n")
    }
}

fn refusal(status: u16, code: &str) -> String {
    bare(status, &format!("x-ms-error-code: {code}\r\n"))
}

fn xml(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
