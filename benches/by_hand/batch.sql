-- What a good DBA would write to forget the customers $1 as policies/travel/customer.toml says,
-- in one transaction: no checks, no counts, no record of it. Sent prepared and pipelined; erase.rs
-- compares what it leaves with what ours leaves. Retained invoices lose the link and the e-mail.

DELETE FROM campaign_click c USING newsletter_subscription s
 WHERE s.customer_id = ANY ($1::bigint[]) AND c.subscription_id = s.id;

DELETE FROM newsletter_subscription WHERE customer_id = ANY ($1::bigint[]);

DELETE FROM customer_address WHERE customer_id = ANY ($1::bigint[]);

DELETE FROM contact_preference WHERE customer_id = ANY ($1::bigint[]);

DELETE FROM passport WHERE customer_id = ANY ($1::bigint[]);

DELETE FROM call_note n USING call_recording r
 WHERE r.customer_id = ANY ($1::bigint[]) AND n.call_id = r.id;

DELETE FROM call_recording WHERE customer_id = ANY ($1::bigint[]);

-- Answers hang off what they answer.
WITH RECURSIVE thread AS (
    SELECT id FROM support_message WHERE customer_id = ANY ($1::bigint[])
    UNION
    SELECT m.id FROM thread t JOIN support_message m ON m.parent_id = t.id)
DELETE FROM support_message m USING thread t WHERE m.id = t.id;

DELETE FROM web_event WHERE payload #>> '{user,id}' = ANY ($1::bigint[]::text[]);

DELETE FROM activity WHERE actor_type = 'Customer' AND actor_id = ANY ($1::bigint[]);

UPDATE review SET customer_id = NULL WHERE customer_id = ANY ($1::bigint[]);

UPDATE booking_companion SET companion_customer_id = NULL,
       full_name = CASE WHEN full_name IS NOT NULL THEN '[erased]' END
 WHERE companion_customer_id = ANY ($1::bigint[]);

UPDATE payment p SET payer_name = NULL, card_last4 = NULL FROM booking b
 WHERE b.customer_id = ANY ($1::bigint[]) AND p.booking_id = b.id;

-- Invoices belong to the customer, or to the customer's booking; seven years, then they go.
DELETE FROM invoice_line l USING invoice i
 WHERE i.id IN (SELECT id FROM invoice WHERE customer_id = ANY ($1::bigint[])
                UNION ALL
                SELECT j.id FROM booking b JOIN invoice j ON j.booking_id = b.id
                 WHERE b.customer_id = ANY ($1::bigint[]))
   AND i.issued_on + interval '7 years' <= now() AND l.invoice_id = i.id;

DELETE FROM invoice i
 WHERE i.id IN (SELECT id FROM invoice WHERE customer_id = ANY ($1::bigint[])
                UNION ALL
                SELECT j.id FROM booking b JOIN invoice j ON j.booking_id = b.id
                 WHERE b.customer_id = ANY ($1::bigint[]))
   AND i.issued_on + interval '7 years' <= now();

UPDATE invoice i SET customer_id = NULL, billing_email = NULL
 WHERE i.id IN (SELECT id FROM invoice WHERE customer_id = ANY ($1::bigint[])
                UNION ALL
                SELECT j.id FROM booking b JOIN invoice j ON j.booking_id = b.id
                 WHERE b.customer_id = ANY ($1::bigint[]));

UPDATE booking SET customer_id = NULL, contact_name = NULL, contact_phone = NULL,
       request_note = CASE WHEN request_note IS NOT NULL THEN '[erased]' END
 WHERE customer_id = ANY ($1::bigint[]);

DELETE FROM customer WHERE id = ANY ($1::bigint[]);
