//! The sweep against a bare binary COPY of the same columns, on one server, alternating.

use crate::report::{Must, Report, Setting};
use crate::support::{Server, ServerOptions};
use erasured::identifier::normalise;
use erasured::policy::IdentifierKind;
use erasured::system::postgres::{quote, sweep};
use erasured::verify::{Matcher, Needle};
use futures_util::{StreamExt, pin_mut};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const ROUNDS: usize = 7;

/// About 300 MB: customers, messages in Japanese and English, JSON events, long documents.
const DATA: &str = "
CREATE TABLE customer AS SELECT n AS id, 'M-' || lpad(n::text, 8, '0') AS member_no,
   'user' || n || '@example.' || (ARRAY['jp','com','org'])[1 + n % 3] AS email,
   '0' || (ARRAY['3','6','90','80'])[1 + n % 4] || '-' || lpad((n * 7919 % 10000)::text, 4, '0') || '-' || lpad((n % 10000)::text, 4, '0') AS phone,
   (ARRAY['山田','佐藤','鈴木','高橋','田中'])[1 + n % 5] || ' ' || (ARRAY['太郎','花子','一郎','美咲'])[1 + n % 4] AS name,
   now() AS at FROM generate_series(1, 200000) n;
CREATE TABLE message AS SELECT n AS id,
   CASE n % 3 WHEN 0 THEN repeat('お世話になっております。先日ご予約の件でご連絡いたしました（変更：あり）。担当の' || chr(19968 + n % 20000) || 'より折り返しお電話を差し上げます。', 4)
     WHEN 1 THEN repeat('Dear customer, thank you for your order ' || md5(n::text) || ' of 2026-01-02; it will be sent soon. ', 5)
     ELSE 'user' || n || '@example.jp から問い合わせ：' || repeat('カタログの送付を希望します。', 12) END AS body
   FROM generate_series(1, 200000) n;
CREATE TABLE event AS SELECT n AS id, jsonb_build_object('type', 'page_view', 'session', md5(n::text), 'agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36',
   'user', jsonb_build_object('id', n, 'mail', 'user' || n || '@example.com'), 'query', '東京 ホテル') AS payload, 'GET /rooms/' || n || '?page=2' AS line
   FROM generate_series(1, 250000) n;
CREATE TABLE document AS SELECT n AS id, (SELECT string_agg(CASE WHEN m % 4 = 0 THEN '利用規約の第' || m || '条に定めるところにより' ELSE md5((n * m)::text) END, ' ') FROM generate_series(1, 250) m) AS body
   FROM generate_series(1, 6000) n;
ALTER TABLE document ALTER body SET STORAGE EXTERNAL;
";

fn needles(count: u32) -> Vec<Needle> {
    let of = |n: u32| {
        let phone = IdentifierKind::Phone {
            region: "JP".into(),
        };
        let (kind, raw) = match n % 4 {
            0 => (IdentifierKind::Email, format!("gone{n}@example.jp")),
            1 => (phone, format!("070-{:04}-{:04}", 1000 + n / 7, n % 10_000)),
            2 => (
                IdentifierKind::Name,
                format!(
                    "{}川{} {}",
                    '山',
                    char::from_u32(0x5000 + n).expect("a character"),
                    "次郎"
                ),
            ),
            _ => (IdentifierKind::Plain, format!("Q-{n:08}")),
        };
        let identifier = normalise(&kind, &raw).unwrap_or_else(|e| panic!("{raw}: {e}"));
        Needle::new(&identifier, n)
    };
    (0..count).map(of).collect()
}

async fn bare(client: &Client, targets: &[sweep::Target]) -> u64 {
    let mut bytes = 0;
    for target in targets {
        let columns: Vec<String> = target
            .columns
            .iter()
            .map(|c| quote::identifier(&c.name))
            .collect();
        let table = quote::identifier(&target.table.table);
        let sql = format!(
            "COPY (SELECT {} FROM {table}) TO STDOUT (FORMAT binary)",
            columns.join(", ")
        );
        let stream = client.copy_out(&sql).await.expect("copies");
        pin_mut!(stream);
        while let Some(message) = stream.next().await {
            bytes += message.expect("a message").len() as u64;
        }
    }
    bytes
}

async fn ours(client: &Client, targets: &[sweep::Target], matcher: &Matcher) -> u64 {
    let order = sweep::Sweep {
        targets,
        exempt: &|_, _| None,
        matcher,
        pace: None,
        timeouts: LIMITS,
        clock: &chrono::Utc::now,
    };
    let report = sweep::sweep(client, &order, |_| ()).await.expect("sweeps");
    assert!(report.findings.is_empty(), "nobody that is sought is there");
    report.tables.iter().map(|t| t.bytes).sum()
}

const LIMITS: sweep::Timeouts = sweep::Timeouts {
    statement: Duration::from_secs(600),
    lock: Duration::from_secs(5),
    idle: Duration::from_secs(60),
};

pub(crate) fn measure(report: &mut Report) {
    let settings = [
        ("shared_buffers", "1GB"),
        ("max_wal_size", "4GB"),
        ("jit", "off"),
    ];
    let server = Server::start_with(ServerOptions {
        settings: settings.map(|(n, v)| (n.into(), v.into())).to_vec(),
        ..ServerOptions::default()
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(compare(&server, report));
}

async fn compare(server: &Server, report: &mut Report) {
    let client = server.connect("postgres").await;
    client.batch_execute(DATA).await.expect("the data is made");
    client
        .batch_execute("VACUUM (FREEZE, ANALYZE)")
        .await
        .expect("vacuums");
    let targets = sweep::readable(&client, LIMITS)
        .await
        .expect("reads the catalog")
        .targets;
    let (one, many) = (Matcher::new(needles(1)), Matcher::new(needles(10_000)));

    let mut rounds = Vec::new();
    let mut arrived = 0;
    // The first round only warms caches.
    for round in 0..=ROUNDS {
        let mut took = [0.0; 3];
        for turn in 0..3 {
            let which = (turn + round) % 3;
            let started = Instant::now();
            match which {
                0 => arrived = bare(&client, &targets).await,
                1 => drop(ours(&client, &targets, &one).await),
                _ => drop(ours(&client, &targets, &many).await),
            }
            took[which] = started.elapsed().as_secs_f64();
        }
        if round > 0 {
            rounds.push(took);
        }
    }
    let rows = "SELECT sum(n_live_tup) FROM pg_stat_user_tables";
    let setting = Setting::new(server)
        .rows("rows", server.count("postgres", rows).unsigned_abs())
        .rows("tables", targets.len() as u64)
        .rows("bytes copied", arrived)
        .rows("rounds", ROUNDS as u64);
    let pairs = |ours: usize, theirs: usize| -> Vec<(f64, f64)> {
        rounds.iter().map(|t| (t[ours], t[theirs])).collect()
    };
    report.add(setting.compared(
        "sweep: one identifier, against a bare binary COPY",
        "s",
        &pairs(1, 0),
        (Must::BeAtMost, 1.5),
        "the bare COPY reads the same columns and throws them away",
    ));
    report.add(setting.compared(
        "sweep: 10,000 identifiers, against one",
        "s",
        &pairs(2, 1),
        (Must::BeAtMost, 1.3),
        "the same sweep with other numbers of identifiers",
    ));
}
