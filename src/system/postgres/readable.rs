//! Which columns of a database can hold a text, whether a policy names them or not.

use super::sweep::Timeouts;
use crate::name::TableName;
use crate::verify::FieldKind;
use std::collections::HashMap;
use tokio_postgres::Client;
use tokio_postgres::types::Oid;

/// A table, partition or materialized view with columns worth reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub table: TableName,
    /// The columns worth reading.
    pub columns: Vec<Column>,
    /// The columns of its primary key; empty if it has none.
    pub key: Vec<String>,
    /// Its size with TOAST, without indexes.
    pub bytes: u64,
    /// Pages of its main part.
    pub pages: u32,
    /// The planner's estimate; 0 if it has none.
    pub rows: u64,
    pub(super) oid: Oid,
    /// LOCK TABLE takes it.
    pub(super) lockable: bool,
}

impl Target {
    /// The name, and which table bore it when this was listed.
    pub fn identity(&self) -> (TableName, u32) {
        (self.table.clone(), self.oid)
    }
}

/// A column worth reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How its binary image is read.
    pub kind: FieldKind,
    /// Its type has no image that we know: the server writes it as text.
    pub as_text: bool,
}

/// What a sweep can read of a database, and what not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// By name.
    pub targets: Vec<Target>,
    /// What holds or may hold texts and is not read, each with the reason.
    pub not_covered: Vec<(TableName, String)>,
}

/// Bytes that a sweep of these tables reads from disk or cache, at most.
pub fn forecast(targets: &[Target]) -> u64 {
    targets.iter().map(|target| target.bytes).sum()
}

const RELATIONS: &str = "/* erasured:sweep relations */
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind, c.relispopulated,
           pg_catalog.pg_table_size(c.oid),
           (pg_catalog.pg_relation_size(c.oid)
              / pg_catalog.current_setting('block_size')::pg_catalog.int8),
           greatest(c.reltuples, 0)::pg_catalog.int8,
           (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.at)
              FROM pg_catalog.pg_index i
              CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[])
                   WITH ORDINALITY AS k(attnum, at)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
             WHERE i.indrelid = c.oid AND i.indisprimary)
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'm', 'f')
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'erasured')
       AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
     ORDER BY 2, 3";

const ATTRIBUTES: &str = "/* erasured:sweep attributes */
    SELECT a.attrelid, a.attname::text, a.atttypid
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
     WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'm', 'f', 'c', 'p', 'v')
     ORDER BY a.attrelid, a.attnum";

const TYPES: &str = "/* erasured:sweep types */
    SELECT t.oid, t.typname::text, n.nspname = 'pg_catalog', t.typtype,
           CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, t.typbasetype, t.typrelid,
           coalesce(r.rngsubtype, m.rngsubtype, 0)
      FROM pg_catalog.pg_type t
      JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
      LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
      LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid";

/// Reads from the catalog what a sweep would read.
///
/// All schemas but the system's and `erasured`; tables, leaf partitions and materialized views;
/// every type that is not known to hold no text, through domains, arrays and composite types. Numbers, dates,
/// enums and the like are left out.
///
/// # Errors
///
/// The server's; sizes are asked for under a lock, so that a table locked for longer than
/// `timeouts` allow is one of them.
pub async fn readable(
    client: &Client,
    timeouts: Timeouts,
) -> Result<Readable, tokio_postgres::Error> {
    client.batch_execute(&timeouts.begin()).await?;
    match catalog(client).await {
        Ok(readable) => client.batch_execute("COMMIT").await.map(|()| readable),
        Err(error) => {
            client.batch_execute("ROLLBACK").await?;
            Err(error)
        }
    }
}

async fn catalog(client: &Client) -> Result<Readable, tokio_postgres::Error> {
    let types = types(client).await?;
    let mut not_covered = Vec::new();
    let mut targets = Vec::new();
    for row in client.query(RELATIONS, &[]).await? {
        let oid: Oid = row.get(0);
        let table = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
        let columns = types.columns(oid);
        if columns.is_empty() {
            continue;
        }
        if row.get::<_, i8>(3) == b'f' as i8 {
            not_covered.push((
                table,
                "foreign table: its data is in another system".to_owned(),
            ));
        } else if !row.get::<_, bool>(4) {
            not_covered.push((table, "materialized view that was never filled".to_owned()));
        } else {
            targets.push(Target {
                table,
                columns,
                key: row.get::<_, Option<Vec<String>>>(8).unwrap_or_default(),
                bytes: row.get::<_, i64>(5).max(0).unsigned_abs(),
                pages: u32::try_from(row.get::<_, i64>(6)).unwrap_or(u32::MAX),
                rows: row.get::<_, i64>(7).max(0).unsigned_abs(),
                oid,
                lockable: row.get::<_, i8>(3) == b'r' as i8,
            });
        }
    }
    let large = "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)";
    if client.query_one(large, &[]).await?.get(0) {
        let table = TableName::new("pg_catalog", "pg_largeobject");
        not_covered.push((table, "large objects are not read".to_owned()));
    }
    Ok(Readable {
        targets,
        not_covered,
    })
}

