use super::*;
use crate::diagnostic::{render, to_json};
use proptest::prelude::*;

const GOOD: &str = r#"
state_dir = "/srv/erasured"
[control]
url = "postgresql://erasured@db.example/control"
password_credential = "control-password"
tls = { ca_file = "ca.pem", client_cert = "c.pem", client_key_file = "c.key" }
[system.shop]
kind = "postgres"
url = "host=db.example dbname=shop"
password_file = "shop.pw"
sweep = { url = "host=standby.example dbname=shop" }
[system.loyalty]
url = "service=loyalty"
[keys]
signing = { file = "signing.pem" }
retired = ["old.pem"]
hash = { env = "ERASURED_HASH" }
[http]
listen = "[::1]:9000"
token = { credential = "token" }
[log]
format = "journald"
level = "debug"
[limits]
batch = 1_000
lease = "2 min"
lock_timeout = "200 ms"
sweep_bytes_per_second = 0
"#;

#[test]
fn a_throttle_says_what_it_needs() {
    let with = |keys: &str| {
        let text = format!("{GOOD}\n[system.shop.throttle]\n{keys}\n");
        read("/etc/erasured/erasured.toml", &text)
    };
    let config = with(
        "standbys = [\"host=standby.example\", \"standby2\"]\nlag = \"10 s\"\nwal = \"50 MB/s\"\nload = { file = \"load\", above = 0.5, fresh = \"1 min\" }",
    );
    let throttle = &config.unwrap().systems["shop"].throttle;
    let [Standby::At(first), Standby::Named(second)] = throttle.standbys.as_slice() else {
        panic!("{throttle:?}");
    };
    let password = Some(SecretSource::File("/etc/erasured/shop.pw".into()));
    assert_eq!((&first.password, second.as_str()), (&password, "standby2"));
    let load = throttle.load.as_ref().unwrap();
    assert!((load.above - 0.5).abs() < f64::EPSILON);
    for (keys, code) in [
        ("lag = \"10 s\"", "E0004"),
        ("standbys = [\"standby2\"]\nlag = \"1 s\"", "E0006"),
        ("standbys = [\"standby2\"]", "E0004"),
        (
            "standbys = [\"postgresql://u:SECRET@h/d\"]\nlag = \"1 s\"",
            "E0007",
        ),
        ("wal = \"50 MB\"", "E0006"),
        ("load = { above = 4 }", "E0006"),
        (
            "load = { file = \"a\", command = [\"/b\"], above = 4 }",
            "E0006",
        ),
        ("load = { command = [\"b\"], above = 4 }", "E0006"),
        ("load = { file = \"a\" }", "E0004"),
        ("load = { file = \"a\", above = -1 }", "E0006"),
        ("load = { file = \"a\", above = nan }", "E0006"),
    ] {
        let found = with(keys).unwrap_err();
        assert!(found.iter().any(|d| d.code == code), "{keys}: {found:?}");
        assert!(!render(&found, false).contains("SECRET"), "{keys}");
    }
}

#[test]
fn a_whole_file_reads() {
    let config = read("/etc/erasured/erasured.toml", GOOD).unwrap();
    assert_eq!(config.state_dir, Path::new("/srv/erasured"));
    assert_eq!(config.policies, Path::new("/etc/erasured/policies"));
    assert_eq!(
        config.control.password,
        Some(SecretSource::Credential("control-password".into()))
    );
    let tls = config.control.tls.unwrap();
    assert_eq!(
        tls.client_key_file.unwrap(),
        Path::new("/etc/erasured/c.key")
    );
    let shop = &config.systems["shop"];
    let file = Some(SecretSource::File("/etc/erasured/shop.pw".into()));
    assert_eq!(shop.database.password, file);
    assert_eq!(shop.sweep.as_ref().unwrap().password, file);
    assert_eq!(
        shop.sweep.as_ref().unwrap().url,
        "host=standby.example dbname=shop"
    );
    assert!(config.systems["loyalty"].database.password.is_none());
    assert_eq!(config.keys.retired, [Path::new("/etc/erasured/old.pem")]);
    assert_eq!(config.http.listen.port(), 9000);
    assert_eq!(
        config.log,
        Log {
            format: LogFormat::Journald,
            level: tracing::Level::DEBUG
        }
    );
    let expected = Limits {
        batch: NonZeroU32::new(1000).unwrap(),
        lease: Duration::from_secs(120),
        lock_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    assert_eq!(config.limits, expected);
}

fn codes(text: &str) -> Vec<&'static str> {
    read("erasured.toml", text)
        .map_or_else(|all| all.iter().map(|d| d.code).collect(), |_| Vec::new())
}

