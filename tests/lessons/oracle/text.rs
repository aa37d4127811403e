//! A case as SQL, as a policy, and as rows read back.

use super::model::{Act, Dress, Form, Key, Kind, Model, Rule, Table};
use crate::target::{Target, head};
use std::fmt::Write;
use tokio_postgres::SimpleQueryMessage;

impl Model {
    /// A name as this case spells it.
    fn called(&self, name: &str) -> String {
        match self.names {
            _ if name == "email" => name.into(),
            3 => format!("{} \"Q.\" ", name.to_uppercase()),
            4 => format!("{name}_{}", "x".repeat(62 - name.len())),
            5 => format!("表 {name};--"),
            _ => name.into(),
        }
    }

    fn schema_of(&self, table: usize) -> String {
        if self.two_schemas && table % 2 == 1 {
            format!("{} \"B\"", self.schema)
        } else {
            self.schema.clone()
        }
    }

    fn sql_name(&self, table: usize, part: &str) -> String {
        let name = format!("t{table}{part}");
        let (schema, name) = (self.schema_of(table), self.called(&name));
        format!("{}.{}", quoted(&schema), quoted(&name))
    }

    /// A table as policies and reports name it.
    pub(super) fn told(&self, table: usize) -> String {
        let name = self.called(&format!("t{table}"));
        format!("{}.{}", part(&self.schema_of(table)), part(&name))
    }

    fn column(&self, name: &str) -> String {
        quoted(&self.called(name))
    }

