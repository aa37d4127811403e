-- The rows of `loyalty`, for the same people as in shop_data.sql: member numbers and e-mail
-- addresses are worked out here again, because the vendor's database never sees ours. The name
-- lists and pg_temp.pick must stay as they are there; tests/demo_data.rs compares both databases.
-- Setting demo.customers as there (default 10000).

SET client_encoding = 'UTF8';
SET client_min_messages = warning;

BEGIN;
SET LOCAL timezone = 'Asia/Tokyo';

CREATE FUNCTION pg_temp.pick(salt text, n bigint, m integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS
$$ SELECT ((('x' || substr(md5(salt || ':' || n), 1, 7))::bit(28)::integer) % m) $$;

CREATE TEMPORARY TABLE person ON COMMIT DROP AS
SELECT n, 'TM-' || lpad(n::text, 7, '0') AS member_no,
       given || '.' || family AS name,
       lower(given || '.' || family) || '.' || lpad(n::text, greatest(5, length(n::text)), '0') || '@'
         || (ARRAY['example.jp', 'example.com', 'mail.example.jp', 'example.net'])[1 + pg_temp.pick('host', n, 4)] AS email,
       timestamptz '2016-01-04 09:00+09' + pg_temp.pick('created', n, 3700) * interval '1 day'
         + pg_temp.pick('created at', n, 36000) * interval '1 second' AS created_at
  FROM generate_series(1, coalesce(nullif(current_setting('demo.customers', true), ''), '10000')::bigint) AS n,
       LATERAL (SELECT (ARRAY['Sato','Suzuki','Takahashi','Tanaka','Ito','Watanabe','Yamamoto','Nakamura','Kobayashi','Kato',
                              'Yoshida','Yamada','Sasaki','Yamaguchi','Matsumoto','Inoue','Kimura','Hayashi','Saito','Shimizu',
                              'Yamazaki','Mori','Ikeda','Hashimoto','Abe','Ishikawa','Maeda','Fujita','Ogawa','Hasegawa',
                              'Watanabe','Igarashi'])[1 + pg_temp.pick('family', n, 32)],
                       (ARRAY['Hanako','Taro','Hina','Ren','Sakura','Hiroto','Misaki','Yuma','Yui','Shota',
                              'Aoi','Kenichi','Keiko','Makoto','Yumiko','Takashi','Ai','Naoki','Mayumi','Kazuya',
                              'Akemi','Hiroshi','Tomoko','Ryo','Chihiro','Daisuke','Kumiko','Manabu','Rin','Minato',
                              'Hikari','Ichiro'])[1 + pg_temp.pick('given', n, 32)]) AS names (family, given);

INSERT INTO member (id, member_no, display_name, tier, joined_at)
SELECT n * 10, member_no, replace(name, '.', ' '), (ARRAY['white', 'silver', 'gold'])[1 + pg_temp.pick('tier', n, 3)],
       created_at + interval '1 hour'
  FROM person WHERE pg_temp.pick('member', n, 10) < 7 ORDER BY n;

INSERT INTO point_ledger (id, member_id, points, reason, at)
SELECT m.id + k, m.id, CASE k WHEN 2 THEN -500 ELSE 100 + 10 * pg_temp.pick('points', m.id + k, 90) END,
       CASE k WHEN 2 THEN 'redeemed' ELSE 'booking of ' || m.member_no END, m.joined_at + k * interval '50 days'
  FROM member m, generate_series(0, 2) AS k
 WHERE k < 1 + pg_temp.pick('ledger', m.id, 3)
 ORDER BY 1;

INSERT INTO reward_redemption (id, entry_id, reward, ship_to)
SELECT l.id, l.id, (ARRAY['towel', 'lounge ticket', 'suitcase belt'])[1 + pg_temp.pick('reward', l.id, 3)],
       m.display_name || ', ' || m.member_no
  FROM point_ledger l JOIN member m ON m.id = l.member_id
 WHERE l.points < 0
 ORDER BY 1;

INSERT INTO tier_history
SELECT m.id, (m.joined_at + k * interval '1 year')::date, CASE k WHEN 0 THEN 'white' ELSE m.tier END
  FROM member m, generate_series(0, 1) AS k
 WHERE k = 0 OR m.tier = 'gold'
 ORDER BY 1, 2;

INSERT INTO partner_optin (id, partner, email, opted_in_at)
SELECT n * 10, (ARRAY['kaze-air', 'yado-hotels', 'umi-ferry'])[1 + pg_temp.pick('partner', n, 3)], lower(email),
       created_at + interval '5 days'
  FROM person WHERE pg_temp.pick('optin', n, 10) < 3 ORDER BY n;

DO $$
BEGIN
    PERFORM setval(pg_get_serial_sequence(t, 'id'), 1000000000)
       FROM unnest(ARRAY['member', 'point_ledger', 'reward_redemption', 'partner_optin']) AS t;
END $$;

DROP FUNCTION pg_temp.pick(text, bigint, integer);
COMMIT;

ANALYZE;
