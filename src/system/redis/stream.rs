//! Streams: entries by the value of a field. There is no index, so all entries are read, once for all people.

use super::address::{At, Kind, command};
use super::servers::{Servers, strange};
use crate::plan::Wanted;
use crate::system::place::{Address, Failed};
use redis::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Entries read in one step.
const STEP: &[u8] = b"1000";

/// Who has which value in one field of one stream.
type Fields<'w> = BTreeMap<&'w [u8], BTreeMap<&'w [u8], Vec<usize>>>;

/// Reads the streams that are asked about, each from its beginning to its end.
pub(super) async fn through_streams(
    servers: &mut Servers,
    sought: &[(usize, &Wanted)],
    found: &mut [BTreeSet<Address>],
) -> Result<(), Failed> {
    let mut streams: BTreeMap<&[u8], Fields<'_>> = BTreeMap::new();
    for (person, wanted) in sought {
        if let Wanted::Member {
            of,
            value,
            field: Some(field),
        } = wanted
        {
            let fields = streams.entry(of.as_bytes()).or_default();
            let values = fields.entry(field.as_bytes()).or_default();
            values.entry(value.as_bytes()).or_default().push(*person);
        }
    }
    for (of, fields) in streams {
        through(servers, of, &fields, found).await?;
    }
    Ok(())
}

async fn through(
    servers: &mut Servers,
    of: &[u8],
    fields: &Fields<'_>,
    found: &mut [BTreeSet<Address>],
) -> Result<(), Failed> {
    let mut from = b"-".to_vec();
    loop {
        let page = command("XRANGE", &[of, &from, b"+", b"COUNT", STEP]);
        let Value::Array(entries) = servers.ask(of, page).await? else {
            return Err(strange());
        };
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let (last, _) = entry(last)?;
        from = [b"(", last].concat();
        for one in &entries {
            let (id, pairs) = entry(one)?;
            for person in theirs(pairs, fields)? {
                found[person].insert(At::Member(Kind::Stream, of, id).address());
            }
        }
    }
}

/// The id of an entry, and its fields and values in turn.
fn entry(value: &Value) -> Result<(&[u8], &[Value]), Failed> {
    match value {
        Value::Array(parts) => match parts.as_slice() {
            [Value::BulkString(id), Value::Array(pairs)] => Ok((id, pairs)),
            _ => Err(strange()),
        },
        _ => Err(strange()),
    }
}

/// Whose an entry is. A field may stand in it more than once.
fn theirs(pairs: &[Value], fields: &Fields<'_>) -> Result<BTreeSet<usize>, Failed> {
    let mut theirs = BTreeSet::new();
    for pair in pairs.chunks(2) {
        let [Value::BulkString(field), Value::BulkString(value)] = pair else {
            return Err(strange());
        };
        let people = fields
            .get(&field[..])
            .and_then(|values| values.get(&value[..]));
        theirs.extend(people.into_iter().flatten());
    }
    Ok(theirs)
}
