//! Under load: an application writes to the same tables while people are erased from them.
//!
//! pgbench books for customers, those being erased among them, and changes bookings it has made.
//! Some hundred people go meanwhile, once by the daemon and once by hand-written statements in
//! the same order. What must hold is hard: nothing is left of who went, and nobody else's row is
//! gone. What the application feels of it is compared.

#![allow(clippy::unwrap_used)] // a test may

mod support;

use std::fmt::Write;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Server, Workspace, blocking, repository, wait_until};

/// Customers; the application books for all of them alike.
const CUSTOMERS: i64 = 1_200;
/// In one transaction, of the daemon's and of the hand-written ones.
const BATCH: usize = 20;
/// Seconds for which the application works on.
const SECONDS: u32 = 9;

/// `book` finds its customer first; `touch` goes the other way, from the booking to the customer,
/// which is the order that every erasure meets head on. `made` is the test's own memory.
const SHOP: &str = "
CREATE TABLE customer (id int PRIMARY KEY, email text NOT NULL, visits int NOT NULL DEFAULT 0);
CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id int NOT NULL REFERENCES customer, note text NOT NULL, touched int NOT NULL DEFAULT 0);
CREATE INDEX ON booking (customer_id);
CREATE TABLE payment (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  booking_id bigint NOT NULL REFERENCES booking, amount int NOT NULL);
CREATE INDEX ON payment (booking_id);
CREATE TABLE made (booking_id bigint, payment_id bigint, customer_id int);
INSERT INTO customer SELECT n, 'c' || n || '@example.jp' FROM generate_series(1, 1200) n;
INSERT INTO booking (customer_id, note) SELECT n % 1200 + 1, 'before' FROM generate_series(1, 4800) n;
INSERT INTO payment (booking_id, amount) SELECT id, 1 FROM booking;
INSERT INTO made SELECT b.id, p.id, b.customer_id FROM booking b JOIN payment p ON p.booking_id = b.id;