    fn columns<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> String {
        let names = names.into_iter().map(|n| self.column(n.as_ref()));
        names.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn drop(&self) -> String {
        let schema = &self.schema;
        format!(
            "SET client_min_messages = error; DROP SCHEMA IF EXISTS {}, {} CASCADE",
            quoted(schema),
            quoted(&format!("{schema} \"B\""))
        )
    }

    /// The schema with its rows; foreign keys come when all rows stand.
    pub(super) fn sql(&self) -> String {
        let schema = quoted(&self.schema);
        let other = quoted(&format!("{} \"B\"", self.schema));
        let mut sql = format!(
            "CREATE SCHEMA {schema}; CREATE SCHEMA {other};\n\
             CREATE TYPE {schema}.\"Mood\" AS ENUM ('calm', 'sad');\n\
             CREATE DOMAIN {schema}.num AS int CHECK (value >= 0);\n"
        );
        for (at, table) in self.tables.iter().enumerate() {
            self.create(&mut sql, at, table);
            for row in 0..table.rows.len() {
                self.insert(&mut sql, at, table, row);
            }
        }
        for (at, table) in self.tables.iter().enumerate() {
            for key in table.keys.iter().filter(|k| k.foreign()) {
                self.constrain(&mut sql, at, key);
            }
        }
        sql
    }

    fn create(&self, sql: &mut String, at: usize, table: &Table) {
        let domain = format!("{}.num", quoted(&self.schema));
        let number = if table.has(Dress::Domain) {
            &domain
        } else {
            "int"
        };
        let mut columns: Vec<String> = Vec::new();
        if table.has(Dress::Dropped) {
            columns.push("lost int".into());
        }
        for column in &table.key {
            columns.push(format!("{} {number}", self.column(column)));
        }
        for (n, key) in table.keys.iter().enumerate() {
            let not_null = if key.nullable { "" } else { " NOT NULL" };
            let kind = match key.kind {
                Kind::Json if n % 2 == 0 => "jsonb",
                Kind::JsonList => "jsonb",
                Kind::Array => "int[]",
                Kind::Json => "json",
                _ => "int",
            };
            for column in key.columns.iter().filter(|c| *c != "k1") {
                columns.push(format!("{} {kind}{not_null}", self.column(column)));
            }
            if key.kind == Kind::When {
                columns.push(format!("{} text", self.column(&format!("ty{n}"))));
            }
        }
        self.dressing(&mut columns, table);
        let by = table.key.first().copied().unwrap_or("day");
        let partition = match table.form {
            Form::Plain | Form::Heir => String::new(),
            Form::List => format!(" PARTITION BY LIST ({})", self.column(by)),
            Form::Hash => format!(" PARTITION BY HASH ({})", self.column(by)),
            Form::Range | Form::TwoLevels => format!(" PARTITION BY RANGE ({})", self.column(by)),
        };
        let name = self.sql_name(at, "");
        writeln!(
            sql,
            "CREATE TABLE {name} ({}){partition};",
            columns.join(", ")
        )
        .unwrap();
        self.parts(sql, at, table, by);
        if table.has(Dress::Dropped) {
            writeln!(sql, "ALTER TABLE {name} DROP COLUMN lost;").unwrap();
        }
    }

    fn dressing(&self, columns: &mut Vec<String>, table: &Table) {
        if table.has(Dress::Unique) {
            columns.push(format!("{} int NOT NULL UNIQUE", self.column("u")));
        }
        if table.has(Dress::Identity) {
            columns.push(format!(
                "{} int GENERATED ALWAYS AS IDENTITY",
                self.column("seq")
            ));
        }
        if table.has(Dress::Enum) {
            columns.push(format!(
                "{} {}.\"Mood\"",
                self.column("mood"),
                quoted(&self.schema)
            ));
        }
        columns.push(format!(
            "{} text, {} text, {} date NOT NULL",
            self.column("email"),
            self.column("note"),
            self.column("day")
        ));
        if table.has(Dress::Generated) {
            columns.push(format!(
                "{} text GENERATED ALWAYS AS (upper({})) STORED",
                self.column("loud"),
                self.column("note")
            ));
        }
        if !table.key.is_empty() {
            columns.push(format!("PRIMARY KEY ({})", self.columns(&table.key)));
        }
    }

    fn parts(&self, sql: &mut String, at: usize, table: &Table, by: &str) {
        let (name, a, b) = (
            self.sql_name(at, ""),
            self.sql_name(at, "a"),
            self.sql_name(at, "b"),
        );
        let (low, high) = if by == "day" {
            ("'2001-05-06'", "'2010-01-01'")
        } else {
            ("0", "1")
        };
        let of = format!("PARTITION OF {name}");
        let range = format!("CREATE TABLE {a} {of} FOR VALUES FROM (MINVALUE) TO ({high});\n");
        let rest = format!("CREATE TABLE {b} {of} FOR VALUES FROM ({high}) TO (MAXVALUE)");
        let text = match table.form {
            Form::Plain => String::new(),
            Form::Heir => format!("CREATE TABLE {a} () INHERITS ({name});\n"),
            Form::List => format!(
                "CREATE TABLE {a} {of} FOR VALUES IN ({low});\nCREATE TABLE {b} {of} DEFAULT;\n"
            ),
            Form::Range => format!("{range}{rest};\n"),
            Form::Hash => format!(
                "CREATE TABLE {a} {of} FOR VALUES WITH (MODULUS 2, REMAINDER 0);\n\
                 CREATE TABLE {b} {of} FOR VALUES WITH (MODULUS 2, REMAINDER 1);\n"
            ),
            Form::TwoLevels => format!(
                "{range}{rest} PARTITION BY HASH ({});\n\
                 CREATE TABLE {} PARTITION OF {b} FOR VALUES WITH (MODULUS 2, REMAINDER 0);\n\
                 CREATE TABLE {} PARTITION OF {b} FOR VALUES WITH (MODULUS 2, REMAINDER 1);\n",
                self.column(by),
                self.sql_name(at, "b0"),
                self.sql_name(at, "b1")
            ),
        };
        sql.push_str(&text);
    }

    fn insert(&self, sql: &mut String, at: usize, table: &Table, row: usize) {
        let mut shown = self.shown(at, row);
        shown.retain(|(column, _)| column != "loud");
        let literal = |v: &String| format!("'{}'", v.replace('\'', "''"));
        let values = shown
            .iter()
            .map(|(_, v)| v.as_ref().map_or("NULL".into(), literal));
        let values: Vec<String> = values.collect();
        let heir = table.form == Form::Heir && row % 2 == 1;
        writeln!(
            sql,
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({});",
            self.sql_name(at, if heir { "a" } else { "" }),
            self.columns(shown.iter().map(|(c, _)| c)),
            values.join(", ")
        )
        .unwrap();
    }

    fn constrain(&self, sql: &mut String, at: usize, key: &Key) {
        let (mut columns, mut to) = (key.columns.clone(), key.to.clone());
        let on_delete = if key.on_delete == "SET NULL (column)" {
            format!("SET NULL ({})", self.column(&columns[1]))
        } else {
            key.on_delete.into()
        };
        if key.swapped {
            columns.reverse();
            to.reverse();
        }
        writeln!(
            sql,
            "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}){} ON DELETE {on_delete}{}{}{};",
            self.sql_name(at, ""),
            self.column(&key.name),
            self.columns(&columns),
            self.sql_name(key.parent, ""),
            self.columns(&to),
            if key.full { " MATCH FULL" } else { "" },
            key.on_update,
            key.deferrable,
            if key.not_valid { " NOT VALID" } else { "" }
        )
        .unwrap();
    }

    /// The policy: a rule for the root, then one for each key by its name.
    pub(super) fn policy(&self) -> String {
        let mut policy = head(&format!("s.{}", self.told(0)));
        if let Some(scope) = &self.scope {
            let tables: Vec<String> = scope
                .iter()
                .map(|t| format!("s.{}", self.told(*t)))
                .collect();
            writeln!(
                policy,
                "[scope.narrow]\ntables = {tables:?}\nverify = {{ at_least = \"basic\" }}\nsla = \"jp-appi\""
            )
            .unwrap();
        }
        self.write_rule(&mut policy, 0, None, &self.root);
        for (at, table) in self.tables.iter().enumerate() {
            if let Some((owners, _)) = &table.shared {
                writeln!(
                    policy,
                    "[[table]]\nname = {:?}\naction = \"shared\"\nthrough = {:?}",
                    format!("s.{}", self.told(at)),
                    format!("s.{}", self.told(*owners))
                )
                .unwrap();
            }
            for (n, key) in table.keys.iter().enumerate() {
                if key.rule.id == (at, n) {
                    self.write_rule(&mut policy, at, Some((n, key)), &key.rule);
                }
            }
        }
        policy
    }

    fn write_rule(
        &self,
        policy: &mut String,
        table: usize,
        key: Option<(usize, &Key)>,
        rule: &Rule,
    ) {
        let name = format!("s.{}", self.told(table));
        writeln!(policy, "[[table]]\nname = {name:?}").unwrap();
        if let Some((n, key)) = key.filter(|_| !rule.common) {
            writeln!(policy, "via = {:?}", self.called(&key.name)).unwrap();
            if !key.foreign() {
                self.write_link(policy, n, key);
            }
        }
        let called = |c: &String| format!("{:?} = \"null\"", self.called(c));
        let mut set: Vec<String> = rule.nulls.iter().map(called).collect();
        if rule.redact {
            set.push(format!("{:?} = \"redact\"", self.called("note")));
        }
        let set = if set.is_empty() {
            String::new()
        } else {
            format!("set = {{ {} }}\n", set.join(", "))
        };
        let text = match rule.act {
            Act::Delete if self.goes_in_pieces(table) => {
                "action = \"delete\"\nlarge = \"batches\"\n".into()
            }
            Act::Delete => "action = \"delete\"\n".into(),
            Act::Detach => "action = \"detach\"\n".into(),
            Act::Exempt => "action = \"exempt\"\nreason = \"not theirs\"\n".into(),
            Act::Anonymize => format!("action = \"anonymize\"\n{set}"),
            Act::Retain => format!(
                "action = \"retain\"\nuntil = {{ column = {:?}, plus = \"7 years\" }}\nbecause = \"books are kept\"\nthen = \"delete\"\n{set}",
                self.called("day")
            ),
            Act::WithParent => {
                format!("action = \"retain\"\nbecause = \"books are kept\"\n{set}")
            }
        };
        policy.push_str(&text);
    }

    fn write_link(&self, policy: &mut String, n: usize, key: &Key) {
        let columns: Vec<String> = key.columns.iter().map(|c| self.called(c)).collect();
        let from = match key.kind {
            Kind::Json => format!(
                "json = {{ column = {:?}, path = [\"user\", \"id\"] }}",
                columns[0]
            ),
            Kind::Array => format!("elements = {:?}", columns[0]),
            Kind::JsonList => format!(
                "json = {{ column = {:?}, path = [\"*\", \"id\"] }}",
                columns[0]
            ),
            _ => format!("columns = {columns:?}"),
        };
        let when = match key.kind {
            Kind::When => {
                format!(
                    ", when = {{ {:?} = \"It's\" }}",
                    self.called(&format!("ty{n}"))
                )
            }
            _ => String::new(),
        };
        let to = format!("s.{}", self.told(key.parent));
        let ends: Vec<String> = key.to.iter().map(|c| self.called(c)).collect();
        let ends = if key.to == ["u"] {
            format!(", key = {ends:?}")
        } else {
            String::new()
        };
        writeln!(policy, "link = {{ {from}, to = {to:?}{ends}{when} }}").unwrap();
    }

    /// All rows as they are now, table by table, sorted.
    pub(super) async fn read(&self, target: &Target) -> Vec<Vec<String>> {
        let client = target.client().await;
        let selects =
            (0..self.tables.len()).map(|at| format!("SELECT * FROM {};", self.sql_name(at, "")));
        let messages = client
            .simple_query(&selects.collect::<String>())
            .await
            .unwrap();
        let mut tables = Vec::new();
        let mut rows = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let values: Vec<_> = (0..row.len())
                        .map(|c| row.get(c).map(str::to_owned))
                        .collect();
                    rows.push(format!("{values:?}"));
                }
                SimpleQueryMessage::CommandComplete(_) => {
                    rows.sort();
                    tables.push(std::mem::take(&mut rows));
                }
                _ => {}
            }
        }
        tables
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn part(name: &str) -> String {
    let odd = |c: char| c == '.' || c == '"' || c == '\'' || c.is_whitespace();
    if name.chars().any(odd) {
        quoted(name)
    } else {
        name.into()
    }
}
