-- Retention: what goes by its age, without anybody having asked.
--
-- The rule is the policy's; a run is one passage over what is due on a day. A run is a daemon's while its
-- lease lasts, and taken up by another afterwards, with the same cutoff: what it did stands in the
-- target's own rows.

CREATE TABLE erasured.retention_run (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    subject       text        NOT NULL,
    rule          text        NOT NULL,
    "table"       text        NOT NULL,
    basis         text        NOT NULL,
    policy_sha256 text        NOT NULL,
    cutoff        date        NOT NULL,
    timezone      text        NOT NULL,
    slot          timestamptz,
    state         text        NOT NULL DEFAULT 'running'
                              CHECK (state IN ('running', 'done', 'stopped', 'failed')),
    waits         text,
    started_at    timestamptz NOT NULL DEFAULT now(),
    started_by    text        NOT NULL,
    ended_at      timestamptz,
    batches       bigint      NOT NULL DEFAULT 0,
    rows          bigint      NOT NULL DEFAULT 0,
    counts        jsonb       NOT NULL DEFAULT '{}',
    partitions    jsonb       NOT NULL DEFAULT '{}',
    archive       jsonb       NOT NULL DEFAULT '{}',
    held          bigint      NOT NULL DEFAULT 0,
    survivors     bigint      NOT NULL DEFAULT 0,
    set_aside     bigint      NOT NULL DEFAULT 0,
    problem_code  text,
    problem       text,
    holder        text,
    lease_token   uuid,
    lease_until   timestamptz,
    CHECK ((state = 'running') = (ended_at IS NULL)),
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK (problem_code IS NULL OR problem_code ~ '^E[0-9]{4}$')
);
COMMENT ON TABLE erasured.retention_run IS 'Passages of retention rules over what was due: rule, cutoff, counts by table and kind of change. No personal data.';
COMMENT ON COLUMN erasured.retention_run.cutoff IS 'The latest day that was due, in the rule''s own zone.';
COMMENT ON COLUMN erasured.retention_run.survivors IS 'Rows that were due and stay, because something hangs on them that a rule of its own keeps.';
COMMENT ON COLUMN erasured.retention_run.waits IS 'Why it waits just now, so as not to harm production.';
COMMENT ON COLUMN erasured.retention_run.partitions IS 'Of the rows counted, those that went with a whole partition, by its name.';
COMMENT ON COLUMN erasured.retention_run.archive IS 'Files written to the rule''s archive, rows in them, and files whose own time was over.';
COMMENT ON COLUMN erasured.retention_run.slot IS 'The time of its schedule that it is for; NULL if a person ran it.';

-- Since when a schedule is known: what lay before is not caught up with.
CREATE TABLE erasured.retention_schedule (
    subject     text        NOT NULL,
    rule        text        NOT NULL,
    known_since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subject, rule)
);
COMMENT ON TABLE erasured.retention_schedule IS 'Rules with a schedule, and since when daemons know them.';

-- A rule runs once at a time.
CREATE UNIQUE INDEX retention_run_one ON erasured.retention_run (subject, rule) WHERE state = 'running';
CREATE INDEX retention_run_latest ON erasured.retention_run (subject, rule, started_at DESC);

-- Who begins a run is who is there, whatever the statement says.
CREATE FUNCTION erasured.sign_retention_run() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    NEW.started_by := erasured.actor();
    RETURN NEW;
END $$;
CREATE TRIGGER sign_retention_run BEFORE INSERT ON erasured.retention_run
    FOR EACH ROW EXECUTE FUNCTION erasured.sign_retention_run();

