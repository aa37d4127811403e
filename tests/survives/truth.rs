//! What an erasure under `policies/travel` must do, said by plain SQL that knows nothing of the
//! program: which rows of which table belong to whom, and what becomes of them.

use super::support::Server;
use std::collections::{BTreeMap, BTreeSet};

/// Rows of customers `$ids`, one line each: customer, table, key, what happens.
const SHOP: &str = "
WITH RECURSIVE who AS (SELECT unnest(ARRAY[$ids]::bigint[]) AS n),
thread AS (
  SELECT m.customer_id AS n, m.id FROM support_message m JOIN who ON who.n = m.customer_id
  UNION SELECT t.n, m.id FROM support_message m JOIN thread t ON m.parent_id = t.id),
mine AS (SELECT b.id, who.n FROM booking b JOIN who ON who.n = b.customer_id),
bill AS (SELECT DISTINCT i.id, coalesce(mine.n, who.n) AS n, i.issued_on + interval '7 years' > now() AS stays
           FROM invoice i LEFT JOIN mine ON mine.id = i.booking_id LEFT JOIN who ON who.n = i.customer_id
          WHERE mine.id IS NOT NULL OR who.n IS NOT NULL)
SELECT n, 'customer', n::text, 'deleted' FROM who
UNION ALL SELECT n, 'customer_address', a.id::text, 'deleted' FROM customer_address a JOIN who ON n = customer_id
UNION ALL SELECT n, 'contact_preference', customer_id || '/' || channel, 'deleted' FROM contact_preference JOIN who ON n = customer_id
UNION ALL SELECT n, 'passport', p.id::text, 'deleted' FROM passport p JOIN who ON n = customer_id
UNION ALL SELECT n, 'newsletter_subscription', s.id::text, 'deleted' FROM newsletter_subscription s JOIN who ON n = customer_id
UNION ALL SELECT n, 'campaign_click', c.id::text, 'deleted' FROM campaign_click c JOIN newsletter_subscription s ON s.id = c.subscription_id JOIN who ON n = customer_id
UNION ALL SELECT n, 'booking', id::text, 'anonymized' FROM mine
UNION ALL SELECT n, 'booking_companion', c.id::text, 'anonymized' FROM booking_companion c JOIN who ON n = companion_customer_id
UNION ALL SELECT n, 'payment', p.id::text, 'anonymized' FROM payment p JOIN mine ON mine.id = p.booking_id
UNION ALL SELECT n, 'invoice', id::text, CASE WHEN stays THEN 'kept' ELSE 'deleted' END FROM bill
UNION ALL SELECT n, 'invoice_line', l.invoice_id || '/' || l.line_no, CASE WHEN stays THEN 'kept' ELSE 'deleted' END
            FROM invoice_line l JOIN bill ON bill.id = l.invoice_id
UNION ALL SELECT n, 'review', r.id::text, 'detached' FROM review r JOIN who ON n = customer_id
UNION ALL SELECT n, 'call_recording', r.id::text, 'deleted' FROM call_recording r JOIN who ON n = customer_id
UNION ALL SELECT n, 'call_note', c.id::text, 'deleted' FROM call_note c JOIN call_recording r ON r.id = c.call_id JOIN who ON n = customer_id
UNION ALL SELECT n, 'support_message', id::text, 'deleted' FROM thread
UNION ALL SELECT n, 'web_event', e.id::text, 'deleted' FROM web_event e JOIN who ON payload #>> '{user,id}' = n::text
UNION ALL SELECT n, 'activity', a.id::text, 'deleted' FROM activity a JOIN who ON actor_type = 'Customer' AND actor_id = n";

const LOYALTY: &str = "
WITH who AS (SELECT * FROM unnest(ARRAY[$ids]::bigint[], ARRAY[$numbers]::text[], ARRAY[$mails]::text[]) AS w (n, member_no, email)),
mine AS (SELECT m.id, n FROM member m JOIN who ON who.member_no = m.member_no)
SELECT n, 'member', id::text, 'deleted' FROM mine
UNION ALL SELECT n, 'point_ledger', l.id::text, 'deleted' FROM point_ledger l JOIN mine ON mine.id = member_id
UNION ALL SELECT n, 'reward_redemption', r.id::text, 'deleted' FROM reward_redemption r JOIN point_ledger l ON l.id = entry_id JOIN mine ON mine.id = member_id
UNION ALL SELECT n, 'tier_history', member_id || '/' || since, 'deleted' FROM tier_history JOIN mine ON mine.id = member_id
UNION ALL SELECT n, 'partner_optin', o.id::text, 'deleted' FROM partner_optin o JOIN who ON lower(who.email) = lower(o.email)";

/// System, table, key.
type Row = (String, String, String);

