//! What the emulator does not know, as Google's documentation says that Cloud Storage does it: generations,
//! holds, retention, and uploads in parts.

use crate::service::{Asked, Service, bare, decoded, json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// So few in a page, whatever is asked for.
const PAGE: usize = 2;

#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) generation: String,
    /// It is what the name alone means.
    pub(crate) live: bool,
    /// What else is known of it.
    pub(crate) more: Value,
    /// It is not deleted, for this reason.
    pub(crate) refused: Option<&'static str>,
}

/// Uploads in parts, by key and id.
pub(crate) type Uploads = Vec<(String, String)>;

#[derive(Default)]
pub(crate) struct Bucket {
    pub(crate) objects: Vec<Object>,
    pub(crate) uploads: Uploads,
    /// In seconds.
    pub(crate) soft_delete: Option<&'static str>,
    /// Its listings name nothing.
    pub(crate) lists_nothing: bool,
}

pub(crate) struct Documented {
    pub(crate) service: Service,
    bucket: Arc<Mutex<Bucket>>,
}

pub(crate) fn object(name: &str, generation: u32) -> Object {
    Object {
        name: name.into(),
        generation: generation.to_string(),
        live: true,
        more: json!({}),
        refused: None,
    }
}

/// One that is not the newest any more.
pub(crate) fn old(name: &str, generation: u32) -> Object {
    Object {
        live: false,
        ..object(name, generation)
    }
}

pub(crate) fn upload(name: &str, id: &str) -> (String, String) {
    (name.into(), id.into())
}

impl Documented {
    pub(crate) fn start(bucket: Bucket) -> Self {
        let bucket = Arc::new(Mutex::new(bucket));
        let state = bucket.clone();
        let service = Service::by(move |asked| state.lock().unwrap().answer(asked));
        Self { service, bucket }
    }

    pub(crate) fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap()
    }

    /// What is there: names, and which of each.
    pub(crate) fn left(&self) -> Vec<String> {
        let bucket = self.bucket();
        let objects = bucket.objects.iter();
        let objects = objects.map(|object| format!("{} {}", object.name, object.generation));
        let uploads = bucket.uploads.iter();
        let mut left: Vec<String> = objects
            .chain(uploads.map(|(name, id)| format!("{name} u{id}")))
            .collect();
        left.sort();
        left
    }
}

/// Path and query of what was asked for.
pub(crate) fn parts(asked: &Asked) -> (String, BTreeMap<String, String>) {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let pairs = query.split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = pairs.map(|(name, value)| (name.to_owned(), decoded(value)));
    (path.to_owned(), query.collect())
}

impl Bucket {
    fn answer(&mut self, asked: &Asked) -> String {
        let (path, query) = parts(asked);
        if let Some(answer) = self.of_uploads(&asked.method, &path, &query) {
            return answer;
        }
        let known = "/storage/v1/b/files";
        let path = path.strip_prefix(known).unwrap_or("?");
        match (asked.method.as_str(), path) {
            ("GET", "") => self.of_itself(),
            ("GET", "/o") => self.list(&query),
            (method, path) => match path.strip_prefix("/o/") {
                Some(name) if !name.contains('/') => self.one(method, &decoded(name), &query),
                _ => refusal(404, "notFound"),
            },
        }
    }

    /// What is in XML, if it is that.
    fn of_uploads(
        &mut self,
        method: &str,
        path: &str,
        query: &BTreeMap<String, String>,
    ) -> Option<String> {
        if query.contains_key("uploads") {
            assert_eq!((method, path), ("GET", "/files"));
            return Some(uploads(&self.uploads, query));
        }
        let id = query.get("uploadId")?;
        assert_eq!(method, "DELETE");
        let name = decoded(path.strip_prefix("/files/").unwrap());
        Some(aborted(&mut self.uploads, &name, id))
    }

