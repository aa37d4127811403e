#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A machine with these variables and files; a name that begins with `!` is one that others may read.
fn machine(
    text: &str,
    env: &[(&str, &str)],
    files: &[(&str, &str)],
) -> Result<Settings, ConnectError> {
    let env: HashMap<_, _> = env.iter().copied().collect();
    let files: HashMap<_, _> = files.iter().copied().collect();
    Settings::resolve(
        text,
        &|name| env.get(name).map(ToString::to_string),
        &|path, access| {
            let path = path.to_str().unwrap();
            match (files.get(path), files.get(format!("!{path}").as_str())) {
                (Some(file), _) => Ok((*file).to_owned()),
                (None, Some(_)) if access == Access::OwnerOnly => {
                    Err(io::ErrorKind::PermissionDenied.into())
                }
                (None, Some(file)) => Ok((*file).to_owned()),
                (None, None) => Err(io::ErrorKind::NotFound.into()),
            }
        },
    )
}

fn plain(text: &str) -> Settings {
    machine(text, &[("USER", "dba")], &[]).unwrap()
}

fn places(settings: &Settings) -> Vec<String> {
    settings
        .endpoints()
        .iter()
        .map(|endpoint| settings.place(endpoint))
        .collect()
}

fn password(settings: &Settings) -> Option<&str> {
    settings.endpoints[0]
        .password
        .as_deref()
        .map(String::as_str)
}

#[test]
fn urls_of_every_form() {
    for (url, place, user) in [
        ("postgresql://", "/var/run/postgresql:5432/dba", "dba"),
        ("postgres://localhost", "localhost:5432/dba", "dba"),
        ("postgresql://u@h:1234/d", "h:1234/d", "u"),
        (
            "postgresql://u@[2001:db8::1]:1234/d",
            "[2001:db8::1]:1234/d",
            "u",
        ),
        ("postgresql://u@[::1]/d", "[::1]:5432/d", "u"),
        ("postgresql://u@%2Frun%2Fpg:99/d", "/run/pg:99/d", "u"),
        (
            "postgresql:///d?host=/run/pg&user=u&port=99",
            "/run/pg:99/d",
            "u",
        ),
        ("postgresql://%E7%94%B0@h/%E6%97%85", "h:5432/旅", "田"),
        ("host=h port=1 user=u dbname=d", "h:1/d", "u"),
        (
            "host = h  dbname='a b\\'c' user=u\\ v",
            "h:5432/a b'c",
            "u v",
        ),
        (
            "hostaddr=192.0.2.7 user=u dbname=d",
            "192.0.2.7:5432/d",
            "u",
        ),
        ("", "/var/run/postgresql:5432/dba", "dba"),
    ] {
        let settings = plain(url);
        assert_eq!(
            (places(&settings), settings.user()),
            (vec![place.to_owned()], user),
            "{url}"
        );
    }
}

#[test]
fn several_hosts_have_their_ports() {
    assert_eq!(
        places(&plain("postgresql://u@a:1,[::1],c:3/d")),
        ["a:1/d", "[::1]:5432/d", "c:3/d"]
    );
    assert_eq!(
        places(&plain("host=a,b port=7 dbname=d")),
        ["a:7/d", "b:7/d"]
    );
    assert!(machine("host=a,b,c port=1,2", &[("USER", "u")], &[]).is_err());
}

#[test]
fn passwords_are_decoded_and_never_shown() {
    let settings = plain("postgresql://u:p%40ss%2Fw%3Ard@h/d");
    assert_eq!(password(&settings), Some("p@ss/w:rd"));
    assert!(!format!("{settings:?}").contains("p@ss"));
    assert_eq!(password(&plain("postgresql://u:p@ss@h/d")), Some("p@ss"));
    assert_eq!(
        password(&plain("host=h password='a b' user=u")),
        Some("a b")
    );
}

#[test]
fn mistakes_do_not_repeat_pieces_of_a_password() {
    for text in [
        "postgresql://u:pa/ssecret@h/d",
        "postgresql://u:pa?ssecret=1@h/d",
        "postgresql://u:pa#ssecret:x@h:ssecret/d",
        "postgresql://u:%zzssecret@h/d",
        "host=h password=two ssecret",
        "host=h password=two ssecret=x",
        "host=h password='ssecret",
        "mysql://u:ssecret@h/d",
        "host=h sslmode=ssecret",
        "host=h port=ssecret",
        "host=h hostaddr=ssecret",
        "host=h connect_timeout=ssecret",
    ] {
        let error = machine(text, &[("USER", "u")], &[]).unwrap_err();
        assert!(matches!(error, ConnectError::BadSettings { .. }), "{text}");
        assert!(
            !format!("{error} {error:?}").contains("ssecret"),
            "{text}: {error}"
        );
    }
    let error = machine("host=h ssl_mode=require", &[("USER", "u")], &[]).unwrap_err();
    assert!(
        error.to_string().contains("did you mean `sslmode`"),
        "{error}"
    );
}

