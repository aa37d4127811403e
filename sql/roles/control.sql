-- Rights in the control database. Run it as the owner of schema erasured, after `erasured migrate`:
--   psql -d control -f control.sql
-- It may be run again at any time; it adds nothing twice.
--
-- These are groups without login. Give them to people and services, for example:
--   CREATE ROLE hana LOGIN IN ROLE erasured_desk;
--   CREATE ROLE erasured_prod LOGIN IN ROLE erasured_daemon;
--   CREATE ROLE crm LOGIN IN ROLE erasured_desk, erasured_trusted;

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'erasured_daemon',    -- the daemon's login: does the work, decides nothing
        'erasured_desk',      -- files and verifies
        'erasured_approver',  -- approves, rejects, holds, releases
        'erasured_auditor',   -- reads proof
        'erasured_admin',     -- places and releases legal holds, lifts lock-outs
        'erasured_trusted'    -- may name the person it acts for, in the setting erasured.actor
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA erasured
   TO erasured_daemon, erasured_desk, erasured_approver, erasured_auditor, erasured_admin;

-- The privacy desk: files tickets and records how the caller was verified.
GRANT EXECUTE ON FUNCTION erasured.submit_ticket(text, text, jsonb, text, text, timestamptz, text) TO erasured_desk;
GRANT EXECUTE ON FUNCTION erasured.verify_ticket(uuid, text, text) TO erasured_desk;
GRANT EXECUTE ON FUNCTION erasured.retry_ticket(uuid)              TO erasured_desk, erasured_approver;

-- The second person.
GRANT EXECUTE ON FUNCTION erasured.approve_ticket(uuid)            TO erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.reject_ticket(uuid, text)       TO erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.is_typed_back(uuid, text)       TO erasured_approver;
GRANT SELECT (ticket_id, rows, named_by, salt, counted_at)
   ON erasured.forecast                TO erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.hold_ticket(uuid, text)         TO erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.release_ticket(uuid)            TO erasured_approver;

-- Looking. Nobody here sees an identifier's value; a finding may show the key of a row.
GRANT EXECUTE ON FUNCTION erasured.level_name(smallint) -- the view calls it
                                       TO erasured_desk, erasured_approver, erasured_auditor, erasured_daemon;
GRANT SELECT ON erasured.ticket_status TO erasured_desk, erasured_approver, erasured_auditor, erasured_daemon;
GRANT SELECT ON erasured.control_history, erasured.scope
                                       TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin;
GRANT SELECT ON erasured.finding       TO erasured_desk, erasured_approver;
GRANT SELECT ON erasured.joint         TO erasured_auditor;
GRANT SELECT ON erasured.step          TO erasured_desk, erasured_approver, erasured_auditor;
GRANT SELECT (id, ticket_id, system, schema_name, table_name, due_at, basis, rows, state, done_at)
   ON erasured.deferral                TO erasured_desk, erasured_approver, erasured_auditor;
GRANT SELECT ON erasured.plan          TO erasured_approver, erasured_auditor;
GRANT SELECT ON erasured.certificate   TO erasured_desk, erasured_approver, erasured_auditor;
-- "Was this person erased?" is asked by keyed hash; hashes, not values.
GRANT SELECT (ticket_id, name, hash)   ON erasured.ticket_identifier TO erasured_desk, erasured_auditor;
GRANT SELECT (id, subject_hash)        ON erasured.ticket            TO erasured_desk, erasured_auditor;
GRANT SELECT ON erasured.decision      TO erasured_auditor;
GRANT SELECT ON erasured.ledger, erasured.event -- the event: an entry of the ledger to be
                                       TO erasured_auditor;

GRANT EXECUTE ON FUNCTION erasured.folded(text), erasured.unfit(uuid[]) TO erasured_daemon;

-- The daemon: reads all, moves tickets on, appends proof. It cannot file, verify, approve or
-- reject (no right on those functions nor on erasured.decision), but for people who are due by
-- a retention rule, whose tickets the policy approves (below); it cannot change what a ticket
-- asks for, run it before its cooling-off time, or change or remove what is in the ledger.
-- It must be trusted all the same: moving an event into the ledger is deleting it from the
-- outbox, so who holds this login can drop an event before it gets there, or write one of their
-- own; and it publishes what the policies ask for (erasured.scope). A certificate without its
-- event, or an event without its certificate, is found by erasured ledger verify; a genuine
-- certificate takes the signing key as well.
GRANT SELECT ON ALL TABLES IN SCHEMA erasured TO erasured_daemon;
GRANT INSERT, UPDATE, DELETE ON erasured.scope TO erasured_daemon;
GRANT UPDATE (due_at, not_before, state, problem_code, problem, attempt, next_attempt_at,
              sealed, subject_hash, plan_id,
              started_at, verifying_since, finished_at, sla_met)
   ON erasured.ticket TO erasured_daemon;
GRANT INSERT, DELETE, UPDATE (token, until, holder)
                                             ON erasured.lease TO erasured_daemon;
GRANT UPDATE (value, hash), INSERT (ticket_id, name, hash, given)
                                             ON erasured.ticket_identifier TO erasured_daemon;
