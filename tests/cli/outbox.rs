//! Others are told what becomes of a ticket: at least once, in order, whoever fails or dies.

use crate::desk::Desk;
use crate::http::{Daemon, get};
use crate::support::{SIGNING_SEED, Workspace, repository, told, wait_until};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use erasured::keys::SigningKey;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One POST as it came.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Posted {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(found.1.trim().to_owned())
    }

    fn reference(&self) -> String {
        self.json()["reference"].as_str().unwrap().to_owned()
    }

    fn seq(&self) -> i64 {
        self.json()["seq"].as_i64().unwrap()
    }

    fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }
}

/// What a receiver does with a POST.
pub(crate) enum Answer {
    Status(u16),
    /// Reads and never answers.
    Silence,
    /// Hangs up in the middle.
    Death,
}

/// Somebody else's machine: takes every POST down, and answers as it is told.
pub(crate) struct Receiver {
    pub(crate) address: String,
    posts: Arc<Mutex<Vec<(Posted, bool)>>>,
}

impl Receiver {
    pub(crate) fn new(answer: impl Fn(&Posted) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let posts = Arc::new(Mutex::new(Vec::new()));
        let (taken, answer) = (posts.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (taken, answer) = (taken.clone(), answer.clone());
                std::thread::spawn(move || take(stream, &taken, &*answer));
            }
        });
        Self { address, posts }
    }

    /// All that were answered well, or all.
    pub(crate) fn posts(&self, only_taken: bool) -> Vec<Posted> {
        let posts = self.posts.lock().unwrap();
        let wanted = posts.iter().filter(|(_, taken)| *taken || !only_taken);
        wanted.map(|(post, _)| post.clone()).collect()
    }

    /// The kinds that a ticket's messages had, in the order in which they were taken.
    fn kinds(&self, reference: &str) -> Vec<String> {
        let posts = self.posts(true).into_iter();
        posts
            .filter(|post| post.reference() == reference)
            .map(|post| match post.json()["kind"].as_str().unwrap() {
                "completed" | "deferred" => "closed".to_owned(),
                kind => kind.to_owned(),
            })
            .collect()
    }
}

fn take(
    stream: TcpStream,
    taken: &Mutex<Vec<(Posted, bool)>>,
    answer: &(dyn Fn(&Posted) -> Answer + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    // Who dies while it speaks has said nothing.
    if length == 0 || reader.read_exact(&mut body).is_err() {
        return;
    }
    let post = Posted { head, body };
    let answer = answer(&post);
    let well = matches!(answer, Answer::Status(200..=299));
    taken.lock().unwrap().push((post, well));
    match answer {
        Answer::Status(status) => {
            let mut stream = stream;
            write!(
                stream,
                "HTTP/1.1 {status} As told\r\nContent-Length: 0\r\n\r\n"
            )
            .ok();
        }
        Answer::Silence => std::thread::sleep(Duration::from_secs(5)),
        Answer::Death => drop(stream),
    }
}

fn configure(desk: &mut Desk, receiver: &Receiver, more: &str) {
    desk.workspace.configure(&format!(
        "[callback.crm]\nurl = \"http://{}/told?by=erasured\"\n{more}\n[limits]\npoll = \"150ms\"\n",
        receiver.address
    ));
}

/// Numbers without gap or step back, repeats left out.
fn in_order(posts: &[Posted]) {
    let mut last: BTreeMap<String, (i64, Vec<String>)> = BTreeMap::new();
    for post in posts {
        let (seen, ids) = last.entry(post.reference()).or_default();
        if ids.contains(&post.id()) {
            continue;
        }
        assert_eq!(post.seq(), *seen + 1, "{}", post.reference());
        *seen = post.seq();
        ids.push(post.id());
    }
}

fn genuine(post: &Posted) {
    let jws = post.header("Erasured-Signature").unwrap();
    let (header, signature) = jws.split_once("..").unwrap();
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(&post.body));
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = SigningKey::from_seed(&SIGNING_SEED).public();
    assert!(public.verify(input.as_bytes(), &signature.try_into().unwrap()));
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert!(header.contains("erasured-callback+json") && header.contains(public.id().as_str()));
    assert_eq!(post.header("Erasured-Id").unwrap(), post.id());
    assert!(post.head.starts_with("POST /told?by=erasured HTTP/1.1"));
}