CREATE FUNCTION book(who int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE b bigint; p bigint;
BEGIN
  UPDATE customer SET visits = visits + 1 WHERE id = who;
  IF NOT FOUND THEN RETURN; END IF;
  INSERT INTO booking (customer_id, note) VALUES (who, 'new') RETURNING id INTO b;
  INSERT INTO payment (booking_id, amount) VALUES (b, 1) RETURNING id INTO p;
  INSERT INTO made VALUES (b, p, who);
END $$;
CREATE FUNCTION book_at_once(who int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE b bigint; p bigint;
BEGIN
  INSERT INTO booking (customer_id, note) VALUES (who, 'new') RETURNING id INTO b;
  INSERT INTO payment (booking_id, amount) VALUES (b, 1) RETURNING id INTO p;
  INSERT INTO made VALUES (b, p, who);
EXCEPTION WHEN foreign_key_violation THEN -- gone meanwhile
END $$;
CREATE FUNCTION touch(who int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE booking SET touched = touched + 1 WHERE id = (SELECT min(id) FROM booking WHERE customer_id = who);
  PERFORM pg_sleep(0.005); -- what an application does between its statements
  UPDATE customer SET visits = visits + 1 WHERE id = who;
END $$;";

const POLICY: &str = r#"
subject = "customer"
root = "shop.public.customer"

[identifier.email]
column = "email"
find = true
residual = true

[scope.all]
tables = "all"
verify = { at_least = "basic" }
sla = "eu-gdpr"

[[table]]
name = "shop.public.customer"
action = "delete"
[[table]]
name = "shop.public.booking"
action = "delete"
[[table]]
name = "shop.public.payment"
action = "delete"
"#;

/// As the daemon does it: the person first, then what hangs off, all locked; children go first.
const BY_HAND: [&str; 5] = [
    "SELECT FROM customer WHERE id = ANY ($1) ORDER BY id FOR UPDATE",
    "SELECT FROM booking WHERE customer_id = ANY ($1) ORDER BY id FOR UPDATE",
    "DELETE FROM payment WHERE booking_id IN (SELECT id FROM booking WHERE customer_id = ANY ($1))",
    "DELETE FROM booking WHERE customer_id = ANY ($1)",
    "DELETE FROM customer WHERE id = ANY ($1)",
];

/// What the application felt.
#[derive(Debug)]
struct Felt {
    transactions: i64,
    deadlocks: i64,
}

struct Shop {
    server: Server,
    database: String,
    workspace: Workspace,
}

impl Shop {
    fn open() -> Self {
        let server = Server::start();
        let database = server.fresh_database("shop");
        let control = server.fresh_database("control");
        server.execute(&database, SHOP);
        let mut workspace =
            Workspace::new(&server.url(&control), &[("shop", server.url(&database))]);
        workspace.write_policy("customer.toml", POLICY);
        workspace.configure(&format!("[limits]\nbatch = {BATCH}\npoll = \"100ms\"\n"));
        workspace.erasured(["migrate"]).assert().success();
        let roles = std::fs::read_to_string(repository().join("sql/roles/control.sql")).unwrap();
        server.execute(&control, &roles);
        workspace
            .erasured(["run", "--until-idle"])
            .assert()
            .success();
        Self {
            server,
            database,
            workspace,
        }
    }

    fn control(&self) -> &str {
        let url = self.workspace.control_url();
        let rest = url.trim_start_matches("postgresql:///");
        rest.split('?').next().unwrap()
    }

    /// The application at work, for so many seconds, whatever becomes of its transactions.
    fn application(&self) -> Child {
        let folder = self.workspace.path();
        for (name, call) in [
            ("book", "book"),
            ("once", "book_at_once"),
            ("touch", "touch"),
        ] {
            let script = format!("\\set who random(1, {CUSTOMERS})\nSELECT {call}(:who);\n");
            std::fs::write(folder.join(format!("{name}.sql")), script).unwrap();
        }
        // Debian's, which scripts/install.sh sees to: other versions' servers come without.
        let mut pgbench = Command::new("/usr/lib/postgresql/15/bin/pgbench");
        pgbench
            .current_dir(folder)
            .arg("-h")
            .arg(self.server.socket_dir())
            .args([
                "-p",
                &self.server.port().to_string(),
                "-U",
                "postgres",
                "-n",
            ])
            .args([
                "-c",
                "6",
                "-j",
                "2",
                "-R",
                "600",
                "--max-tries=1",
                "--failures-detailed",
            ])
            .args(["-T", &SECONDS.to_string()])
            .args(["-f", "book.sql@4", "-f", "once.sql@4", "-f", "touch.sql@4"])
            .arg(&self.database)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        pgbench
            .spawn()
            .expect("pgbench of postgresql-15: scripts/install.sh test")
    }

    /// All of these by the daemon, from the filing on.
    fn by_the_daemon(&self, people: &[i64]) {
        let mut file = "DO $$ DECLARE t uuid; BEGIN\n".to_owned();
        for n in people {
            let _ = writeln!(
                file,
                "t := erasured.submit_ticket('L-{n}', 'customer', '{{\"email\": \"c{n}@example.jp\"}}', 'all', 'policy');
                 PERFORM erasured.verify_ticket(t, 'callback'); PERFORM erasured.approve_ticket(t);"
            );
        }
        self.server.execute(self.control(), &(file + "END $$"));
        let ran = self
            .workspace
            .erasured(["run", "--until-idle"])
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// All of these by hand; a batch that fails is tried again, as a person would.
    fn by_hand(&self, people: &[i64]) {
        blocking(async {
            let mut client = self.server.connect(&self.database).await;
            for batch in people.chunks(BATCH) {
                let batch: Vec<i32> = batch.iter().map(|n| i32::try_from(*n).unwrap()).collect();
                let mut tries = 0;
                while let Err(error) = once(&mut client, &batch).await {
                    tries += 1;
                    assert!(tries < 100, "{error}");
                }
            }
        });
    }

    /// Erases while the application works, and well before it ends.
    fn meanwhile(&self, erase: impl FnOnce(&Self)) -> Felt {
        let mut application = self.application();
        let busy = "SELECT count(*) FROM made WHERE booking_id > 4800";
        let before = self.server.count(&self.database, busy);
        wait_until(
            "the application to be at work",
            Duration::from_secs(20),
            || self.server.count(&self.database, busy) > before + 100,
        );
        erase(self);
        let running = application.try_wait().unwrap().is_none();
        let output = application.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{complained}");
        std::io::stderr().write_all(said.as_bytes()).ok();
        assert!(running, "erasing took longer than the application worked");
        let number = |before: &str| -> i64 {
            let (_, rest) = said.split_once(before).expect(&said);
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        };
        Felt {
            transactions: number("number of transactions actually processed: "),
            deadlocks: number("number of deadlock failures: "),
        }
    }

    /// Nothing of these is left, and all that was ever made for others is there.
    fn only_they_are_gone(&self, gone: &[i64]) {
        let list: Vec<String> = gone.iter().map(ToString::to_string).collect();
        let list = list.join(",");
        for (what, sql) in [
            (
                "customers",
                format!("SELECT count(*) FROM customer WHERE id IN ({list})"),
            ),
            (
                "their bookings",
                format!("SELECT count(*) FROM booking WHERE customer_id IN ({list})"),
            ),
            (
                "payments of bookings once theirs",
                format!(
                    "SELECT count(*) FROM made m JOIN payment p ON p.id = m.payment_id WHERE m.customer_id IN ({list})"
                ),
            ),
            (
                "rows of others lost",
                format!(
                    "SELECT count(*) FROM made m LEFT JOIN booking b ON b.id = m.booking_id AND b.customer_id = m.customer_id \
                       LEFT JOIN payment p ON p.id = m.payment_id AND p.booking_id = m.booking_id \
                      WHERE m.customer_id NOT IN ({list}) AND (b.id IS NULL OR p.id IS NULL)"
                ),
            ),
        ] {
            assert_eq!(self.server.count(&self.database, &sql), 0, "{what}");
        }
        let others = "SELECT count(*) FROM customer";
        let left = CUSTOMERS - i64::try_from(gone.len()).unwrap();
        assert_eq!(self.server.count(&self.database, others), left);
    }
}

async fn once(
    client: &mut tokio_postgres::Client,
    batch: &Vec<i32>,
) -> Result<(), tokio_postgres::Error> {
    let tx = client.transaction().await?;
    for statement in BY_HAND {
        tx.execute(statement, &[batch]).await?;
    }
    tx.commit().await
}

#[test]
fn an_application_keeps_working_while_people_are_erased() {
    let shop = Shop::open();
    let every_fourth =
        |from: i64| -> Vec<i64> { (0..CUSTOMERS / 4).map(|n| n * 4 + from).collect() };
    let (by_daemon, by_hand) = (every_fourth(1), every_fourth(2));

    let felt_of_hand = shop.meanwhile(|shop| shop.by_hand(&by_hand));
    shop.only_they_are_gone(&by_hand);
    let felt_of_daemon = shop.meanwhile(|shop| shop.by_the_daemon(&by_daemon));
    shop.only_they_are_gone(&[by_hand, by_daemon].concat());

    let unfinished = "SELECT count(*) FROM erasured.ticket WHERE state <> 'completed'";
    assert_eq!(shop.server.count(shop.control(), unfinished), 0);
    eprintln!("by hand {felt_of_hand:?}, by the daemon {felt_of_daemon:?}");
    assert!(felt_of_daemon.transactions > 1_000, "{felt_of_daemon:?}");
    // Of either one in some hundred thousand transactions, or where the machine stands still for half a second.
    assert!(
        felt_of_daemon.deadlocks <= felt_of_hand.deadlocks + 2,
        "by the daemon {felt_of_daemon:?}, by hand {felt_of_hand:?}"
    );
}

/// Deadlocked with an erasure, the application goes on: it is the erasure that lets go, before the
/// server looks for whom to end, and it comes back.
#[test]
fn the_application_never_loses_a_deadlock() {
    let shop = Shop::open();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let application = runtime.block_on(shop.server.connect(&shop.database));
    let touch = "BEGIN; UPDATE booking SET touched = 1 WHERE customer_id = 5";
    runtime.block_on(application.batch_execute(touch)).unwrap();
    std::thread::scope(|scope| {
        let erasing = scope.spawn(|| shop.by_the_daemon(&[5]));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        wait_until("the erasure to wait", Duration::from_secs(20), || {
            shop.server.count(&shop.database, waits) > 0
        });
        // It holds the customer by now, and waits for the booking.
        let customer = "UPDATE customer SET visits = 1 WHERE id = 5; COMMIT";
        let ended = runtime.block_on(application.batch_execute(customer));
        erasing.join().unwrap();
        ended.unwrap();
    });
    assert_eq!(shop.server.count(&shop.database, deadlocks), 0);
    shop.only_they_are_gone(&[5]);
}