/// Tables that this login may not read, and so cannot vouch for: a sweep would stop at the first.
///
/// # Errors
///
/// The server's.
pub async fn forbidden(client: &Client) -> Result<Vec<TableName>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT r.schema, r.name FROM ({RELATIONS}) AS r (oid, schema, name, kind) \
          WHERE r.kind IN ('r', 'm') AND NOT (pg_catalog.has_schema_privilege(r.schema, 'USAGE') \
            AND pg_catalog.has_table_privilege(r.oid, 'SELECT'))"
    );
    let rows = client.query(&sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)))
        .collect())
}

struct Type {
    name: String,
    built_in: bool,
    class: u8,
    element: Oid,
    base: Oid,
    relation: Oid,
    range_of: Oid,
}

struct Types {
    types: HashMap<Oid, Type>,
    attributes: HashMap<Oid, Vec<(String, Oid)>>,
}

/// How values of a type are read.
enum Reading {
    Image(FieldKind),
    AsText,
    HoldsNoText,
}

async fn types(client: &Client) -> Result<Types, tokio_postgres::Error> {
    let mut types = HashMap::new();
    for row in client.query(TYPES, &[]).await? {
        let one = Type {
            name: row.get(1),
            built_in: row.get(2),
            class: row.get::<_, i8>(3) as u8,
            element: row.get(4),
            base: row.get(5),
            relation: row.get(6),
            range_of: row.get(7),
        };
        types.insert(row.get(0), one);
    }
    let mut attributes: HashMap<Oid, Vec<(String, Oid)>> = HashMap::new();
    for row in client.query(ATTRIBUTES, &[]).await? {
        attributes
            .entry(row.get(0))
            .or_default()
            .push((row.get(1), row.get(2)));
    }
    Ok(Types { types, attributes })
}

/// A composite type may hold arrays of itself; deeper than this the server writes it as text.
const DEEPEST: u32 = 8;

impl Types {
    fn columns(&self, relation: Oid) -> Vec<Column> {
        let attributes = self
            .attributes
            .get(&relation)
            .map_or(&[][..], Vec::as_slice);
        let column = |(name, oid): &(String, Oid)| {
            let (kind, as_text) = match self.reading(*oid, 0) {
                Reading::Image(kind) => (kind, false),
                Reading::AsText => (FieldKind::Text, true),
                Reading::HoldsNoText => return None,
            };
            Some(Column {
                name: name.clone(),
                kind,
                as_text,
            })
        };
        attributes.iter().filter_map(column).collect()
    }

    fn reading(&self, oid: Oid, depth: u32) -> Reading {
        // A type that went away between two queries, or is nested too deeply, is read all the same.
        let Some(of) = self.types.get(&oid).filter(|_| depth < DEEPEST) else {
            return Reading::AsText;
        };
        match of.class {
            b'd' => self.reading(of.base, depth + 1),
            b'c' => self.composite(of.relation, depth),
            b'r' | b'm' => match self.reading(of.range_of, depth + 1) {
                Reading::HoldsNoText => Reading::HoldsNoText,
                _ => Reading::AsText,
            },
            b'b' if of.element != 0 => match self.reading(of.element, depth + 1) {
                Reading::Image(kind) => Reading::Image(FieldKind::Array(Box::new(kind))),
                other => other,
            },
            b'b' => base(of),
            _ => Reading::HoldsNoText,
        }
    }

    fn composite(&self, relation: Oid, depth: u32) -> Reading {
        let mut fields = Vec::new();
        for (_, oid) in self.attributes.get(&relation).into_iter().flatten() {
            fields.push(match self.reading(*oid, depth + 1) {
                Reading::Image(kind) => Some(kind),
                Reading::HoldsNoText => None,
                Reading::AsText => return Reading::AsText,
            });
        }
        if fields.iter().all(Option::is_none) {
            Reading::HoldsNoText
        } else {
            Reading::Image(FieldKind::Composite(fields))
        }
    }
}

fn base(of: &Type) -> Reading {
    match (of.name.as_str(), of.built_in) {
        // An extension may have been installed into pg_catalog, too.
        ("text" | "varchar" | "bpchar" | "name", true) | ("citext", _) => {
            Reading::Image(FieldKind::Text)
        }
        ("json", true) => Reading::Image(FieldKind::Json),
        ("jsonb", true) => Reading::Image(FieldKind::Jsonb),
        ("xml", true) => Reading::Image(FieldKind::Xml),
        ("bytea", true) => Reading::Image(FieldKind::Bytes),
        ("hstore", _) => Reading::Image(FieldKind::Hstore),
        (name, true) if NO_TEXT.contains(&name) => Reading::HoldsNoText,
        // An extension's, or a new server's: what is not known is read.
        _ => Reading::AsText,
    }
}

/// The server's own types that are known to hold no text. Whatever is missing here is read.
const NO_TEXT: &[&str] = &[
    "bool",
    "char",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "numeric",
    "money",
    "oid",
    "tid",
    "xid",
    "xid8",
    "cid",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "point",
    "lseg",
    "path",
    "box",
    "polygon",
    "line",
    "circle",
    "uuid",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit",
    "varbit",
    "pg_lsn",
    "pg_snapshot",
    "txid_snapshot",
    "aclitem",
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regclass",
    "regtype",
    "regrole",
    "regnamespace",
    "regconfig",
    "regdictionary",
    "regcollation",
    "regdatabase",
];