GRANT INSERT                                  ON erasured.plan TO erasured_daemon;
GRANT INSERT (ticket_id), UPDATE (rows, named_by, salt, digest, counted_at)
                                              ON erasured.forecast TO erasured_daemon;
GRANT INSERT, UPDATE (policy_sha256, fingerprint, body, taken_at)
                                              ON erasured.definitions TO erasured_daemon;
GRANT INSERT, UPDATE (plan_id, state, counts, committed_at, joint_id)
                                              ON erasured.step TO erasured_daemon;
GRANT INSERT (token, systems), UPDATE (outcome, decided_at, ended, ended_at)
                                              ON erasured.joint TO erasured_daemon;
GRANT INSERT, DELETE, UPDATE (sealed, taken)  ON erasured.found TO erasured_daemon;
GRANT INSERT, DELETE, UPDATE (state, due_at, sealed, done_at, lease_token, lease_until)
                                              ON erasured.deferral TO erasured_daemon;
GRANT INSERT, UPDATE (finished_at, lease_token, lease_until, holder)
                                              ON erasured.sweep TO erasured_daemon;
GRANT INSERT                                  ON erasured.sweep_ticket, erasured.sweep_progress TO erasured_daemon;
GRANT INSERT, UPDATE (row_key, resolved_at)   ON erasured.finding TO erasured_daemon;
GRANT INSERT, DELETE                          ON erasured.watched TO erasured_daemon;
GRANT INSERT, UPDATE (looked, looked_at, until) ON erasured.recheck TO erasured_daemon;
GRANT INSERT, DELETE                          ON erasured.event TO erasured_daemon;
GRANT INSERT                                  ON erasured.ledger, erasured.certificate TO erasured_daemon;
GRANT INSERT, UPDATE, DELETE                  ON erasured.daemon TO erasured_daemon;

-- Who is asking. That answers matched is the daemon's to say, since it compares them, and never the
-- desk's. Nobody writes an attempt or a lock-out but by these functions.
GRANT INSERT, UPDATE, DELETE ON erasured.method, erasured.identity_limit TO erasured_daemon;
GRANT EXECUTE ON FUNCTION erasured.begin_attempt(uuid, text, text, text), erasured.end_attempt(bigint, text)
   TO erasured_daemon;
GRANT SELECT ON erasured.method, erasured.identity_limit
   TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin;
GRANT SELECT ON erasured.identity_attempt, erasured.identity_lock TO erasured_auditor, erasured_admin;
GRANT EXECUTE ON FUNCTION erasured.lift_lockout(text, text) TO erasured_admin;
-- Signs of an impostor: the daemon tells what it sees in the person's row, the real owner objects by the desk.
GRANT INSERT, UPDATE, DELETE ON erasured.sign_rule TO erasured_daemon;
GRANT EXECUTE ON FUNCTION erasured.note_signs(uuid[], text[], text[], text[]), erasured.look_for_signs(uuid[])
   TO erasured_daemon;
GRANT EXECUTE ON FUNCTION erasured.object_ticket(uuid), erasured.name_requester(uuid, text) TO erasured_desk;
GRANT EXECUTE ON FUNCTION erasured.requester_read(uuid[], text[]) TO erasured_daemon;
-- Documents that the desk has seen, and copies that it has destroyed.
GRANT EXECUTE ON FUNCTION erasured.see_document(uuid, text, boolean), erasured.destroy_document(uuid, text) TO erasured_desk;
GRANT INSERT, UPDATE, DELETE ON erasured.never TO erasured_daemon;
GRANT SELECT ON erasured.never TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin;
GRANT SELECT ON erasured.document TO erasured_auditor;
GRANT SELECT ON erasured.sign, erasured.sign_rule TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin;
-- The clock. Making the term longer is a decision; confirming receipt and asking are the desk's.
GRANT EXECUTE ON FUNCTION erasured.acknowledge_ticket(uuid)        TO erasured_desk, erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.ask_ticket(uuid, text)          TO erasured_desk, erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.answered_ticket(uuid)           TO erasured_desk, erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.extend_ticket(uuid, text)       TO erasured_approver;
GRANT SELECT ON erasured.pause, erasured.ticket_timeline, erasured.ticket_order TO erasured_desk, erasured_approver, erasured_auditor, erasured_daemon;
GRANT SELECT, INSERT, UPDATE, DELETE ON erasured.turn TO erasured_daemon;
-- Legal holds: people place and release them, the daemon reads whom they cover and obeys.
GRANT EXECUTE ON FUNCTION erasured.place_hold(text, text, text, jsonb, timestamptz),
                          erasured.place_row_hold(text, text, text, jsonb, timestamptz),
                          erasured.release_hold(uuid), erasured.release_matter(text), erasured.hold_once(text, text, uuid)
                                       TO erasured_approver, erasured_admin;
