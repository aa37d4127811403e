//! A run's certificate for the eye.

use super::{Lang, count, tame, time};
use crate::certificate::run::{PartitionFate, RunCertificate};
use crate::graph::escape;
use crate::keys::KeyId;
use std::fmt::Write as _;

/// Renders it as aligned plain text.
pub fn run_text(certificate: &RunCertificate, lang: Lang) -> String {
    let c = certificate;
    let mut page = Page {
        lang,
        out: String::new(),
    };
    page.heading(
        "保存期間満了による消去の証明書",
        "Certificate of a Retention Run",
    );
    page.field("証明書番号", "Certificate", &c.id.to_string());
    page.field("発行日時", "Issued", &time(&c.issued_at));
    page.run(c);
    page.approval(c);
    page.heading("消去した行", "What went");
    for table in &c.tables {
        let rows = match lang {
            Lang::Ja => format!(
                "削除 {}、匿名化 {}、切り離し {}、ラージオブジェクト {}",
                count(table.deleted),
                count(table.anonymized),
                count(table.detached),
                count(table.large_objects)
            ),
            Lang::En => format!(
                "{} deleted, {} anonymized, {} detached, {} large objects",
                count(table.deleted),
                count(table.anonymized),
                count(table.detached),
                count(table.large_objects)
            ),
        };
        page.field(&table.table, &table.table, &rows);
    }
    if let Some(days) = c.days {
        let days = format!("{} – {}", days.first, days.last);
        page.field("日付の範囲", "Of the days", &days);
    }
    page.partitions(c);
    page.archives(c);
    if !c.subscribers.is_empty() {
        page.field(
            "適用を確認した論理レプリケーション先",
            "Applied by logical subscribers",
            &c.subscribers.join(", "),
        );
    }
    page.stays(c);
    page.heading("由来", "Provenance");
    page.field(
        "ポリシー",
        "Policy",
        &format!("sha256:{}", c.run.policy_sha256),
    );
    let program = format!("{} {}", c.program.name, c.program.version);
    page.field("プログラム", "Program", &program);
    let head = format!("{}:{}", c.ledger.height, c.ledger.head);
    page.field("台帳", "Ledger", &head);
    page.out
}

/// One self-contained page in both languages.
pub fn run_html(certificate: &RunCertificate, jws: &str, signer: &KeyId) -> String {
    let text = |lang| {
        let lines = run_text(certificate, lang);
        lines
            .lines()
            .map(|line| escape(line) + "\n")
            .collect::<String>()
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"ja\"><head><meta charset=\"utf-8\"><title>{id}</title>\
         <style>@page{{size:A4;margin:18mm}}pre{{white-space:pre-wrap;overflow-wrap:anywhere;font-size:10pt}}</style></head>\
         <body><pre lang=\"ja\">{}</pre><pre lang=\"en\">{}</pre><pre>{} {signer}\n{}</pre></body></html>\n",
        text(Lang::Ja),
        text(Lang::En),
        "署名鍵 / Signed by",
        escape(jws),
        id = certificate.id,
    )
}

struct Page {
    lang: Lang,
    out: String,
}

impl Page {
    fn say<'w>(&self, ja: &'w str, en: &'w str) -> &'w str {
        match self.lang {
            Lang::Ja => ja,
            Lang::En => en,
        }
    }

    fn heading(&mut self, ja: &str, en: &str) {
        let word = self.say(ja, en);
        let before = if self.out.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.out, "{before}{word}");
    }

    fn field(&mut self, ja: &str, en: &str, value: &str) {
        let label = super::text::pad(&tame(self.say(ja, en)), 30);
        let line = format!("  {label}  {}", tame(value));
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    fn run(&mut self, c: &RunCertificate) {
        let run = &c.run;
        self.heading("実行", "Run");
        self.field("実行番号", "Run", &run.id.to_string());
        self.field("規則", "Rule", &format!("{} ({})", run.rule, run.subject));
        self.field("表", "Table", &run.table);
        self.field("根拠", "Basis", &run.basis);
        let cutoff = format!("{} ({})", run.cutoff, run.timezone);
        self.field("対象となる最後の日", "Due through", &cutoff);
        if let Some(slot) = &run.slot {
            self.field("予定時刻", "Scheduled for", &time(slot));
        }
        self.field("開始", "Started", &time(&run.started_at));
        self.field("終了", "Ended", &time(&run.ended_at));
        let state = match &run.problem {
            Some(code) => format!("{} ({code})", run.state),
            None => run.state.clone(),
        };
        self.field("結果", "Came to", &state);
        self.field("トランザクション数", "Transactions", &count(run.batches));
    }

    fn approval(&mut self, c: &RunCertificate) {
        let Some(approval) = &c.approval else {
            return;
        };
        let by = format!("{} ({})", approval.by_role, time(&approval.at));
        self.field("規則の承認（立場、日時）", "Rule approved by", &by);
        self.field(
            "承認時の対象行数",
            "Rows due when approved",
            &count(approval.due),
        );
    }

    fn partitions(&mut self, c: &RunCertificate) {
        for part in &c.partitions {
            let fate = match part.fate {
                PartitionFate::Dropped => self.say("削除", "dropped"),
                PartitionFate::Detached => self.say("切り離し", "detached"),
            };
            let rows = count(part.rows);
            let mut what = match self.lang {
                Lang::Ja => format!("{} {fate}、{rows} 行", part.partition),
                Lang::En => format!("{} {fate}, {rows} rows", part.partition),
            };
            if let Some(range) = part.range {
                let _ = write!(what, " ({} – {})", range.first, range.last);
            }
            self.field("うちパーティションごと", "Of them a whole partition", &what);
        }
    }

    fn archives(&mut self, c: &RunCertificate) {
        if c.archives.is_empty() {
            return;
        }
        self.heading("消去前に保管した行", "Archived before they went");
        for file in &c.archives {
            let about = match self.lang {
                Lang::Ja => format!(
                    "{} 行、{} まで保管、{}",
                    count(file.rows),
                    file.keep_until,
                    file.file
                ),
                Lang::En => format!(
                    "{} rows, kept until {}, {}",
                    count(file.rows),
                    file.keep_until,
                    file.file
                ),
            };
            self.field(&file.table, &file.table, &about);
            self.field("", "", &format!("sha256:{}", file.sha256));
        }
    }

    fn stays(&mut self, c: &RunCertificate) {
        self.heading("残った行", "What stays");
        self.field("保全命令による", "By legal holds", &count(c.held.rows));
        for ground in &c.held.grounds {
            let hold = format!("{} ({})", ground.hold, ground.reason);
            self.field("保全命令", "Hold", &hold);
        }
        if c.filed > 0 {
            self.field("発行したチケット", "Tickets filed", &count(c.filed));
        }
        self.field("消去できなかった行", "Set aside", &count(c.set_aside));
        match c.remaining {
            Some(left) => {
                let rows = format!("{} ({})", count(left.rows), time(&left.checked_at));
                self.field(
                    "期限を過ぎて残る行（確認時刻）",
                    "Overdue rows left, looked at",
                    &rows,
                );
                self.field(
                    "関連する行の保存期間が残るため保存",
                    "Kept by what hangs on them",
                    &count(left.kept),
                );
            }
            None => {
                let why = self.say(
                    "確認なし（その時点でポリシーが変わっていたか、個人ごとのチケットによる消去）",
                    "not looked at: the policy was another one by then, or people go by tickets",
                );
                self.field("期限を過ぎて残る行", "Overdue rows left", why);
            }
        }
    }
}
