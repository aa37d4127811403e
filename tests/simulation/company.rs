//! The company: what happens in it each day, written twice, once for the daemon and once for the oracle.

use super::some;
use crate::support::{Server, Workspace, connect};
use chrono::{DateTime, NaiveDate, Utc};
use erasured::erasure::context::Context;
use erasured::start;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio_postgres::Client;

/// Tables of the daemon's and of the oracle's world.
pub(crate) const TABLES: [&str; 8] = [
    "member", "booking", "guest", "call", "note", "survey", "invoice", "parcel",
];

const SCHEMA: &str = "
CREATE TABLE member (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
CREATE TABLE booking (id int PRIMARY KEY, member int NOT NULL REFERENCES member, ends_at timestamp, cancelled_on date);
CREATE TABLE guest (id int PRIMARY KEY, booking int NOT NULL REFERENCES booking ON DELETE CASCADE);
CREATE TABLE call (id int PRIMARY KEY, member int NOT NULL REFERENCES member, ended_at timestamptz, kind text);
CREATE TABLE note (id int PRIMARY KEY, call int NOT NULL REFERENCES call, written_on date);
CREATE TABLE survey (id int PRIMARY KEY, call int REFERENCES call ON DELETE SET NULL, score int);
CREATE TABLE invoice (id int PRIMARY KEY, member int NOT NULL REFERENCES member, issued_on date NOT NULL);
CREATE TABLE parcel (id int PRIMARY KEY, keep_until date, sent_on date, insured bool) PARTITION BY RANGE (id);
CREATE TABLE parcel_0 PARTITION OF parcel FOR VALUES FROM (0) TO (1000);
CREATE TABLE parcel_1 PARTITION OF parcel DEFAULT;
CREATE INDEX ON booking (member); CREATE INDEX ON guest (booking); CREATE INDEX ON call (member);
CREATE INDEX ON note (call); CREATE INDEX ON survey (call); CREATE INDEX ON invoice (member);
CREATE SCHEMA oracle;
";

/// `{CALLS}` is what changes.
const POLICY: &str = r#"
subject = "member"
root    = "shop.public.member"
identifier.member_no = { column = "member_no", find = true }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
table = [
    { name = "shop.public.member",  action = "delete" },
    { name = "shop.public.booking", action = "delete" },
    { name = "shop.public.guest",   action = "delete" },
    { name = "shop.public.call",    action = "delete" },
    { name = "shop.public.note",    action = "delete" },
    { name = "shop.public.survey",  action = "detach" },
    { name = "shop.public.invoice", action = "delete" },
]

[[retention]]
name     = "calls"
table    = "shop.public.call"
since    = "ended_at"
keep     = "{CALLS}"
where    = "kind <> 'complaint'"
action   = "delete"
because  = "our privacy policy"
timezone = "Asia/Tokyo"
schedule = "0 30 2 * * *"

# Calls with a note whose time is not over stay.
[[retention]]
name     = "notes"
table    = "shop.public.note"
since    = "written_on"
keep     = "40 days"
action   = "delete"
because  = "our privacy policy"
timezone = "Asia/Tokyo"
schedule = "0 30 2 * * *"

# Some parcels stay longer.
[[retention]]
name     = "parcels-at-least"
table    = "shop.public.parcel"
since    = "sent_on"
keep     = "1 month"
where    = "insured = TRUE"
action   = "keep"
because  = "we may be asked"
timezone = "Europe/Berlin"

# At a time that one night of the year does not have, and another twice.
[[retention]]
name     = "bookings"
table    = "shop.public.booking"
since    = ["ends_at", "cancelled_on"]
keep     = "2 months"
action   = "delete"
because  = "our privacy policy"
timezone = "Europe/Berlin"
schedule = "0 30 2 * * *"

[[retention]]
name     = "invoices"
table    = "shop.public.invoice"
since    = "issued_on"
keep     = { fiscal_year_ends = "02-29", plus = "1 month" }
action   = "delete"
because  = "our privacy policy"
timezone = "Asia/Tokyo"
schedule = "0 0 3 1 * *"

# From half past three on it would run, and may not.
[[retention]]
name     = "parcels"
table    = "shop.public.parcel"
keep     = { until = "keep_until" }
action   = "delete"
because  = "our privacy policy"
timezone = "Europe/Berlin"
schedule = "0 0 0 * * *"
between  = "23:30-02:00"
"#;

/// For how long calls are kept, from a day of the simulation on.
const CALLS: [(u64, u32); 4] = [(0, 30), (70, 20), (400, 90), (900, 45)];

/// The company, its daemon's parts, and its clock.
pub(crate) struct Company {
    pub(crate) context: Context,
    pub(crate) workspace: Workspace,
    pub(crate) shop: Client,
    pub(crate) control: Client,
    shop_url: String,
    clock: Arc<AtomicI64>,
}

impl Company {
    pub(crate) async fn open() -> Self {
        let server = Server::shared();
        let (shop, control) = (
            server.fresh_database("shop"),
            server.fresh_database("control"),
        );
        let workspace = Workspace::new(&server.url(&control), &[("shop", server.url(&shop))]);
        workspace.write_policy("member.toml", &policy(CALLS[0].1));
        let clock = Arc::new(AtomicI64::new(super::at(super::first_day(), 0).timestamp()));
        let turned = clock.clone();
        let config = start::configuration(&workspace.config()).unwrap();
        let now = move || DateTime::from_timestamp(turned.load(Ordering::SeqCst), 0).unwrap();
        let context = start::context(config, Arc::new(now)).unwrap();
        let company = Self {
            context,
            shop: connect(&server.url(&shop)).await,
            control: connect(&server.url(&control)).await,
            workspace,
            shop_url: server.url(&shop),
            clock,
        };
        company.shop.batch_execute(SCHEMA).await.unwrap();
        // The desk knows a policy when a daemon has been there.
        for arguments in [&["migrate"][..], &["run", "--until-idle"]] {
            let mut program = company.workspace.erasured(arguments);
            tokio::task::block_in_place(|| program.assert().success());
        }
        // The schedules have been known since the first day.
        let known = "INSERT INTO erasured.retention_schedule (subject, rule, known_since) \
                     SELECT 'member', r, $1 FROM unnest('{calls,notes,bookings,invoices,parcels}'::text[]) r \
                     ON CONFLICT (subject, rule) DO UPDATE SET known_since = excluded.known_since";
        let first = super::at(super::first_day(), 0);
        company.control.execute(known, &[&first]).await.unwrap();
        company
    }

    pub(crate) async fn another_client(&self) -> Client {
        connect(&self.shop_url).await
    }

    pub(crate) fn turn_to(&self, now: DateTime<Utc>) {
        self.clock.store(now.timestamp(), Ordering::SeqCst);
    }

    /// What is written to both worlds alike.
    async fn both(&self, statement: &str) {
        for world in ["public", "oracle"] {
            let sql = format!("SET search_path = {world}; {statement}");
            self.shop.batch_execute(&sql).await.unwrap();
        }
    }

    /// What happens on a day.
    pub(crate) async fn live_through(&self, date: NaiveDate, day: u64, chance: &mut StdRng) {
        let id = i64::try_from(day).unwrap() * 10;
        for n in 0..some(chance, 4) {
            let id = id + i64::from(n);
            let member = chance.random_range(0..40);
            // Some hour of the day, many at one end of it, and in another zone than the session's.
            let second = [0, 1, 3600, 7200, 54_000, 82_800, 86_399][chance.random_range(0..7)];
            let back = [0, 0, 0, 1, 29, 30, 31, 200][chance.random_range(0..8)];
            let when =
                format!("('{date}'::timestamp - interval '{back} days' + interval '{second} s')");
            let cancelled = if chance.random_bool(0.3) {
                format!("'{date}'::date + {}", some(chance, 20))
            } else {
                "NULL".into()
            };
            let ends = if chance.random_bool(0.8) {
                when.clone()
            } else {
                "NULL".into()
            };
            let kind = ["'sale'", "'sale'", "'complaint'", "NULL"][chance.random_range(0..4)];
            let insured = ["false", "false", "true", "NULL"][chance.random_range(0..4)];
            let early = some(chance, 60);
            self.both(&format!(
                "INSERT INTO member VALUES ({member}, 'M-{member}') ON CONFLICT DO NOTHING;
                 INSERT INTO call VALUES ({id}, {member}, {when} AT TIME ZONE 'UTC', {kind});
                 INSERT INTO note SELECT {id} * 10 + g, {id}, '{date}'::date + 20 * g - {early} FROM generate_series(1, {}) g;
                 INSERT INTO survey VALUES ({id}, {id}, 5);
                 INSERT INTO booking VALUES ({id}, {member}, {ends}, {cancelled});
                 INSERT INTO guest SELECT {id} * 10 + g, {id} FROM generate_series(1, {}) g;
                 INSERT INTO invoice VALUES ({id}, {member}, {when}::date);
                 INSERT INTO parcel VALUES ({id}, nullif('{date}'::date + {}, '{date}'::date + 20), '{date}', {insured});",
                some(chance, 3), some(chance, 3), some(chance, 20),
            )).await;
        }
        self.hold(day, chance).await;
        // A policy that people change while the daemon runs.
        if let Some((_, days)) = CALLS.iter().find(|(from, _)| *from == day && day > 0) {
            self.workspace.write_policy("member.toml", &policy(*days));
            let config = &self.context.config;
            let policies = start::policies(config).unwrap();
            self.context
                .replace_policies(policies, start::beside(config).unwrap());
        }
    }

    /// Holds come and go: on people, and on rows; each for fifty days.
    async fn hold(&self, day: u64, chance: &mut StdRng) {
        if day % 9 == 4 {
            let any = "SELECT id FROM oracle.member ORDER BY id OFFSET $1 % (SELECT count(*) FROM oracle.member) LIMIT 1";
            let any = self
                .shop
                .query_one(any, &[&chance.random_range(0..40_i64)])
                .await;
            let member: i32 = any.unwrap().get(0);
            let sql = format!(
                r#"SELECT erasured.place_hold('person-{day}', 'court-order', 'member', '{{"member_no": "M-{member}"}}')"#
            );
            self.control.batch_execute(&sql).await.unwrap();
            let held = format!("INSERT INTO oracle.held_member VALUES ('person-{day}', {member})");
            self.shop.batch_execute(&held).await.unwrap();
        }
        if day % 11 == 5 {
            let first = i64::try_from(day).unwrap() * 10 - 200;
            let last = first + 60;
            let sql = format!(
                r#"SELECT erasured.place_row_hold('rows-{day}', 'court-order', 'shop.public.booking',
                    '[{{"column": "id", "op": "between", "values": ["{first}", "{last}"]}}]')"#
            );
            self.control.batch_execute(&sql).await.unwrap();
            let held =
                format!("INSERT INTO oracle.held_booking VALUES ('rows-{day}', {first}, {last})");
            self.shop.batch_execute(&held).await.unwrap();
        }
        let Some(placed) = day.checked_sub(50) else {
            return;
        };
        for (matter, table, there) in [
            ("person", "held_member", placed % 9 == 4),
            ("rows", "held_booking", placed % 11 == 5),
        ] {
            if there {
                let release = format!("SELECT erasured.release_matter('{matter}-{placed}')");
                self.control.batch_execute(&release).await.unwrap();
                let release =
                    format!("DELETE FROM oracle.{table} WHERE matter = '{matter}-{placed}'");
                self.shop.batch_execute(&release).await.unwrap();
            }
        }
    }

    /// How many tables do not hold what the oracle's do; tells of the first rows.
    pub(crate) async fn disagreements(&self, now: DateTime<Utc>) -> u64 {
        let differ = TABLES.map(|table| {
            format!(
                "(SELECT '{table} ' || x.what || ' ' || x.t::text FROM (
                    (SELECT 'not gone' AS what, t::text FROM public.{table} t EXCEPT ALL SELECT 'not gone', t::text FROM oracle.{table} t)
                    UNION ALL
                    (SELECT 'gone' AS what, t::text FROM oracle.{table} t EXCEPT ALL SELECT 'gone', t::text FROM public.{table} t)) x LIMIT 3)"
            )
        });
        let rows = self
            .shop
            .query(&differ.join(" UNION ALL "), &[])
            .await
            .unwrap();
        for row in &rows {
            println!("{now}: {}", row.get::<_, String>(0));
        }
        rows.len() as u64
    }

    /// Runs that came to their end, by rule.
    pub(crate) async fn runs(&self) -> BTreeMap<String, i64> {
        let sql =
            "SELECT rule, count(*) FROM erasured.retention_run WHERE state = 'done' GROUP BY rule";
        let rows = self.control.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Rows there now and gone, and holds.
    pub(crate) async fn told(&self) -> String {
        let there = TABLES.map(|table| format!("(SELECT count(*) FROM public.{table})"));
        let sql = format!("SELECT {}", there.join(" + "));
        let there: i64 = self.shop.query_one(&sql, &[]).await.unwrap().get(0);
        let sql = "SELECT count(*), count(*) FILTER (WHERE released_at IS NULL) FROM erasured.hold";
        let holds = self.control.query_one(sql, &[]).await.unwrap();
        let sql = "SELECT coalesce(sum(rows), 0)::int8, coalesce(sum(held), 0)::int8 FROM erasured.retention_run";
        let gone = self.control.query_one(sql, &[]).await.unwrap();
        let (placed, in_force): (i64, i64) = (holds.get(0), holds.get(1));
        let (gone, held): (i64, i64) = (gone.get(0), gone.get(1));
        format!(
            "{there} rows there, {gone} due and gone, {held} times one was held; {placed} holds placed, {in_force} in force"
        )
    }

    /// A simulation in which nothing happened would agree too.
    pub(crate) async fn assert_lived(&self) {
        let sql = "SELECT rule, sum(rows)::int8, sum(held)::int8 FROM erasured.retention_run GROUP BY rule ORDER BY rule";
        for row in self.control.query(sql, &[]).await.unwrap() {
            let (rule, gone, held): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
            assert!(gone > 20, "{rule} took {gone} rows");
            assert!(held > 0 || rule == "parcels", "{rule}: nothing was held");
        }
    }
}

fn policy(calls: u32) -> String {
    POLICY.replace("{CALLS}", &format!("{calls} days"))
}

/// Days for which calls are kept, on a day of the simulation.
pub(crate) fn calls_kept(day: u64) -> u32 {
    let known = CALLS.iter().rev().find(|(from, _)| *from <= day);
    known.unwrap().1
}