/// Both ways of checking a signature that `docs/integration.md` shows: they take what is genuine, and
/// nothing with one byte changed.
fn believed_by_the_document(desk: &Desk, post: &Posted) {
    let document = std::fs::read_to_string(repository().join("docs/integration.md")).unwrap();
    let block = |fence: &str| {
        let (_, rest) = document
            .split_once(&format!("```{fence} callback\n"))
            .unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let public = std::fs::read(desk.workspace.public_key()).unwrap();
    std::fs::write(folder.path().join("signing.pub.pem"), public).unwrap();
    let signature = post.header("Erasured-Signature").unwrap();
    let run = |program: &str, code: &str, body: &[u8]| {
        std::fs::write(folder.path().join("body.json"), body).unwrap();
        let mut run = Command::new(program);
        run.arg("-c")
            .arg(code)
            .arg(&signature)
            .env("signature", &signature);
        run.current_dir(folder.path()).output().unwrap()
    };
    let mut changed = post.body.clone();
    let at = changed.iter().position(|b| *b == b'O').unwrap();
    changed[at] = b'P';
    for (program, code) in [
        ("bash", format!("set -euo pipefail; {}", block("sh"))),
        ("python3", block("python")),
    ] {
        let good = run(program, &code, &post.body);
        let said = String::from_utf8_lossy(&good.stderr);
        assert!(good.status.success(), "{program}: {said}");
        assert!(!run(program, &code, &changed).status.success(), "{program}");
    }
}

const LIFE: [&str; 8] = [
    "received",
    "verified",
    "approved",
    "scheduled",
    "executing",
    "verifying",
    "certificate",
    "closed",
];

/// One ticket's receiver fails, falls silent, hangs up: that ticket waits, the other does not; in
/// the end both were told all, in order, signed, without a value.
#[test]
fn a_ticket_that_cannot_be_told_of_holds_up_no_other() {
    let mut desk = Desk::open(120);
    let healed = Arc::new(Mutex::new(false));
    let (well, tries) = (healed.clone(), Mutex::new(0));
    let receiver = Receiver::new(move |post| {
        if post.reference() != "O-1" || *well.lock().unwrap() {
            return Answer::Status(204);
        }
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        match *tries % 3 {
            1 => Answer::Status(503),
            2 => Answer::Silence,
            _ => Answer::Death,
        }
    });
    let more = "[outbox]\ntimeout = \"400 ms\"\nlisten = true\n";
    configure(&mut desk, &receiver, more);
    desk.run_until_idle().assert().success();
    desk.file("O-1", "member_no=TM-0000005");
    desk.file("O-2", "member_no=TM-0000009");
    let daemon = Daemon::start(&desk);
    wait_until("the other ticket's life", Duration::from_secs(60), || {
        receiver.kinds("O-2").len() == LIFE.len()
    });
    assert_eq!(receiver.kinds("O-2"), LIFE);
    wait_until("four tries", Duration::from_secs(30), || {
        receiver.posts(false).len() >= LIFE.len() + 4
    });
    assert!(receiver.kinds("O-1").is_empty());
    let failed = receiver.posts(false);
    let failed: Vec<_> = failed.iter().filter(|p| p.reference() == "O-1").collect();
    assert!(failed.iter().all(|post| post.seq() == 1), "only its first");
    let attempts: Vec<_> = failed
        .iter()
        .map(|p| p.header("Erasured-Attempt"))
        .collect();
    assert_eq!(attempts[..3], ["1", "2", "3"].map(|n| Some(n.to_owned())));
    *healed.lock().unwrap() = true;
    wait_until("the first ticket's life", Duration::from_secs(60), || {
        receiver.kinds("O-1") == LIFE
    });
    in_order(&receiver.posts(true));
    for post in receiver.posts(true) {
        genuine(&post);
        let text = String::from_utf8(post.body.clone()).unwrap();
        assert!(!text.contains("TM-00") && !text.contains("hana"), "{text}");
    }
    believed_by_the_document(&desk, &receiver.posts(true)[0]);
    let certificate = receiver.posts(true);
    let certificate = certificate
        .iter()
        .rev()
        .find(|p| p.json()["kind"] == "certificate");
    let id = desk.ticket("O-1", "certificate_id");
    assert_eq!(
        certificate.unwrap().json()["data"]["certificate"],
        id.as_str()
    );
    let metrics = get(&desk.workspace.http(), "/metrics", None).unwrap().1;
    assert!(
        metrics.contains("erasured_deliveries_total{target=\"callback/crm\",outcome=\"later\"}")
    );
    drop(daemon);
}

/// Dies between the other side's yes and its record, and is started again beside a second daemon:
/// nothing is lost, what comes twice has the same id, and nothing comes out of order.
#[test]
fn a_daemon_that_dies_between_telling_and_noting_tells_again() {
    let mut desk = Desk::open(120);
    let receiver = Receiver::new(|_| Answer::Status(200));
    configure(&mut desk, &receiver, "[outbox]\ntimeout = \"100 ms\"\n");
    desk.run_until_idle().assert().success();
    for (n, member) in ["0000005", "0000009", "0000011", "0000015"]
        .iter()
        .enumerate()
    {
        desk.file(&format!("O-{n}"), &format!("member_no=TM-{member}"));
    }
    for point in [
        "before-deliver=return",
        "after-deliver=return",
        "after-deliver=5*off->return",
    ] {
        // What the one before it died with is leased for some seconds more.
        wait_until("the daemon to die", Duration::from_secs(30), || {
            let mut run = desk.run_until_idle();
            run.env("FAILPOINTS", point);
            run.output().unwrap().status.code().is_none()
        });
    }
    let twice = receiver.posts(true);
    assert!(twice.len() >= 2, "{}", twice.len());
    let mut both = [desk.run_until_idle(), desk.run_until_idle()];
    std::thread::scope(|scope| {
        for run in &mut both {
            scope.spawn(|| run.output().unwrap());
        }
    });
    // Leases of the dead run out.
    wait_until("all to be told", Duration::from_secs(60), || {
        desk.run_until_idle().assert().success();
        (0..4).all(|n| {
            let mut kinds = receiver.kinds(&format!("O-{n}"));
            kinds.dedup();
            kinds == LIFE
        })
    });
    in_order(&receiver.posts(true));
    let (mut repeated, mut seen) = (0, BTreeMap::new());
    for post in receiver.posts(true) {
        if let Some(before) = seen.insert(post.id(), post.body.clone()) {
            assert_eq!(before, post.body, "the same message is the same bytes");
            repeated += 1;
        }
    }
    assert!((1..=12).contains(&repeated), "{repeated} came twice");
}

/// What is given up is counted, said, and can be tried again; programs are told too.
#[test]
fn what_is_given_up_can_be_revived_and_programs_are_told() {
    let mut desk = Desk::open(120);
    let healed = Arc::new(Mutex::new(false));
    let well = healed.clone();
    let receiver = Receiver::new(move |_| match *well.lock().unwrap() {
        true => Answer::Status(200),
        false => Answer::Status(302),
    });
    let heard = desk.workspace.path().join("heard");
    let hooks = format!(
        "kinds = [\"received\"]\n[outbox]\nattempts = 2\n\
         [hook.archive]\ncommand = [\"/usr/bin/tee\", \"-a\", \"{}\"]\n\
         [hook.broken]\ncommand = [\"/bin/false\"]\nkinds = [\"verified\"]\n",
        heard.display()
    );
    configure(&mut desk, &receiver, &hooks);
    desk.run_until_idle().assert().success();
    desk.ask("O-1", "member_no=TM-0000005");
    let dead = |target: &str| {
        let sql = format!(
            "SELECT count(*) FROM erasured.outbox_delivery WHERE state = 'dead' AND target = '{target}'"
        );
        desk.server.count(desk.control(), &sql)
    };
    wait_until("both to be given up", Duration::from_secs(30), || {
        desk.run_until_idle().assert().success();
        dead("callback/crm") == 1 && dead("hook/broken") == 1
    });
    let problems = "SELECT string_agg(problem, ' ' ORDER BY target) FROM erasured.outbox_delivery WHERE state = 'dead'";
    assert_eq!(
        desk.server.value(desk.control(), problems),
        "status_302 exit_1"
    );
    let heard = std::fs::read_to_string(heard).unwrap();
    let kinds: Vec<String> = heard
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].to_string())
        .collect();
    assert_eq!(kinds, ["\"received\"", "\"verified\""]);
    *healed.lock().unwrap() = true;
    let redeliver = "SELECT erasured.redeliver('callback/crm')";
    assert_eq!(desk.server.value(desk.control(), redeliver), "1");
    desk.run_until_idle().assert().success();
    assert_eq!(receiver.kinds("O-1"), ["received"]);
    assert_eq!((dead("callback/crm"), dead("hook/broken")), (0, 1));
}