GRANT EXECUTE ON FUNCTION erasured.refuse_part(uuid, text, text) TO erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.withdraw_ticket(uuid) TO erasured_desk, erasured_approver;
GRANT SELECT ON erasured.ground        TO erasured_desk, erasured_approver, erasured_auditor;
GRANT INSERT, UPDATE, DELETE ON erasured.ground TO erasured_daemon;
GRANT SELECT ON erasured.hold_status   TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin;
GRANT EXECUTE ON FUNCTION erasured.waits_with(uuid) TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin, erasured_daemon;
GRANT EXECUTE ON FUNCTION erasured.holds_on(uuid[]), erasured.hold_unread(uuid[], text),
                          erasured.hold_read(uuid, text[], text[], text[], text, text),
                          erasured.row_holds(text), erasured.row_hold_read(uuid, bytea, text, text),
                          erasured.hold_covers(uuid[], uuid[]),
                          erasured.suspend_held(uuid[]), erasured.suspend_deferrals(timestamptz),
                          erasured.resume_held(), erasured.link_duplicates(uuid[]),
                          erasured.erased_before(text, text[], text[])
                                       TO erasured_daemon;
GRANT UPDATE (clock, clock_stale, acknowledge_by, extended_due_at, escalated, escalate_at, explain, turn) ON erasured.ticket TO erasured_daemon;

-- Identifiers travel as parameters of statements, and a server that logs statements (log_statement,
-- log_min_duration_statement, auto_explain) writes parameters into its log, where no erasure finds
-- them. Settings of a group do not reach its members, so for each login; as superuser:
-- ALTER ROLE erasured_prod SET log_parameter_max_length = 0;
-- ALTER ROLE erasured_prod SET log_parameter_max_length_on_error = 0;
-- A person who writes values into the text of a statement, in psql, needs more:
-- ALTER ROLE hana SET log_statement = 'none';
-- ALTER ROLE hana SET log_min_duration_statement = -1;
-- ALTER ROLE hana SET log_min_error_statement = 'panic';

-- The outbox. Messages hold no personal data; who LISTENs reads them by their id.
GRANT SELECT ON erasured.outbox, erasured.outbox_delivery, erasured.outbox_target
   TO erasured_desk, erasured_approver, erasured_auditor;
GRANT SELECT ON erasured.opendsr_request TO erasured_desk, erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.note_opendsr(uuid, uuid, text, text[]) TO erasured_desk;
GRANT EXECUTE ON FUNCTION erasured.redeliver(text) TO erasured_desk, erasured_approver;
GRANT EXECUTE ON FUNCTION erasured.retire_target(text) TO erasured_admin;
GRANT SELECT ON erasured.outbox_target, erasured.outbox_server TO erasured_admin;
-- A daemon names targets; that one is no more is a person's to say.
GRANT INSERT, UPDATE ON erasured.outbox_target TO erasured_daemon;
GRANT INSERT, UPDATE, DELETE ON erasured.outbox_server TO erasured_daemon;
GRANT DELETE                 ON erasured.outbox        TO erasured_daemon;
GRANT UPDATE (state, attempts, next_at, problem, lease_token, lease_until, done_at)
                             ON erasured.outbox_delivery TO erasured_daemon;

-- Retention: the policy decides, the daemon runs, everybody who has to know may look.
GRANT SELECT ON erasured.retention_run TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin, erasured_daemon;
GRANT INSERT ON erasured.retention_run TO erasured_daemon;
GRANT SELECT ON erasured.retention_proposal, erasured.retention_approval
   TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin, erasured_daemon;
GRANT INSERT, UPDATE, DELETE ON erasured.retention_proposal TO erasured_daemon;
GRANT EXECUTE ON FUNCTION erasured.approve_retention(uuid, bigint) TO erasured_approver;
GRANT SELECT ON erasured.run_certificate TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin, erasured_daemon;
GRANT INSERT ON erasured.run_certificate TO erasured_daemon;
GRANT SELECT, INSERT ON erasured.retention_schedule TO erasured_daemon;
-- Who may stop a ticket may slow a run down; and who looks after the servers.
GRANT EXECUTE ON FUNCTION erasured.throttle_retention(integer, text) TO erasured_approver, erasured_admin;
GRANT SELECT ON erasured.retention_throttle TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin, erasured_daemon;
GRANT EXECUTE ON FUNCTION erasured.pause_system(text, text, timestamptz), erasured.resume_system(text) TO erasured_approver, erasured_admin;
GRANT SELECT ON erasured.maintenance, erasured.partial_ticket TO erasured_desk, erasured_approver, erasured_auditor, erasured_admin, erasured_daemon;
GRANT UPDATE (state, waits, ended_at, approval, batches, rows, counts, partitions, archive, held, survivors, set_aside, problem_code, problem, holder, lease_token, lease_until)
   ON erasured.retention_run TO erasured_daemon;
GRANT EXECUTE ON FUNCTION erasured.held_people(text), erasured.retention_barred(uuid, uuid, text[], text, uuid[], uuid[]) TO erasured_daemon;
-- Of people it files those alone who are due by a rule, for the run that it is at, and ends what is not due any more.
GRANT EXECUTE ON FUNCTION erasured.file_due(uuid, uuid, uuid, text, text, bytea, timestamptz, text[], text[]), erasured.end_not_due(uuid, uuid) TO erasured_daemon;
