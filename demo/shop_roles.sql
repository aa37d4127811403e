-- sql/roles/target.sql filled in for policies/travel/customer.toml: the least that it needs.

GRANT USAGE ON SCHEMA erasured TO erasured_daemon;
GRANT SELECT, INSERT ON erasured.applied_step TO erasured_daemon;

-- What goes: DELETE, and UPDATE of one column for the lock on its rows.
GRANT DELETE, UPDATE (id) ON
    customer, customer_address, passport, newsletter_subscription, campaign_click, invoice,
    call_recording, call_note, support_message, web_event, activity, audit_log
    TO erasured_daemon;
GRANT DELETE, UPDATE (customer_id) ON contact_preference TO erasured_daemon;
GRANT DELETE, UPDATE (invoice_id) ON invoice_line TO erasured_daemon;

-- What loses the person: the columns that are set, and no other.
GRANT UPDATE (customer_id, contact_name, contact_phone, request_note) ON booking TO erasured_daemon;
GRANT UPDATE (companion_customer_id, full_name) ON booking_companion TO erasured_daemon;
GRANT UPDATE (payer_name, card_last4) ON payment TO erasured_daemon;
GRANT UPDATE (customer_id, billing_email) ON invoice TO erasured_daemon;
GRANT UPDATE (customer_id) ON review TO erasured_daemon;