/// A second daemon's folder, for the same databases, with a configuration of its own.
fn beside(desk: &Desk, more: &str) -> Workspace {
    let mut other = Workspace::new(
        desk.workspace.control_url(),
        &[
            ("shop", desk.server.url_as(&desk.demo.shop, "erasured_demo")),
            (
                "loyalty",
                desk.server.url_as(&desk.demo.loyalty, "erasured_demo"),
            ),
        ],
    );
    other.copy_policies(&repository().join("policies/travel"));
    other.configure(&format!("{more}\n[limits]\npoll = \"150ms\"\n"));
    other
}

fn gauge(workspace: &Workspace, name: &str, target: &str) -> Option<f64> {
    let metrics = get(&workspace.http(), "/metrics", None).unwrap().1;
    let line = format!("{name}{{target=\"{target}\"}} ");
    let found = metrics.lines().find_map(|l| l.strip_prefix(&line))?;
    found.parse().ok()
}

/// One daemon tells the CRM; another, which knows nothing of the CRM, starts last and does the work. All
/// of it is written for the CRM, waits where it can be seen, and comes in order when its daemon is
/// back. A target ends when a person says so, and not while somebody delivers to it.
#[test]
fn a_daemon_that_starts_last_takes_nobodys_messages_away() {
    let mut desk = Desk::open(120);
    let (crm, audit) = (
        Receiver::new(|_| Answer::Status(200)),
        Receiver::new(|_| Answer::Status(200)),
    );
    configure(&mut desk, &crm, "");
    desk.run_until_idle().assert().success();
    let other = beside(
        &desk,
        &format!(
            "[callback.audit]\nurl = \"http://{}/told?by=erasured\"",
            audit.address
        ),
    );
    let daemon = Daemon::of(&other);
    desk.file("O-1", "member_no=TM-0000005");
    wait_until(
        "the ticket's life to be told",
        Duration::from_secs(60),
        || audit.kinds("O-1") == LIFE,
    );
    let unserved = |target| gauge(&other, "erasured_outbox_unserved_messages", target);
    wait_until("what waits to be seen", Duration::from_secs(20), || {
        unserved("callback/crm") == Some(8.0)
    });
    assert_eq!(unserved("callback/audit"), Some(0.0));
    assert!(crm.posts(false).is_empty());
    let retire = |target: &str| {
        let sql = format!("SELECT erasured.retire_target('{target}')");
        desk.server.try_execute(desk.control(), &sql)
    };
    let said = told(&retire("callback/audit").unwrap_err());
    assert!(
        said.contains("ER006") && said.contains("a daemon delivers"),
        "{said}"
    );
    assert!(told(&retire("callback/crn").unwrap_err()).contains("no such target"));

    desk.run_until_idle().assert().success();
    assert_eq!(crm.kinds("O-1"), LIFE);
    in_order(&crm.posts(true));
    wait_until("nothing to wait", Duration::from_secs(20), || {
        unserved("callback/crm") == Some(0.0)
    });

    // Killed, it may be back at once. What has said goodbye is gone.
    drop(daemon);
    assert!(told(&retire("callback/audit").unwrap_err()).contains("a daemon delivers"));
    desk.server.execute(
        desk.control(),
        "UPDATE erasured.outbox_server SET until = now()",
    );
    desk.ask("O-2", "member_no=TM-0000009");
    let waiting = "SELECT count(*) FROM erasured.outbox_delivery WHERE target = 'callback/audit' AND state = 'waiting'";
    assert_eq!(desk.server.count(desk.control(), waiting), 2);
    retire("callback/audit").unwrap();
    desk.approve("O-2");
    assert_eq!(desk.server.count(desk.control(), waiting), 0);
    let known = "SELECT string_agg(name, ' ') FROM erasured.outbox_target";
    assert_eq!(desk.server.value(desk.control(), known), "callback/crm");
}

