//! A database of our own for each test, with both schemas and the roles.

use crate::support::{Server, ServerOptions, connect as connect_to};
use deadpool_postgres::{Manager, Pool};
use erasured::store::{Store, migrate, migrate_target};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::{Client, NoTls};

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// One server for all tests here; its superuser is called what the schema calls it.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::start_with(ServerOptions {
            settings: vec![("max_connections".into(), "200".into())],
            ..ServerOptions::default()
        });
        server.execute("postgres", "CREATE ROLE owner SUPERUSER LOGIN");
        server
    })
}

/// A database with both schemas and all rights in place.
pub(crate) struct Database {
    pub(crate) name: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// One that is created with these options.
    pub(crate) async fn with(options: &str) -> Self {
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let admin = connect("postgres", "owner").await;
        // Roles are the server's: one test at a time creates them.
        admin
            .batch_execute("SELECT pg_advisory_lock(1)")
            .await
            .unwrap();
        admin
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .await
            .unwrap();
        let mut client = connect(&name, "owner").await;
        migrate(&mut client).await.unwrap();
        migrate_target(&mut client).await.unwrap();
        client
            .batch_execute(include_str!("../../sql/roles/control.sql"))
            .await
            .unwrap();
        let known = erasured::policy::proof::built_in();
        let database = Self { name };
        database
            .store("owner")
            .publish_methods(known)
            .await
            .unwrap();
        database
    }

    /// A connection of its own.
    pub(crate) async fn client(&self, user: &str) -> Client {
        connect(&self.name, user).await
    }

    /// A store whose logins are this user.
    pub(crate) fn store(&self, user: &str) -> Store {
        let url = server().url_as(&self.name, user);
        let manager = Manager::new(url.parse().unwrap(), NoTls);
        Store::new(Pool::builder(manager).max_size(8).build().unwrap())
    }

    /// A store with the daemon's rights and no more.
    pub(crate) async fn daemon(&self) -> Store {
        self.store(&self.login("daemon", "erasured_daemon").await)
    }

    /// All times that the schema remembers lie so many hours further back, but for what
    /// nobody can change; no trigger sees it.
    pub(crate) async fn hours_pass(&self, hours: i64) {
        let sql = format!(
            "SET session_replication_role = replica;
             DO $$ DECLARE c record; BEGIN
               FOR c IN SELECT a.attrelid::regclass AS t,
                               string_agg(format('%1$I = %1$I - interval ''{hours} hours''', a.attname), ', ') AS s
                          FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid
                         WHERE r.relnamespace = 'erasured'::regnamespace AND r.relkind = 'r'
                           AND a.atttypid = 'timestamptz'::regtype AND NOT a.attisdropped
                           AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = r.oid AND g.tgenabled = 'A')
                         GROUP BY a.attrelid LOOP
                 EXECUTE format('UPDATE %s SET %s', c.t, c.s);
               END LOOP; END $$"
        );
        self.client("owner")
            .await
            .batch_execute(&sql)
            .await
            .unwrap();
    }

    /// A refusal's ROLLBACK is not waited for by who was refused, and who skips what is locked would
    /// skip the ticket.
    pub(crate) async fn is_quiet(&self, admin: &Client) {
        let sql = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                      AND pid <> pg_backend_pid() AND xact_start IS NOT NULL)";
        while !admin.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Gone, with the logins made for it.
    pub(crate) async fn end(self) {
        let admin = connect("postgres", "owner").await;
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        admin.batch_execute(&sql).await.unwrap();
        let sql =
            "SELECT rolname::text FROM pg_roles WHERE right(rolname, length($1) + 1) = '_' || $1";
        for role in admin.query(sql, &[&self.name]).await.unwrap() {
            let sql = format!("DROP ROLE {}", role.get::<_, String>(0));
            admin.batch_execute(&sql).await.unwrap();
        }
    }

    /// A new login with these rights, its name unlike any other test's.
    pub(crate) async fn login(&self, person: &str, roles: &str) -> String {
        let name = format!("{person}_{}", self.name);
        let sql = format!("CREATE ROLE {name} LOGIN IN ROLE {roles}");
        self.client("owner")
            .await
            .batch_execute(&sql)
            .await
            .unwrap();
        name
    }
}

/// A database with both schemas, to be copied.
pub(crate) struct Template(Database);

impl Template {
    pub(crate) async fn new() -> Self {
        Self(Database::new().await)
    }

    pub(crate) async fn copy(&self) -> Database {
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", self.0.name);
        connect("postgres", "owner")
            .await
            .batch_execute(&sql)
            .await
            .unwrap();
        Database { name }
    }
}

async fn connect(database: &str, user: &str) -> Client {
    connect_to(&server().url_as(database, user)).await
}
