//! Groups of people are asked about side by side, as many as a system bears; and who need not go to a slow
//! system does not wait for it.

use crate::company::Company;
use crate::support::{Proxy, Redis};
use std::time::Duration;

const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true, residual = true, excludes = ":/" }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
scope.letters = { tables = ["shop.public.letter"], verify = { at_least = "basic" }, sla = "jp-appi" }

[[table]]
name   = "shop.public.customer"
action = "delete"

[[table]]
name   = "shop.public.letter"
action = "delete"

[[place]]
system = "cache"
name   = "sessions"
keys   = ["session:{member_no}"]
"#;
const PEOPLE: &str = "INSERT INTO customer SELECT n, 'M-' || n, 'c' || n || '@x.jp' FROM generate_series(21, 200) n;";

/// The company with a cache that takes so long for each answer.
struct Slow {
    company: Company,
    cache: Redis,
    way: Proxy,
    _socket: tempfile::TempDir,
}

impl Slow {
    fn by(late: Duration, workers: usize, concurrency: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let cache = Redis::start_with(&["--unixsocket", &socket.display().to_string()], None);
        let way = Proxy::before_socket(socket);
        // The first line still belongs to [limits].
        let systems = format!(
            "workers = {workers}\n\n[system.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}/0\"\nconcurrency = {concurrency}\n",
            way.port()
        );
        let company = Company::built(POLICY, &systems, PEOPLE);
        for n in 1..=200 {
            cache.run(&[&format!("SET session:M-{n} x")]);
        }
        way.slow(late);
        way.most_at_once();
        Self {
            company,
            cache,
            way,
            _socket: folder,
        }
    }
}

#[test]
fn a_system_is_asked_about_as_many_groups_at_once_as_it_bears() {
    for bears in [1, 2] {
        let slow = Slow::by(Duration::from_millis(20), 1, bears);
        slow.company
            .file(&(1..=170).collect::<Vec<u32>>(), "account");
        slow.company.says(&["run", "--until-idle"], 0);
        assert_eq!(slow.way.most_at_once(), bears, "one batch, four groups");
        assert_eq!(slow.cache.keys().len(), 30);
        let left = slow.company.count("SELECT count(*) FROM customer");
        assert_eq!(left, 30);
        slow.company.keeps_nothing();
    }
}

#[test]
fn who_need_not_go_to_a_slow_system_does_not_wait_for_it() {
    let slow = Slow::by(Duration::from_millis(400), 1, 1);
    let company = &slow.company;
    company.file(&(1..=60).collect::<Vec<u32>>(), "account");
    company.file(&(61..=80).collect::<Vec<u32>>(), "letters");
    company.says(&["run", "--until-idle"], 0);
    let of = |scope: &str, which: &str| {
        format!(
            "(SELECT {which} FROM erasured.ticket WHERE scope = '{scope}' AND state = 'completed')"
        )
    };
    let all = "SELECT count(*) FROM erasured.ticket WHERE state = 'completed'";
    assert_eq!(company.control(all), "80");
    let [slow_began, others_began] =
        ["account", "letters"].map(|scope| of(scope, "min(started_at)"));
    let before = company.control(&format!("SELECT {slow_began} < {others_began}"));
    assert_eq!(before, "t", "the worker has the slow ones");
    let (others_done, slow_done) = (
        of("letters", "max(verifying_since)"),
        of("account", "min(verifying_since)"),
    );
    let overtook = company.control(&format!("SELECT {others_done} < {slow_done}"));
    assert_eq!(overtook, "t", "the others went on meanwhile");
    company.keeps_nothing();
}
