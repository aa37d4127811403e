//! What should become of rows that hang by one foreign key off the person's: only where the
//! schema leaves little doubt. Deleting what should stay cannot be undone, so doubt is `decide`.

use super::names::holds;
use super::propose::Suggested;
use super::walk::is_a_table;
use crate::catalog::{Catalog, ForeignKey, OnDelete, Table};
use crate::name::TableName;

/// A suggestion and why.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) action: Suggested,
    pub(super) why: String,
    /// Known to lead on, or to lead nowhere; `None` where the action says it.
    leads_on: Option<bool>,
}

impl Verdict {
    pub(super) fn decide(why: impl Into<String>) -> Self {
        Self::new(Suggested::Decide, why)
    }

    fn new(action: Suggested, why: impl Into<String>) -> Self {
        Self {
            action,
            why: why.into(),
            leads_on: None,
        }
    }

    /// Somebody has ruled already.
    pub(super) fn known(followed: bool, stops: bool) -> Self {
        Self {
            leads_on: (followed || stops).then_some(followed),
            ..Self::decide("")
        }
    }

    /// The rows are the person's, and so is what hangs off them.
    pub(super) fn is_followed(&self) -> bool {
        self.leads_on.unwrap_or(self.action == Suggested::Delete)
    }

    /// What hangs off the rows is nobody's business here.
    pub(super) fn stops(&self) -> bool {
        self.leads_on
            .map_or(self.action == Suggested::Detach, |on| !on)
    }
}

/// Tables in which money, contracts and proofs are written down.
const BOOKKEEPING: &[&str] = &[
    "invoice",
    "payment",
    "bill",
    "billing",
    "receipt",
    "ledger",
    "journal",
    "accounting",
    "tax",
    "refund",
    "charge",
    "transaction",
    "statement",
    "settlement",
    "payout",
    "payroll",
    "voucher",
    "credit_note",
    "contract",
    "agreement",
    "order",
    "purchase",
    "sale",
    "booking",
    "reservation",
    "audit",
    "audit_log",
    "log",
    "history",
    "archive",
    "seikyu",
    "seikyuu",
    "nyukin",
    "nyuukin",
    "shiwake",
    "uriage",
    "shiharai",
    "ryoshu",
    "ryoushu",
    "keiyaku",
    "kaikei",
    "denpyo",
    "denpyou",
    "chumon",
    "chuumon",
    "yoyaku",
    "kessai",
    "rireki",
    "consent",
    "claim",
    "insurance",
    "loan",
    "deposit",
    "withdrawal",
    "transfer",
    "wallet",
    "point",
    "prescription",
    "medical",
    "warranty",
    "salary",
    "kyuyo",
    "douisho",
    "同意",
    "保険",
    "給与",
    "診療",
    "ポイント",
    "請求",
    "支払",
    "入金",
    "領収",
    "会計",
    "仕訳",
    "売上",
    "契約",
    "帳簿",
    "税",
    "監査",
    "伝票",
    "決済",
    "注文",
    "予約",
    "履歴",
    "精算",
];

/// Columns that say who did something to a row that is about something else.
const ACTORS: &[&str] = &[
    "by",
    "referrer",
    "referer",
    "inviter",
    "assignee",
    "assigned_to",
    "approver",
    "reviewer",
    "editor",
    "creator",
    "modifier",
    "updater",
    "operator",
    "handler",
    "sakuseisha",
    "sakusei_sha",
    "koushinsha",
    "koushin_sha",
    "tantou",
    "tantousha",
    "shoukaisha",
    "作成者",
    "更新者",
    "登録者",
    "承認者",
    "担当",
    "紹介者",
];

/// Columns that count money.
const MONEY: &[&str] = &[
    "amount", "total", "price", "tax", "vat", "fee", "currency", "balance", "kingaku", "zeigaku",
    "金額", "価格", "税額", "合計", "料金", "残高",
];

/// What makes rows sound like something that is kept: the table's name, or money in it.
fn bookkeeping(name: &TableName, table: &Table) -> Option<String> {
    let by_name = holds(&name.table, BOOKKEEPING).map(|word| format!("its name ({word})"));
    let money = || {
        let column = table
            .columns
            .iter()
            .find(|c| holds(&c.name, MONEY).is_some())?;
        Some(format!("its column {}", column.name))
    };
    by_name.or_else(money)
}