#[test]
fn text_before_service_before_environment() {
    let files = [(
        "/home/a/.pg_service.conf",
        "# ours\n[other]\nhost=wrong\n\n[shop]\nhost=svc\nport=7\ndbname=s\n[after]\nport=8\n",
    )];
    let env = [
        ("HOME", "/home/a"),
        ("PGHOST", "env"),
        ("PGUSER", "eu"),
        ("PGPASSWORD", "ep"),
        ("PGSERVICE", "shop"),
    ];
    let settings = machine("dbname=mine", &env, &files).unwrap();
    assert_eq!(places(&settings), ["svc:7/mine"]);
    assert_eq!((settings.user(), password(&settings)), ("eu", Some("ep")));
    let again = machine("service=other dbname=mine", &env, &files).unwrap();
    assert_eq!(places(&again), ["wrong:5432/mine"]);
}

/// A password that is changed while we run is taken by the next session.
#[test]
fn a_password_is_read_for_each_session() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let now = |settings: &Settings| {
        let password = settings.password(&settings.endpoints()[0]).unwrap();
        password.map(|password| password.to_string())
    };
    write("first\n");
    let source = crate::config::SecretSource::File(file.clone());
    let settings = plain("host=h user=u password=other").with_password_from(source);
    assert_eq!(now(&settings).as_deref(), Some("first"));
    write("second\n");
    assert_eq!(now(&settings).as_deref(), Some("second"));
    std::fs::remove_file(&file).unwrap();
    let error = settings.password(&settings.endpoints()[0]).unwrap_err();
    assert!(error.to_string().contains("E0009"), "{error}");

    write("h:*:*:u:third\n");
    let text = format!("host=h user=u passfile={}", file.display());
    let settings = Settings::resolve(&text, &|_| None, &read_file).unwrap();
    write("h:*:*:u:fourth\n");
    assert_eq!(now(&settings).as_deref(), Some("fourth"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(now(&settings).as_deref(), Some("third"), "the last known");
}

#[test]
fn services_are_looked_for_where_libpq_does() {
    let files = [
        ("/s.conf", "[a]\nhost=one"),
        ("/etc/pg/pg_service.conf", "[b]\nhost=two"),
    ];
    let env = [
        ("USER", "u"),
        ("PGSERVICEFILE", "/s.conf"),
        ("PGSYSCONFDIR", "/etc/pg"),
    ];
    assert_eq!(
        places(&machine("service=a", &env, &files).unwrap()),
        ["one:5432/u"]
    );
    assert_eq!(
        places(&machine("postgresql://?service=b", &env, &files).unwrap()),
        ["two:5432/u"]
    );
    let error = machine("service=c", &env, &files).unwrap_err().to_string();
    assert!(
        error.contains("`c`") && error.contains("/s.conf"),
        "{error}"
    );
    assert!(machine("service=a", &env, &[("/s.conf", "[a]\nservice=b")]).is_err());
    assert!(machine("service=a", &env, &[("/s.conf", "[a]\nldap://x")]).is_err());
}

#[test]
fn pgpass_wildcards_and_escapes() {
    let file = "# comment\nh:1:d:other:no\nh:1:d\\:x:u\\\\v:p\\:w\\\\d\r\n\\*:*:*:*:literal star\n[::1]:*:*:*:no\n\\:\\:1:*:*:*:six\nlocalhost:*:*:*:socket\n*:*:*:u:any\n";
    let files = [("/home/a/.pgpass", file)];
    let find = |text: &str| {
        let settings = machine(text, &[("HOME", "/home/a")], &files).unwrap();
        password(&settings).map(ToOwned::to_owned)
    };
    assert_eq!(
        find("host=h port=1 dbname=d:x user='u\\\\v'").as_deref(),
        Some("p:w\\d")
    );
    assert_eq!(
        find("host=h port=1 dbname=d user=u").as_deref(),
        Some("any")
    );
    assert_eq!(find("host=h port=1 dbname=d user=nobody"), None);
    assert_eq!(
        find("host=* dbname=d user=x").as_deref(),
        Some("literal star")
    );
    assert_eq!(find("host=::1 dbname=d user=x").as_deref(), Some("six"));
    assert_eq!(find("dbname=d user=x").as_deref(), Some("socket"));
}

#[test]
fn each_host_has_its_line_and_a_stronger_word_goes_before_it() {
    let files = [("/p", "a:*:*:*:pa\nb:*:*:*:pb")];
    let settings = machine("host=a,b user=u passfile=/p", &[], &files).unwrap();
    let found: Vec<_> = settings
        .endpoints
        .iter()
        .map(|e| e.password.as_deref().map(String::as_str))
        .collect();
    assert_eq!(found, [Some("pa"), Some("pb")]);
    let settings = machine(
        "host=a user=u",
        &[("PGPASSFILE", "/p"), ("PGPASSWORD", "env")],
        &files,
    )
    .unwrap();
    assert_eq!(password(&settings), Some("env"));
}

#[test]
fn a_password_file_that_others_may_read_is_passed_over_with_a_warning() {
    let settings = machine(
        "host=a user=u",
        &[("HOME", "/h")],
        &[("!/h/.pgpass", "*:*:*:*:secret")],
    )
    .unwrap();
    assert_eq!(password(&settings), None);
    assert!(
        settings.warnings()[0].contains("0600"),
        "{:?}",
        settings.warnings()
    );
    assert!(
        machine("host=a user=u", &[("HOME", "/h")], &[])
            .unwrap()
            .warnings()
            .is_empty()
    );
}

#[test]
fn files_of_this_machine_are_refused_by_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgpass");
    std::fs::write(&path, "x").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(
        read_file(&path, Access::OwnerOnly).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(read_file(&path, Access::Any).unwrap(), "x");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read_file(&path, Access::OwnerOnly).unwrap(), "x");
}