-- What has ended stays as it is, and what was begun keeps its beginning.
CREATE FUNCTION erasured.guard_retention_run() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    IF OLD.state <> 'running' THEN
        RAISE EXCEPTION 'the retention run % has ended', OLD.id USING ERRCODE = 'ER009',
            HINT = 'History is not rewritten; see docs/audit.md.';
    END IF;
    IF (NEW.id, NEW.subject, NEW.rule, NEW."table", NEW.basis, NEW.policy_sha256, NEW.cutoff, NEW.timezone, NEW.slot, NEW.started_at, NEW.started_by)
       IS DISTINCT FROM
       (OLD.id, OLD.subject, OLD.rule, OLD."table", OLD.basis, OLD.policy_sha256, OLD.cutoff, OLD.timezone, OLD.slot, OLD.started_at, OLD.started_by)
       OR NEW.batches < OLD.batches OR NEW.rows < OLD.rows THEN
        RAISE EXCEPTION 'the beginning of the retention run % is not changed', OLD.id USING ERRCODE = 'ER009';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_retention_run BEFORE UPDATE ON erasured.retention_run
    FOR EACH ROW EXECUTE FUNCTION erasured.guard_retention_run();
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON erasured.retention_run
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();
ALTER TABLE erasured.retention_run ENABLE ALWAYS TRIGGER append_only;

-- Beginning and end are events, and so entries of the ledger.
CREATE FUNCTION erasured.record_retention() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO erasured.event (kind, body)
        VALUES ('retention_started', jsonb_strip_nulls(jsonb_build_object('run', NEW.id, 'subject', NEW.subject, 'rule', NEW.rule,
                'table', NEW."table", 'basis', NEW.basis, 'policy', NEW.policy_sha256, 'cutoff', NEW.cutoff, 'slot', NEW.slot, 'by', NEW.started_by)));
    ELSIF NEW.state <> 'running' THEN
        INSERT INTO erasured.event (kind, body)
        VALUES ('retention_ended', jsonb_strip_nulls(jsonb_build_object('run', NEW.id, 'state', NEW.state, 'counts', NEW.counts,
                'partitions', nullif(NEW.partitions, '{}'), 'archive', nullif(NEW.archive, '{"files": 0, "rows": 0, "ended": 0}'),
                'held', NEW.held, 'survivors', NEW.survivors, 'set_aside', NEW.set_aside, 'code', NEW.problem_code)));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER record_retention AFTER INSERT OR UPDATE OF state ON erasured.retention_run
    FOR EACH ROW EXECUTE FUNCTION erasured.record_retention();

-- The proof of a run, beside those of tickets: it is of a rule and of nobody.
CREATE TABLE erasured.run_certificate (
    id        uuid        PRIMARY KEY,
    run_id    uuid        NOT NULL UNIQUE REFERENCES erasured.retention_run (id),
    issued_at timestamptz NOT NULL DEFAULT now(),
    kid       text        NOT NULL,
    jws       text        NOT NULL
);
COMMENT ON TABLE erasured.run_certificate IS 'Signed proofs of retention runs; append-only, one for each run that came to its end or took something.';
CREATE INDEX run_certificate_issued ON erasured.run_certificate (issued_at);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON erasured.run_certificate
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();
ALTER TABLE erasured.run_certificate ENABLE ALWAYS TRIGGER append_only;

-- What a rule that waits for a person's word would take. The daemon says it, and says it anew at each try.
CREATE TABLE erasured.retention_proposal (
    subject       text        NOT NULL,
    rule          text        NOT NULL,
    id            uuid        NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    "table"       text        NOT NULL,
    policy_sha256 text        NOT NULL,
    terms         jsonb       NOT NULL,
    forecast      jsonb       NOT NULL,
    due           bigint      NOT NULL CHECK (due >= 0),
    proposed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subject, rule)
);
COMMENT ON TABLE erasured.retention_proposal IS 'Retention rules that wait to be approved: what they take, how many rows are due, what comes due each week. No personal data.';

CREATE TABLE erasured.retention_approval (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject       text        NOT NULL,
    rule          text        NOT NULL,
    "table"       text        NOT NULL,
    policy_sha256 text        NOT NULL,
    terms         jsonb       NOT NULL,
    forecast      jsonb       NOT NULL,
    due           bigint      NOT NULL,
    by_name       text        NOT NULL,
    by_role       text        NOT NULL,
    at            timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, subject, rule)
);
-- The certificate says by whose word a run took what it took.
ALTER TABLE erasured.retention_run
    ADD COLUMN approval bigint,
    ADD FOREIGN KEY (approval, subject, rule) REFERENCES erasured.retention_approval (id, subject, rule);