/// Two daemons have a target of one name and ask for different kinds: it is told of both, also when
/// one of them is away for a moment, and the log says so. When all say the same, that counts.
#[test]
fn a_target_of_two_daemons_gets_what_either_asks_for() {
    let mut desk = Desk::open(120);
    let crm = Receiver::new(|_| Answer::Status(200));
    configure(&mut desk, &crm, "kinds = [\"received\"]");
    let first = Daemon::start(&desk);
    let callback = |kinds: &str| {
        format!(
            "[callback.crm]\nurl = \"http://{}/told?by=erasured\"\n{kinds}",
            crm.address
        )
    };
    let other = beside(&desk, &callback("kinds = [\"verified\"]"));
    let second = Daemon::of(&other);
    let said = std::fs::read_to_string(other.path().join("daemon.log")).unwrap();
    assert!(said.contains("E0639"), "{said}");
    drop(first);
    desk.ask("O-1", "member_no=TM-0000005");
    wait_until("both kinds", Duration::from_secs(20), || {
        crm.kinds("O-1") == ["received", "verified"]
    });
    let kinds = || {
        desk.server.value(
            desk.control(),
            "SELECT coalesce(kinds::text, 'all') FROM erasured.outbox_target",
        )
    };
    assert_eq!(kinds(), "{received,verified}");
    // An hour later the first one has not come back.
    let later = "UPDATE erasured.outbox_server SET until = until - interval '2 hours' WHERE kinds = '{received}'";
    desk.server.execute(desk.control(), later);
    wait_until("its kinds to be forgotten", Duration::from_secs(20), || {
        kinds() == "{verified}"
    });
    drop(second);
    // One that wants all, beside one that wants some.
    let all = beside(&desk, &callback(""));
    let _all = Daemon::of(&all);
    assert_eq!(kinds(), "all");
    assert!(
        std::fs::read_to_string(all.path().join("daemon.log"))
            .unwrap()
            .contains("E0639")
    );
}

/// Whoever listens gets ids when the desk commits, and reads the messages by them.
#[test]
fn who_listens_hears_of_it_at_the_commit() {
    use futures_util::StreamExt;
    let mut desk = Desk::open(120);
    desk.workspace.configure("[outbox]\nlisten = true\n");
    desk.run_until_idle().assert().success();
    let url = desk.server.url_as(desk.control(), "hana");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (client, mut connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        let mut messages =
            futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        let (sender, mut ids) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if let tokio_postgres::AsyncMessage::Notification(notice) = message {
                    sender.send(notice.payload().to_owned()).ok();
                }
            }
        });
        client
            .batch_execute("LISTEN erasured_outbox")
            .await
            .unwrap();
        tokio::task::block_in_place(|| desk.ask("O-1", "member_no=TM-0000005"));
        for kind in ["received", "verified"] {
            let id = tokio::time::timeout(Duration::from_secs(10), ids.recv()).await;
            let id: uuid::Uuid = id.unwrap().unwrap().parse().unwrap();
            let row = client
                .query_one("SELECT kind FROM erasured.outbox WHERE id = $1", &[&id])
                .await
                .unwrap();
            assert_eq!(row.get::<_, String>(0), kind);
        }
    });
}
