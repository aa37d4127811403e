//! What ought to be there, by statements that know nothing of the daemon: tables without keys in a schema of
//! their own, each rule written out by hand.

use super::company::{Company, TABLES, calls_kept};
use chrono::{DateTime, NaiveDateTime, Utc};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// A rule as a person would write it who knows SQL and the law, but not this program.
struct Rule {
    name: &'static str,
    zone: &'static str,
    /// The latest time of its schedule on the wall, of the time on the wall `$1`.
    latest: &'static str,
    /// Whether it may run at the time on the wall `$1`.
    open: &'static str,
    /// Deletes what is over on the day `today`.
    delete: &'static str,
}

const NIGHTLY: &str =
    "SELECT date_trunc('day', $1::timestamp - interval '2 h 30 min') + interval '2 h 30 min'";

const RULES: [Rule; 5] = [
    Rule {
        name: "calls",
        zone: "Asia/Tokyo",
        latest: NIGHTLY,
        open: "SELECT $1::timestamp IS NOT NULL",
        delete: "WITH gone AS (DELETE FROM call c WHERE (c.ended_at AT TIME ZONE 'Asia/Tokyo')::date + {CALLS} < {TODAY}
                     AND c.kind <> 'complaint'
                     AND NOT EXISTS (SELECT FROM note n WHERE n.call = c.id AND (n.written_on + 40 < {TODAY}) IS NOT TRUE)
                     AND c.member NOT IN (SELECT member FROM held_member) RETURNING id),
                 notes AS (DELETE FROM note WHERE call IN (SELECT id FROM gone))
                 UPDATE survey SET call = NULL WHERE call IN (SELECT id FROM gone)",
    },
    Rule {
        name: "notes",
        zone: "Asia/Tokyo",
        latest: NIGHTLY,
        open: "SELECT $1::timestamp IS NOT NULL",
        delete: "DELETE FROM note n USING call c WHERE c.id = n.call AND n.written_on + 40 < {TODAY}
                    AND c.member NOT IN (SELECT member FROM held_member)",
    },
    Rule {
        name: "bookings",
        zone: "Europe/Berlin",
        latest: NIGHTLY,
        open: "SELECT $1::timestamp IS NOT NULL",
        delete: "WITH gone AS (DELETE FROM booking b
                    WHERE (greatest(b.ends_at::date, b.cancelled_on) + interval '2 months')::date < {TODAY}
                      AND b.member NOT IN (SELECT member FROM held_member)
                      AND NOT EXISTS (SELECT FROM held_booking h WHERE b.id BETWEEN h.first AND h.last) RETURNING id)
                 DELETE FROM guest WHERE booking IN (SELECT id FROM gone)",
    },
    Rule {
        name: "invoices",
        zone: "Asia/Tokyo",
        latest: "SELECT date_trunc('month', $1::timestamp - interval '3 h') + interval '3 h'",
        open: "SELECT $1::timestamp IS NOT NULL",
        // The last of February of the fiscal year, and a month: the 28th or 29th of March.
        delete: "DELETE FROM invoice i WHERE ((date_trunc('year', i.issued_on - interval '2 months') + interval '14 months' - interval '1 day')::date
                        + interval '1 month')::date < {TODAY}
                    AND i.member NOT IN (SELECT member FROM held_member)",
    },
    Rule {
        name: "parcels",
        zone: "Europe/Berlin",
        latest: "SELECT date_trunc('day', $1::timestamp)",
        open: "SELECT $1::timestamp::time >= '23:30' OR $1::timestamp::time < '02:00'",
        delete: "DELETE FROM parcel WHERE keep_until < {TODAY}
                    AND CASE WHEN insured IS NOT FALSE THEN (sent_on + interval '1 month')::date < {TODAY} ELSE true END",
    },
];

/// The oracle, and what it has seen run.
pub(crate) struct Oracle {
    client: Client,
    latest: BTreeMap<&'static str, NaiveDateTime>,
    pub(crate) runs: BTreeMap<String, i64>,
}

impl Oracle {
    /// Empty tables like the company's.
    pub(crate) async fn new(company: &Company) -> Self {
        let mut sql = String::from(
            "SET search_path = oracle;
             CREATE TABLE held_member (matter text, member int); CREATE TABLE held_booking (matter text, first int, last int);",
        );
        for table in TABLES {
            sql.push_str(&format!("CREATE TABLE {table} (LIKE public.{table});"));
        }
        company.shop.batch_execute(&sql).await.unwrap();
        company
            .shop
            .batch_execute("ALTER TABLE oracle.member ADD UNIQUE (id)")
            .await
            .unwrap();
        let client = company.another_client().await;
        client
            .batch_execute("SET search_path = oracle; SET timezone = 'America/New_York'")
            .await
            .unwrap();
        let mut oracle = Self {
            client,
            latest: BTreeMap::new(),
            runs: BTreeMap::new(),
        };
        let first = super::at(super::first_day(), 0);
        for rule in &RULES {
            let known = oracle.latest(rule, first).await;
            oracle.latest.insert(rule.name, known);
        }
        oracle
    }

    /// What the daemon ought to do on this look at the clock.
    pub(crate) async fn look(&mut self, now: DateTime<Utc>) {
        for rule in &RULES {
            let latest = self.latest(rule, now).await;
            let wall = self.wall(rule, now).await;
            let open: bool = self
                .client
                .query_one(rule.open, &[&wall])
                .await
                .unwrap()
                .get(0);
            if latest <= self.latest[rule.name] || !open {
                continue;
            }
            let day = (now.date_naive() - super::first_day()).num_days();
            let kept = calls_kept(u64::try_from(day).unwrap());
            let today = format!("'{}'::date", wall.date());
            let delete = rule
                .delete
                .replace("{TODAY}", &today)
                .replace("{CALLS}", &kept.to_string());
            self.client.batch_execute(&delete).await.unwrap();
            self.latest.insert(rule.name, latest);
            *self.runs.entry(rule.name.to_owned()).or_default() += 1;
        }
    }

    async fn wall(&self, rule: &Rule, now: DateTime<Utc>) -> NaiveDateTime {
        let sql = "SELECT $1::timestamptz AT TIME ZONE $2::text";
        self.client
            .query_one(sql, &[&now, &rule.zone])
            .await
            .unwrap()
            .get(0)
    }

    async fn latest(&self, rule: &Rule, now: DateTime<Utc>) -> NaiveDateTime {
        let wall = self.wall(rule, now).await;
        self.client
            .query_one(rule.latest, &[&wall])
            .await
            .unwrap()
            .get(0)
    }
}
