-- The same for one customer $1, a row at a time as privacy suites do it: each statement here finds
-- the rows of one table and writes out the statement for each; each of those is a transaction.

SELECT format('DELETE FROM campaign_click WHERE id = %s', c.id)
  FROM campaign_click c JOIN newsletter_subscription s ON c.subscription_id = s.id WHERE s.customer_id = $1::bigint;

SELECT format('DELETE FROM newsletter_subscription WHERE id = %s', id)
  FROM newsletter_subscription WHERE customer_id = $1::bigint;

SELECT format('DELETE FROM customer_address WHERE id = %s', id)
  FROM customer_address WHERE customer_id = $1::bigint;

SELECT format('DELETE FROM contact_preference WHERE customer_id = %s AND channel = %L', customer_id, channel)
  FROM contact_preference WHERE customer_id = $1::bigint;

SELECT format('DELETE FROM passport WHERE id = %s', id) FROM passport WHERE customer_id = $1::bigint;

SELECT format('DELETE FROM call_note WHERE id = %s', n.id)
  FROM call_note n JOIN call_recording r ON n.call_id = r.id WHERE r.customer_id = $1::bigint;

SELECT format('DELETE FROM call_recording WHERE id = %s', id)
  FROM call_recording WHERE customer_id = $1::bigint;

WITH RECURSIVE thread AS (
    SELECT id, 1 AS depth FROM support_message WHERE customer_id = $1::bigint
    UNION
    SELECT m.id, t.depth + 1 FROM thread t JOIN support_message m ON m.parent_id = t.id)
SELECT format('DELETE FROM support_message WHERE id = %s', id) FROM thread GROUP BY id ORDER BY max(depth) DESC;

SELECT format('DELETE FROM web_event WHERE id = %s', id)
  FROM web_event WHERE payload #>> '{user,id}' = $1::bigint::text;

SELECT format('DELETE FROM activity WHERE id = %s', id)
  FROM activity WHERE actor_type = 'Customer' AND actor_id = $1::bigint;

SELECT format('UPDATE review SET customer_id = NULL WHERE id = %s', id)
  FROM review WHERE customer_id = $1::bigint;

SELECT format('UPDATE booking_companion SET companion_customer_id = NULL, full_name = %L WHERE id = %s',
              CASE WHEN full_name IS NOT NULL THEN '[erased]' END, id)
  FROM booking_companion WHERE companion_customer_id = $1::bigint;

SELECT format('UPDATE payment SET payer_name = NULL, card_last4 = NULL WHERE id = %s', p.id)
  FROM payment p JOIN booking b ON p.booking_id = b.id WHERE b.customer_id = $1::bigint;

SELECT format('DELETE FROM invoice_line WHERE invoice_id = %s AND line_no = %s', l.invoice_id, l.line_no)
  FROM invoice_line l JOIN invoice i ON l.invoice_id = i.id
 WHERE i.id IN (SELECT id FROM invoice WHERE customer_id = $1::bigint
                UNION ALL
                SELECT j.id FROM booking b JOIN invoice j ON j.booking_id = b.id WHERE b.customer_id = $1::bigint)
   AND i.issued_on + interval '7 years' <= now();

SELECT CASE WHEN i.issued_on + interval '7 years' <= now()
            THEN format('DELETE FROM invoice WHERE id = %s', i.id)
            ELSE format('UPDATE invoice SET customer_id = NULL, billing_email = NULL WHERE id = %s', i.id) END
  FROM invoice i
 WHERE i.id IN (SELECT id FROM invoice WHERE customer_id = $1::bigint
                UNION ALL
                SELECT j.id FROM booking b JOIN invoice j ON j.booking_id = b.id WHERE b.customer_id = $1::bigint);

SELECT format('UPDATE booking SET customer_id = NULL, contact_name = NULL, contact_phone = NULL, request_note = %L WHERE id = %s',
              CASE WHEN request_note IS NOT NULL THEN '[erased]' END, id)
  FROM booking WHERE customer_id = $1::bigint;

SELECT format('DELETE FROM customer WHERE id = %s', id) FROM customer WHERE id = $1::bigint;
