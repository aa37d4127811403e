//! `erasured migrate`.

use super::failure::Failure;
use super::say;
use super::source;
use crate::start;
use crate::store;
use crate::system::mariadb::connect::{Address, Bounds, Password};
use crate::system::mariadb::failure;
use crate::system::mariadb::migrate::migrate;
use crate::system::postgres::connect::{self, Timeouts};
use crate::system::postgres::libpq::Settings;
use clap::Args;
use std::path::Path;

/// Bring the schema `erasured` in the control database and in every system to this version.
#[derive(Args, Debug)]
#[command(after_help = "\
Needs the right to create a schema, which the daemon's role should not have:
  erasured migrate                                          with the logins of erasured.toml
  erasured migrate --only control --url postgresql://owner@db/control
  erasured migrate --only shop --url postgresql://owner@db/shop
  erasured migrate --only crm --url mariadb://owner@crm-db/   its password from MYSQL_PWD

Then give the roles their rights: sql/roles/control.sql, sql/roles/target.sql.")]
pub(super) struct Migrate {
    /// Only `control`, or only this system.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Connect with this URL in place of the configured one; with --only.
    #[arg(long, value_name = "URL", requires = "only")]
    url: Option<String>,
}

impl Migrate {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        if let (Some(only), Some(url)) = (&self.only, &self.url) {
            if url.starts_with("mariadb://") || url.starts_with("mysql://") {
                source::without_password(url)?;
                let address = Address::new(url, source::password().map(Password::Typed), None);
                return on_mariadb(only, address.map_err(Failure::usage)?).await;
            }
            return one(only, &source::typed(url)?).await;
        }
        let config = start::configuration(config)?;
        let systems = config
            .systems
            .iter()
            .map(|(n, s)| (n.as_str(), &s.database));
        let all: Vec<_> = std::iter::once(("control", &config.control))
            .chain(systems)
            .filter(|(name, _)| self.only.as_ref().is_none_or(|only| only == name))
            .collect();
        let servers: Vec<_> = config
            .mariadb
            .iter()
            .filter(|(name, _)| self.only.as_ref().is_none_or(|only| only == *name))
            .collect();
        if all.is_empty() && servers.is_empty() {
            return Err(Failure::usage(
                "--only names neither `control` nor a system of the configuration",
            ));
        }
        for (name, database) in all {
            one(name, &start::settings(database)?).await?;
        }
        for (name, server) in servers {
            on_mariadb(name, start::address(name, server)?).await?;
        }
        Ok(())
    }
}

async fn one(name: &str, settings: &Settings) -> Result<(), Failure> {
    let mut client = connect::connect(settings, "migrate", Timeouts::patient()).await?;
    let ran = if name == "control" {
        store::migrate(&mut client).await?
    } else {
        store::migrate_target(&mut client).await?
    };
    say!("{name}: {ran} migration(s) applied");
    Ok(())
}

async fn on_mariadb(name: &str, address: Address) -> Result<(), Failure> {
    let failed = |problem: String| Failure::unreachable(format!("{name}: {problem}"));
    let mut conn = address
        .connect(Bounds::PATIENT)
        .await
        .map_err(|e| failed(e.to_string()))?;
    let ran = migrate(&mut conn)
        .await
        .map_err(|e| failed(failure::describe(&e)))?;
    say!("{name}: {ran} migration(s) applied");
    Ok(())
}