/// What is to happen, and everything as it was before.
#[derive(Clone)]
pub struct Truth {
    /// Customer to `system.public.table action` to rows.
    pub counts: BTreeMap<i64, BTreeMap<String, u64>>,
    /// What happens to each row that somebody's ticket concerns.
    fate: BTreeMap<Row, String>,
    /// Every row of both databases, as text.
    before: BTreeMap<Row, String>,
}

impl Truth {
    /// Counted while nothing has happened yet.
    pub fn of(server: &Server, shop: &str, loyalty: &str, ids: &[i64]) -> Truth {
        let list = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(",");
        let people = server.query(
            shop,
            &format!(
                "SELECT id, quote_literal(member_no), quote_literal(email) FROM customer WHERE id = ANY (ARRAY[{}]::bigint[]) ORDER BY id",
                list(&mut ids.iter().map(i64::to_string))
            ),
        );
        assert_eq!(people.len(), ids.len(), "everybody exists");
        let column = |at: usize| list(&mut people.iter().map(|row| row[at].clone().unwrap()));
        let fill = |sql: &str| {
            sql.replace("$ids", &column(0))
                .replace("$numbers", &column(1))
                .replace("$mails", &column(2))
        };
        let mut truth = Truth {
            counts: ids.iter().map(|id| (*id, BTreeMap::new())).collect(),
            fate: BTreeMap::new(),
            before: everything(server, shop, loyalty),
        };
        for (system, database, sql) in [("shop", shop, SHOP), ("loyalty", loyalty, LOYALTY)] {
            for mut row in server.query(database, &fill(sql)) {
                let mut next = || row.remove(0).unwrap();
                let (n, table, key, fate): (i64, _, _, _) =
                    (next().parse().unwrap(), next(), next(), next());
                *truth
                    .counts
                    .get_mut(&n)
                    .unwrap()
                    .entry(format!("{system}.public.{table} {fate}"))
                    .or_default() += 1;
                let row = (system.to_owned(), table, key);
                assert!(truth.before.contains_key(&row), "{row:?} exists");
                let twice = truth.fate.insert(row.clone(), fate);
                assert!(
                    twice.is_none(),
                    "{row:?} belongs to two tickets: choose others"
                );
            }
        }
        truth
    }

    /// Keys of the rows that the law keeps, of one table.
    pub fn kept(&self, table: &str) -> Vec<String> {
        let kept = self
            .fate
            .iter()
            .filter(|((_, t, _), fate)| t == table && *fate == "kept");
        kept.map(|((_, _, key), _)| key.clone()).collect()
    }

    /// The same when the law's time is over: what was kept is gone.
    pub fn in_the_end(&self) -> Truth {
        let mut truth = self.clone();
        for fate in truth.fate.values_mut().filter(|fate| *fate == "kept") {
            *fate = "deleted".to_owned();
        }
        truth
    }

    /// Deleted rows are gone, changed and kept ones are there, and every other row of both
    /// databases is what it was, to the byte; nothing is new.
    pub fn holds(&self, server: &Server, shop: &str, loyalty: &str) {
        let after = everything(server, shop, loyalty);
        for (row, text) in &self.before {
            match (self.fate.get(row).map(String::as_str), after.get(row)) {
                (None, now) => assert_eq!(now, Some(text), "a neighbour's row {row:?}"),
                (Some("deleted"), now) => assert_eq!(now, None, "{row:?} is gone"),
                (Some("kept"), now) => assert!(now.is_some(), "{row:?} is kept"),
                (Some(_), now) => assert!(
                    now.is_some_and(|now| now != text),
                    "{row:?} is there, and changed"
                ),
            }
        }
        let new: BTreeSet<_> = after
            .keys()
            .filter(|k| !self.before.contains_key(*k))
            .collect();
        assert!(new.is_empty(), "{new:?}");
    }
}

/// Every row of every table of both databases but ours.
fn everything(server: &Server, shop: &str, loyalty: &str) -> BTreeMap<Row, String> {
    let mut all = BTreeMap::new();
    for (system, database) in [("shop", shop), ("loyalty", loyalty)] {
        let tables = server.query(
            database,
            "SELECT c.relname, coalesce((SELECT string_agg(quote_ident(a.attname), $$ || '/' || $$ ORDER BY a.attnum)
               FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
              WHERE i.indrelid = c.oid AND i.indisprimary), 'prefecture || month')
               FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relnamespace = 'public'::regnamespace",
        );
        for table in tables {
            let (name, key) = (table[0].clone().unwrap(), table[1].clone().unwrap());
            let sql = format!("SELECT ({key})::text, t::text FROM public.{name} t");
            for mut row in server.query(database, &sql) {
                let text = row.pop().flatten().unwrap();
                let key = row.pop().flatten().unwrap();
                all.insert((system.to_owned(), name.clone(), key), text);
            }
        }
    }
    all
}
