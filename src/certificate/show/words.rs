//! The words of a certificate in both languages.

use super::Lang;
use crate::certificate::{AssuranceLevel, Certificate, ReadFrom, Ticket, WhenDue};
use crate::policy::Covers;

/// A word, or a sentence, twice.
#[derive(Clone, Copy)]
pub(super) struct Word {
    pub(super) ja: &'static str,
    pub(super) en: &'static str,
}

impl Word {
    pub(super) fn get(self, lang: Lang) -> &'static str {
        match lang {
            Lang::Ja => self.ja,
            Lang::En => self.en,
        }
    }
}

macro_rules! words {
    ($($name:ident: $ja:literal, $en:literal;)*) => {
        $(pub(super) const $name: Word = Word { ja: $ja, en: $en };)*
    };
}

words! {
    TITLE: "個人データ消去証明書", "Certificate of Erasure";
    CERTIFICATE: "証明書番号", "Certificate";
    ISSUED: "発行日時", "Issued";
    SUPPLEMENTS: "補完する証明書", "Completes certificate";
    REQUEST: "請求", "Request";
    TICKET: "受付番号", "Ticket";
    REFERENCE: "窓口の整理番号", "Desk reference";
    SUBJECT: "対象者の種別", "Kind of subject";
    SUBJECT_HASH: "対象者の鍵付きハッシュ", "Subject, keyed hash";
    IDENTIFIER_HASH: "識別子の鍵付きハッシュ", "Identifier, keyed hash";
    SCOPE: "範囲", "Scope";
    COVERS_CATEGORIES: "範囲に含まれる区分", "Covers categories";
    COVERS_TABLES: "範囲に含まれる表", "Covers tables";
    COVERS_COLUMNS: "範囲に含まれる列", "Covers columns";
    NOT_SWEPT: "範囲が対象者の一部であるため、他の場所の検索は行っていない。取引内の残存検査がすべてである。",
        "The scope is a part of what is held on the subject, so other places were not searched: the probes before commit are the whole check.";
    GROUND: "法的根拠", "Legal ground";
    REQUESTED: "請求日時", "Requested";
    DUE: "期限", "Due";
    NOT_BEFORE: "猶予期間の終了", "Cooling-off ended";
    STARTED: "消去開始", "Erasure began";
    FINISHED: "最終確認", "Last check done";
    SLA: "処理期限", "Deadline";
    MET: "期限内", "met";
    MISSED: "期限超過", "missed";
    EXPLAINED: "法定の期限ではないが、この日以後は理由の説明を要する", "not late in law, but an explanation was owed from that day on";
    NO_TERM: "期限の定めなし", "no last day";
    IDENTITY: "本人確認と承認", "Identity and approval";
    METHOD: "確認方法", "Method";
    LEVEL: "確認の水準", "Level reached";
    REQUIRED: "必要な水準", "Level required";
    VERIFIED_BY: "確認者の役割", "Verified by (role)";
    APPROVED_BY: "承認者の役割", "Approved by (role)";
    FOUR_EYES: "二人による承認", "Two people";
    YES: "あり", "yes";
    NO: "求められていない", "not asked for";
    NONE: "なし", "none";
    RESULT: "処理の結果", "What was done";
    SYSTEM: "システム", "System";
    SERVER: "サーバー", "Server";
    COMMITTED: "確定日時", "Committed";
    CATALOG: "カタログ指紋", "Catalog fingerprint";
    SUBSCRIBERS: "適用を確認した論理レプリケーション先", "Applied by logical subscribers";
    TABLE: "表", "Table";
    DELETED: "削除", "Deleted";
    IN_PIECES: "先立って別の取引に分けて削除した回数", "Of the deleted rows a part went beforehand, in transactions of their own";
    ANONYMIZED: "匿名化", "Anonymized";
    DETACHED: "切離し", "Detached";
    KEPT: "保存", "Kept";
    LARGE_OBJECTS: "削除したラージオブジェクト", "Large objects removed";
    ROWS: "行", "rows";
    EXEMPT_TABLE: "対象外", "Left alone";
    PROBES: "取引内の残存検査", "Probes before commit";
    BY_QUERY: "問合せ", "by query";
    BY_FOREIGN_KEY: "外部キー", "by foreign key";
    KEPT_BY_LAW: "法令により保存されるもの", "Kept by law";
    BASIS: "根拠", "Basis";
    UNTIL: "保存期限", "Until";
    WITH_PARENT: "親の行と同時", "with the row it belongs to";
    DEFERRALS: "後日消去されるもの", "Put off to a date";
    KIND: "種類", "Kind";
    PLACE: "置き場所", "Place";
    ERASED: "消去した件数", "Things erased";
    STAYS: "システムが保持するもの", "Kept by the system";
    ERASED_AT: "消去日時", "Erased";
    NOT_PROMISED: "述べないこと", "Not said";
    COPIES: "システムの写し", "Copies it keeps";
    SWEEP: "消去後の残存検索", "Search after the erasure";
    READ_FROM: "読取り元", "Read from";
    COVERED: "読取り範囲", "Read";
    TABLES: "表", "tables";
    COLUMNS: "列", "columns";
    FROM_TO: "読取り日時", "Read between";
    SEARCHED: "検索した識別子", "Searched for";
    EXEMPT_COLUMNS: "方針により読まれなかった列", "Columns left unread by policy";
    NOT_COVERED: "読めなかった表", "Tables that could not be read";
    COLUMN: "列", "Column";
    REASON: "理由", "Reason";
    ASSURANCE: "保証の水準", "Assurance";
    GONE: "消去の水準", "Meaning of \u{201c}gone\u{201d}";
    REACHED: "到達日時", "Reached";
    REFUSED: "お断りした部分", "Refused";
    PROVENANCE: "由来", "Provenance";
    POLICY: "消去方針", "Policy";
    PROGRAM: "プログラム", "Program";
    LEDGER: "直前の台帳", "Ledger before this";
    SIGNED_TEXT: "署名付き原本(JWS)", "The signed original (JWS)";
    ANNEX: "付表:読み取った表と日時", "Annex: tables read, and when";
    LIMITS: "この証明書が述べないこと", "What this certificate does not say";
    VERIFIED: "この表示の作成時に、次の鍵で署名を確認した:",
        "When this page was made, the signature was checked with key";
    UNVERIFIED: "この表示の署名は確認されていない。下の原本を公開鍵で確認すること。",
        "The signature was not checked when this page was made. Check the original below with the public key.";
    LEADS: "署名されているのは下の原本であり、この頁はその写しである。両者が異なるときは原本による。",
        "What is signed is the original below; this page is a rendering of it. Where they differ, the original counts.";
    STATEMENT: "下記の請求に基づき、対象者のデータを以下のとおり処理し、残存の有無を確認した。",
        "On the request below the subject's data was dealt with as follows, and what was left was looked for.";
    STATEMENT_DEFERRED: "一部は法令により保存され、期日に消去される。",
        "A part is kept by law and will be dealt with on its date.";
    LIMITS_TEXT: "登録されていないシステム、紙、画面の写し、社外への提供先については述べない。対象者が誰であるかも述べない。",
        "Nothing is said of systems that are not registered, of paper, of screenshots, or of those the data was passed on to. Nor does it say who the subject was.";
    LIMITS_LOGICAL: "水準「論理」は、生きている行に残っていないことだけを意味する。削除済み領域、WAL、バックアップには、それぞれが上書き又は失効するまでバイト列が残り得る。",
        "Level \u{201c}logical\u{201d} means only that no live row says it. Bytes may remain in freed space, the WAL and backups until these are overwritten or expire.";
}