#[test]
fn the_mode_of_tls_is_safe_where_nothing_is_said() {
    let mode = |text: &str| {
        let settings = plain(text);
        settings.ssl_mode(&settings.endpoints[0])
    };
    assert_eq!(mode("host=/run/pg"), SslMode::Disable);
    assert_eq!(mode("host=/run/pg sslmode=require"), SslMode::Disable);
    assert_eq!(mode("host=localhost"), SslMode::Prefer);
    assert_eq!(mode("host=127.0.0.2"), SslMode::Prefer);
    assert_eq!(mode("host=db hostaddr=::1"), SslMode::Prefer);
    assert_eq!(
        mode("host=localhost hostaddr=192.0.2.1"),
        SslMode::VerifyFull
    );
    assert_eq!(mode("host=db"), SslMode::VerifyFull);
    assert_eq!(mode("host=db sslmode=disable"), SslMode::Disable);
    assert_eq!(mode("postgresql://db?ssl=true"), SslMode::Require);
    assert_eq!(
        mode("host=localhost sslrootcert=/ca.pem"),
        SslMode::VerifyFull
    );
    assert_eq!(
        mode("host=localhost sslrootcert=system"),
        SslMode::VerifyFull
    );
    assert!(
        machine(
            "host=h sslrootcert=system sslmode=verify-ca",
            &[("USER", "u")],
            &[]
        )
        .is_err()
    );
    let given = plain("host=localhost").with_tls(Some("/ca.pem".into()), None, None);
    assert_eq!(given.ssl_mode(&given.endpoints[0]), SslMode::VerifyFull);
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    for option in [
        "sslcrl=/x",
        "sslpassword=x",
        "require_auth=none",
        "gssencmode=require",
        "channel_binding=require",
    ] {
        assert!(
            machine(&format!("host=h user=u {option}"), &[], &[]).is_err(),
            "{option}"
        );
    }
    plain(
        "host=h application_name=x client_encoding=latin1 gssencmode=disable target_session_attrs=primary",
    );
}

#[test]
fn the_user_of_the_operating_system_is_the_default() {
    let files = [
        ("/proc/self/status", "Name:\tx\nUid:\t5\t7\t7\t7\n"),
        (
            "/etc/passwd",
            "root:x:0:0::/:/bin/sh\nerase:x:7:7::/:/bin/sh\n",
        ),
    ];
    assert_eq!(
        machine("host=h", &[("USER", "liar")], &files)
            .unwrap()
            .user(),
        "erase"
    );
    assert!(machine("host=h", &[], &[]).is_err());
}

proptest! {
    #[test]
    fn resolving_never_panics(text in "(postgres(ql)?://)?[a-c:/@?&=%,\\[\\]' \\\\0-9\u{e9}\u{7530}]{0,40}", pass in ".{0,60}", service in ".{0,60}") {
        let env = [("USER", "u"), ("PGSERVICE", "a"), ("PGSERVICEFILE", "/s"), ("PGPASSFILE", "/p")];
        let _ = machine(&text, &env, &[("/s", &format!("[a]\n{service}")), ("/p", &pass)]);
        let _ = machine(&text, &env[..1], &[]);
        let _ = machine(&pass, &env[..1], &[]);
    }

    #[test]
    fn a_quoted_password_comes_back(secret in "[^\u{0}]{1,30}") {
        let quoted = secret.replace('\\', "\\\\").replace('\'', "\\'");
        let settings = plain(&format!("host=h user=u password='{quoted}' port=7"));
        prop_assert_eq!(password(&settings), Some(secret.as_str()));
        let encoded: String = secret.bytes().map(|b| format!("%{b:02x}")).collect();
        let settings = plain(&format!("postgresql://u:{encoded}@h/d"));
        prop_assert_eq!(password(&settings), Some(secret.as_str()));
        let shown = format!("{settings:?}");
        prop_assert!(secret.len() < 8 || !shown.contains(&secret));
    }
}
