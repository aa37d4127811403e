//! Signs that somebody else may be asking, as far as the person's own row shows them: an impostor
//! changes the way to reach somebody first, and asks then.

use super::context::{Context, Unplanned};
use super::proof::typed_key;
use crate::plan::read_changes;
use crate::policy::Policy;
use crate::system::postgres::failure;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use tokio_postgres::types::ToSql;

/// What a person's row says of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Columns of the policy's `[identity.changed]` to what stands there, as text.
    pub(super) stands: BTreeMap<String, String>,
    /// Those within their time: what was changed, and a keyed hash of when.
    pub(super) suspect: Vec<(String, String)>,
}

/// Reads when what reaches these people was changed. Nothing, if the policy does not say where that
/// stands, and for who is not there any more.
///
/// # Errors
/// [`Unplanned`].
pub(super) async fn changes(
    context: &Context,
    policy: &Policy,
    keys: &[&[String]],
) -> Result<Vec<Changes>, Unplanned> {
    let mut found = vec![Changes::default(); keys.len()];
    let watched: Vec<_> = policy.asking.changed.iter().collect();
    if watched.is_empty() || keys.is_empty() {
        return Ok(found);
    }
    let root = &policy.root.0;
    let no_policy = || Unplanned::NoPolicy(policy.subject.clone());
    let system = context.systems.get(&root.system).ok_or_else(no_policy)?;
    let (_, catalog) = system.catalog().await?;
    let table = catalog.tables.get(&root.table).ok_or_else(no_policy)?;
    let key = typed_key(table).filter(|key| !key.is_empty());
    let key = key.ok_or_else(no_policy)?;
    let read: Vec<(&str, bool)> = watched
        .iter()
        .map(|(_, changed)| {
            let column = table.column(&changed.column);
            let is_date = column.is_some_and(|c| c.base == "date");
            (changed.column.as_str(), is_date)
        })
        .collect();
    let ordinals: Vec<i32> = (0..keys.len())
        .map(|at| i32::try_from(at).expect("a batch is small"))
        .collect();
    let parts: Vec<Vec<&str>> = (0..key.len())
        .map(|part| {
            keys.iter()
                .map(|key| key.get(part).map_or("", String::as_str))
                .collect()
        })
        .collect();
    let now = context.now();
    let since: Vec<DateTime<Utc>> = watched
        .iter()
        .map(|(_, changed)| now - chrono::Duration::from_std(changed.within).unwrap_or_default())
        .collect();
    let mut bound: Vec<&(dyn ToSql + Sync)> = vec![&ordinals];
    bound.extend(parts.iter().map(|part| part as &(dyn ToSql + Sync)));
    bound.extend(since.iter().map(|at| at as &(dyn ToSql + Sync)));
    let failed = |e: tokio_postgres::Error| Unplanned::Failed {
        system: system.name.clone(),
        problem: failure::describe(&e),
        transient: matches!(failure::classify(&e), failure::Failure::Transient(_)),
    };
    let mut client = system.pool.get().await?;
    let reading = client.build_transaction().read_only(true);
    let tx = reading.start().await.map_err(failed)?;
    let timeout = context.config.limits.statement_timeout.as_millis();
    // The zone is that of the erasing transaction, which compares the texts.
    tx.batch_execute(&format!(
        "/* erasured:changes */ SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off; \
         SET LOCAL timezone = 'UTC'; SET LOCAL statement_timeout = {timeout}"
    ))
    .await
    .map_err(failed)?;
    let sql = read_changes(&root.table, &key, &read);
    for row in tx.query(&sql, &bound).await.map_err(failed)? {
        let at = usize::try_from(row.get::<_, i32>(0)).expect("ordinals come from positions");
        for (n, (name, changed)) in watched.iter().enumerate() {
            let Some(text) = row.get::<_, Option<String>>(1 + 2 * n) else {
                continue;
            };
            if row.get(2 + 2 * n) {
                let mark = context.hash_key.hash(&format!("changed:{name}"), &text);
                found[at].suspect.push(((*name).clone(), mark));
            }
            found[at].stands.insert(changed.column.clone(), text);
        }
    }
    Ok(found)
}
