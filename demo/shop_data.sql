-- The rows of `shop`: 10,000 customers and everything that hangs off them, about 300,000 rows.
--
-- Every run makes the same rows: "chance" is an MD5 of a word and a row number, and time ends on
-- 2026-06-30. Customer n is the same person whatever the number of customers, which is the
-- setting demo.customers (default 10000):  SET demo.customers = '200';  before this file.
-- Ids of rows that hang off customer n are n*10, n*10+1, … so that they can be followed by eye.
--
-- What an erasure under policies/travel/customer.toml leaves behind, on purpose:
--   customers with n % 100 = 7   stand with e-mail and member number in audit_log, which no policy
--                                decides: the sweep finds them there (demo/audit_log_rule.toml mends it);
--   customers with n % 100 = 13  are mentioned with phone and e-mail in a note about a call of
--                                customer n - 1: nobody's rule can reach that, a person must look.
-- No e-mail, phone or member number of any other customer stands outside rows linked to them.
--
-- Traps for careless erasers: staff and customers share id numbers in activity.actor_id; couples
-- (2k-1, 2k) are companions on each other's bookings; a thousand names for ten thousand people.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;

BEGIN;
SET LOCAL timezone = 'Asia/Tokyo';

-- Pseudo-random, the same for ever: 0 … m-1.
CREATE FUNCTION pg_temp.pick(salt text, n bigint, m integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS
$$ SELECT ((('x' || substr(md5(salt || ':' || n), 1, 7))::bit(28)::integer) % m) $$;

-- National digits of customer n's telephone: one in four a Tokyo landline, the others mobiles.
-- Both factors are coprime to the moduli, so no two customers share a number.
CREATE FUNCTION pg_temp.digits(n bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN n % 4 = 0
               THEN '03' || (ARRAY['3', '5', '6'])[1 + pg_temp.pick('area', n, 3)]
                    || lpad((n * 7654321 % 10000000)::text, 7, '0')
               ELSE (ARRAY['070', '080', '090'])[1 + pg_temp.pick('carrier', n, 3)]
                    || (10000000 + n * 7654321 % 80000000)::text END $$;

-- The four ways people write it.
CREATE FUNCTION pg_temp.written(d text, way bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE way % 4
          WHEN 0 THEN regexp_replace(d, '^(03|0[789]0)(\d{4})(\d{4})$', '\1-\2-\3')
          WHEN 1 THEN regexp_replace(d, '^0(3|[789]0)(\d{4})(\d{4})$', '+81 \1 \2 \3')
          WHEN 2 THEN translate(regexp_replace(d, '^(03|0[789]0)(\d{4})(\d{4})$', '\1-\2-\3'),
                                '0123456789-', '０１２３４５６７８９－')
          ELSE d END $$;

CREATE TEMPORARY TABLE family (i integer PRIMARY KEY, kanji text, kana text, romaji text) ON COMMIT DROP;
INSERT INTO family VALUES
 (0,'佐藤','サトウ','Sato'),(1,'鈴木','スズキ','Suzuki'),(2,'高橋','タカハシ','Takahashi'),(3,'田中','タナカ','Tanaka'),
 (4,'伊藤','イトウ','Ito'),(5,'渡辺','ワタナベ','Watanabe'),(6,'山本','ヤマモト','Yamamoto'),(7,'中村','ナカムラ','Nakamura'),
 (8,'小林','コバヤシ','Kobayashi'),(9,'加藤','カトウ','Kato'),(10,'吉田','ヨシダ','Yoshida'),(11,'山田','ヤマダ','Yamada'),
 (12,'佐々木','ササキ','Sasaki'),(13,'山口','ヤマグチ','Yamaguchi'),(14,'松本','マツモト','Matsumoto'),(15,'井上','イノウエ','Inoue'),
 (16,'木村','キムラ','Kimura'),(17,'林','ハヤシ','Hayashi'),(18,'斎藤','サイトウ','Saito'),(19,'清水','シミズ','Shimizu'),
 (20,'山崎','ヤマザキ','Yamazaki'),(21,'森','モリ','Mori'),(22,'池田','イケダ','Ikeda'),(23,'橋本','ハシモト','Hashimoto'),
 (24,'阿部','アベ','Abe'),(25,'石川','イシカワ','Ishikawa'),(26,'前田','マエダ','Maeda'),(27,'藤田','フジタ','Fujita'),
 (28,'小川','オガワ','Ogawa'),(29,'長谷川','ハセガワ','Hasegawa'),(30,'渡邉','ワタナベ','Watanabe'),(31,'五十嵐','イガラシ','Igarashi');
CREATE TEMPORARY TABLE given (i integer PRIMARY KEY, kanji text, kana text, romaji text) ON COMMIT DROP;
INSERT INTO given VALUES
 (0,'花子','ハナコ','Hanako'),(1,'太郎','タロウ','Taro'),(2,'陽菜','ヒナ','Hina'),(3,'蓮','レン','Ren'),
 (4,'さくら','サクラ','Sakura'),(5,'大翔','ヒロト','Hiroto'),(6,'美咲','ミサキ','Misaki'),(7,'悠真','ユウマ','Yuma'),
 (8,'結衣','ユイ','Yui'),(9,'翔太','ショウタ','Shota'),(10,'葵','アオイ','Aoi'),(11,'健一','ケンイチ','Kenichi'),
 (12,'恵子','ケイコ','Keiko'),(13,'誠','マコト','Makoto'),(14,'由美子','ユミコ','Yumiko'),(15,'隆','タカシ','Takashi'),
 (16,'愛','アイ','Ai'),(17,'直樹','ナオキ','Naoki'),(18,'真由美','マユミ','Mayumi'),(19,'和也','カズヤ','Kazuya'),
 (20,'明美','アケミ','Akemi'),(21,'浩','ヒロシ','Hiroshi'),(22,'智子','トモコ','Tomoko'),(23,'亮','リョウ','Ryo'),
 (24,'千尋','チヒロ','Chihiro'),(25,'大輔','ダイスケ','Daisuke'),(26,'久美子','クミコ','Kumiko'),(27,'学','マナブ','Manabu'),
 (28,'凛','リン','Rin'),(29,'湊','ミナト','Minato'),(30,'ひかり','ヒカリ','Hikari'),(31,'一郎','イチロウ','Ichiro');

-- The people, each worked out once. The five digits before the @ make an address nobody else's, nor
-- a part of anybody else's.
CREATE TEMPORARY TABLE person ON COMMIT DROP AS
SELECT n, f.kanji AS family, g.kanji AS given, f.kana AS family_kana, g.kana AS given_kana,
       f.romaji AS family_romaji, g.romaji AS given_romaji,
       f.kanji || ' ' || g.kanji AS name,
       'TM-' || lpad(n::text, 7, '0') AS member_no,
       lower(g.romaji || '.' || f.romaji) || '.' || lpad(n::text, greatest(5, length(n::text)), '0') || '@'
         || (ARRAY['example.jp', 'example.com', 'mail.example.jp', 'example.net'])[1 + pg_temp.pick('host', n, 4)] AS email,
       pg_temp.digits(n) AS digits,
       (ARRAY['東京都','大阪府','神奈川県','愛知県','北海道','福岡県','京都府','沖縄県'])[1 + pg_temp.pick('pref', n, 8)] AS prefecture,
       (ARRAY['新宿区','中央区','西区','緑町','本町','北区','東山区','那覇市'])[1 + pg_temp.pick('pref', n, 8)] AS city,
       timestamptz '2016-01-04 09:00+09' + pg_temp.pick('created', n, 3700) * interval '1 day'
         + pg_temp.pick('created at', n, 36000) * interval '1 second' AS created_at
  FROM generate_series(1, coalesce(nullif(current_setting('demo.customers', true), ''), '10000')::bigint) AS n
  JOIN family f ON f.i = pg_temp.pick('family', n, 32)
  JOIN given g ON g.i = pg_temp.pick('given', n, 32);
CREATE UNIQUE INDEX ON person (n);
ANALYZE person;

INSERT INTO staff
SELECT s, 'agent' || lpad(s::text, 3, '0'), f.kanji || ' ' || g.kanji,
       (ARRAY['call centre', 'desk', 'guides'])[1 + s % 3]
  FROM generate_series(1, 60) AS s
  JOIN family f ON f.i = pg_temp.pick('staff family', s, 32)
  JOIN given g ON g.i = pg_temp.pick('staff given', s, 32);

INSERT INTO tour
SELECT t, 'T' || lpad(t::text, 3, '0'),
       (ARRAY['京都','沖縄','北海道','金沢','屋久島','箱根','長崎','日光'])[1 + (t % 8)] || 'の旅'
         || (ARRAY['・温泉', '・グルメ', '・世界遺産', '・のんびり', '・家族で'])[1 + (t / 8)],
       1 + pg_temp.pick('nights', t, 6), 20000 + 1000 * pg_temp.pick('price', t, 180)
  FROM generate_series(1, 36) AS t;

INSERT INTO tour_departure
SELECT t, month::date + 9, 20 + pg_temp.pick('seats', t, 20), 1 + pg_temp.pick('guide', t, 60)
  FROM generate_series(1, 36) AS t,
       generate_series(timestamp '2016-01-01', timestamp '2027-06-01', interval '1 month') AS month;

INSERT INTO customer (id, member_no, family_name, given_name, family_kana, given_kana, family_romaji,
                      given_romaji, email, phone, birth_date, advisor_id, created_at)
SELECT n, member_no, family, given, family_kana, given_kana, family_romaji, given_romaji,
       CASE WHEN n % 20 = 3 THEN upper(email) ELSE email END,
       pg_temp.written(digits, n),
       date '1940-01-01' + pg_temp.pick('birth', n, 24000),
       CASE WHEN n % 5 = 0 THEN 1 + pg_temp.pick('advisor', n, 60) END,
       created_at
  FROM person ORDER BY n;

INSERT INTO customer_address (id, customer_id, kind, postal_code, prefecture, city, street)
SELECT n * 10 + k, n, (ARRAY['home', 'work'])[k + 1],
       lpad(pg_temp.pick('post a', n + k, 1000)::text, 3, '0') || '-' || lpad(pg_temp.pick('post b', n, 10000)::text, 4, '0'),
       prefecture, city,
       (1 + pg_temp.pick('block', n + k, 8)) || '丁目' || (1 + pg_temp.pick('house', n, 30)) || '番'
         || CASE WHEN k = 0 THEN family || '方' ELSE '旅路ビル' || (1 + pg_temp.pick('floor', n, 9)) || '階' END
  FROM person, generate_series(0, 1) AS k
 WHERE k = 0 OR pg_temp.pick('work address', n, 10) < 3
 ORDER BY 1;

INSERT INTO contact_preference
SELECT n, (ARRAY['email', 'phone', 'post', 'sms'])[1 + pg_temp.pick('channel', n, 4)]::contact_channel,
       pg_temp.pick('allowed', n, 3) > 0,
       CASE WHEN pg_temp.pick('note', n, 8) = 0 THEN '平日18時以降 ' || pg_temp.written(digits, n + 1) END
  FROM person ORDER BY n;

INSERT INTO newsletter_subscription (id, customer_id, email, topics, subscribed_at)
SELECT n * 10, n, CASE WHEN n % 20 = 3 THEN upper(email) ELSE email END,
       ARRAY['sale', (ARRAY['onsen', 'family', 'abroad'])[1 + pg_temp.pick('topic', n, 3)]],
       created_at + interval '3 days'
  FROM person WHERE pg_temp.pick('newsletter', n, 10) < 6 ORDER BY n;

INSERT INTO campaign_click (id, subscription_id, campaign, url, clicked_at)
SELECT s.id + k, s.id, 'spring-' || (2020 + k),
       'https://tabiji.example/c/' || (2020 + k) || '?to=' || replace(p.email, '@', '%40'),
       s.subscribed_at + k * interval '40 days'
  FROM newsletter_subscription s JOIN person p ON p.n = s.customer_id,
       generate_series(0, 4) AS k
 WHERE k <= pg_temp.pick('clicks', s.customer_id, 6)
 ORDER BY 1;

INSERT INTO passport (id, customer_id, number, holder, expires_on, scan)
SELECT n * 10, n, 'TR' || lpad((n * 7654321 % 10000000)::text, 7, '0'),
       upper(family_romaji || ' ' || given_romaji),
       date '2026-06-30' + pg_temp.pick('expires', n, 3000),
       convert_to('P<JPN' || upper(family_romaji || '<<' || given_romaji) || '<<<<' || E'\n' || member_no, 'UTF8')
  FROM person WHERE n % 2 = 0 ORDER BY n;

-- Up to five bookings each, between joining and the end of time; the departure is one to six months on.
INSERT INTO booking (id, customer_id, tour_id, departs_on, taken_by, contact_name, contact_phone,
                     request_note, seats, price, booked_at)
SELECT id, n, 1 + pg_temp.pick('tour', id, 36),
       (date_trunc('month', at) + (1 + pg_temp.pick('ahead', id, 6)) * interval '1 month')::date + 9,
       CASE WHEN id % 3 = 0 THEN 1 + pg_temp.pick('taken by', id, 60) END,
       name, pg_temp.written(digits, id),
       CASE pg_temp.pick('request', id, 6)
         WHEN 0 THEN '窓側希望。当日連絡先 ' || pg_temp.written(digits, id + 1)
         WHEN 1 THEN 'アレルギー有り（えび）。詳細は ' || email || ' まで'
         WHEN 2 THEN '会員番号 ' || member_no || '、誕生日のお祝いを希望' END,
       1 + pg_temp.pick('party', id, 4), 20000 + 1000 * pg_temp.pick('paid', id, 300), at
  FROM (SELECT p.*, n * 10 + k AS id,
               created_at + (timestamptz '2026-06-30 00:00+09' - created_at)
                 * (pg_temp.pick('booked', n * 10 + k, 1000) / 1000.0) AS at
          FROM person p, generate_series(0, 4) AS k
         WHERE k < pg_temp.pick('bookings', n, 6)) AS b
 ORDER BY id;

-- Couples travel together (customers 2k-1 and 2k); others are known by name only.
INSERT INTO booking_companion (id, booking_id, companion_customer_id, full_name, relation)
SELECT b.id * 10, b.id, other.n, other.name, '配偶者'
  FROM booking b JOIN person other ON other.n = CASE WHEN b.customer_id % 2 = 1 THEN b.customer_id + 1 ELSE b.customer_id - 1 END
 WHERE pg_temp.pick('couple', b.id, 10) < 2
 UNION ALL
SELECT b.id * 10 + 1, b.id, NULL, f.kanji || ' ' || g.kanji, '友人'
  FROM booking b
  JOIN family f ON f.i = pg_temp.pick('friend family', b.id, 32)
  JOIN given g ON g.i = pg_temp.pick('friend given', b.id, 32)
 WHERE pg_temp.pick('friend', b.id, 10) < 2
 ORDER BY 1;

INSERT INTO payment (id, booking_id, method, payer_name, card_last4, amount, paid_at)
SELECT b.id * 10 + k, b.id, way,
       p.family_kana || ' ' || p.given_kana,
       CASE WHEN way = 'card' THEN lpad(pg_temp.pick('card', b.customer_id, 10000)::text, 4, '0') END,
       CASE k WHEN 0 THEN b.price - 5000 ELSE 5000 END, b.booked_at + (1 + k) * interval '2 days'
  FROM booking b JOIN person p ON p.n = b.customer_id,
       generate_series(0, 1) AS k,
       LATERAL (SELECT (ARRAY['card', 'bank', 'konbini'])[1 + pg_temp.pick('method', b.id, 3)]) AS w (way)
 WHERE k = 0 OR pg_temp.pick('twice', b.id, 5) = 0
 ORDER BY 1;

INSERT INTO invoice (id, number, customer_id, booking_id, billing_name, billing_email, total, issued_on)
SELECT b.id, 'INV-' || to_char(b.booked_at, 'YYYY') || '-' || lpad(b.id::text, 7, '0'), b.customer_id, b.id,
       p.name || ' 様', CASE WHEN b.id % 2 = 0 THEN p.email END, b.price, (b.booked_at + interval '3 days')::date
  FROM booking b JOIN person p ON p.n = b.customer_id
 WHERE pg_temp.pick('invoice', b.id, 10) < 8
 ORDER BY 1;

INSERT INTO invoice_line
SELECT i.id, 1 + k, (ARRAY['旅行代金', '取扱手数料', '旅行保険'])[1 + k],
       CASE k WHEN 0 THEN i.total - 4000 ELSE 2000 END
  FROM invoice i, generate_series(0, 2) AS k
 WHERE k = 0 OR pg_temp.pick('extras', i.id, 4) >= k + 1
 ORDER BY 1, 2;

INSERT INTO review (id, customer_id, tour_id, stars, body, written_at)
SELECT b.id, b.customer_id, b.tour_id, 1 + pg_temp.pick('stars', b.id, 5),
       (ARRAY['とても楽しい旅でした。', '料理が素晴らしい。', 'バスが少し遅れた。', 'Wonderful guide, thank you!', 'また行きたいです。'])
         [1 + pg_temp.pick('review body', b.id, 5)],
       b.departs_on + interval '10 days'
  FROM booking b WHERE pg_temp.pick('review', b.id, 5) = 0
 ORDER BY 1;

INSERT INTO call_recording (id, customer_id, agent_id, caller_phone, file_name, ended_at)
SELECT id, n, 1 + pg_temp.pick('agent', id, 60),
       CASE WHEN id % 7 > 0 THEN pg_temp.written(digits, id + 2) END,
       'calls/' || lpad(id::text, 9, '0') || '.opus',
       created_at + pg_temp.pick('call day', id, 60) * interval '1 day'
  FROM (SELECT p.*, n * 10 + k AS id FROM person p, generate_series(0, 1) AS k
         WHERE k < pg_temp.pick('calls', n, 3) OR (k = 0 AND n % 100 = 12)) AS c
 ORDER BY id;

INSERT INTO call_note (id, call_id, written_by, body, written_at)
SELECT c.id * 10, c.id, c.agent_id,
       CASE pg_temp.pick('call note', c.id, 5)
         WHEN 0 THEN p.family || p.given || '様より入電。折り返し先は' || pg_temp.written(p.digits, c.id + 3) || 'とのこと。'
         WHEN 1 THEN '見積書を「' || p.email || '」宛に送付済み。' || p.family || '様 了承。'
         WHEN 2 THEN '本人確認済み（会員番号' || lower(p.member_no) || '）。住所変更のご依頼。'
         WHEN 3 THEN p.given_romaji || ' ' || p.family_romaji || ' called, prefers English. ' || pg_temp.written(p.digits, 1)
         ELSE 'パンフレット請求。' END,
       c.ended_at + interval '5 minutes'
  FROM call_recording c JOIN person p ON p.n = c.customer_id
 UNION ALL
-- One in a hundred stands in a note about somebody else's call.
SELECT c.id * 10 + 1, c.id, c.agent_id,
       'ご紹介：' || other.name || '様（' || pg_temp.written(other.digits, 2) || '、' || upper(other.email) || '）も同じツアーを希望。',
       c.ended_at + interval '9 minutes'
  FROM call_recording c JOIN person other ON other.n = c.customer_id + 1
 WHERE c.customer_id % 100 = 12 AND c.id % 10 = 0
 ORDER BY 1;

-- A question, our answer, and sometimes a thank-you: each hangs off the one before.
INSERT INTO support_message (id, parent_id, customer_id, staff_id, body, sent_at)
SELECT n * 10 + k, CASE WHEN k > 0 THEN n * 10 + k - 1 END,
       CASE WHEN k <> 1 THEN n END,
       CASE WHEN k = 1 THEN 1 + pg_temp.pick('answered by', n, 60) END,
       CASE k WHEN 0 THEN '予約の変更をお願いします。 ' || name || ' ' || CASE WHEN n % 2 = 0 THEN email ELSE pg_temp.written(digits, n + 2) END
              WHEN 1 THEN family || ' 様' || E'\n' || '会員番号 ' || member_no || ' のご予約を変更いたしました。'
              ELSE 'ありがとうございました。' END,
       created_at + interval '20 days' + k * interval '3 hours'
  FROM person, generate_series(0, 2) AS k
 WHERE k < CASE pg_temp.pick('support', n, 10) WHEN 0 THEN 1 WHEN 1 THEN 2 WHEN 2 THEN 2 WHEN 3 THEN 3 WHEN 4 THEN 3 ELSE 0 END
 ORDER BY n, k;

INSERT INTO web_event (id, at, payload)
SELECT n * 10 + k, created_at + k * interval '17 hours',
       CASE WHEN k < 4
            THEN jsonb_build_object('user', jsonb_build_object('id', n, 'email', email),
                                    'page', '/tours/' || (1 + pg_temp.pick('page', n * 10 + k, 36)))
            ELSE jsonb_build_object('user', NULL, 'page', '/') END
  FROM person, generate_series(0, 4) AS k
 WHERE k < 2 OR pg_temp.pick('visit', n * 10 + k, 2) = 0
 ORDER BY 1;

-- Staff do things too, under the same numbers.
INSERT INTO activity (id, actor_type, actor_id, verb, ip, at)
SELECT n * 10 + k, 'Customer', n, (ARRAY['login', 'search', 'logout'])[1 + k],
       ('203.0.113.' || pg_temp.pick('ip', n, 250))::inet, created_at + k * interval '1 hour'
  FROM person, generate_series(0, 2) AS k
 WHERE k < 1 + pg_temp.pick('activity', n, 3)
 UNION ALL
SELECT s * 10 + 9, 'Staff', s, 'login', '192.0.2.1', timestamptz '2026-06-29 09:00+09' FROM generate_series(1, 60) AS s
 ORDER BY 1;

-- Nobody's rows, and every hundredth customer's.
INSERT INTO audit_log (id, at, what, member_no, change)
SELECT n * 10, created_at + interval '90 days', 'price list', NULL,
       jsonb_build_object('table', 'tour', 'row', 1 + n % 36, 'new', 20000 + n % 1000)
  FROM person WHERE n % 10 = 1
 UNION ALL
SELECT n * 10, created_at + interval '90 days', 'e-mail changed', member_no,
       jsonb_build_object('old', jsonb_build_object('email', lower(given_romaji) || n || '@old.example.net'),
                          'new', jsonb_build_object('email', upper(email)))
  FROM person WHERE n % 100 = 7
 ORDER BY 1;

-- New rows come after the ones above.
DO $$
BEGIN
    PERFORM setval(pg_get_serial_sequence(t, 'id'), 1000000000)
       FROM unnest(ARRAY['customer', 'customer_address', 'newsletter_subscription', 'campaign_click', 'passport', 'booking',
                          'booking_companion', 'payment', 'invoice', 'review', 'call_recording', 'call_note',
                          'support_message', 'web_event', 'activity', 'audit_log']) AS t;
END $$;

-- Functions in pg_temp last as long as the session; a pooled one may load again.
DROP FUNCTION pg_temp.written(text, bigint);
DROP FUNCTION pg_temp.digits(bigint);
DROP FUNCTION pg_temp.pick(text, bigint, integer);
COMMIT;

REFRESH MATERIALIZED VIEW bookings_by_prefecture;
ANALYZE;
