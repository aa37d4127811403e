//! The choices as drawn: any of them makes a case, so that they shrink freely.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) struct RawCase {
    pub(super) root_action: u8,
    pub(super) root_self: Option<RawKey>,
    pub(super) root_rows: u8,
    /// One bit for each row of the root.
    pub(super) subjects: u8,
    /// One batch after the other, not one for all.
    pub(super) in_turn: bool,
    pub(super) two_schemas: bool,
    pub(super) names: u8,
    pub(super) tables: Vec<RawTable>,
    /// From which table, to which of those that hang off it.
    pub(super) rings: Vec<(u8, u8, RawKey)>,
}

#[derive(Clone, Debug)]
pub(super) struct RawTable {
    pub(super) key: u8,
    pub(super) form: u8,
    /// One bit for each thing that a table may have besides.
    pub(super) dress: u8,
    pub(super) common: bool,
    /// A table of owners, and what they share, stand before it.
    pub(super) shared: bool,
    pub(super) keys: Vec<RawKey>,
    pub(super) rows: Vec<RawRow>,
}

#[derive(Clone, Debug)]
pub(super) struct RawKey {
    pub(super) parent: u8,
    pub(super) nullable: bool,
    pub(super) on_delete: u8,
    pub(super) on_update: u8,
    pub(super) deferrable: u8,
    pub(super) soft: bool,
    pub(super) kind: u8,
    pub(super) shape: u8,
    pub(super) own: bool,
    pub(super) action: u8,
    pub(super) null_all: bool,
    pub(super) redact: bool,
}

#[derive(Clone, Debug)]
pub(super) struct RawRow {
    pub(super) refs: [u8; 4],
    pub(super) old: bool,
    pub(super) note: bool,
}

pub(super) fn raw_case() -> impl Strategy<Value = RawCase> {
    let root = (
        any::<u8>(),
        proptest::option::weighted(0.3, raw_key()),
        any::<u8>(),
        any::<u8>(),
        any::<bool>(),
    );
    let tables = proptest::collection::vec(raw_table(), 2..=6);
    let ring = (any::<u8>(), any::<u8>(), raw_key());
    let rings = proptest::collection::vec(ring, 0..=2);
    (root, any::<bool>(), 0..6u8, tables, rings).prop_map(
        |(
            (root_action, root_self, root_rows, subjects, in_turn),
            two_schemas,
            names,
            tables,
            rings,
        )| {
            RawCase {
                root_action,
                root_self,
                root_rows,
                subjects,
                in_turn,
                two_schemas,
                names,
                tables,
                rings,
            }
        },
    )
}

fn raw_table() -> impl Strategy<Value = RawTable> {
    (
        0..5u8,
        0..10u8,
        any::<u8>(),
        any::<bool>(),
        proptest::bool::weighted(0.12),
        proptest::collection::vec(raw_key(), 1..=3),
        proptest::collection::vec(raw_row(), 0..=7),
    )
        .prop_map(|(key, form, dress, common, shared, keys, rows)| RawTable {
            key,
            form,
            dress,
            common,
            shared,
            keys,
            rows,
        })
}

fn raw_key() -> impl Strategy<Value = RawKey> {
    let often = proptest::bool::weighted(0.6);
    let clauses = (any::<u8>(), any::<u8>(), 0..4u8);
    let kinds = (proptest::bool::weighted(0.25), any::<u8>(), any::<u8>());
    let rule = (
        proptest::bool::weighted(0.3),
        any::<u8>(),
        often,
        any::<bool>(),
    );
    (
        any::<u8>(),
        proptest::bool::weighted(0.6),
        clauses,
        kinds,
        rule,
    )
        .prop_map(
            |(
                parent,
                nullable,
                (on_delete, on_update, deferrable),
                (soft, kind, shape),
                (own, action, null_all, redact),
            )| RawKey {
                parent,
                nullable,
                on_delete,
                on_update,
                deferrable,
                soft,
                kind,
                shape,
                own,
                action,
                null_all,
                redact,
            },
        )
}

fn raw_row() -> impl Strategy<Value = RawRow> {
    (any::<[u8; 4]>(), any::<bool>(), any::<bool>()).prop_map(|(refs, old, note)| RawRow {
        refs,
        old,
        note,
    })
}