/// A suggestion for rows that hang by `key` off rows that are the person's.
pub(super) fn suggest(catalog: &Catalog, root: Option<&TableName>, key: &ForeignKey) -> Verdict {
    let child = &key.child.0;
    let Some(table) = catalog.tables.get(child) else {
        return Verdict::decide(
            "a partition with a foreign key of its own: declare the key on the partitioned table",
        );
    };
    if !is_a_table(catalog, child) {
        return Verdict::decide(
            "rows cannot be erased through it (a view, foreign table or rules)",
        );
    }
    let actor = key.child.1.iter().any(|c| holds(c, ACTORS).is_some());
    if actor && can_detach(catalog, key, table) {
        return Verdict::new(
            Suggested::Detach,
            "the row is about something else and only says who did it, so the link is emptied",
        );
    }
    if *child == key.parent.0 || root == Some(child) {
        return Verdict::decide(
            "other rows of the same kind, perhaps other people's: detach empties the link; delete \
             takes them, and what hangs off them, too",
        );
    }
    if let Some(sign) = bookkeeping(child, table) {
        return Verdict::decide(format!(
            "{sign} sounds like something that is kept: proposal retain, with the law \
             and the date, or anonymize"
        ));
    }
    if actor {
        return Verdict::decide("it says who did something, but the link cannot be emptied");
    }
    let twins = catalog
        .foreign_keys
        .iter()
        .filter(|other| other.child.0 == *child && other.parent.0 == key.parent.0)
        .filter(|other| !other.child.1.iter().any(|c| holds(c, ACTORS).is_some()));
    if twins.count() > 1 {
        return Verdict::decide(
            "it refers to that table in several ways, so a row may be of two people",
        );
    }
    let needed = |c: &String| table.column(c).is_some_and(|c| c.not_null);
    match key.on_delete {
        OnDelete::Cascade => Verdict::new(
            Suggested::Delete,
            "the schema itself would take these rows along, and nothing says that they are kept",
        ),
        OnDelete::SetNull | OnDelete::SetDefault => Verdict::decide(
            "the schema lets the row stay without the link: proposal detach, or anonymize if the \
             row says more of the person",
        ),
        _ if key.child.1.iter().all(needed) => Verdict::new(
            Suggested::Delete,
            "no row can stand without its person, and nothing says that they are kept",
        ),
        _ => Verdict::decide(
            "rows may stand without a person: proposal anonymize, with the link and what is \
             personal set to \"null\"",
        ),
    }
}

/// For rows that hang off a table which is to be decided too: nothing is sure of them, but what
/// makes them doubtful themselves is worth saying.
pub(super) fn behind(catalog: &Catalog, root: Option<&TableName>, key: &ForeignKey) -> Verdict {
    let first = format!("hangs off {}, which is to be decided too", key.parent.0);
    let own = suggest(catalog, root, key);
    match own.action {
        Suggested::Decide => Verdict::decide(format!("{first}; {}", own.why)),
        Suggested::Delete | Suggested::Detach => Verdict::decide(first),
    }
}

/// Whether `check` would let the link be emptied.
fn can_detach(catalog: &Catalog, key: &ForeignKey, table: &Table) -> bool {
    let columns: Vec<_> = key.child.1.iter().filter_map(|c| table.column(c)).collect();
    let free = columns.iter().all(|c| {
        let referred = catalog
            .referring_to(&key.child.0)
            .any(|k| k.parent.1.contains(&c.name));
        !c.generated && !referred && !table.primary_key.contains(&c.name)
    });
    free && match key.match_full {
        true => columns.iter().all(|c| !c.not_null),
        false => columns.iter().any(|c| !c.not_null),
    }
}

/// The facts of a key, in words.
pub(super) fn facts(key: &ForeignKey, table: Option<&Table>) -> String {
    let columns: Vec<String> = key
        .child
        .1
        .iter()
        .map(|c| {
            let needed = table.and_then(|t| t.column(c)).is_some_and(|c| c.not_null);
            format!("{c} {}", if needed { "NOT NULL" } else { "may be NULL" })
        })
        .collect();
    let columns_set = match key.sets.as_slice() {
        [] => String::new(),
        sets => format!(" ({})", sets.join(", ")),
    };
    let full = if key.match_full { ", MATCH FULL" } else { "" };
    let on_delete = match key.on_delete {
        OnDelete::NoAction => "NO ACTION",
        OnDelete::Restrict => "RESTRICT",
        OnDelete::Cascade => "CASCADE",
        OnDelete::SetNull => "SET NULL",
        OnDelete::SetDefault => "SET DEFAULT",
    };
    let enforced = if key.enforced { "" } else { ", not enforced" };
    format!(
        "{} ({}) refers to {}{full}, ON DELETE {on_delete}{columns_set}{enforced}",
        key.name,
        columns.join(", "),
        key.parent.0
    )
}
