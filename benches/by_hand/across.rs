//! What a good DBA would write to forget people in five systems: a script that goes through them, one
//! after the other, by the same batches, with a row for each ticket in the same transaction. What has
//! no transactions is written down in the shop, once it is done there. No checks, no counts, no
//! question about holds.

use futures_util::future::try_join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use redis::aio::MultiplexedConnection;
use std::path::PathBuf;
use tokio_postgres::{Client, Statement};

const SHOP: [&str; 4] = [
    "DELETE FROM booking b USING customer c WHERE c.member_no = ANY ($1::text[]) AND b.customer = c.id",
    "DELETE FROM letter l USING customer c WHERE c.member_no = ANY ($1::text[]) AND l.customer = c.id",
    "DELETE FROM customer WHERE member_no = ANY ($1::text[])",
    "INSERT INTO forgotten (ticket) SELECT 'shop ' || m FROM unnest($1::text[]) AS m",
];
const BILLING: [&str; 3] = [
    "DELETE FROM payment p USING account a WHERE a.member_no = ANY ($1::text[]) AND p.account = a.id",
    "DELETE FROM account WHERE member_no = ANY ($1::text[])",
    "INSERT INTO forgotten (ticket) SELECT 'billing ' || m FROM unnest($1::text[]) AS m",
];
const CRM: [&str; 3] = [
    "DELETE v FROM crm.visit v JOIN crm.contact c ON c.id = v.contact WHERE c.member_no IN (?)",
    "DELETE FROM crm.contact WHERE member_no IN (?)",
    "INSERT INTO crm.forgotten (ticket) VALUES (?)",
];
const WRITTEN_DOWN: &str =
    "INSERT INTO forgotten (ticket) SELECT $2 || ' ' || m FROM unnest($1::text[]) AS m";

/// The script, connected.
pub(crate) struct Script {
    shop: Client,
    billing: Client,
    crm: Conn,
    cache: MultiplexedConnection,
    avatars: PathBuf,
    statements: [Vec<Statement>; 2],
    written_down: Statement,
}

impl Script {
    pub(crate) async fn new(
        (shop, billing): (Client, Client),
        crm: Conn,
        cache: MultiplexedConnection,
        avatars: PathBuf,
    ) -> Self {
        let prepared = async |client: &Client, all: &[&str]| {
            let all = try_join_all(all.iter().map(|sql| client.prepare(sql))).await;
            all.expect("the hand-written SQL is right")
        };
        let statements = [
            prepared(&shop, &SHOP).await,
            prepared(&billing, &BILLING).await,
        ];
        let written_down = shop.prepare(WRITTEN_DOWN).await.expect("a statement");
        Self {
            shop,
            billing,
            crm,
            cache,
            avatars,
            statements,
            written_down,
        }
    }

    /// Forgets these in one system, or in all of them.
    pub(crate) async fn batch(&mut self, scope: &str, members: &[String]) {
        let systems = ["cache", "files", "crm", "billing", "shop"];
        for system in systems
            .into_iter()
            .filter(|s| scope == "all" || scope == *s)
        {
            match system {
                "cache" => self.cache(members).await,
                "files" => self.files(members).await,
                "crm" => self.crm(members).await,
                "billing" => in_one_transaction(&self.billing, &self.statements[1], members).await,
                _ => in_one_transaction(&self.shop, &self.statements[0], members).await,
            }
        }
    }

    async fn cache(&mut self, members: &[String]) {
        let mut pipeline = redis::pipe();
        for member in members {
            let keys = [format!("session:{member}"), format!("cart:{member}")];
            pipeline.cmd("UNLINK").arg(&keys).ignore();
            pipeline.cmd("SREM").arg("online-now").arg(member).ignore();
        }
        let done: Result<(), _> = pipeline.query_async(&mut self.cache).await;
        done.expect("a pipeline");
        self.write_down("cache", members).await;
    }

    async fn files(&mut self, members: &[String]) {
        for member in members {
            std::fs::remove_dir_all(self.avatars.join(member)).expect("the folder is there");
        }
        self.write_down("files", members).await;
    }

    async fn write_down(&self, system: &str, members: &[String]) {
        let statement = &self.written_down;
        let written = self.shop.execute(statement, &[&members, &system]).await;
        written.expect("written down");
    }

    async fn crm(&mut self, members: &[String]) {
        let marks = vec!["?"; members.len()].join(", ");
        let rows = vec!["(?)"; members.len()].join(", ");
        let values: Vec<Value> = members.iter().map(Value::from).collect();
        self.crm
            .query_drop("START TRANSACTION")
            .await
            .expect("BEGIN");
        for (at, sql) in CRM.iter().enumerate() {
            let sql = match at {
                2 => sql.replace("(?)", &rows),
                _ => sql.replace('?', &marks),
            };
            let done = self.crm.exec_drop(sql, values.clone()).await;
            done.expect("the hand-written SQL is right");
        }
        self.crm.query_drop("COMMIT").await.expect("COMMIT");
    }
}

/// Sent without waiting.
async fn in_one_transaction(client: &Client, statements: &[Statement], members: &[String]) {
    let work = statements
        .iter()
        .map(|statement| async move { client.execute(statement, &[&members]).await });
    let done = futures_util::future::try_join3(
        client.batch_execute("BEGIN"),
        try_join_all(work),
        client.batch_execute("COMMIT"),
    );
    done.await.expect("a batch by hand");
}