pub(super) fn level(level: AssuranceLevel) -> Word {
    match level {
        AssuranceLevel::Logical => Word {
            ja: "論理(生きている行に残っていない)",
            en: "logical: no live row says it",
        },
        AssuranceLevel::Derived => Word {
            ja: "派生(データベースが作る写しにも残っていない)",
            en: "derived: no copy that the database derives says it",
        },
        AssuranceLevel::Reclaimed => Word {
            ja: "回収(削除済みの行にも残っていない)",
            en: "reclaimed: no dead row holds it",
        },
        AssuranceLevel::Rewritten => Word {
            ja: "書換(ファイルに残っていない)",
            en: "rewritten: the files do not hold it",
        },
        AssuranceLevel::Expired => Word {
            ja: "失効(WAL とバックアップも保存期間を過ぎた)",
            en: "expired: WAL and backups are past their retention",
        },
    }
}

pub(super) fn server(from: ReadFrom) -> Word {
    match from {
        ReadFrom::Primary => Word {
            ja: "主サーバー",
            en: "primary",
        },
        ReadFrom::Standby => Word {
            ja: "待機サーバー",
            en: "standby",
        },
    }
}

/// What a scope covers, by kind.
pub(super) fn covers(covers: &Covers) -> impl Iterator<Item = (Word, &[String])> {
    let kinds = [
        (COVERS_CATEGORIES, covers.categories.as_slice()),
        (COVERS_TABLES, covers.tables.as_slice()),
        (COVERS_COLUMNS, covers.columns.as_slice()),
    ];
    kinds.into_iter().filter(|(_, names)| !names.is_empty())
}

/// Whether nothing was searched because the scope is not the whole subject.
pub(super) fn is_not_swept(certificate: &Certificate) -> bool {
    certificate.sweep.is_empty() && certificate.ticket.covers.is_some()
}

/// How the request stands to the day that its clock names: for the style, and in words.
pub(super) fn verdict(ticket: &Ticket) -> (&'static str, Word) {
    match (ticket.sla_met, ticket.when_due) {
        (None, _) => ("met", NO_TERM),
        (Some(true), _) => ("met", MET),
        (Some(false), WhenDue::Late) => ("missed", MISSED),
        (Some(false), WhenDue::Explain) => ("explained", EXPLAINED),
    }
}
