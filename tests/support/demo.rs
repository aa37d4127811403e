//! The demo company on a test server.

use super::server::{Server, blocking, quoted, told};
use super::workspace::repository;
use std::sync::Mutex;

/// The names of the two databases of one copy of the demo company.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Like `shop_3`.
    pub shop: String,
    /// Like `loyalty_4`.
    pub loyalty: String,
}

/// A fresh copy of the demo company with so many customers. The first on a server loads it, the
/// others are copies made by the server (a few hundred milliseconds).
pub fn load_demo(server: &Server, customers: u32) -> Demo {
    // Two tests at once must not both make the template.
    static LOADING: Mutex<()> = Mutex::new(());
    let _one = LOADING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let copy = |system: &str| {
        let template = format!("demo_{system}_{customers}");
        let known = format!("SELECT count(*) FROM pg_database WHERE datname = '{template}'");
        if server.count("postgres", &known) == 0 {
            server.create_database(&template, "UTF8");
            load(server, &template, system, customers);
        }
        let name = server.fresh_name(system);
        server.execute(
            "postgres",
            &format!(
                "CREATE DATABASE {} TEMPLATE {}",
                quoted(&name),
                quoted(&template)
            ),
        );
        name
    };
    Demo {
        shop: copy("shop"),
        loyalty: copy("loyalty"),
    }
}

/// Loads `demo/{system}.sql` and its rows into an empty database.
fn load(server: &Server, database: &str, system: &str, customers: u32) {
    let read = |file: String| {
        let path = repository().join("demo").join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let schema = read(format!("{system}.sql"));
    let rows = read(format!("{system}_data.sql"));
    blocking(async {
        let client = server.connect(database).await;
        let setting = format!("SET demo.customers = '{customers}'");
        for sql in [&setting, &schema, &rows] {
            client
                .batch_execute(sql)
                .await
                .unwrap_or_else(|error| panic!("demo/{system}*.sql: {}", told(&error)));
        }
    });
    // The client's end may lag behind; a template must have no connections.
    let busy = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    super::server::wait_until(
        "the loader to disconnect",
        std::time::Duration::from_secs(10),
        || server.count("postgres", &busy) == 0,
    );
}
