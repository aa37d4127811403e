//! Answers of callers: compared by the daemon, told as match or no match, kept nowhere; and not for
//! ever until one fits.

use crate::desk::{Desk, stderr, stdout, submit};
use crate::support::{connect, told};
use std::collections::{BTreeMap, BTreeSet};

/// With a ticket for customer 5, found, and the number and birth date that are on file.
fn asked(desk: &Desk) -> [String; 2] {
    stdout(desk.as_person("hana", submit("P-1", "member_no=TM-0000005")));
    desk.run_until_idle().assert().success();
    let on_file = |column: &str| {
        let sql = format!("SELECT {column}::text FROM customer WHERE id = 5");
        desk.server.value(&desk.demo.shop, &sql)
    };
    [on_file("member_no"), on_file("birth_date")]
}

/// What `erasured ticket prove` prints: exit code, standard output, standard error.
fn prove(
    desk: &Desk,
    ticket: &str,
    method: &str,
    who: &str,
    answers: &str,
) -> (i32, String, String) {
    let arguments = [
        "ticket",
        "prove",
        ticket,
        "--method",
        method,
        "--as",
        who,
        "--answer-file",
        "-",
    ];
    let mut command = desk.erasured(arguments);
    let output = command.write_stdin(answers.to_owned()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn verify(desk: &Desk, who: &str, method: &str) -> Result<(), String> {
    let mut command = desk.as_person(who, ["ticket", "verify", "P-1", "--method", method]);
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// "My birthday? Wait, was it the third or the fourth?" The agent hears match or no match.
#[test]
fn the_agent_hears_match_or_no_match_and_nothing_else() {
    let desk = Desk::open(120);
    let [member, born] = asked(&desk);
    let unproven = verify(&desk, "hana", "callback_dob").unwrap_err();
    assert!(unproven.contains("ER012"), "{unproven}");

    // Whichever is wrong, and both: the very same words.
    let wrong = [
        format!("member_no={member}\nbirth_date=1901-02-03"),
        format!("member_no=TM-0000006\nbirth_date={born}"),
    ];
    let heard: BTreeSet<_> = wrong
        .iter()
        .map(|answers| prove(&desk, "P-1", "callback_dob", "hana", answers))
        .collect();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let (code, out, said) = heard.first().unwrap();
    assert_eq!(
        (*code, out.as_str(), said.trim()),
        (1, "", "error: P-1: no match")
    );
    assert!(
        verify(&desk, "hana", "callback_dob")
            .unwrap_err()
            .contains("ER012")
    );

    // As people say it: full width, another order, Japanese.
    let parts: Vec<&str> = born.split('-').collect();
    let spoken = format!(
        "birth_date={}年{}月{}日\nmember_no=ｔｍ－０００００００５\n",
        parts[0],
        parts[1].trim_start_matches('0'),
        parts[2].trim_start_matches('0')
    )
    .replace("０００００００５", "００００００５");
    assert_eq!(
        prove(&desk, "P-1", "callback_dob", "hana", &spoken).1,
        "P-1: match\n"
    );

    // It was hana's call, by that method, and not two hours ago.
    desk.server
        .execute("postgres", "CREATE ROLE mika LOGIN IN ROLE erasured_desk");
    assert!(
        verify(&desk, "mika", "callback_dob")
            .unwrap_err()
            .contains("ER012")
    );
    assert!(
        verify(&desk, "hana", "member_dob")
            .unwrap_err()
            .contains("ER012")
    );
    let later = |by: &str| {
        let sql = format!("UPDATE erasured.identity_attempt SET at = at {by} interval '2 hours'");
        desk.server.execute(desk.control(), &sql);
    };
    later("-");
    assert!(
        verify(&desk, "hana", "callback_dob")
            .unwrap_err()
            .contains("ER012")
    );
    later("+");
    verify(&desk, "hana", "callback_dob").unwrap();
    assert_eq!(desk.ticket("P-1", "verified_level"), "reasonably-high");
    desk.approve("P-1");
    assert!(
        prove(&desk, "P-1", "callback_dob", "hana", &spoken)
            .2
            .contains("ER002")
    );
}

/// What cannot be compared is said before anything is looked at, and costs no attempt.
#[test]
fn what_cannot_be_compared_costs_nothing() {
    let desk = Desk::open(120);
    let [member, born] = asked(&desk);
    for (method, answers, code) in [
        ("callback", "name=x", "E0415"),
        ("none_such", "name=x", "E0415"),
        ("member_dob", &*format!("member_no={member}"), "E0418"),
        (
            "member_dob",
            "secret-word=x\nbirth_date=1980-01-01",
            "E0418",
        ),
        (
            "member_dob",
            &*format!("member_no={member}\nbirth_date=tomorrow-ish"),
            "E0418",
        ),
        (
            "member_dob",
            &*format!("member_no={member}\nmember_no={member}"),
            "E0418",
        ),
        ("name_contact", "name=x\naddress=y", "E0416"),
        (
            "points_3",
            &*format!("member_no={member}\nbirth_date={born}"),
            "E0418",
        ),
    ] {
        let (exit, out, said) = prove(&desk, "P-1", method, "hana", answers);
        assert_eq!((exit, out.as_str()), (2, ""), "{method}: {said}");
        assert!(said.contains(code), "{method}: {said}");
        assert!(
            !said.contains("tomorrow-ish") && !said.contains("secret-word"),
            "{said}"
        );
    }
    // Nobody has been found for it yet.
    stdout(desk.as_person("hana", submit("P-2", "member_no=TM-0000006")));
    let said = prove(
        &desk,
        "P-2",
        "member_dob",
        "hana",
        "member_no=a\nbirth_date=1980-01-01",
    )
    .2;
    assert!(said.contains("E0417"), "{said}");
    let counted = "SELECT count(*) FROM erasured.identity_attempt";
    assert_eq!(desk.server.count(desk.control(), counted), 0);
    // A system that is away: told as that, and not counted against the caller.
    desk.server.execute(
        "postgres",
        &format!("ALTER DATABASE {} RENAME TO gone", desk.demo.shop),
    );
    let answers = format!("member_no={member}\nbirth_date={born}");
    assert_eq!(prove(&desk, "P-1", "member_dob", "hana", &answers).0, 3);
    let sql = "SELECT string_agg(outcome, ' ') FROM erasured.identity_attempt";
    assert_eq!(desk.server.value(desk.control(), sql), "undone");
}

/// The impostor guesses birthdays: three times, then nobody gets an answer for that person, the right
/// one neither, whoever asks and by whichever ticket. Others are served.
#[test]
fn a_guesser_is_locked_out_and_an_admin_lifts_it() {
    let desk = Desk::open(120);
    let [member, born] = asked(&desk);
    stdout(desk.as_person("hana", submit("P-2", "member_no=TM-0000005")));
    stdout(desk.as_person("hana", submit("P-3", "member_no=TM-0000006")));
    desk.run_until_idle().assert().success();
    let guess = |ticket: &str, who: &str, born: &str| {
        let answers = format!("member_no={member}\nbirth_date={born}");
        prove(&desk, ticket, "member_dob", who, &answers)
    };
    for day in ["1980-01-01", "1980-01-02", "1980-01-03"] {
        assert!(guess("P-1", "hana", day).2.contains("no match"));
    }
    for (ticket, who) in [("P-1", "hana"), ("P-2", "hana"), ("P-1", "mika")] {
        let (code, _, said) = guess(ticket, who, &born);
        assert!(
            code == 1 && said.contains("E0419"),
            "{ticket} {who}: {said}"
        );
    }
    assert!(
        guess("P-3", "mika", "1980-01-01").2.contains("no match"),
        "another person"
    );

    let lift = |login: &str| {
        let url = desk.server.url_as(desk.control(), login);
        crate::support::blocking(async {
            let client = connect(&url).await;
            let lift = "SELECT erasured.lift_lockout('ticket', 'P-2')";
            client
                .query_one(lift, &[])
                .await
                .map(|row| row.get::<_, bool>(0))
        })
    };
    let refused = lift("hana").map_err(|e| told(&e)).unwrap_err();
    assert!(refused.contains("42501"), "{refused}");
    desk.server
        .execute("postgres", "CREATE ROLE chief LOGIN IN ROLE erasured_admin");
    assert!(lift("chief").unwrap());
    assert!(!lift("chief").unwrap(), "it is lifted already");
    assert!(guess("P-1", "hana", &born).1.contains("match"));
}

/// Twenty at the same moment: of those that fail, as many are compared as the limit says.
#[test]
fn two_at_once_are_not_both_the_last() {
    let desk = Desk::open(120);
    asked(&desk);
    let ticket = desk.ticket("P-1", "id");
    let url = desk.server.url_as(desk.control(), "erasured_demo");
    for isolation in ["read committed", "repeatable read"] {
        desk.server.execute(
            desk.control(),
            "DELETE FROM erasured.identity_attempt; DELETE FROM erasured.identity_lock",
        );
        let begun: usize = std::thread::scope(|scope| {
            let begin = || {
                crate::support::blocking(async {
                    let client = connect(&url).await;
                    let sql = format!(
                        "BEGIN ISOLATION LEVEL {isolation}; \
                         SELECT attempt FROM erasured.begin_attempt('{ticket}', 'member_dob', 'hana', 'console'); COMMIT"
                    );
                    // One that another was faster than has compared nothing either.
                    let said = client.simple_query(&sql).await.unwrap_or_default();
                    said.iter().any(|message| {
                        matches!(message, tokio_postgres::SimpleQueryMessage::Row(row) if row.get(0).is_some())
                    })
                })
            };
            let all: Vec<_> = (0..20).map(|_| scope.spawn(begin)).collect();
            all.into_iter()
                .map(|t| usize::from(t.join().unwrap()))
                .sum()
        });
        assert!((1..=3).contains(&begun), "{isolation}: {begun}");
        assert!(isolation != "read committed" || begun == 3, "{begun}");
    }
}

/// Attempts, lock-outs and their ends as a model of twenty lines has them, over a thousand moves.
#[test]
fn no_sequence_of_attempts_compares_more_than_the_limits_say() {
    let desk = Desk::open(120);
    let tickets: Vec<String> = ["5", "6", "7"]
        .iter()
        .map(|n| {
            let reference = format!("L-{n}");
            stdout(desk.as_person(
                "hana",
                submit(&reference, &format!("member_no=TM-000000{n}")),
            ));
            desk.ticket(&reference, "id")
        })
        .collect();
    desk.run_until_idle().assert().success();
    desk.server.execute(
        desk.control(),
        "UPDATE erasured.identity_limit SET by_subject = 3, by_agent = 5, by_desk = 8,
           lock_out = '15 min', longest = '3 hours', time_span = '10 hours'",
    );
    let url = desk.server.url_as(desk.control(), "erasured_demo");
    crate::support::blocking(async {
        let daemon = connect(&url).await;
        let owner = connect(&desk.server.url(desk.control())).await;
        let mut model = Model::default();
        let mut dice = Dice(20_261_127);
        for step in 0..1_000 {
            let (subject, agent, door) = (dice.of(3), dice.of(3), dice.of(2));
            if dice.of(12) == 0 {
                let minutes = i64::from([5, 20, 100, 400][dice.of(4)]);
                let passes = format!(
                    "UPDATE erasured.identity_attempt SET at = at - interval '{minutes} min';
                     UPDATE erasured.identity_lock SET ends_at = ends_at - interval '{minutes} min'"
                );
                owner.batch_execute(&passes).await.unwrap();
                model.now += minutes;
                continue;
            }
            let keys = [(0, subject, 3), (1, agent, 5), (2, door, 8)];
            let expected = model.begin(&keys);
            let begin =
                "SELECT attempt FROM erasured.begin_attempt($1::text::uuid, 'member_dob', $2, $3)";
            let (agent, door) = (format!("agent {agent}"), format!("door {door}"));
            let row = daemon
                .query_one(begin, &[&tickets[subject], &agent, &door])
                .await
                .unwrap();
            let attempt: Option<i64> = row.get(0);
            assert_eq!(attempt.is_some(), expected, "step {step}");
            let Some(attempt) = attempt else { continue };
            // Cut off, failed, undone, matched: the first two count.
            let ended = [
                "open", "no_match", "no_match", "no_match", "undone", "match",
            ][dice.of(6)];
            if ended != "open" {
                let end = "SELECT erasured.end_attempt($1, $2)";
                daemon.query_one(end, &[&attempt, &ended]).await.unwrap();
            }
            if matches!(ended, "open" | "no_match") {
                model.failed(&keys);
            }
        }
        assert!(model.locks > 30, "{}", model.locks);
    });
}

/// Kind, who, limit.
type Key = (u8, usize, usize);

/// In minutes.
#[derive(Default)]
struct Model {
    now: i64,
    failures: BTreeMap<(u8, usize), Vec<i64>>,
    lock: BTreeMap<(u8, usize), (i64, u32)>,
    locks: usize,
}

impl Model {
    fn begin(&mut self, keys: &[Key; 3]) -> bool {
        let mut free = true;
        for (kind, who, most) in keys {
            let key = (*kind, *who);
            let (until, times) = self.lock.get(&key).copied().unwrap_or((i64::MIN, 0));
            if until > self.now {
                free = false;
                continue;
            }
            let failures = self.failures.entry(key).or_default();
            let since = (self.now - 600).max(until);
            // Within the minute in which a lock-out ended, a failure came after its end.
            if failures
                .iter()
                .filter(|at| **at > since || (**at == since && since == until))
                .count()
                >= *most
            {
                let times = if until > self.now - 600 { times + 1 } else { 1 };
                let minutes = (15 << (times - 1).min(10)).min(180);
                self.lock.insert(key, (self.now + minutes, times));
                self.locks += 1;
                free = false;
            }
        }
        free
    }

    fn failed(&mut self, keys: &[Key; 3]) {
        for (kind, who, _) in keys {
            self.failures
                .entry((*kind, *who))
                .or_default()
                .push(self.now);
        }
    }
}

/// The same throws each time (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn of(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Lesson 12 for answers: what was said, and what is on file, is in no table of ours and no log.
#[test]
fn answers_are_kept_nowhere() {
    let desk = Desk::open(120);
    desk.server
        .execute("postgres", "ALTER SYSTEM SET log_statement = 'all'");
    desk.server.execute("postgres", "SELECT pg_reload_conf()");
    let [member, born] = asked(&desk);
    let name = desk.server.value(
        &desk.demo.shop,
        "SELECT full_name FROM customer WHERE id = 5",
    );
    let mut said = String::new();
    for answers in [
        format!("member_no={member}\nbirth_date=1901-02-03"),
        "member_no=canary-4711\nbirth_date=1902-03-04".to_owned(),
        format!("member_no={member}\nbirth_date={born}"),
    ] {
        let (_, out, err) = prove(&desk, "P-1", "member_dob", "hana", &answers);
        said += &(out + &err);
    }
    verify(&desk, "hana", "member_dob").unwrap();
    desk.run_until_idle().assert().success();
    let everything = "SELECT string_agg(query_to_xml(format('TABLE %s', c.oid::regclass), true, false, '')::text, '')
          FROM pg_class c WHERE relnamespace = 'erasured'::regnamespace AND relkind = 'r'";
    let tables = desk.server.value(desk.control(), everything);
    let log = std::fs::read_to_string(desk.server.log()).unwrap();
    assert!(tables.contains("proof_compared") && log.contains("erasured:compare"));
    for secret in ["1901-02-03", "1902-03-04", "canary-4711", &born, &name] {
        for (place, text) in [("tables", &tables), ("log", &log), ("terminal", &said)] {
            assert!(!text.contains(secret), "{secret} in {place}");
        }
    }
}

/// A daemon that dies between counting and comparing has given no free guess.
#[test]
fn an_attempt_that_was_cut_off_counts() {
    let desk = Desk::open(120);
    let [member, born] = asked(&desk);
    let answers = format!("member_no={member}\nbirth_date={born}");
    for _ in 0..3 {
        let arguments = [
            "ticket",
            "prove",
            "P-1",
            "--method",
            "member_dob",
            "--as",
            "hana",
            "--answer-file",
            "-",
        ];
        let mut command = desk.erasured(arguments);
        command
            .env("FAILPOINTS", "before-comparing=return")
            .write_stdin(answers.clone());
        let ended = command.output().unwrap();
        assert!(!ended.status.success(), "{ended:?}");
    }
    assert!(
        prove(&desk, "P-1", "member_dob", "hana", &answers)
            .2
            .contains("E0419")
    );
    let said = stderr(
        desk.as_person(
            "hana",
            ["ticket", "verify", "P-1", "--method", "member_dob"],
        ),
        2,
    );
    assert!(said.contains("ER012"), "{said}");
}