#[test]
fn every_mistake_is_told_at_once() {
    let bad = r#"
state_dri = "/srv"
[control]
url = "host=a"
password_file = "a"
password_env = "B"
[system.Shop]
kind = "oracle"
tls = { client_cert = "c.pem" }
[keys]
signing = {}
[http]
listen = "here"
[limits]
batch = 0
lease = "1 fortnight"
lock_timeout = 5
"#;
    let all = read("erasured.toml", bad).unwrap_err();
    let short: Vec<String> = to_json(&all)
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            format!(
                "{}:{} {}",
                d["line"],
                d["code"].as_str().unwrap(),
                d["message"].as_str().unwrap()
            )
        })
        .collect();
    insta::assert_snapshot!(short.join("\n"), @r###"
    2:E0003 the file has no key `state_dri`
    6:E0008 [control] says more than once where its secret is
    7:E0004 `url` in [system.Shop] is missing
    7:E0006 `Shop` is not a plain name
    8:E0006 `kind` in [system.Shop] cannot be `oracle`
    9:E0008 `tls` in [system.Shop] has only one of `client_cert` and `client_key_file`
    10:E0004 `hash` in [keys] is missing
    11:E0004 `signing` in [keys] does not say where the secret is
    13:E0006 `listen` in [http] cannot be read: `here` is no address
    15:E0006 `batch` in [limits] is out of bounds
    16:E0006 `lease` in [limits] cannot be read: `fortnight` is no unit of time
    17:E0005 `lock_timeout` in [limits] must be a string, not a whole number
    "###);
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    let urls = [
        "url = \"postgresql://u:hunter2@h/db\"",
        "url = \"postgresql://u@h/db?password=hunter2\"",
        "url = \"postgresql://u@h/db?sslpassword=hunter2\"",
        "url = \"host=h password=hunter2\"",
        "url = \"host=h password = 'hunter2'\"",
    ];
    for url in urls {
        let text = GOOD.replace("url = \"service=loyalty\"", url);
        assert_eq!(codes(&text), ["E0007"], "{url}");
    }
    let others = [
        "password = \"hunter2\"",
        "pwd = \"hunter2\"",
        "password = \"hunter2",
        "password_file = [\"hunter2\"]",
        "url = \"postgresql://u:hunter2@h/db",
        "= x \nurl = 'postgresql://u:hunter2@h/db'",
        "[keys]\nhash = \"hunter2\"",
        "[keys]\nsigning = \"\"\"\n-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\"\"\"",
        "[http]\ntoken = 'hunter2'",
        "[keys.hash]\nvalue = 'hunter2'",
    ];
    for bad in urls.iter().chain(&others) {
        let text = format!("[control]\n{bad}\n");
        let all = read("erasured.toml", &text).unwrap_err();
        let shown = render(&all, false) + &to_json(&all).to_string() + &format!("{all:?}");
        assert!(!shown.contains("hunter2"), "{bad}\n{shown}");
    }
}

#[test]
fn plain_urls_are_no_secrets() {
    for url in [
        "",
        "service=x",
        "postgresql://u@h:5432/db",
        "postgresql:///db?host=/run&passfile=/x",
        "host=h passfile=/x",
    ] {
        assert!(!holds_password(url), "{url}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        if let Err(all) = read("f.toml", &text) {
            render(&all, true);
            to_json(&all);
        }
    }

    #[test]
    fn a_damaged_file_is_survived(at in 0..GOOD.len(), len in 0usize..40, new in "[\\[\\]={}\"'\n.a0#é]{0,4}") {
        let mut text = GOOD.to_owned();
        text.replace_range(at..(at + len).min(GOOD.len()), &new);
        if let Err(all) = read("f.toml", &text) {
            prop_assert!(!all.is_empty());
            render(&all, false);
            to_json(&all);
        }
    }
}
