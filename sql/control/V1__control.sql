-- The control schema: what was asked, who stands behind it, how far it is, and the proof.
--
-- Everything is named with its schema; functions that others call run with their owner's rights
-- and a fixed search_path, so a hostile schema on the caller's path changes nothing. Nobody but
-- the owner has any right until sql/roles/control.sql grants it.
--
-- Errors of our own carry SQLSTATE class ER:
--   ER001 no such ticket                       ER006 an argument is not acceptable
--   ER002 the ticket's state does not allow it ER007 identity is not verified far enough
--   ER003 reference already used for another   ER008 four eyes: verifier and approver are one
--   ER004 no policy for this subject or scope  ER009 history is append-only
--   ER005 identifiers are not acceptable       ER010 a daemon is at work on the ticket
--   ER011 a proof that the request does not deserve
--   ER017 the term is not made longer          ER018 a question is open, or none is
-- and those that later migrations tell of.
--   ER012 answers that must match have not been compared
--   ER013 a document that nobody may take       ER016 a copy of a document is held, or none is
--   ER019 signs of an impostor were found that the approval did not know
-- None of their texts repeats an identifier's value.

-- ---------------------------------------------------------------- small vocabulary

CREATE FUNCTION erasured.level_rank(level text) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT (pg_catalog.array_position(
        ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'], level) - 1)::smallint $$;
COMMENT ON FUNCTION erasured.level_rank IS 'How far an identity is verified, 0 (none) to 4 (high); NULL for an unknown word.';

CREATE FUNCTION erasured.level_name(rank smallint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT (ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'])[rank + 1] $$;
COMMENT ON FUNCTION erasured.level_name IS 'The word for a rank of erasured.level_rank.';

-- ---------------------------------------------------------------- tables

-- What people are called is compared here, and must not depend on the database's locale.
DO $$
BEGIN
    IF getdatabaseencoding() <> 'UTF8' OR NOT EXISTS (SELECT FROM pg_catalog.pg_collation c
            WHERE c.collname = 'und-x-icu' AND c.collnamespace = 'pg_catalog'::regnamespace) THEN
        RAISE EXCEPTION 'the control database must be in UTF8, on a server that was built with ICU'
            USING HINT = 'createdb --encoding UTF8 --template template0 erasured';
    END IF;
END $$;

CREATE TABLE erasured.scope (
    subject       text        NOT NULL,
    scope         text        NOT NULL,
    policy_sha256 text        NOT NULL,
    identifiers   text[]      NOT NULL,
    at_least      smallint    NOT NULL CHECK (at_least BETWEEN 0 AND 4),
    four_eyes     boolean     NOT NULL,
    cooling_off   interval    NOT NULL CHECK (cooling_off >= interval '0'),
    doubtful      smallint    NOT NULL DEFAULT 0 CHECK (doubtful BETWEEN 0 AND 4),
    doubtful_wait interval    NOT NULL DEFAULT interval '0' CHECK (doubtful_wait >= interval '0'),
    sla           text        NOT NULL,
    clock_moves   text[]      NOT NULL DEFAULT '{}',
    words         jsonb       NOT NULL DEFAULT '{}',
    confirm_over  bigint      CHECK (confirm_over >= 0),
    due_by        jsonb       NOT NULL DEFAULT '{}',
    published_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subject, scope)
);
COMMENT ON TABLE erasured.scope IS 'What may be asked for and what it takes: published by the daemon from the policies it has loaded.';
COMMENT ON COLUMN erasured.scope.confirm_over IS 'More rows than this are approved at a terminal only by typing back who is meant.';
COMMENT ON COLUMN erasured.scope.due_by IS 'Retention rules whose people go by tickets of this scope, and how many tickets one run of each files at most.';
COMMENT ON COLUMN erasured.scope.doubtful IS 'The level that it takes where there are signs of an impostor.';
COMMENT ON COLUMN erasured.scope.doubtful_wait IS 'How long nothing is erased after such a sign was found: time for the real owner to object.';
COMMENT ON COLUMN erasured.scope.clock_moves IS 'Kinds of decisions with which the SLA profile''s clock begins.';
COMMENT ON COLUMN erasured.scope.words IS 'What customers may be told of it: what is lost and kept, where to complain.';
COMMENT ON COLUMN erasured.scope.identifiers IS 'Names by which a ticket may find the subject.';

CREATE TABLE erasured.plan (
    id            text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{64}$'),
    policy_file   text        NOT NULL,
    policy_sha256 text        NOT NULL,
    subject       text        NOT NULL,
    scope         text        NOT NULL,
    body          json        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
-- json, not jsonb: the text is kept as it was hashed.
COMMENT ON TABLE erasured.plan IS 'Plans as they ran, named by the SHA-256 of their body; one serves many tickets and holds no personal data.';

CREATE TABLE erasured.definitions (
    subject       text        NOT NULL,
    scope         text        NOT NULL,
    system        text        NOT NULL,
    policy_sha256 text        NOT NULL,
    fingerprint   text        NOT NULL CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
    body          json        NOT NULL,
    taken_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subject, scope, system)
);
COMMENT ON TABLE erasured.definitions IS 'Tables, columns, keys and triggers within a scope''s reach when its plan last ran or its policy was accepted; erasured check compares with them. No personal data.';

CREATE TABLE erasured.ticket (
    id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    reference       text        NOT NULL UNIQUE,
    subject         text        NOT NULL,
    scope           text        NOT NULL,
    ground          text        NOT NULL,
    language        text,
    requested_at    timestamptz NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now(),
    due_at          timestamptz,
    not_before      timestamptz,
    state           text        NOT NULL DEFAULT 'received' CHECK (state IN
        ('received', 'verified', 'approved', 'scheduled', 'executing', 'verifying',
         'completed', 'deferred', 'failed', 'on_hold', 'rejected')),
    held_from       text,
    problem_code    text,
    problem         text,
    attempt         integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    sealed          bytea,
    subject_hash    text        CHECK (subject_hash ~ '^[0-9a-f]{64}$'),
    plan_id         text        REFERENCES erasured.plan (id),
    generation      integer     NOT NULL DEFAULT 1,
    refused         jsonb       NOT NULL DEFAULT '{}',
    duplicate_of    uuid        REFERENCES erasured.ticket (id),
    started_at      timestamptz,
    verifying_since timestamptz,
    finished_at     timestamptz,
    sla_met         boolean,
    clock           text        NOT NULL DEFAULT 'running' CHECK (clock IN ('not_started', 'running', 'paused', 'none')),
    clock_stale     boolean     NOT NULL DEFAULT true,
    acknowledge_by  timestamptz,
    acknowledged_at timestamptz,
    extended_due_at timestamptz,
    extended_at     timestamptz,
    extended_for    text,
    escalated       smallint    NOT NULL DEFAULT 0,
    escalate_at     timestamptz,
    explain         boolean     NOT NULL DEFAULT false,
    filed_by        text        NOT NULL DEFAULT session_user,
    turn            integer     NOT NULL DEFAULT 0,
    asked_at        timestamptz,
    asked_for       text,
    closing         text        CHECK (closing IN ('contested', 'withdrawn')),
    CHECK (state NOT IN ('scheduled', 'executing', 'verifying', 'completed', 'deferred')
           OR (subject_hash IS NOT NULL AND due_at IS NOT NULL)),
    CHECK (state NOT IN ('completed', 'deferred', 'rejected')
           OR (sealed IS NULL AND finished_at IS NOT NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE erasured.ticket IS 'One erasure request.';
COMMENT ON COLUMN erasured.ticket.reference IS 'The desk''s own word for the request; it stays, so it must not name the person.';
COMMENT ON COLUMN erasured.ticket.problem IS 'Why it does not go on; free of personal data.';
COMMENT ON COLUMN erasured.ticket.next_attempt_at IS 'Not leased before; NULL means now. Cooling off and back-off both wait here.';
COMMENT ON COLUMN erasured.ticket.sealed IS 'Root key and residual identifiers, encrypted by the daemon; NULL once closed.';
COMMENT ON COLUMN erasured.ticket.due_at IS 'As the daemon counts it; the earliest that it can be while the clock has not started or is paused. With clock none nobody is told of it: it says when its turn comes among others.';
COMMENT ON COLUMN erasured.ticket.clock_stale IS 'Something has happened that may move its due time: the daemon counts again.';
COMMENT ON COLUMN erasured.ticket.extended_due_at IS 'Due time with the extension that the profile knows; NULL where it knows none.';
COMMENT ON COLUMN erasured.ticket.escalated IS 'Steps of the profile''s escalation that have been told; one more than it has once the ticket is late.';
COMMENT ON COLUMN erasured.ticket.escalate_at IS 'When the next step is reached; NULL when none is to come or time does not count.';
COMMENT ON COLUMN erasured.ticket.explain IS 'After the due time the company owes an explanation, and is not late.';
COMMENT ON COLUMN erasured.ticket.filed_by IS 'Through which door it came, as erasured.door had it: the desks among which turns are shared.';
COMMENT ON COLUMN erasured.ticket.turn IS 'Which one of its desk''s for its due time it is, from 1: who is due at the same time is taken in turns.';
COMMENT ON COLUMN erasured.ticket.asked_for IS 'What the customer is being asked for, since asked_at; NULL when nothing is open.';
COMMENT ON COLUMN erasured.ticket.closing IS 'What it is closed as once no copy of a document is held any more; until then it goes nowhere else.';
COMMENT ON COLUMN erasured.ticket.duplicate_of IS 'Another ticket under way for the same person and scope: this one waits for it and closes with its certificate.';
COMMENT ON COLUMN erasured.ticket.refused IS 'Parts of the scope that an approver refused, each with the code of its ground.';
COMMENT ON COLUMN erasured.ticket.generation IS 'Grows when a person retries a failed ticket, and when a legal hold has let only a part of it run: a new plan, new steps.';

-- The queue: only what may run now is in these two, so that waiting tickets cost nothing.
CREATE INDEX ticket_ready ON erasured.ticket (due_at, turn)
    WHERE state = 'scheduled' AND next_attempt_at IS NULL;
CREATE INDEX ticket_ready_alike ON erasured.ticket (subject, scope, (coalesce(plan_id, '')), due_at, turn)
    WHERE state = 'scheduled' AND next_attempt_at IS NULL;
-- What becomes leasable by the clock.
CREATE INDEX ticket_wakes ON erasured.ticket (next_attempt_at)
    WHERE state IN ('approved', 'scheduled') AND next_attempt_at IS NOT NULL AND subject_hash IS NOT NULL;
CREATE INDEX ticket_unresolved ON erasured.ticket (requested_at)
    WHERE state IN ('received', 'verified', 'approved') AND subject_hash IS NULL AND problem_code IS NULL;
CREATE INDEX ticket_clock_stale ON erasured.ticket (requested_at) WHERE clock_stale;
CREATE INDEX ticket_escalates ON erasured.ticket (escalate_at) WHERE escalate_at IS NOT NULL;
-- What a listing by danger shows first.
CREATE INDEX ticket_escalated ON erasured.ticket (due_at, turn, id)
    WHERE escalated > 0 AND state NOT IN ('completed', 'deferred', 'rejected');
CREATE INDEX ticket_failed ON erasured.ticket (due_at, turn, id) WHERE state = 'failed';
CREATE INDEX ticket_lost ON erasured.ticket (due_at, turn, id)
    WHERE state IN ('received', 'verified', 'approved') AND subject_hash IS NULL AND problem_code IS NOT NULL;
CREATE INDEX ticket_person ON erasured.ticket (due_at, turn, id) WHERE state IN ('received', 'verified') AND asked_for IS NULL;
CREATE INDEX ticket_customer ON erasured.ticket (due_at, turn, id) WHERE state IN ('received', 'verified') AND asked_for IS NOT NULL;
CREATE INDEX ticket_verifying ON erasured.ticket (subject, verifying_since) WHERE state = 'verifying';
-- With the turn like the queue's, or the planner may take this one for it and sort.
CREATE INDEX ticket_open_due ON erasured.ticket (due_at, turn, id)
    WHERE state NOT IN ('completed', 'deferred', 'rejected');
CREATE INDEX ticket_subject_hash ON erasured.ticket (subject_hash) WHERE subject_hash IS NOT NULL;
CREATE INDEX ticket_requested ON erasured.ticket (requested_at);

-- A table of its own, as small as what is under way: to lend a ticket writes nothing into the
-- indexes of erasured.ticket, which grow for years. Who writes here locks the ticket first (only
-- renewing does without), so a foreign key would add nothing but a look-up for each row: measured,
-- half the time that a lease takes.
CREATE TABLE erasured.lease (
    ticket_id uuid        PRIMARY KEY,
    token     uuid        NOT NULL,
    until     timestamptz NOT NULL,
    holder    text        NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE erasured.lease IS 'Tickets lent to a daemon, which alone may write about them until the lease runs out and another takes them.';
COMMENT ON COLUMN erasured.lease.token IS 'The right to write; one for each batch, another for whoever takes it over.';
CREATE INDEX lease_token ON erasured.lease (token);
CREATE INDEX lease_until ON erasured.lease (until);

CREATE TABLE erasured.ticket_identifier (
    ticket_id uuid NOT NULL REFERENCES erasured.ticket (id),
    name      text NOT NULL,
    value     text CHECK (length(value) BETWEEN 1 AND 1000),
    hash      text CHECK (hash ~ '^[0-9a-f]{64}$'),
    given     boolean NOT NULL DEFAULT true,
    PRIMARY KEY (ticket_id, name)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE erasured.ticket_identifier IS 'By what the desk named the person: the value until the ticket is closed, then its keyed hash alone.';
COMMENT ON COLUMN erasured.ticket_identifier.given IS 'Named by the desk; false for those that the daemon found with the person, which are only ever hashes.';
CREATE INDEX ticket_identifier_hash ON erasured.ticket_identifier (hash) WHERE hash IS NOT NULL;

CREATE TABLE erasured.decision (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id uuid        NOT NULL REFERENCES erasured.ticket (id),
    kind      text        NOT NULL CHECK (kind IN ('verify', 'approve', 'reject', 'hold', 'release', 'retry',
                                               'acknowledge', 'extend', 'ask', 'answer', 'refuse_part', 'object')),
    method    text,
    level     smallint    CHECK (level BETWEEN 0 AND 4),
    reason    text,
    by_name   text        NOT NULL,
    by_role   text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    CHECK (kind <> 'verify' OR (method IS NOT NULL AND level IS NOT NULL))
);
COMMENT ON TABLE erasured.decision IS 'What people decided about a ticket, and who. Only the functions below write it; the daemon may not.';
CREATE INDEX decision_ticket ON erasured.decision (ticket_id, kind);

CREATE TABLE erasured.forecast (
    ticket_id  uuid     PRIMARY KEY REFERENCES erasured.ticket (id),
    rows       bigint   CHECK (rows >= 0),
    named_by   text,
    salt       text,
    digest     text     CHECK (digest ~ '^[0-9a-f]{64}$'),
    wrong      smallint NOT NULL DEFAULT 0,
    counted_at timestamptz
);
COMMENT ON TABLE erasured.forecast IS 'How many rows a ticket would touch, for whoever approves it; only where the policy has confirm_over, and until it is approved or rejected.';
COMMENT ON COLUMN erasured.forecast.rows IS 'NULL: not counted yet, or, with counted_at, they could not be counted.';
COMMENT ON COLUMN erasured.forecast.digest IS 'Salted SHA-256 of what the approver types back, which the policy calls named_by: compared, and never told.';
CREATE INDEX forecast_uncounted ON erasured.forecast (ticket_id) WHERE counted_at IS NULL;

-- Found by the daemon in the person's own row, or told by what happened here before.
CREATE TABLE erasured.sign (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id uuid        NOT NULL REFERENCES erasured.ticket (id),
    kind      text        NOT NULL CHECK (kind IN ('contact_changed', 'many_subjects', 'contested', 'failed_attempts')),
    contact   text        NOT NULL DEFAULT '' CHECK (contact ~ '^([a-z][a-z0-9_-]{0,62})?$'),
    mark      text        NOT NULL,
    after     bigint      NOT NULL,
    found_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (ticket_id, kind, contact, mark)
);
COMMENT ON TABLE erasured.sign IS 'Signs that somebody else may be asking: codes, never a value.';
COMMENT ON COLUMN erasured.sign.contact IS 'Which of the ways to reach the person was changed, as the policy calls it.';
COMMENT ON COLUMN erasured.sign.mark IS 'What tells one sign from another of its kind: a keyed hash, an id.';
COMMENT ON COLUMN erasured.sign.after IS 'The last decision about the ticket when it was found: an approval that knows of it comes later.';

-- The program takes no copy. Here stands that the desk saw a document, whether it keeps a copy, and
-- that the copy is no more.
CREATE TABLE erasured.document (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id      uuid        NOT NULL REFERENCES erasured.ticket (id),
    kind           text        NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_-]{0,59}$'),
    seen_at        timestamptz NOT NULL DEFAULT now(),
    seen_by        text        NOT NULL,
    seen_role      text        NOT NULL,
    copied         boolean     NOT NULL,
    destroyed_at   timestamptz,
    destroyed_by   text,
    destroyed_role text,
    CHECK ((destroyed_at IS NULL) = (destroyed_by IS NULL) AND (destroyed_at IS NULL) = (destroyed_role IS NULL)),
    CHECK (copied OR destroyed_at IS NULL)
);
COMMENT ON TABLE erasured.document IS 'Documents that the desk has seen: of what kind, by whom and when. Never what stood in them.';
COMMENT ON COLUMN erasured.document.copied IS 'A copy was made, which is held until it is recorded as destroyed.';
CREATE INDEX document_ticket ON erasured.document (ticket_id);
CREATE INDEX document_held ON erasured.document (ticket_id) WHERE copied AND destroyed_at IS NULL;

-- By this name the systems tell what this control database has prepared in them from what others have.
CREATE TABLE erasured.installation (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id       uuid    NOT NULL DEFAULT gen_random_uuid()
);
COMMENT ON TABLE erasured.installation IS 'The name of this control database in transactions that systems have prepared.';
INSERT INTO erasured.installation DEFAULT VALUES;

-- Where the parts of a batch on several systems happen all or not at all: what is decided of the transactions
-- that these have prepared. Written before the first is prepared; the outcome by whoever is first, and once.
CREATE TABLE erasured.joint (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    token      uuid        NOT NULL,
    systems    text[]      NOT NULL,
    begun_at   timestamptz NOT NULL DEFAULT now(),
    outcome    text        CHECK (outcome IN ('committed', 'aborted')),
    decided_at timestamptz,
    ended      jsonb       NOT NULL DEFAULT '{}',
    ended_at   timestamptz,
    CHECK ((outcome IS NULL) = (decided_at IS NULL)),
    CHECK (ended_at IS NULL OR outcome IS NOT NULL)
);
COMMENT ON TABLE erasured.joint IS 'Transactions prepared on several systems (atomic in a policy), and whether they are to be committed. Kept: what is found prepared later is ended by it.';
COMMENT ON COLUMN erasured.joint.token IS 'The lease under which it was begun. While that lasts nobody else decides.';
COMMENT ON COLUMN erasured.joint.ended IS 'When each system has ended its own, by the system''s clock.';
CREATE INDEX joint_open ON erasured.joint (begun_at) WHERE ended_at IS NULL;

CREATE FUNCTION erasured.guard_joint() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'what was decided of prepared transactions is decided once' USING ERRCODE = 'ER009';
END $$;
CREATE TRIGGER guard_joint BEFORE UPDATE ON erasured.joint
    FOR EACH ROW WHEN (OLD.outcome IS NOT NULL AND NEW.outcome IS DISTINCT FROM OLD.outcome)
    EXECUTE FUNCTION erasured.guard_joint();

CREATE TABLE erasured.step (
    ticket_id    uuid        NOT NULL REFERENCES erasured.ticket (id),
    generation   integer     NOT NULL,
    system       text        NOT NULL,
    ordinal      integer     NOT NULL,
    plan_id      text        NOT NULL REFERENCES erasured.plan (id),
    state        text        NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'done')),
    counts       jsonb,
    committed_at timestamptz,
    joint_id     uuid        REFERENCES erasured.joint (id),
    PRIMARY KEY (ticket_id, generation, system),
    CHECK ((state = 'done') = (committed_at IS NOT NULL AND counts IS NOT NULL))
);
COMMENT ON TABLE erasured.step IS 'One ticket''s work on one system: planned before the first write, done when its own transaction is known to have committed.';
COMMENT ON COLUMN erasured.step.joint_id IS 'The last try at doing it together with other systems'' parts.';

CREATE TABLE erasured.found (
    ticket_id  uuid    NOT NULL,
    generation integer NOT NULL,
    system     text    NOT NULL,
    sealed     bytea   NOT NULL,
    taken      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (ticket_id, generation, system),
    FOREIGN KEY (ticket_id, generation, system) REFERENCES erasured.step
);
COMMENT ON COLUMN erasured.found.taken IS 'Whether something of it may have been taken away: written behind the last question and just before the order.';
COMMENT ON TABLE erasured.found IS 'What a step has found in a system that is no database, written before anything is taken away there, so that each thing is counted once: keyed hashes, and the names by which rows name things there, encrypted by the daemon. It goes when the ticket is closed or ends undone.';

CREATE TABLE erasured.deferral (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    ticket_id    uuid        NOT NULL REFERENCES erasured.ticket (id),
    generation   integer     NOT NULL,
    system       text        NOT NULL,
    schema_name  text        NOT NULL,
    table_name   text        NOT NULL,
    due_at       timestamptz NOT NULL,
    basis        text        NOT NULL,
    rows         bigint      NOT NULL CHECK (rows > 0),
    sealed       bytea,
    state        text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done')),
    done_at      timestamptz,
    lease_token  uuid,
    lease_until  timestamptz,
    CHECK (state <> 'done' OR (sealed IS NULL AND done_at IS NOT NULL))
);
COMMENT ON TABLE erasured.deferral IS 'What the law keeps until a date; sealed holds the rows'' keys, encrypted by the daemon.';
CREATE INDEX deferral_due ON erasured.deferral (due_at) WHERE state = 'waiting';
CREATE INDEX deferral_ticket ON erasured.deferral (ticket_id);

CREATE TABLE erasured.sweep (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    subject       text        NOT NULL,
    policy_sha256 text        NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    lease_token   uuid        NOT NULL,
    lease_until   timestamptz NOT NULL,
    holder        text        NOT NULL
);
COMMENT ON TABLE erasured.sweep IS 'One search for residuals on behalf of a fixed set of tickets.';
COMMENT ON COLUMN erasured.sweep.policy_sha256 IS 'What was sought, and which columns were exempt, is this policy''s word; under another one the search begins anew.';
CREATE UNIQUE INDEX sweep_open ON erasured.sweep (subject) WHERE finished_at IS NULL;

CREATE TABLE erasured.sweep_ticket (
    sweep_id   uuid    NOT NULL REFERENCES erasured.sweep (id),
    ticket_id  uuid    NOT NULL REFERENCES erasured.ticket (id),
    generation integer NOT NULL,
    PRIMARY KEY (sweep_id, ticket_id)
);
COMMENT ON COLUMN erasured.sweep_ticket.generation IS 'A ticket that fell out and was retried writes again: what was read before proves nothing about it.';
CREATE INDEX sweep_ticket_ticket ON erasured.sweep_ticket (ticket_id);

CREATE TABLE erasured.sweep_progress (
    sweep_id    uuid        NOT NULL REFERENCES erasured.sweep (id),
    system      text        NOT NULL,
    schema_name text        NOT NULL,
    table_name  text        NOT NULL,
    table_oid   oid         NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    rows        bigint      NOT NULL,
    bytes       bigint      NOT NULL,
    PRIMARY KEY (sweep_id, system, schema_name, table_name, table_oid)
);
COMMENT ON TABLE erasured.sweep_progress IS 'Tables a sweep has read to the end: where a sweep that was cut off goes on.';
COMMENT ON COLUMN erasured.sweep_progress.table_oid IS 'In its system: another table that has taken the name meanwhile is not the one that was read.';

CREATE TABLE erasured.finding (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id   uuid        NOT NULL REFERENCES erasured.ticket (id),
    sweep_id    uuid        REFERENCES erasured.sweep (id),
    generation  integer     NOT NULL,
    system      text        NOT NULL,
    schema_name text        NOT NULL,
    table_name  text        NOT NULL,
    column_name text        NOT NULL,
    identifier  text        NOT NULL,
    row_key     text,
    rows        bigint      NOT NULL CHECK (rows > 0),
    found_at    timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz
);
COMMENT ON TABLE erasured.finding IS 'Where something of the person is left: the place, never the value. row_key goes when the ticket is closed.';
CREATE INDEX finding_ticket ON erasured.finding (ticket_id);

CREATE TABLE erasured.watched (
    ticket_id uuid NOT NULL REFERENCES erasured.ticket (id),
    name      text NOT NULL,
    hash      text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (ticket_id, name, hash)
);
COMMENT ON TABLE erasured.watched IS 'Keyed hashes of what an erased person was called, until it has been looked for the last time whether data of theirs has come back.';

CREATE TABLE erasured.recheck (
    ticket_id uuid        PRIMARY KEY REFERENCES erasured.ticket (id),
    looked    interval    NOT NULL DEFAULT '0',
    looked_at timestamptz,
    until     timestamptz NOT NULL
);
COMMENT ON TABLE erasured.recheck IS 'When it was looked last whether data of an erased person has come back.';
COMMENT ON COLUMN erasured.recheck.looked IS 'For which of the policy''s times after the certificate.';
COMMENT ON COLUMN erasured.recheck.until IS 'A daemon looks; no other does before this.';

CREATE TABLE erasured.event (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    kind      text        NOT NULL,
    ticket_id uuid,
    body      jsonb       NOT NULL DEFAULT '{}'
) WITH (autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE erasured.event IS 'Outbox of the ledger: written with the change itself, moved into the chain in batches.';

CREATE TABLE erasured.ledger (
    seq   bigint      PRIMARY KEY CHECK (seq > 0),
    at    timestamptz NOT NULL,
    entry text        NOT NULL,
    prev  bytea       NOT NULL CHECK (length(prev) = 32),
    hash  bytea       NOT NULL CHECK (length(hash) = 32),
    CHECK (hash = sha256('\x00'::bytea || prev || convert_to(entry, 'UTF8')))
);
COMMENT ON TABLE erasured.ledger IS 'Every event in one hash chain; append-only. The first prev is 32 zero bytes.';

CREATE TABLE erasured.certificate (
    id           uuid        PRIMARY KEY,
    ticket_id    uuid        NOT NULL REFERENCES erasured.ticket (id),
    kind         text        NOT NULL DEFAULT 'erasure' CHECK (kind IN ('erasure', 'supplement')),
    deferral_id  uuid        REFERENCES erasured.deferral (id),
    issued_at    timestamptz NOT NULL DEFAULT now(),
    kid          text        NOT NULL,
    subject_hash text        NOT NULL,
    jws          text        NOT NULL,
    CHECK ((kind = 'supplement') = (deferral_id IS NOT NULL))
);
COMMENT ON TABLE erasured.certificate IS 'Signed proofs; append-only, one for each ticket and one more for each deferral that ended.';
CREATE UNIQUE INDEX certificate_one_each ON erasured.certificate (ticket_id) WHERE kind = 'erasure';
CREATE UNIQUE INDEX certificate_one_supplement ON erasured.certificate (deferral_id) WHERE kind = 'supplement';
CREATE INDEX certificate_subject ON erasured.certificate (subject_hash);
CREATE INDEX certificate_issued ON erasured.certificate (issued_at);

CREATE TABLE erasured.daemon (
    id         uuid        PRIMARY KEY,
    host       text        NOT NULL,
    version    text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE erasured.daemon IS 'Who is or was at work.';

-- ---------------------------------------------------------------- who is asking

-- The person is the login. Only a login that is a member of erasured_trusted (a CRM's service
-- account, which has authenticated its own user) may name another by SET LOCAL erasured.actor;
-- everybody else's setting is ignored. A superuser is a member of every role.
CREATE FUNCTION erasured.actor() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN named <> '' AND EXISTS (
                    SELECT FROM pg_catalog.pg_roles r
                     WHERE r.rolname = 'erasured_trusted'
                       AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER'))
                THEN pg_catalog.left(named, 200)
                ELSE session_user::text END
      FROM (SELECT pg_catalog.btrim(coalesce(pg_catalog.current_setting('erasured.actor', true), ''))) AS n (named)
$$;
COMMENT ON FUNCTION erasured.actor IS 'Who acts: the login, or whom a trusted login names in erasured.actor.';

-- Among whom turns are shared: the login, and of one through which several desks come (it is trusted to say
-- so) the one that SET LOCAL erasured.door names.
CREATE FUNCTION erasured.door() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN named <> '' AND EXISTS (
                    SELECT FROM pg_catalog.pg_roles r
                     WHERE r.rolname = 'erasured_trusted'
                       AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER'))
                THEN session_user::text || '/' || pg_catalog.left(named, 200)
                ELSE session_user::text END
      FROM (SELECT pg_catalog.btrim(coalesce(pg_catalog.current_setting('erasured.door', true), ''))) AS n (named)
$$;
COMMENT ON FUNCTION erasured.door IS 'Through which door a request comes: the login, and what a trusted one names in erasured.door.';

-- In what capacity: what a certificate says instead of a name.
CREATE FUNCTION erasured.actor_role(wanted text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles r
                              WHERE r.rolname = wanted
                                AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER'))
                THEN wanted ELSE 'owner' END
$$;
COMMENT ON FUNCTION erasured.actor_role IS 'The group role the login acts in, or "owner" for one that needs none.';

-- One person under several spellings is one person: case, width, white space, and what cannot be seen.
-- By code points and ICU's root collation, never by the database's locale: under LC_CTYPE C an É and
-- an é were two people, and one could do what takes two. By way of capitals, so that ß and SS are one. What is
-- plain ASCII, as most logins are, needs none of it. No SET, and everything named with its schema, so
-- that it is inlined.
CREATE FUNCTION erasured.folded(name text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN pg_catalog.octet_length(name) OPERATOR(pg_catalog.=) pg_catalog.length(name)
    THEN pg_catalog.translate(pg_catalog.lower(name COLLATE pg_catalog."C"),
         E' \x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1A\x1B\x1C\x1D\x1E\x1F\x7F', '')
    ELSE pg_catalog.regexp_replace(pg_catalog.translate(pg_catalog.normalize(pg_catalog.lower(pg_catalog.upper(pg_catalog.lower(
             pg_catalog.normalize(pg_catalog.regexp_replace(name COLLATE pg_catalog."C",
                 '[\u0001-\u0020\u007F-\u00A0\u00AD\u034F\u061C\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F\u205F-\u206F\u2800\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF9-\uFFFB\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]', '', 'g'), 'NFKC')
             COLLATE pg_catalog."und-x-icu") COLLATE pg_catalog."und-x-icu") COLLATE pg_catalog."und-x-icu"), 'NFKC'), 'ς', 'σ') COLLATE pg_catalog."C",
         '[\u0001-\u0020\u007F-\u00A0\u00AD\u034F\u061C\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F\u205F-\u206F\u2800\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF9-\uFFFB\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]', '', 'g')
    END $$;
COMMENT ON FUNCTION erasured.folded IS 'A person''s name for comparing, not for showing.';

-- ---------------------------------------------------------------- rules that hold for everybody

-- Then it can only go forward. A step that is planned alone may have changed nothing; one in a system that is no
-- database (its counts have a kind) has begun when it was about to take away what it had found, done or not.
CREATE FUNCTION erasured.has_begun(ticket uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$ SELECT EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = ticket AND s.state = 'done' AND NOT coalesce(s.counts ? 'kind', false))
          OR EXISTS (SELECT FROM erasured.step s JOIN erasured.joint j ON j.id = s.joint_id WHERE s.ticket_id = ticket AND j.outcome = 'committed')
          OR EXISTS (SELECT FROM erasured.found f WHERE f.ticket_id = ticket AND f.taken) $$;
COMMENT ON FUNCTION erasured.has_begun IS 'Whether a step of the ticket is known to have committed, or something may have been taken away in a system that is no database.';

-- What was enough on the day of the approval may not be on the day of the erasure. Asked by the
-- daemon for a batch, so that one ticket does not stop the others, and by guard_run for all.
CREATE FUNCTION erasured.unfit(tickets uuid[]) RETURNS TABLE (id uuid, code text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT x.id, x.code
      FROM (SELECT t.id, CASE
                WHEN t.id IN (SELECT c.ticket FROM erasured.holds_on(tickets) c) THEN 'ER015'
                WHEN s.scope IS NULL THEN 'ER004'
                WHEN g.after >= coalesce((SELECT max(d.id) FROM erasured.decision d
                                           WHERE d.ticket_id = t.id AND d.kind = 'approve'), 0) THEN 'ER019'
                WHEN t.not_before > clock_timestamp() AND NOT erasured.has_begun(t.id) THEN 'ER002'
                WHEN coalesce((SELECT max(least(d.level, coalesce(m.level, d.level)))
                                 FROM erasured.decision d LEFT JOIN erasured.method m ON m.code = d.method
                                WHERE d.ticket_id = t.id AND d.kind = 'verify'), -1)
                     < CASE WHEN g.after IS NULL THEN s.at_least ELSE greatest(s.at_least, s.doubtful) END THEN 'ER007'
                WHEN s.four_eyes AND NOT EXISTS (
                    SELECT FROM erasured.decision a
                     WHERE a.ticket_id = t.id AND a.kind = 'approve' AND NOT EXISTS (
                        SELECT FROM erasured.decision v
                         WHERE v.ticket_id = t.id AND v.kind = 'verify'
                           AND erasured.folded(v.by_name) = erasured.folded(a.by_name))) THEN 'ER008'
                END AS code
              FROM erasured.ticket t
              LEFT JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope
              -- Who is erased in one system is not left half-erased for a sign that came later.
              LEFT JOIN (SELECT i.ticket_id, max(i.after) AS after FROM erasured.sign i
                          WHERE i.ticket_id = ANY (tickets) AND NOT erasured.has_begun(i.ticket_id) GROUP BY i.ticket_id) g ON g.ticket_id = t.id
             WHERE t.id = ANY (tickets)) AS x
     WHERE x.code IS NOT NULL;
END $$;
COMMENT ON FUNCTION erasured.unfit IS 'Which of these tickets may not run under the policies and legal holds in force, and why, as SQLSTATE.';

CREATE FUNCTION erasured.holds_copy(ticket uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$ SELECT EXISTS (SELECT FROM erasured.document d WHERE d.ticket_id = ticket AND d.copied AND d.destroyed_at IS NULL) $$;
COMMENT ON FUNCTION erasured.holds_copy IS 'Whether the desk holds a copy of a document: until it is destroyed the ticket does not close.';

-- Only these moves exist, whoever makes them, and those that need a person need that person's
-- decision on record: the daemon may change states but cannot write decisions. On hold a ticket goes
-- by a person's word or because a legal hold covers it, and it leaves only when neither is left.
CREATE FUNCTION erasured.guard_move() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    IF NOT (CASE OLD.state
        WHEN 'received'  THEN NEW.state IN ('verified', 'rejected', 'on_hold')
        WHEN 'verified'  THEN NEW.state IN ('approved', 'rejected', 'on_hold')
        WHEN 'approved'  THEN NEW.state IN ('scheduled', 'rejected', 'on_hold')
        WHEN 'scheduled' THEN NEW.state IN ('executing', 'rejected', 'on_hold', 'failed')
                           OR NEW.state = 'completed' AND erasured.closes_with_another(NEW.id, NEW.duplicate_of)
        WHEN 'executing' THEN NEW.state IN ('verifying', 'scheduled', 'failed', 'on_hold')
        WHEN 'verifying' THEN NEW.state IN ('completed', 'deferred', 'failed')
                           -- A system has lost what it had committed.
                           OR NEW.state = 'scheduled' AND EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = NEW.id
                                AND s.state = 'planned')
        WHEN 'deferred'  THEN NEW.state = 'completed'
        WHEN 'failed'    THEN NEW.state IN ('scheduled', 'rejected')
        WHEN 'on_hold'   THEN NEW.state = OLD.held_from OR NEW.state = 'rejected'
        ELSE false END)
    THEN
        RAISE EXCEPTION 'a ticket does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'ER002', HINT = 'docs/operations.md shows the way of a ticket.';
    END IF;
    -- The owner has objected, or whoever asked does not want it any more.
    IF OLD.closing IS NOT NULL AND NEW.state NOT IN ('on_hold', 'rejected') THEN
        RAISE EXCEPTION 'the ticket is % and waits for its end only', OLD.closing USING ERRCODE = 'ER016',
            HINT = 'Destroy the copies that are held, and record that: erasured.destroy_document.';
    END IF;
    IF OLD.state <> 'on_hold' AND (
        (NEW.state = 'verified' AND NOT EXISTS (
            SELECT FROM erasured.decision d WHERE d.ticket_id = NEW.id AND d.kind = 'verify'))
     OR (NEW.state = 'approved' AND NOT EXISTS (
            SELECT FROM erasured.decision d WHERE d.ticket_id = NEW.id AND d.kind = 'approve')))
    THEN
        RAISE EXCEPTION 'nobody''s decision stands behind the move to %', NEW.state
            USING ERRCODE = 'ER002', HINT = 'Use erasured.verify_ticket and erasured.approve_ticket.';
    END IF;
    IF NEW.state = 'on_hold' THEN
        IF NOT erasured.stopped_by_person(NEW.id) AND NOT EXISTS (SELECT FROM erasured.holds_on(ARRAY[NEW.id])) THEN
            RAISE EXCEPTION 'nobody''s decision and no legal hold stands behind the move to on_hold'
                USING ERRCODE = 'ER002', HINT = 'Use erasured.hold_ticket or erasured.place_hold.';
        END IF;
        NEW.held_since := now();
    ELSIF OLD.state = 'on_hold' THEN
        IF NEW.state <> 'rejected' AND (erasured.stopped_by_person(NEW.id)
                                        OR EXISTS (SELECT FROM erasured.holds_on(ARRAY[NEW.id]))) THEN
            RAISE EXCEPTION 'the ticket is still held' USING ERRCODE = 'ER015',
                HINT = 'Use erasured.release_ticket or erasured.release_hold.';
        END IF;
        NEW.held_since := NULL;
    END IF;
    IF NEW.state NOT IN ('scheduled', 'executing') AND EXISTS (
        SELECT FROM erasured.lease l WHERE l.ticket_id = NEW.id)
    THEN
        RAISE EXCEPTION 'ticket % is lent to a daemon: it does not go to %', NEW.id, NEW.state
            USING ERRCODE = 'ER010';
    END IF;
    IF NEW.state = 'verifying' AND NOT coalesce(
        (SELECT bool_and(s.state = 'done' AND NOT coalesce(s.counts->'counts' ? 'left', false)) FROM erasured.step s
          WHERE s.ticket_id = NEW.id AND s.generation = NEW.generation), false)
    THEN
        RAISE EXCEPTION 'not every planned step of ticket % has committed whole', NEW.id USING ERRCODE = 'ER002';
    END IF;
    IF NEW.state IN ('completed', 'deferred', 'rejected') AND erasured.holds_copy(NEW.id) THEN
        RAISE EXCEPTION 'a copy of a document is recorded as held' USING ERRCODE = 'ER016',
            HINT = 'Destroy it, and record that: erasured.destroy_document.';
    END IF;
    IF OLD.state = 'verifying' AND NEW.state IN ('completed', 'deferred') AND (
        NOT EXISTS (SELECT FROM erasured.certificate c WHERE c.ticket_id = NEW.id AND c.kind = 'erasure')
     OR EXISTS (SELECT FROM erasured.finding f WHERE f.ticket_id = NEW.id AND f.resolved_at IS NULL)
     OR EXISTS (SELECT FROM erasured.found f WHERE f.ticket_id = NEW.id)
     OR EXISTS (SELECT FROM erasured.ticket_identifier i WHERE i.ticket_id = NEW.id AND i.value IS NOT NULL))
    THEN
        RAISE EXCEPTION 'ticket % has a finding, a value or no certificate: it does not close', NEW.id
            USING ERRCODE = 'ER002';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_move BEFORE UPDATE ON erasured.ticket
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION erasured.guard_move();

-- Once for each statement: a batch moves hundreds of tickets.
CREATE FUNCTION erasured.guard_run() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    begun uuid[] := ARRAY(SELECT n.id FROM moved_to n JOIN moved_from o ON o.id = n.id
                           WHERE n.state = 'executing' AND o.state <> 'executing');
    short record;
BEGIN
    IF begun = '{}' THEN
        RETURN NULL;
    END IF;
    SELECT u.id, u.code INTO short FROM erasured.unfit(begun) u LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ticket % may not run under the policies and legal holds in force', short.id
            USING ERRCODE = short.code,
                  HINT = 'Its verification, approval or cooling-off time falls short, or a hold covers it: see erasured.ticket_status.';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER guard_run AFTER UPDATE ON erasured.ticket
    REFERENCING OLD TABLE AS moved_from NEW TABLE AS moved_to
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.guard_run();

-- The cooling-off time is not cut short, whoever would.
CREATE FUNCTION erasured.guard_wait() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the cooling-off time of ticket % is not cut short', NEW.id USING ERRCODE = 'ER002';
END $$;
CREATE TRIGGER guard_wait BEFORE UPDATE OF not_before ON erasured.ticket
    FOR EACH ROW WHEN (OLD.not_before IS NOT NULL AND (NEW.not_before IS NULL OR NEW.not_before < OLD.not_before))
    EXECUTE FUNCTION erasured.guard_wait();

-- Every change of state is one event, in the same transaction, without anybody thinking of it.
CREATE FUNCTION erasured.record_move() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    INSERT INTO erasured.event (kind, ticket_id, body)
    SELECT n.state, n.id, jsonb_strip_nulls(jsonb_build_object(
               'from', o.state, 'by', erasured.actor(), 'generation', n.generation,
               'attempt', n.attempt, 'plan', n.plan_id,
               'code', CASE WHEN n.state IN ('failed', 'scheduled', 'on_hold') THEN n.problem_code END))
      FROM moved_to n JOIN moved_from o ON o.id = n.id
     WHERE n.state IS DISTINCT FROM o.state
     ORDER BY n.id;
    RETURN NULL;
END $$;
CREATE TRIGGER record_move AFTER UPDATE ON erasured.ticket
    REFERENCING OLD TABLE AS moved_from NEW TABLE AS moved_to
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.record_move();

CREATE FUNCTION erasured.record_arrival() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    INSERT INTO erasured.event (kind, ticket_id, body)
    SELECT n.state, n.id, jsonb_build_object('by', erasured.actor(), 'subject', n.subject, 'scope', n.scope)
      FROM arrived n ORDER BY n.id;
    RETURN NULL;
END $$;
CREATE TRIGGER record_arrival AFTER INSERT ON erasured.ticket
    REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.record_arrival();

CREATE FUNCTION erasured.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'erasured.% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'ER009', HINT = 'History is not rewritten; see docs/audit.md.';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON erasured.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON erasured.certificate
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON erasured.decision
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON erasured.sign
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();
-- Also for sessions that run with session_replication_role = replica, where others are silent.
ALTER TABLE erasured.ledger ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE erasured.certificate ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE erasured.decision ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE erasured.sign ENABLE ALWAYS TRIGGER append_only;

-- The chain has no gap and no fork, whoever appends. The hash itself is a CHECK of the table.
CREATE FUNCTION erasured.guard_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM appended n LEFT JOIN erasured.ledger p ON p.seq = n.seq - 1
         WHERE CASE WHEN n.seq = 1 THEN n.prev <> decode(repeat('00', 32), 'hex')
                    ELSE p.hash IS DISTINCT FROM n.prev END)
    THEN
        RAISE EXCEPTION 'the entry does not continue the ledger'
            USING ERRCODE = 'ER009', HINT = 'Another writer was first, or history was changed: run erasured ledger verify.';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER guard_chain AFTER INSERT ON erasured.ledger
    REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.guard_chain();
