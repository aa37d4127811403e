//! From what a desk typed to exactly one root row.

use super::clock;
use super::context::{Context, Unplanned};
use super::identity::{self, Identity};
use super::signs;
use crate::identifier;
use crate::plan::{FindBy, find_subject, read_subject};
use crate::policy::{Identifier, IdentifierKind, Policy};
use crate::reading::choose_or;
use crate::store::StoreError;
use crate::store::executing::SIGNS_SINCE;
use crate::store::intake::{Resolved, Unresolved};
use crate::store::tickets::IdentifierValue;
use crate::system::postgres::failure;
use crate::ticket::clock::Events;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// Why a ticket's person was not found; codes and words for the desk, never a value.
struct Unfound {
    code: &'static str,
    problem: String,
}

impl Unfound {
    fn new(code: &'static str, problem: impl Into<String>) -> Self {
        Self {
            code,
            problem: problem.into(),
        }
    }
}

/// Why a round of intake stopped.
#[derive(Debug, thiserror::Error)]
pub enum IntakeFailed {
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A system.
    #[error(transparent)]
    System(#[from] Unplanned),
}

/// Reads new legal holds, then resolves up to `limit` tickets; how many were looked at.
///
/// # Errors
/// [`IntakeFailed`]; what was not resolved is looked at again.
pub async fn round(context: &Context, limit: u32) -> Result<usize, IntakeFailed> {
    let (read, mut failed) = super::holds::round(context).await?;
    let unresolved = context.store.unresolved(limit).await?;
    let looked_at = read + unresolved.len() + requesters(context, limit).await?;
    let mut by_subject: BTreeMap<String, Vec<Unresolved>> = BTreeMap::new();
    for ticket in unresolved {
        by_subject
            .entry(ticket.subject.clone())
            .or_default()
            .push(ticket);
    }
    for (subject, tickets) in by_subject {
        let Some(policy) = context.policies().get(&subject).cloned() else {
            for ticket in &tickets {
                context
                    .store
                    .unresolvable(
                        ticket.id,
                        "E0408",
                        "no policy in force is for this kind of subject",
                    )
                    .await?;
            }
            continue;
        };
        // One kind's database that is away does not hold up the others'.
        let answers = match resolve(context, &policy, tickets).await {
            Ok(answers) => answers,
            Err(error) => {
                failed = failed.or(Some(error));
                continue;
            }
        };
        let people = answers.iter().flat_map(|(_, found)| found);
        let keys: Vec<&[String]> = people.map(|person| person.key.as_slice()).collect();
        let mut changes = match signs::changes(context, &policy, &keys).await {
            Ok(changes) => changes.into_iter(),
            Err(error) => {
                failed = failed.or(Some(error.into()));
                continue;
            }
        };
        let mut resolved = Vec::new();
        for (ticket, found) in answers {
            match found {
                Ok(identity) => resolved.push(Resolved {
                    changes: changes.next().unwrap_or_default().suspect,
                    ..seal(context, &policy, &ticket, &identity)
                }),
                Err(mut unfound) => {
                    if unfound.code == "E0403"
                        && let Some(before) = erased_before(context, &policy, &ticket).await?
                    {
                        unfound.problem += &format!("; who had it was erased by {before}");
                    }
                    context
                        .store
                        .unresolvable(ticket.id, unfound.code, &unfound.problem)
                        .await?
                }
            }
        }
        super::crash_point("before-resolve");
        let taken = context.store.resolve(&resolved).await?;
        stopped(context, &taken.stopped);
        super::crash_point("after-resolve");
    }
    let counted = super::forecast::round(context, limit).await?;
    failed.map_or(Ok(looked_at + counted), Err)
}

/// Hashes who asks; how many there were.
async fn requesters(context: &Context, limit: u32) -> Result<usize, StoreError> {
    let named = context.store.unread_requesters(limit).await?;
    if named.is_empty() {
        return Ok(0);
    }
    let hashed: Vec<_> = named
        .iter()
        .map(|(ticket, value)| {
            let plain = identifier::normalise(&IdentifierKind::Plain, value.expose());
            let plain = plain.as_ref().map_or(value.expose(), |plain| plain.value());
            (*ticket, context.hash_key.hash("requester", plain))
        })
        .collect();
    stopped(context, &context.store.requesters_read(&hashed).await?);
    Ok(hashed.len())
}

fn stopped(context: &Context, tickets: &[Uuid]) {
    for ticket in tickets {
        tracing::warn!(%ticket, "signs of an impostor were found after the approval; the ticket waits for a person");
        context.has_failed(SIGNS_SINCE);
    }
}

/// The ticket that erased whoever had what this one names.
async fn erased_before(
    context: &Context,
    policy: &Policy,
    ticket: &Unresolved,
) -> Result<Option<String>, StoreError> {
    let Ok(named) = values(policy, &ticket.identifiers) else {
        return Ok(None);
    };
    let hashed = named.into_iter().map(|(name, (value, _))| {
        let hash = context.hash_key.hash(&name, &value);
        (name, hash)
    });
    let hashed: Vec<_> = hashed.collect();
    context.store.erased_before(&policy.subject, &hashed).await
}

fn seal(context: &Context, policy: &Policy, ticket: &Unresolved, identity: &Identity) -> Resolved {
    // For one that came in after the clocks were counted; they are counted again before it matters.
    let events = Events::received(ticket.requested_at);
    let clock = clock::counted(Some(policy), &ticket.scope, &events, 0, context.now());
    Resolved {
        id: ticket.id,
        subject_hash: subject_hash(context, policy, &identity.key),
        identifier_hashes: identity
            .normalised(policy)
            .map(|(name, value)| {
                let hash = context.hash_key.hash(&name, value.value());
                (name, hash)
            })
            .collect(),
        sealed: identity.seal(&context.hash_key, ticket.id, rand::random()),
        due_at: clock.due_at,
        not_before: None,
        changes: Vec::new(),
    }
}

/// The keyed hash of a root key: what stands for the person on certificates.
pub fn subject_hash(context: &Context, policy: &Policy, key: &[String]) -> String {
    context
        .hash_key
        .hash(&format!("subject:{}", policy.subject), &key.join("\u{1f}"))
}

type Found = (Unresolved, Result<Identity, Unfound>);

/// One look-up for each identifier that any of the tickets uses.
async fn resolve(
    context: &Context,
    policy: &Policy,
    tickets: Vec<Unresolved>,
) -> Result<Vec<Found>, IntakeFailed> {
    let mut named: Vec<Result<BTreeMap<String, String>, Unfound>> = Vec::new();
    let mut questions: BTreeMap<&String, Vec<(usize, String)>> = BTreeMap::new();
    for (at, ticket) in tickets.iter().enumerate() {
        let understood = understand(policy, ticket);
        if let Ok(values) = &understood {
            for (name, forms) in values {
                let (name, _) = policy
                    .identifiers
                    .get_key_value(name)
                    .expect("understood names are the policy's");
                questions
                    .entry(name)
                    .or_default()
                    .extend(forms.1.iter().map(|form| (at, form.clone())));
            }
        }
        named.push(understood.map(|values| {
            values
                .into_iter()
                .map(|(name, (value, _))| (name, value))
                .collect()
        }));
    }
    let rows = ask(context, policy, &questions).await?;
    Ok(tickets
        .into_iter()
        .zip(named)
        .enumerate()
        .map(|(at, (ticket, named))| {
            let identity = named.and_then(|named| one(policy, &rows, at, named));
            (ticket, identity)
        })
        .collect())
}

/// Identifier name to its normalised value and the forms to ask for.
type Understood = BTreeMap<String, (String, Vec<String>)>;

/// With what is likely meant: it is the policy's word, so no personal data.
fn not_found_by(policy: &Policy, name: &str) -> String {
    let by = policy.identifiers.iter().filter(|(_, i)| i.find);
    let known: Vec<&str> = by.map(|(name, _)| name.as_str()).collect();
    format!(
        "the policy does not find subjects by {name:?}: {}",
        choose_or(name, &known, "it finds them by")
    )
}

fn understand(policy: &Policy, ticket: &Unresolved) -> Result<Understood, Unfound> {
    if !policy.scopes.contains_key(&ticket.scope) {
        return Err(Unfound::new(
            "E0409",
            "the policy in force has no such scope",
        ));
    }
    values(policy, &ticket.identifiers)
}

/// What was typed, in the form of its kind.
fn values(
    policy: &Policy,
    identifiers: &[(String, IdentifierValue)],
) -> Result<Understood, Unfound> {
    let mut understood = BTreeMap::new();
    for (name, value) in identifiers {
        let Some(identifier) = policy.identifiers.get(name).filter(|i| i.find) else {
            return Err(Unfound::new("E0401", not_found_by(policy, name)));
        };
        let value = identity::typed(identifier, value.expose())
            .map_err(|e| Unfound::new("E0402", format!("{name}: {e}")))?;
        understood.insert(
            name.clone(),
            (value.value().to_owned(), identity::sql_forms(&value)),
        );
    }
    if understood.is_empty() {
        return Err(Unfound::new("E0401", "nobody is named"));
    }
    Ok(understood)
}

/// A root row: its key, and its identifiers by name.
type Row = (Vec<String>, BTreeMap<String, String>);

/// Tickets for these people, by their root keys; `None` for who is not there any more.
///
/// # Errors
/// [`Unplanned`].
pub async fn by_key(
    context: &Context,
    policy: &Policy,
    scope: &str,
    keys: &[&[String]],
) -> Result<Vec<Option<Resolved>>, Unplanned> {
    let root = &policy.root.0;
    let no_policy = || Unplanned::NoPolicy(policy.subject.clone());
    let system = context.systems.get(&root.system).ok_or_else(no_policy)?;
    let (_, catalog) = system.catalog().await?;
    let table = catalog.tables.get(&root.table).ok_or_else(no_policy)?;
    let typed = super::proof::typed_key(table).filter(|key| !key.is_empty());
    let typed = typed.ok_or_else(no_policy)?;
    let identifiers = policy.identifiers.iter();
    let identifiers: Vec<(&String, &Identifier)> = identifiers
        .filter(|(_, i)| table.column(&i.column).is_some())
        .collect();
    let read: Vec<&str> = identifiers.iter().map(|(_, i)| i.column.as_str()).collect();
    let sql = read_subject(&root.table, &typed, &read);
    let failed = |e: tokio_postgres::Error| Unplanned::Failed {
        system: system.name.clone(),
        problem: failure::describe(&e),
        transient: matches!(failure::classify(&e), failure::Failure::Transient(_)),
    };
    let mut client = system.pool.get().await?;
    let tx = client.build_transaction().read_only(true);
    let tx = tx.start().await.map_err(failed)?;
    let timeout = context.config.limits.statement_timeout.as_millis();
    tx.batch_execute(&format!(
        "/* erasured:people */ SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off; SET LOCAL statement_timeout = {timeout}"
    ))
    .await
    .map_err(failed)?;
    let mut people = Vec::with_capacity(keys.len());
    for key in keys {
        let bound: Vec<&(dyn ToSql + Sync)> = key.iter().map(|k| k as _).collect();
        let row = tx.query_opt(&sql, &bound).await.map_err(failed)?;
        people.push(row.map(|row| {
            let values = identifiers
                .iter()
                .enumerate()
                .filter_map(|(at, (name, _))| {
                    let value: Option<String> = row.get(at);
                    Some(((*name).clone(), vec![value?]))
                });
            let identity = Identity {
                key: key.to_vec(),
                values: values.collect(),
                named: BTreeMap::new(),
                shared: BTreeSet::new(),
            };
            let ticket = Unresolved {
                id: Uuid::now_v7(),
                subject: policy.subject.clone(),
                scope: scope.to_owned(),
                requested_at: context.now(),
                identifiers: Vec::new(),
            };
            seal(context, policy, &ticket, &identity)
        }));
    }
    Ok(people)
}

/// For each identifier name, ticket position to the rows that it finds.
type Rows = BTreeMap<String, BTreeMap<usize, Vec<Row>>>;

async fn ask(
    context: &Context,
    policy: &Policy,
    questions: &BTreeMap<&String, Vec<(usize, String)>>,
) -> Result<Rows, Unplanned> {
    let root = &policy.root.0;
    let Some(system) = context.systems.get(&root.system) else {
        return Err(Unplanned::NoPolicy(policy.subject.clone()));
    };
    let (_, catalog) = system.catalog().await?;
    let Some(table) = catalog.tables.get(&root.table) else {
        return Err(Unplanned::Misfit(vec![
            crate::diagnostic::Diagnostic::error(
                "E0202",
                format!("the root table {root} does not exist"),
                "mend the policy, or create the table",
            ),
        ]));
    };
    let key = table.row_key();
    let identifiers: Vec<(&String, &Identifier)> = policy
        .identifiers
        .iter()
        .filter(|(_, i)| table.column(&i.column).is_some())
        .collect();
    let read: Vec<String> = key
        .iter()
        .cloned()
        .chain(identifiers.iter().map(|(_, i)| i.column.clone()))
        .collect();
    let failed = |e: tokio_postgres::Error| Unplanned::Failed {
        system: system.name.clone(),
        problem: failure::describe(&e),
        transient: matches!(failure::classify(&e), failure::Failure::Transient(_)),
    };
    let mut client = system.pool.get().await?;
    let tx = client
        .build_transaction()
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    let timeout = context.config.limits.statement_timeout.as_millis();
    tx.batch_execute(&format!(
        "/* erasured:find subject */ SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off; SET LOCAL statement_timeout = {timeout}"
    ))
    .await
    .map_err(failed)?;
    let mut rows = Rows::new();
    for (name, forms) in questions {
        let identifier = &policy.identifiers[*name];
        let by = FindBy {
            column: identifier.column.clone(),
            kind: identifier.kind.clone(),
        };
        let at: Vec<i32> = forms
            .iter()
            .map(|(at, _)| i32::try_from(*at).expect("a round is small"))
            .collect();
        let values: Vec<&str> = forms.iter().map(|(_, form)| form.as_str()).collect();
        let found = tx
            .query(
                &find_subject(&root.table, &by, &read, catalog.utf8),
                &[&at, &values],
            )
            .await
            .map_err(failed)?;
        let mine = rows.entry((*name).clone()).or_default();
        for row in found {
            let text = |i: usize| row.get::<_, Option<String>>(i + 1);
            let key_text: Vec<String> = (0..key.len())
                .map(|i| text(i).unwrap_or_default())
                .collect();
            let values = identifiers
                .iter()
                .enumerate()
                .filter_map(|(i, (name, _))| Some(((*name).clone(), text(key.len() + i)?)))
                .collect();
            let at = usize::try_from(row.get::<_, i32>(0)).expect("ordinals come from positions");
            mine.entry(at).or_default().push((key_text, values));
        }
    }
    Ok(rows)
}

/// Who has the values of these people today: for each of them, identifier to the keys found.
/// Asked of those identifiers that matter: by which the ticket names the person, by which rows are
/// linked, or which are searched for.
///
/// # Errors
/// [`Unplanned`].
pub(super) async fn who_has(
    context: &Context,
    policy: &Policy,
    linked: &BTreeSet<String>,
    people: &[&Identity],
) -> Result<Vec<BTreeMap<String, BTreeSet<Vec<String>>>>, Unplanned> {
    let mut questions: BTreeMap<&String, Vec<(usize, String)>> = BTreeMap::new();
    for (at, person) in people.iter().enumerate() {
        for (name, forms) in person.forms(policy) {
            let Some((name, identifier)) = policy.identifiers.get_key_value(&name) else {
                continue;
            };
            if identifier.residual || linked.contains(name) || person.named.contains_key(name) {
                let asked = questions.entry(name).or_default();
                asked.extend(forms.into_iter().map(|form| (at, form)));
            }
        }
    }
    let rows = ask(context, policy, &questions).await?;
    let keys_of = |at: usize, name: &String| -> BTreeSet<Vec<String>> {
        let found = rows.get(name).and_then(|rows| rows.get(&at));
        found
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect()
    };
    let of_person = |at: usize| -> BTreeMap<String, BTreeSet<Vec<String>>> {
        questions
            .keys()
            .map(|name| ((*name).clone(), keys_of(at, name)))
            .collect()
    };
    Ok((0..people.len()).map(of_person).collect())
}

/// All of a ticket's identifiers must lead to the same one row.
fn one(
    policy: &Policy,
    rows: &Rows,
    at: usize,
    named: BTreeMap<String, String>,
) -> Result<Identity, Unfound> {
    let mut common: Option<BTreeMap<Vec<String>, BTreeMap<String, String>>> = None;
    for name in named.keys() {
        let found: BTreeMap<_, _> = rows
            .get(name)
            .and_then(|r| r.get(&at))
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if found.is_empty() {
            return Err(Unfound::new(
                "E0403",
                format!("no {} has this {name}", policy.subject),
            ));
        }
        common = Some(match common {
            None => found,
            Some(before) => {
                let both: BTreeSet<_> = before
                    .keys()
                    .filter(|k| found.contains_key(*k))
                    .cloned()
                    .collect();
                before
                    .into_iter()
                    .filter(|(k, _)| both.contains(k))
                    .collect()
            }
        });
    }
    let mut common = common.unwrap_or_default().into_iter();
    match (common.next(), common.next()) {
        (None, _) => Err(Unfound::new(
            "E0405",
            format!("the identifiers name different {}s", policy.subject),
        )),
        (Some(_), Some(_)) => Err(Unfound::new(
            "E0404",
            format!(
                "more than one {} fits; name another identifier as well",
                policy.subject
            ),
        )),
        (Some((key, values)), None) => Ok(Identity {
            key,
            values: values
                .into_iter()
                .map(|(name, value)| (name, vec![value]))
                .collect(),
            named,
            shared: BTreeSet::new(),
        }),
    }
}

/// What was typed, normalised, by name; and the keys of all whom it fits: nobody, one, or many.
pub(super) type Everybody = (BTreeMap<String, String>, BTreeSet<Vec<String>>);

/// Everybody who has all of these identifiers.
///
/// # Errors
/// Outer as [`round`]. Inner: why they cannot be looked for, as a code and words.
pub(super) async fn everybody(
    context: &Context,
    policy: &Policy,
    identifiers: &[(String, IdentifierValue)],
) -> Result<Result<Everybody, (&'static str, String)>, IntakeFailed> {
    let understood = match values(policy, identifiers) {
        Ok(understood) => understood,
        Err(unfound) => return Ok(Err((unfound.code, unfound.problem))),
    };
    let questions: BTreeMap<&String, Vec<(usize, String)>> = understood
        .iter()
        .map(|(name, (_, forms))| (name, forms.iter().map(|form| (0, form.clone())).collect()))
        .collect();
    let rows = ask(context, policy, &questions).await?;
    let mut keys: Option<BTreeSet<Vec<String>>> = None;
    for name in understood.keys() {
        let found = rows.get(name).and_then(|rows| rows.get(&0));
        let found: BTreeSet<Vec<String>> = found
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect();
        keys = Some(match keys {
            None => found,
            Some(before) => before.intersection(&found).cloned().collect(),
        });
    }
    let named = understood
        .into_iter()
        .map(|(name, (value, _))| (name, value))
        .collect();
    Ok(Ok((named, keys.unwrap_or_default())))
}

/// Resolves one subject without a ticket, for `erasured plan --subject`.
///
/// # Errors
/// The desk's words for why not.
pub async fn find(
    context: &Context,
    policy: &Policy,
    scope: &str,
    identifiers: Vec<(String, IdentifierValue)>,
) -> Result<Result<Identity, (&'static str, String)>, IntakeFailed> {
    let ticket = Unresolved {
        id: Uuid::nil(),
        subject: policy.subject.clone(),
        scope: scope.to_owned(),
        requested_at: context.now(),
        identifiers,
    };
    let (_, found) = resolve(context, policy, vec![ticket])
        .await?
        .pop()
        .expect("one ticket in, one answer out");
    Ok(found.map_err(|u| (u.code, u.problem)))
}
