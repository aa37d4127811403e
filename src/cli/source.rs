//! Where a command finds the control database: `erasured.toml`, or a URL for people who may not
//! read that file.

use super::failure::Failure;
use crate::config::holds_password;
use crate::start;
use crate::store::{self, Store};
use crate::system::postgres::connect::{self, Timeouts};
use crate::system::postgres::libpq::Settings;
use clap::Args;
use std::path::Path;
use zeroize::Zeroizing;

/// Settings from a URL that somebody typed.
pub(super) fn typed(url: &str) -> Result<Settings, Failure> {
    without_password(url)?;
    Ok(Settings::from_process(url)?)
}

/// Nothing, unless a URL that somebody typed holds a password.
pub(super) fn without_password(url: &str) -> Result<(), Failure> {
    if holds_password(url) {
        return Err(Failure::usage(
            "the URL holds a password, which arguments and process lists would show: take it out, \
             change it, and use .pgpass, PGPASSWORD or PGSERVICE",
        ));
    }
    Ok(())
}

/// What MariaDB's own programs take as the password, if anything.
pub(super) fn password() -> Option<Zeroizing<String>> {
    std::env::var("MYSQL_PWD").ok().map(Zeroizing::new)
}

/// The control database of a command that needs nothing else.
#[derive(Args, Debug)]
pub(super) struct Control {
    /// URL of the control database, in place of the configuration file: all that the desk and
    /// auditors need. Takes its password from .pgpass, PGPASSWORD or PGSERVICE as psql does.
    #[arg(
        long,
        env = "ERASURED_CONTROL",
        hide_env_values = true,
        value_name = "URL"
    )]
    control: Option<String>,
}

impl Control {
    /// A variable that is set to nothing is not set.
    fn url(&self) -> Option<&str> {
        self.control.as_deref().filter(|url| !url.is_empty())
    }

    /// Whether the configuration file is not needed.
    pub(super) fn is_given(&self) -> bool {
        self.url().is_some()
    }

    /// The store, once it has shown that its schema is this program's.
    pub(super) async fn store(&self, config: &Path) -> Result<Store, Failure> {
        let pool = match self.url() {
            Some(url) => {
                let settings = typed(url)?;
                connect::pool(&settings, "cli", 2, Timeouts::default())?
            }
            None => {
                let config = start::configuration(config)?;
                start::control_pool(&config, "cli", 2)?
            }
        };
        {
            let client = pool.get().await?;
            store::check_version(&client).await?;
        }
        Ok(Store::new(pool.inner().clone()))
    }
}