    fn of_itself(&self) -> String {
        let policy = self.soft_delete;
        let policy = policy.map(|seconds| json!({"retentionDurationSeconds": seconds}));
        let mut bucket = json!({"kind": "storage#bucket"});
        if let Some(policy) = policy {
            bucket["softDeletePolicy"] = policy;
        }
        json(200, &bucket.to_string())
    }

    fn list(&self, query: &BTreeMap<String, String>) -> String {
        let all = query.get("versions").map(String::as_str) == Some("true");
        let mut objects: Vec<&Object> = self.objects.iter().collect();
        objects.retain(|object| {
            object.name.starts_with(&query["prefix"]) && (all || object.live) && !self.lists_nothing
        });
        objects.sort_by_key(|object| (&object.name, &object.generation));
        let token = query.get("pageToken");
        let from: usize = token.map_or(0, |text| text.parse().unwrap());
        let page = objects.iter().skip(from).take(PAGE);
        let page: Vec<Value> = page
            .map(|object| json!({"name": object.name, "generation": object.generation}))
            .collect();
        let mut answer = json!({"kind": "storage#objects"});
        if !page.is_empty() {
            answer["items"] = page.into();
        }
        if from + PAGE < objects.len() {
            answer["nextPageToken"] = (from + PAGE).to_string().into();
        }
        json(200, &answer.to_string())
    }

    fn one(&mut self, method: &str, name: &str, query: &BTreeMap<String, String>) -> String {
        // Without it the newest would be made an old one, and stay.
        let generation = &query["generation"];
        let mut objects = self.objects.iter();
        let at = objects.position(|o| o.name == name && o.generation == *generation);
        let Some(at) = at else {
            return refusal(404, "notFound");
        };
        let object = &self.objects[at];
        if method == "GET" {
            let mut answer = object.more.clone();
            answer["name"] = name.into();
            answer["generation"] = generation.as_str().into();
            return json(200, &answer.to_string());
        }
        assert_eq!(method, "DELETE");
        if let Some(reason) = object.refused {
            return refusal(403, reason);
        }
        let is = |field: &str| object.more[field] == true;
        let text = object.more.to_string();
        if is("temporaryHold") || is("eventBasedHold") || text.contains("2099") {
            return refusal(403, "retentionPolicyNotMet");
        }
        self.objects.remove(at);
        bare(204, "")
    }
}

/// A page of them.
pub(crate) fn uploads(all: &Uploads, query: &BTreeMap<String, String>) -> String {
    let mut all: Vec<&(String, String)> = all.iter().collect();
    all.retain(|(name, _)| name.starts_with(&query["prefix"]));
    all.sort();
    if let (Some(key), Some(id)) = (query.get("key-marker"), query.get("upload-id-marker")) {
        all.retain(|(name, known)| (name, known) > (key, id));
    }
    let rest = all.split_off(all.len().min(PAGE));
    let page = all.iter();
    let page: String = page
        .map(|(name, id)| {
            let name = name.replace('&', "&amp;").replace('<', "&lt;");
            format!("<Upload><Key>{name}</Key><UploadId>{id}</UploadId></Upload>")
        })
        .collect();
    let next = match all.last() {
        Some((name, id)) if !rest.is_empty() => format!(
            "<NextKeyMarker>{name}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>"
        ),
        _ => String::new(),
    };
    let body = format!(
        "<?xml version='1.0' encoding='UTF-8'?><ListMultipartUploadsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Bucket>files</Bucket>{next}<IsTruncated>{}</IsTruncated>{page}</ListMultipartUploadsResult>",
        !rest.is_empty()
    );
    json(200, &body)
}

pub(crate) fn aborted(all: &mut Uploads, name: &str, id: &str) -> String {
    let before = all.len();
    all.retain(|(known, of)| known != name || of != id);
    bare(if all.len() < before { 204 } else { 404 }, "")
}

fn refusal(status: u16, reason: &str) -> String {
    let error = json!({"error": {"code": status, "errors": [{"domain": "global", "reason": reason,
        "message": "avatars/12 of taro"}], "message": "avatars/12 of taro"}});
    json(status, &error.to_string())
}
