//! Rows are written to a bucket before they go: moto's server speaks S3, and curl reads what it holds.

use crate::archives::{due, load};
use crate::company::{Company, POLICY, SCHEMA};
use crate::support::{free_port, repository, wait_until};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One service, with one bucket.
struct Service {
    port: u16,
    process: Child,
}

impl Service {
    fn start() -> Self {
        let port = free_port();
        let program = repository().join(".cache/moto/bin/moto_server");
        assert!(program.exists(), "no moto: run scripts/install.sh test");
        // It ends with whoever started it, however that ends.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Self { port, process };
        wait_until("moto", Duration::from_secs(60), || {
            service.curl(&["-X", "PUT"], "").is_some()
        });
        service
    }

    /// What is answered to a request for something in the bucket; `None` unless that is success.
    fn curl(&self, arguments: &[&str], name: &str) -> Option<Vec<u8>> {
        let url = format!("http://127.0.0.1:{}/our-archive{name}", self.port);
        let output = Command::new("curl")
            .args(["-sf", "--noproxy", "*"])
            .args([
                "--aws-sigv4",
                "aws:amz:us-east-1:s3",
                "--user",
                "secret:secret",
            ])
            .args(["-H", "Content-Type: application/octet-stream"])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// Names of all that is there and ends so.
    fn names(&self, ending: &str) -> Vec<String> {
        let listed = self.curl(&[], "?list-type=2").unwrap();
        let listed = String::from_utf8(listed).unwrap();
        let keys = listed.split("<Key>").skip(1);
        let keys = keys.map(|rest| rest.split("</Key>").next().unwrap().to_owned());
        keys.filter(|key| key.ends_with(ending)).collect()
    }

    fn get(&self, name: &str) -> Vec<u8> {
        self.curl(&[], &format!("/{name}")).unwrap()
    }

    fn put(&self, name: &str, bytes: &str) {
        let put = self.curl(&["-X", "PUT", "--data-binary", bytes], &format!("/{name}"));
        put.unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Bucketed {
    company: Company,
    service: Service,
}

impl Bucketed {
    fn open(more: &str) -> Self {
        let policy = POLICY.replace(
            "because  = \"our",
            "archive = { to = \"s3://our-archive/calls/2026\", keep = \"10 years\" }\nbecause  = \"our",
        );
        let mut company = Company::with(&format!("{SCHEMA}{more}"), &policy);
        let service = Service::start();
        let secret = company.workspace.path().join("keys/bucket");
        std::fs::write(&secret, "secret").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        company.workspace.configure(&format!(
            "[limits]\nlease = \"5 s\"\n[bucket.our-archive]\nendpoint = \"http://127.0.0.1:{}\"\nregion = \"us-east-1\"\n\
             access_key = {{ file = \"keys/bucket\" }}\nsecret_key = {{ file = \"keys/bucket\" }}",
            service.port
        ));
        Self { company, service }
    }

    fn manifests(&self) -> Vec<Value> {
        let names = self.service.names(".json").into_iter();
        names
            .map(|name| serde_json::from_slice(&self.service.get(&name)).unwrap())
            .collect()
    }

    fn loaded(&self, table: &str) -> Vec<String> {
        let manifests = self.manifests();
        let files = manifests
            .iter()
            .flat_map(|m| m["files"].as_array().unwrap());
        let of = format!("shop.public.{table}");
        let files = files.filter(|file| file["table"] == of.as_str());
        let read = |file: &Value| {
            let name = format!("calls/2026/{}", file["file"].as_str().unwrap());
            (file.clone(), self.service.get(&name))
        };
        load(&self.company, table, files.map(read).collect())
    }

    fn all_loaded(&self) -> [Vec<String>; 2] {
        [self.loaded("call"), self.loaded("note")]
    }

    /// Of what is there nothing is pending, and nothing is without a manifest.
    fn is_settled(&self) {
        assert_eq!(self.service.names(".pending").len(), 0);
        let files: Vec<String> = (self.manifests().iter())
            .flat_map(|m| m["files"].as_array().unwrap().clone())
            .map(|file| format!("calls/2026/{}", file["file"].as_str().unwrap()))
            .collect();
        let mut there = self.service.names(".csv.gz");
        there.retain(|name| !files.contains(name));
        assert!(there.is_empty(), "{there:?}");
    }
}

#[test]
fn what_goes_is_in_the_bucket_until_its_time_is_over() {
    let bucketed = Bucketed::open("");
    let company = &bucketed.company;
    let due = due(company);
    company.says(&["check"], 0);
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(bucketed.all_loaded(), due);
    bucketed.is_settled();
    let certificate = company.json(&["certificate", "show", run["run"].as_str().unwrap()]);
    let files = certificate["archives"].as_array().unwrap();
    assert_eq!(Some(files.len() as u64), run["archived"]["files"].as_u64());
    for file in files {
        let address = file["file"].as_str().unwrap();
        let name = address.strip_prefix("s3://our-archive/").unwrap();
        assert!(
            bucketed.service.names("").contains(&name.to_owned()),
            "{name}"
        );
    }
    // One of them is over.
    let name = bucketed.service.names(".json").remove(0);
    let mut manifest: Value = serde_json::from_slice(&bucketed.service.get(&name)).unwrap();
    manifest["keep_until"] = "2020-01-01".into();
    bucketed.service.put(&name, &manifest.to_string());
    let before = bucketed.service.names(".csv.gz").len();
    let run = company.json(&["retention", "run", "calls"]);
    let ended = manifest["files"].as_array().unwrap().len();
    assert_eq!(run["archived"]["ended"], ended, "{run}");
    assert_eq!(bucketed.service.names(".csv.gz").len(), before - ended);
    assert!(!bucketed.service.names(".json").contains(&name));
}

/// Dead before the COMMIT, or just after it.
#[test]
fn a_crash_leaves_each_row_in_one_place() {
    for failpoint in ["before-commit", "after-commit"] {
        let bucketed = Bucketed::open("");
        let company = &bucketed.company;
        let all = due(company);
        let mut killed = company.workspace.process(["retention", "run", "calls"]);
        killed.env("FAILPOINTS", format!("{failpoint}=return(abort)"));
        assert!(!killed.output().unwrap().status.success());
        assert_eq!(bucketed.service.names(".pending").len(), 1, "{failpoint}");
        let there = due(company)[0].len();
        assert_eq!(there < all[0].len(), failpoint == "after-commit");
        std::thread::sleep(Duration::from_millis(5500));
        company.json(&["retention", "run", "calls"]);
        bucketed.is_settled();
        assert_eq!(bucketed.all_loaded(), all, "{failpoint}");
    }
}

/// A bucket that does not answer, or is not there, or holds something else than was written: no row goes.
#[test]
fn no_row_goes_that_is_not_known_to_be_there() {
    let mut bucketed = Bucketed::open("");
    let before = bucketed.company.rows("false");
    let company = &bucketed.company;
    let run = company
        .workspace
        .process(["retention", "run", "calls"])
        .env("FAILPOINTS", "archive-uploaded=1*sleep(5000)")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the upload", Duration::from_secs(60), || {
        !bucketed.service.names(".csv.gz").is_empty()
    });
    let name = bucketed.service.names(".csv.gz").remove(0);
    bucketed.service.put(&name, "something else");
    let said = run.wait_with_output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.contains("E0532") && said.contains("not what was written"),
        "{said}"
    );
    assert_eq!(company.rows("false"), before);
    assert_eq!(bucketed.service.names(""), Vec::<String>::new());
    let gone = bucketed.service.curl(&["-X", "DELETE"], "");
    gone.unwrap();
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0532"), "{said}");
    bucketed.service.process.kill().unwrap();
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0532") && !said.contains("secret"), "{said}");
    assert_eq!(company.rows("false"), before);
    // Of a bucket that only the policy names nothing is known.
    bucketed.company.workspace.configure("");
    let config = std::fs::read_to_string(bucketed.company.workspace.config()).unwrap();
    let other = config.replace("[bucket.our-archive]", "[bucket.another]");
    std::fs::write(bucketed.company.workspace.config(), other).unwrap();
    for arguments in [&["check", "--offline"][..], &["retention", "run", "calls"]] {
        let said = bucketed.company.says(arguments, 1);
        assert!(said.contains("E0266"), "{said}");
    }
}

/// Larger than one part.
#[test]
fn a_large_file_goes_in_parts() {
    let bucketed = Bucketed::open(
        "DELETE FROM survey; UPDATE call SET tag = (SELECT string_agg(md5(g::text || id::text), '') FROM generate_series(1, 2500) g) \
           WHERE id > 2600; DELETE FROM note WHERE call BETWEEN 2100 AND 2600; DELETE FROM call WHERE id BETWEEN 2100 AND 2600;",
    );
    let company = &bucketed.company;
    let due = due(company);
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(bucketed.all_loaded(), due);
    let heads: Vec<String> = (bucketed.service.names(".call.csv.gz").iter())
        .map(|name| {
            String::from_utf8(bucketed.service.curl(&["-I"], &format!("/{name}")).unwrap()).unwrap()
        })
        .collect();
    // As the service says of objects that came in parts.
    assert!(heads.iter().any(|head| head.contains("-2\"")), "{heads:?}");
}
