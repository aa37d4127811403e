//! `provider = "azure"`: a container of Azure's Blob Storage.

use super::{name, reached};
use crate::config::SecretSource;
use crate::config::outbox::Endpoint;
use crate::config::read::{CODES, secret};
use crate::exchange::Addresses;
use crate::reading::{Table, quoted};
use std::path::Path;

/// A container.
#[derive(Clone, Debug)]
pub struct Azure {
    /// The one host that is spoken to.
    pub endpoint: Endpoint,
    /// What its name may lead to.
    pub addresses: Addresses,
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// What proves who asks.
    pub auth: AzureAuth,
}

/// What proves to Azure who asks.
#[derive(Clone, Debug)]
pub enum AzureAuth {
    /// A key of the account, which may everything there.
    Key(SecretSource),
    /// A shared access signature, which may what it says.
    Sas(SecretSource),
}

pub(super) fn read(table: &Table<'_>, folder: &Path) -> Option<Azure> {
    table
        .need("account", "write the storage account's name")
        .need("container", "write the container's name");
    let help = "write the storage account's name";
    let account = table.parsed("account", CODES.bad_value, help, account);
    let help = "write the container's name";
    let container = table.parsed("container", CODES.bad_value, help, name);
    let auth = auth(table, folder);
    let account = account.map(|(account, _)| account);
    let usual = account
        .as_ref()
        .map(|account| format!("https://{account}.blob.core.windows.net"));
    let (endpoint, addresses) = reached(table, folder, usual.as_deref())?;
    Some(Azure {
        endpoint,
        addresses,
        account: account?,
        container: container?.0,
        auth: auth?,
    })
}

fn auth(table: &Table<'_>, folder: &Path) -> Option<AzureAuth> {
    let key = table.has("account_key");
    if key == table.has("sas_token") {
        let message = format!(
            "{} names not one of `account_key` and `sas_token`",
            table.label()
        );
        let help = "name the place of one: account_key = { file = \"…\" }, or sas_token = { file = \"…\" }";
        table.reader().error("E0008", table.span(), message, help);
        return None;
    }
    match key {
        true => secret(table, "account_key", folder).map(AzureAuth::Key),
        false => secret(table, "sas_token", folder).map(AzureAuth::Sas),
    }
}

/// It becomes a part of a host's name.
fn account(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match (3..=24).contains(&text.len()) && text.chars().all(good) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{} is no account's name, which has 3 to 24 lower-case letters and digits",
            quoted(text)
        )),
    }
}