COMMENT ON COLUMN erasured.retention_run.approval IS 'The approval of its rule under which it took rows; NULL where the rule asks for none, or has none.';
COMMENT ON TABLE erasured.retention_approval IS 'Who approved which retention rule, and the forecast that they saw. Only erasured.approve_retention writes it; the daemon may not.';
CREATE INDEX retention_approval_latest ON erasured.retention_approval (subject, rule, id DESC);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON erasured.retention_approval
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();
ALTER TABLE erasured.retention_approval ENABLE ALWAYS TRIGGER append_only;

CREATE FUNCTION erasured.approve_retention(proposal uuid, rows bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    p   erasured.retention_proposal;
    who text := erasured.actor();
BEGIN
    SELECT * INTO p FROM erasured.retention_proposal x WHERE x.id = proposal FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no retention rule waits for this approval' USING ERRCODE = 'ER001',
            HINT = 'It was approved, or has been counted anew: look again.';
    END IF;
    IF rows IS DISTINCT FROM p.due THEN
        RAISE EXCEPTION 'another number of rows is due' USING ERRCODE = 'ER006',
            HINT = 'Look at the forecast again, and name the number that it says is due now.';
    END IF;
    INSERT INTO erasured.retention_approval (subject, rule, "table", policy_sha256, terms, forecast, due, by_name, by_role)
    VALUES (p.subject, p.rule, p."table", p.policy_sha256, p.terms, p.forecast, p.due, who, erasured.actor_role('erasured_approver'));
    DELETE FROM erasured.retention_proposal x WHERE x.id = proposal;
    INSERT INTO erasured.event (kind, body)
    VALUES ('retention_approved', jsonb_build_object('subject', p.subject, 'rule', p.rule, 'table', p."table",
            'policy', p.policy_sha256, 'due', p.due, 'by', who));
END $$;
COMMENT ON FUNCTION erasured.approve_retention IS 'Approves what a retention rule was proposed to take, by whoever has seen how many rows are due.';

-- What an operator leaves of the runs' speed. Runs read it before each batch.
CREATE TABLE erasured.retention_throttle (
    rule   text        PRIMARY KEY,
    share  smallint    NOT NULL CHECK (share BETWEEN 0 AND 99),
    set_at timestamptz NOT NULL DEFAULT now(),
    set_by text        NOT NULL
);
COMMENT ON TABLE erasured.retention_throttle IS 'What operators leave of the speed of retention runs, in per cent; 0 is a pause. An empty rule is all of them.';

CREATE FUNCTION erasured.throttle_retention(share integer, rule text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    who text := erasured.actor();
BEGIN
    IF share IS NULL OR share NOT BETWEEN 0 AND 100 THEN
        RAISE EXCEPTION 'the speed is 0 to 100 per cent' USING ERRCODE = 'ER006',
            HINT = 'Such as erasured.throttle_retention(50); 0 is a pause, 100 takes it away again.';
    END IF;
    IF length(rule) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'this is no name of a rule' USING ERRCODE = 'ER006',
            HINT = 'erasured retention list names them.';
    END IF;
    IF share = 100 THEN
        DELETE FROM erasured.retention_throttle t WHERE t.rule = coalesce(throttle_retention.rule, '');
    ELSE
        INSERT INTO erasured.retention_throttle AS t (rule, share, set_by) VALUES (coalesce(rule, ''), share, who)
        ON CONFLICT ON CONSTRAINT retention_throttle_pkey
        DO UPDATE SET share = excluded.share, set_at = now(), set_by = excluded.set_by;
    END IF;
    INSERT INTO erasured.event (kind, body)
    VALUES ('retention_throttled', jsonb_strip_nulls(jsonb_build_object('rule', rule, 'share', share, 'by', who)));
    RETURN rule IS NULL
        OR EXISTS (SELECT FROM erasured.retention_run r WHERE r.rule = throttle_retention.rule)
        OR EXISTS (SELECT FROM erasured.retention_schedule s WHERE s.rule = throttle_retention.rule);
END $$;
COMMENT ON FUNCTION erasured.throttle_retention IS 'Leaves runs of a retention rule, or of all, so many per cent of their speed; whether a rule of this name has been met.';
REVOKE ALL ON erasured.retention_throttle FROM PUBLIC;
REVOKE ALL ON FUNCTION erasured.throttle_retention(integer, text) FROM PUBLIC;

-- Whom holds in force on this kind of subject cover; a hold that covers nobody has a row without a hash.
CREATE FUNCTION erasured.held_people(subject text) RETURNS TABLE (hold uuid, subject_hash text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT h.id, s.subject_hash
      FROM erasured.hold h LEFT JOIN erasured.hold_subject s ON s.hold_id = h.id
     WHERE h.kind = 'subject' AND h.subject = held_people.subject AND h.released_at IS NULL
       AND (h.until IS NULL OR h.until > clock_timestamp())
$$;
COMMENT ON FUNCTION erasured.held_people IS 'Whom legal holds in force on a kind of subject cover, as keyed hashes.';

-- Why nothing may be committed for a rule now; NULL if it may. known are the holds on rows with which its
-- rows were compared; kinds those of subject whose the rows may be, people the holds on such whose rows were left out.
CREATE FUNCTION erasured.retention_barred(run uuid, token uuid, kinds text[], system text, known uuid[], people uuid[]) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM erasured.retention_run r
                          WHERE r.id = run AND r.lease_token = token AND r.state = 'running') THEN 'lost'
        WHEN EXISTS (SELECT FROM erasured.hold h
                      WHERE h.read_at IS NULL AND h.released_at IS NULL
                        AND (h.kind = 'table' AND h.system = retention_barred.system OR h.subject = ANY (kinds)))
             OR NOT erasured.row_holds(retention_barred.system) <@ known THEN 'unread'
        WHEN EXISTS (SELECT FROM unnest(kinds) k, erasured.held_people(k) p WHERE p.hold <> ALL (people)) THEN 'held'
    END
$$;
COMMENT ON FUNCTION erasured.retention_barred IS 'Why a retention run may commit nothing now: lost, unread, held; NULL if it may.';

-- ---------------------------------------------------------------- rules for people

-- A person whose time is over goes as if they had asked, by a ticket: searched for afterwards and certified.
ALTER TABLE erasured.ticket
    ADD COLUMN retention_run  uuid REFERENCES erasured.retention_run (id),
    ADD COLUMN retention_rule text,
    ADD CHECK ((retention_run IS NULL) = (retention_rule IS NULL));
COMMENT ON COLUMN erasured.ticket.retention_run IS 'The run of a retention rule that filed it; NULL for what somebody asked for.';
COMMENT ON COLUMN erasured.ticket.retention_rule IS 'And the rule: its person must be due by it when the ticket begins.';
CREATE INDEX ticket_retention ON erasured.ticket (retention_run) WHERE retention_run IS NOT NULL;

-- Files, and approves by the policy's word, the ticket of a person who is due. The daemon decides nothing: it must be
-- at a run of a rule that names the people of this scope, under the policy that is published, and files no more than that
-- rule lets it. What came of it: filed; held, by a legal hold; covered, by another ticket that is open; lost, if the run is another's.
CREATE FUNCTION erasured.file_due(run uuid, token uuid, ticket uuid, scope text, subject_hash text, sealed bytea, due_at timestamptz,
                                  names text[], hashes text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    r     erasured.retention_run;
    asked erasured.scope;
    filed bigint;
    waits timestamptz;
BEGIN
    SELECT * INTO r FROM erasured.retention_run x
     WHERE x.id = file_due.run AND x.lease_token = file_due.token AND x.state = 'running' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'lost';
    END IF;
    SELECT * INTO asked FROM erasured.scope s
     WHERE s.subject = r.subject AND s.scope = file_due.scope AND s.policy_sha256 = r.policy_sha256;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the policy of the run is not the one that is published' USING ERRCODE = 'ER004',
            HINT = 'Start or reload the daemon, which publishes it.';
    END IF;
    IF NOT asked.due_by ? r.rule THEN
        RAISE EXCEPTION 'by the retention rule % nobody goes under this scope', r.rule USING ERRCODE = 'ER004',
            HINT = 'It must say people = true, and name the scope.';
    END IF;
    SELECT count(*) INTO filed FROM erasured.ticket t WHERE t.retention_run = r.id;
    IF filed >= (asked.due_by ->> r.rule)::bigint THEN
        RAISE EXCEPTION 'the run has filed as many tickets as its rule lets it' USING ERRCODE = 'ER004',
            HINT = 'at_most in the rule; the next run files more.';
    END IF;
    IF EXISTS (SELECT FROM erasured.hold h
                WHERE h.kind = 'subject' AND h.subject = r.subject AND h.released_at IS NULL AND h.read_at IS NULL)
       OR EXISTS (SELECT FROM erasured.held_people(r.subject) p WHERE p.subject_hash = file_due.subject_hash) THEN
        RETURN 'held';
    END IF;
    IF EXISTS (SELECT FROM erasured.ticket t
                WHERE t.subject = r.subject AND t.subject_hash = file_due.subject_hash AND t.state NOT IN ('completed', 'rejected')) THEN
        RETURN 'covered';
    END IF;
    INSERT INTO erasured.ticket (id, reference, subject, scope, ground, requested_at, subject_hash, sealed, due_at, retention_run, retention_rule)
    VALUES (file_due.ticket, format('retention %s %s', r.id, filed + 1), r.subject, file_due.scope, 'policy', now(),
            file_due.subject_hash, file_due.sealed, file_due.due_at, r.id, r.rule);
    INSERT INTO erasured.ticket_identifier (ticket_id, name, hash, given)
    SELECT DISTINCT ON (n.name) file_due.ticket, n.name, n.hash, false FROM unnest(file_due.names, file_due.hashes) AS n (name, hash);
    -- Nobody asks, so nobody is verified: the policy names the person, and the rule approves.
    INSERT INTO erasured.decision (ticket_id, kind, method, level, by_name, by_role)
    VALUES (file_due.ticket, 'verify', 'retention-rule', asked.at_least, 'policy ' || left(r.policy_sha256, 12), 'policy'),
           (file_due.ticket, 'approve', NULL, NULL, 'rule ' || r.rule, 'policy');
    waits := now() + asked.cooling_off;
    UPDATE erasured.ticket t SET state = 'verified' WHERE t.id = file_due.ticket;
    UPDATE erasured.ticket t SET state = 'approved', not_before = waits, next_attempt_at = waits WHERE t.id = file_due.ticket;
    PERFORM pg_notify('erasured_ticket', file_due.ticket::text);
    RETURN 'filed';
END $$;
COMMENT ON FUNCTION erasured.file_due IS 'Files the ticket of a person who is due by a retention rule, for the run that the daemon is at.';

-- Of a ticket that a rule filed, and of which nothing has been carried out, the end: its person is not due any more.
-- The daemon is at work on it. Whether it has ended.
CREATE FUNCTION erasured.end_not_due(ticket uuid, token uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t erasured.ticket := erasured.lock_ticket(ticket);
BEGIN
    IF t.retention_run IS NULL OR t.state NOT IN ('scheduled', 'executing') OR erasured.has_begun(t.id) THEN
        RETURN false;
    END IF;
    DELETE FROM erasured.lease l WHERE l.ticket_id = t.id AND l.token = end_not_due.token;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another daemon is at work on the ticket' USING ERRCODE = 'ER010';
    END IF;
    UPDATE erasured.ticket x SET state = 'scheduled' WHERE x.id = t.id AND x.state = 'executing';
    PERFORM erasured.end_undone(t.id, 'not_due', 'rule ' || t.retention_rule, 'policy');
    RETURN true;
END $$;
COMMENT ON FUNCTION erasured.end_not_due IS 'Ends a ticket that a retention rule filed and whose person is not due any more, unless something has been carried out.';

REVOKE ALL ON erasured.retention_run, erasured.retention_schedule, erasured.run_certificate,
    erasured.retention_proposal, erasured.retention_approval FROM PUBLIC;
REVOKE ALL ON FUNCTION erasured.approve_retention(uuid, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION erasured.sign_retention_run(), erasured.guard_retention_run(), erasured.record_retention(),
    erasured.held_people(text), erasured.retention_barred(uuid, uuid, text[], text, uuid[], uuid[]),
    erasured.file_due(uuid, uuid, uuid, text, text, bytea, timestamptz, text[], text[]), erasured.end_not_due(uuid, uuid) FROM PUBLIC;
