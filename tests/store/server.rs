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
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let admin = connect("postgres", "owner").await;
        // Roles are the server's: one test at a time creates them.
        admin
            .batch_execute("SELECT pg_advisory_lock(1)")
            .await
            .unwrap();
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
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

async fn connect(database: &str, user: &str) -> Client {
    connect_to(&server().url_as(database, user)).await
}
