-- Who is asking: the ways to prove it. erasured.verify_ticket (V2) reads them.

CREATE TABLE erasured.method (
    code         text        PRIMARY KEY,
    level        smallint    NOT NULL CHECK (level BETWEEN 0 AND 4),
    demands      text        NOT NULL CHECK (demands IN ('nothing', 'knowledge', 'possession', 'document', 'presence')),
    ask          text[]      NOT NULL,
    compare      text[]      NOT NULL,
    ja           text        NOT NULL,
    en           text        NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE erasured.method IS 'How people prove who is asking, and how far each way reaches: published by the daemon from identity.toml.';
COMMENT ON COLUMN erasured.method.compare IS 'Those of them that the daemon compares with the subject''s row; without a match the method cannot be recorded.';
COMMENT ON COLUMN erasured.method.ask IS 'What may be asked for, by words.';

-- ---------------------------------------------------------------- answers compared

CREATE TABLE erasured.identity_limit (
    singleton  boolean  PRIMARY KEY DEFAULT true CHECK (singleton),
    time_span  interval NOT NULL CHECK (time_span > interval '0'),
    by_subject integer  NOT NULL CHECK (by_subject > 0),
    by_agent   integer  NOT NULL CHECK (by_agent > 0),
    by_desk    integer  NOT NULL CHECK (by_desk > 0),
    lock_out   interval NOT NULL CHECK (lock_out > interval '0'),
    longest    interval NOT NULL CHECK (longest > interval '0'),
    turns      bigint   NOT NULL DEFAULT 0
);
COMMENT ON TABLE erasured.identity_limit IS 'How often answers may be compared: published by the daemon from identity.toml.';
COMMENT ON COLUMN erasured.identity_limit.turns IS 'Grows with each attempt: who begins one locks this row first, so that two at once cannot both be the last.';

CREATE TABLE erasured.identity_attempt (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id    uuid        NOT NULL REFERENCES erasured.ticket (id),
    subject_hash text        NOT NULL,
    method       text        NOT NULL,
    outcome      text        NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'match', 'no_match', 'undone', 'locked')),
    by_name      text        NOT NULL CHECK (by_name <> ''),
    agent        text        NOT NULL,
    desk         text        NOT NULL CHECK (desk <> ''),
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE erasured.identity_attempt IS 'Answers that the daemon was to compare with a subject''s row: by which method, by whom, with what outcome. Never an answer, nor which of them was wrong.';
COMMENT ON COLUMN erasured.identity_attempt.outcome IS 'open: begun, and cut off if it stays so, which counts as a failure. undone: the system did not answer, which counts for nothing. locked: nothing was compared.';
COMMENT ON COLUMN erasured.identity_attempt.agent IS 'by_name as it is compared.';
CREATE INDEX identity_attempt_ticket ON erasured.identity_attempt (ticket_id);
CREATE INDEX identity_attempt_subject ON erasured.identity_attempt (subject_hash, at) WHERE outcome IN ('open', 'no_match');
CREATE INDEX identity_attempt_agent ON erasured.identity_attempt (agent, at) WHERE outcome IN ('open', 'no_match');
CREATE INDEX identity_attempt_desk ON erasured.identity_attempt (desk, at) WHERE outcome IN ('open', 'no_match');

CREATE TABLE erasured.identity_lock (
    kind       text        NOT NULL CHECK (kind IN ('subject', 'agent', 'desk')),
    key        text        NOT NULL,
    times      integer     NOT NULL,
    ends_at    timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
COMMENT ON TABLE erasured.identity_lock IS 'Who has failed too often. What was tried before a lock-out ended counts no more.';

-- The daemon's alone: it is the one that compares. Gives the attempt's number, or when to come again.
CREATE FUNCTION erasured.begin_attempt(ticket uuid, method text, by_name text, desk text,
                                       OUT attempt bigint, OUT locked_until timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    limits erasured.identity_limit;
    t      erasured.ticket;
    n_now  timestamptz;
    counted record;
    before erasured.identity_lock;
    failed bigint;
BEGIN
    -- First, and by writing: whoever comes second sees what the first has done, under any isolation.
    UPDATE erasured.identity_limit l SET turns = l.turns + 1 RETURNING l.* INTO limits;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no limits on attempts are published' USING ERRCODE = 'ER006', HINT = 'Start the daemon.';
    END IF;
    n_now := clock_timestamp();
    SELECT * INTO t FROM erasured.ticket x WHERE x.id = ticket;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no ticket %', ticket USING ERRCODE = 'ER001';
    END IF;
    IF t.state NOT IN ('received', 'verified') AND NOT erasured.is_asked_again(t) THEN
        RAISE EXCEPTION 'a ticket in state % is not verified', t.state USING ERRCODE = 'ER002',
            HINT = 'Identity is verified before approval.';
    END IF;
    IF t.subject_hash IS NULL THEN
        RAISE EXCEPTION 'the person of the ticket is not found yet' USING ERRCODE = 'ER002', HINT = 'Try again in a moment.';
    END IF;
    FOR counted IN
        SELECT k.kind, k.key, k.most FROM (VALUES
            ('subject', t.subject_hash, limits.by_subject),
            ('agent', erasured.folded(by_name), limits.by_agent),
            ('desk', desk, limits.by_desk)) AS k (kind, key, most)
    LOOP
        SELECT * INTO before FROM erasured.identity_lock l WHERE l.kind = counted.kind AND l.key = counted.key;
        IF before.ends_at > n_now THEN
            locked_until := greatest(locked_until, before.ends_at);
            CONTINUE;
        END IF;
        SELECT count(*) INTO failed FROM erasured.identity_attempt a
         WHERE CASE counted.kind WHEN 'subject' THEN a.subject_hash = counted.key
                                 WHEN 'agent' THEN a.agent = counted.key ELSE a.desk = counted.key END
           AND a.outcome IN ('open', 'no_match')
           AND a.at > greatest(n_now - limits.time_span, before.ends_at);
        IF failed >= counted.most THEN
            INSERT INTO erasured.identity_lock AS l (kind, key, times, ends_at)
            VALUES (counted.kind, counted.key, 1, n_now + least(limits.lock_out, limits.longest))
            ON CONFLICT (kind, key) DO UPDATE
               SET times = CASE WHEN l.ends_at > n_now - limits.time_span THEN l.times + 1 ELSE 1 END,
                   ends_at = n_now + least(limits.longest, limits.lock_out
                       * CASE WHEN l.ends_at > n_now - limits.time_span THEN 2.0 ^ least(l.times, 20) ELSE 1 END)
            RETURNING greatest(locked_until, l.ends_at) INTO locked_until;
        END IF;
    END LOOP;
    INSERT INTO erasured.identity_attempt AS a (ticket_id, subject_hash, method, outcome, by_name, agent, desk)
    VALUES (t.id, t.subject_hash, method, CASE WHEN locked_until IS NULL THEN 'open' ELSE 'locked' END,
            by_name, erasured.folded(by_name), desk)
    RETURNING CASE WHEN a.outcome = 'open' THEN a.id END INTO attempt;
    IF locked_until IS NOT NULL THEN
        INSERT INTO erasured.event (kind, ticket_id, body)
        VALUES ('proof_locked', t.id, jsonb_build_object('by', by_name, 'method', method, 'until', locked_until));
    END IF;
END $$;
COMMENT ON FUNCTION erasured.begin_attempt IS 'Counts an attempt before anything is compared; no number while somebody who is part of it is locked out.';

CREATE FUNCTION erasured.end_attempt(attempt bigint, outcome text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    ended erasured.identity_attempt;
BEGIN
    IF outcome IS NULL OR outcome NOT IN ('match', 'no_match', 'undone') THEN
        RAISE EXCEPTION 'an attempt ends by match, no_match or undone' USING ERRCODE = 'ER006';
    END IF;
    UPDATE erasured.identity_attempt a SET outcome = end_attempt.outcome
     WHERE a.id = attempt AND a.outcome = 'open' RETURNING a.* INTO ended;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such attempt under way' USING ERRCODE = 'ER002';
    END IF;
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('proof_compared', ended.ticket_id,
            jsonb_build_object('by', ended.by_name, 'method', ended.method, 'outcome', ended.outcome));
    IF outcome = 'no_match' THEN
        PERFORM erasured.look_for_signs(ARRAY(SELECT o.id FROM erasured.ticket o WHERE o.subject_hash = ended.subject_hash
                                                 AND o.state NOT IN ('completed', 'deferred', 'rejected')));
    END IF;
END $$;
COMMENT ON FUNCTION erasured.end_attempt IS 'What came of an attempt; once.';

CREATE FUNCTION erasured.lift_lockout(kind text, who text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    subject_of erasured.ticket;
    locked     text;
BEGIN
    IF kind IS NULL OR kind NOT IN ('ticket', 'agent', 'desk') THEN
        RAISE EXCEPTION 'a lock-out is lifted for a ticket''s subject, an agent or a desk' USING ERRCODE = 'ER006',
            HINT = 'Such as erasured.lift_lockout(''ticket'', ''CRM-1042'') or (''agent'', ''hana'').';
    END IF;
    IF kind = 'ticket' THEN
        SELECT * INTO subject_of FROM erasured.ticket t WHERE t.reference = who OR t.id::text = who;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no such ticket' USING ERRCODE = 'ER001';
        END IF;
    END IF;
    locked := CASE kind WHEN 'ticket' THEN subject_of.subject_hash WHEN 'agent' THEN erasured.folded(who) ELSE who END;
    UPDATE erasured.identity_lock l SET ends_at = clock_timestamp(), times = 0
     WHERE l.kind = CASE lift_lockout.kind WHEN 'ticket' THEN 'subject' ELSE lift_lockout.kind END
       AND l.key = locked AND l.ends_at > clock_timestamp();
    IF FOUND THEN
        INSERT INTO erasured.event (kind, ticket_id, body)
        VALUES ('lockout_lifted', subject_of.id, jsonb_build_object('by', erasured.actor(), 'of', kind));
    END IF;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION erasured.lift_lockout IS 'Ends a lock-out at once; whether there was one.';

-- Whether this agent's caller has answered as the subject would, an hour ago at most.
CREATE FUNCTION erasured.has_matched(ticket uuid, method text, who text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM erasured.identity_attempt a
                    WHERE a.ticket_id = has_matched.ticket AND a.method = has_matched.method AND a.outcome = 'match'
                      AND a.agent = erasured.folded(has_matched.who) AND a.at > clock_timestamp() - interval '1 hour')
$$;

-- ---------------------------------------------------------------- documents

CREATE TABLE erasured.never (
    code   text PRIMARY KEY,
    ja     text NOT NULL,
    en     text NOT NULL,
    source text NOT NULL
);
COMMENT ON TABLE erasured.never IS 'What nobody may take: published by the daemon from identity.toml.';

CREATE FUNCTION erasured.see_document(ticket uuid, kind text, copied boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t         erasured.ticket := erasured.lock_ticket(ticket);
    who       text := erasured.actor();
    forbidden erasured.never;
BEGIN
    PERFORM erasured.require_code('kind', kind);
    SELECT * INTO forbidden FROM erasured.never n WHERE replace(n.code, '-', '_') = replace(kind, '-', '_');
    IF FOUND THEN
        RAISE EXCEPTION 'nobody may take this: %', forbidden.en USING ERRCODE = 'ER013',
            HINT = format('%s. Do not look at it, give it back, and destroy what was sent.', forbidden.source);
    END IF;
    IF copied IS NULL THEN
        RAISE EXCEPTION 'say whether a copy is held' USING ERRCODE = 'ER006';
    END IF;
    IF t.state IN ('completed', 'deferred', 'rejected') THEN
        RAISE EXCEPTION 'nothing is asked for any more by a ticket in state %', t.state USING ERRCODE = 'ER002',
            HINT = 'Give it back, and keep no copy.';
    END IF;
    INSERT INTO erasured.document (ticket_id, kind, seen_by, seen_role, copied)
    VALUES (t.id, kind, who, erasured.actor_role('erasured_desk'), copied);
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('document_seen', t.id, jsonb_build_object('by', who, 'document', kind, 'copied', copied));
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.see_document IS 'Records that a document of this kind was seen, and whether the desk keeps a copy; never what stands in it.';

CREATE FUNCTION erasured.destroy_document(ticket uuid, kind text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t   erasured.ticket := erasured.lock_ticket(ticket);
    who text := erasured.actor();
BEGIN
    PERFORM erasured.require_code('kind', kind);
    UPDATE erasured.document d
       SET destroyed_at = now(), destroyed_by = who, destroyed_role = erasured.actor_role('erasured_desk')
     WHERE d.ticket_id = t.id AND d.kind = destroy_document.kind AND d.copied AND d.destroyed_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no copy of this kind is recorded as held' USING ERRCODE = 'ER016',
            HINT = coalesce('Held: ' || (SELECT string_agg(DISTINCT d.kind, ', ') FROM erasured.document d
                                          WHERE d.ticket_id = t.id AND d.copied AND d.destroyed_at IS NULL), 'None is held.');
    END IF;
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('document_destroyed', t.id, jsonb_build_object('by', who, 'document', kind));
    IF t.closing IS NOT NULL AND NOT erasured.holds_copy(t.id) THEN
        RETURN erasured.close_undone(t.id, t.closing, erasured.actor_role('erasured_desk'));
    END IF;
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.destroy_document IS 'Records that all copies of this kind that the ticket has were destroyed; the last one closes a ticket that is contested or withdrawn.';

-- What was seen stays on record, and so does who destroyed it.
CREATE FUNCTION erasured.guard_document() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF OLD.destroyed_at IS NOT NULL
       OR (OLD.id, OLD.ticket_id, OLD.kind, OLD.seen_at, OLD.seen_by, OLD.seen_role, OLD.copied)
          IS DISTINCT FROM (NEW.id, NEW.ticket_id, NEW.kind, NEW.seen_at, NEW.seen_by, NEW.seen_role, NEW.copied) THEN
        RAISE EXCEPTION 'what is recorded of a document is not altered' USING ERRCODE = 'ER009';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_document BEFORE UPDATE ON erasured.document FOR EACH ROW EXECUTE FUNCTION erasured.guard_document();
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON erasured.document
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();

-- ---------------------------------------------------------------- signs of an impostor

CREATE TABLE erasured.sign_rule (
    singleton        boolean  PRIMARY KEY DEFAULT true CHECK (singleton),
    failed           integer  NOT NULL CHECK (failed >= 0),
    failed_within    interval NOT NULL,
    contested_within interval NOT NULL,
    subjects         integer  NOT NULL DEFAULT 0 CHECK (subjects >= 0),
    subjects_within  interval NOT NULL DEFAULT interval '0'
);
COMMENT ON TABLE erasured.sign_rule IS 'What counts as a sign of an impostor: published by the daemon from identity.toml. 0 and no time: never.';

-- Whom the desk hears or reads: the number that calls, the address that writes, an account. Not whom the
-- ticket is about. The daemon hashes it, and only the hash stays.
CREATE TABLE erasured.requester (
    ticket_id uuid PRIMARY KEY REFERENCES erasured.ticket (id),
    value     text CHECK (length(value) BETWEEN 1 AND 200),
    hash      text CHECK (hash ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE erasured.requester IS 'Who asked, where the desk says so: the value until the daemon has hashed it or the ticket is closed, then its keyed hash alone.';
CREATE INDEX requester_unread ON erasured.requester (ticket_id) WHERE value IS NOT NULL;
CREATE INDEX requester_hash ON erasured.requester (hash) WHERE hash IS NOT NULL;

CREATE FUNCTION erasured.name_requester(ticket uuid, requester text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t erasured.ticket := erasured.lock_ticket(ticket);
BEGIN
    IF requester IS NULL OR length(btrim(requester)) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'who asks is named by 1 to 200 characters' USING ERRCODE = 'ER006';
    END IF;
    IF t.state IN ('completed', 'deferred', 'rejected') THEN
        RAISE EXCEPTION 'nobody asks by a ticket in state % any more', t.state USING ERRCODE = 'ER002';
    END IF;
    INSERT INTO erasured.requester AS r (ticket_id, value) VALUES (t.id, btrim(requester))
    ON CONFLICT (ticket_id) DO UPDATE SET value = excluded.value;
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('requester_named', t.id, jsonb_build_object('by', erasured.actor()));
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.name_requester IS 'Says who asks, such as the number that calls: one who asks for several people is a sign of an impostor.';

-- The daemon has hashed them.
CREATE FUNCTION erasured.requester_read(tickets uuid[], hashes text[]) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    UPDATE erasured.requester r SET value = NULL, hash = n.hash
      FROM unnest(tickets, hashes) AS n (ticket, hash) WHERE r.ticket_id = n.ticket AND r.value IS NOT NULL;
    RETURN QUERY SELECT * FROM erasured.look_for_signs(tickets);
END $$;

CREATE FUNCTION erasured.forget_requester() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    UPDATE erasured.requester r SET value = NULL WHERE r.ticket_id = NEW.id AND r.value IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_requester AFTER UPDATE ON erasured.ticket
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state AND NEW.state IN ('completed', 'deferred', 'rejected'))
    EXECUTE FUNCTION erasured.forget_requester();

-- Signs that are new raise what the ticket needs, put it off, warn whoever was reached before, and stop
-- it if it is approved already: whoever approved did not know. Gives the tickets that it stopped.
-- Where nothing need be proven nobody can be taken for another; where something is erased already nobody is
-- helped, and the change may be our own.
CREATE FUNCTION erasured.note_signs(tickets uuid[], kinds text[], contacts text[], marks text[]) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    fresh   uuid[];
    stopped uuid[];
BEGIN
    PERFORM FROM erasured.ticket t WHERE t.id = ANY (tickets) ORDER BY t.id FOR UPDATE;
    WITH new AS (
        INSERT INTO erasured.sign (ticket_id, kind, contact, mark, after)
        SELECT DISTINCT t.id, n.kind, n.contact, n.mark,
               coalesce((SELECT max(d.id) FROM erasured.decision d WHERE d.ticket_id = t.id), 0)
          FROM unnest(tickets, kinds, contacts, marks) AS n (ticket, kind, contact, mark)
          JOIN erasured.ticket t ON t.id = n.ticket AND t.state NOT IN ('verifying', 'completed', 'deferred', 'rejected')
           AND NOT erasured.has_begun(t.id)
          JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope AND greatest(s.at_least, s.doubtful) > 0
        ON CONFLICT DO NOTHING RETURNING ticket_id, kind, contact),
    told AS (
        INSERT INTO erasured.event (kind, ticket_id, body)
        SELECT 'warn_old_contact', n.ticket_id,
               jsonb_strip_nulls(jsonb_build_object('sign', n.kind, 'contact', nullif(n.contact, '')))
          FROM new n ORDER BY n.ticket_id, n.kind, n.contact)
    SELECT array_agg(DISTINCT n.ticket_id) INTO fresh FROM new n;
    IF fresh IS NULL THEN
        RETURN;
    END IF;
    UPDATE erasured.ticket t
       SET not_before = greatest(t.not_before, now() + s.doubtful_wait),
           next_attempt_at = CASE WHEN t.state IN ('approved', 'scheduled')
                                  THEN greatest(t.next_attempt_at, t.not_before, now() + s.doubtful_wait) ELSE t.next_attempt_at END
      FROM erasured.scope s
     WHERE t.id = ANY (fresh) AND s.subject = t.subject AND s.scope = t.scope;
    -- What a daemon has in hand it stops itself: erasured.unfit.
    stopped := ARRAY(SELECT t.id FROM erasured.ticket t
                      WHERE t.id = ANY (fresh) AND t.state IN ('approved', 'scheduled')
                        AND NOT EXISTS (SELECT FROM erasured.lease l WHERE l.ticket_id = t.id));
    UPDATE erasured.ticket t SET state = 'scheduled' WHERE t.id = ANY (stopped) AND t.state = 'approved';
    UPDATE erasured.ticket t
       SET state = 'failed', problem_code = 'E0524',
           problem = 'signs that somebody else may be asking were found after the approval'
     WHERE t.id = ANY (stopped);
    -- Whoever approves it once more is told how many rows it would touch.
    INSERT INTO erasured.forecast (ticket_id)
    SELECT t.id FROM erasured.ticket t JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope
     WHERE t.id = ANY (stopped) AND s.confirm_over IS NOT NULL AND t.sealed IS NOT NULL
    ON CONFLICT DO NOTHING;
    PERFORM pg_notify('erasured_ticket', f.id::text) FROM unnest(fresh) AS f (id);
    RETURN QUERY SELECT unnest(stopped);
END $$;

-- What happened here before that is a sign: attempts that failed, and objections. A sign that comes
-- again after an approval is another one.
CREATE FUNCTION erasured.look_for_signs(tickets uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    rule  erasured.sign_rule;
    seen  erasured.sign[];
    all_of uuid[];
BEGIN
    SELECT * INTO rule FROM erasured.sign_rule;
    IF NOT FOUND OR tickets = '{}' THEN
        RETURN;
    END IF;
    -- Those that the same requester asked for before are as doubtful.
    all_of := ARRAY(SELECT unnest(tickets) UNION
                    SELECT o.id FROM erasured.requester r JOIN erasured.requester q ON q.hash = r.hash
                      JOIN erasured.ticket o ON o.id = q.ticket_id AND o.state NOT IN ('completed', 'deferred', 'rejected')
                     WHERE r.ticket_id = ANY (tickets));
    SELECT array_agg(ROW(NULL, x.ticket, x.kind, '', x.mark, 0, NULL)::erasured.sign) INTO seen FROM (
        SELECT t.id AS ticket, 'contested' AS kind, d.ticket_id::text AS mark
          FROM erasured.ticket t
          JOIN erasured.ticket o ON o.subject_hash = t.subject_hash AND o.id <> t.id
          JOIN erasured.decision d ON d.ticket_id = o.id AND d.kind = 'object'
         WHERE t.id = ANY (tickets) AND d.at > now() - rule.contested_within
        UNION ALL
        SELECT t.id, 'failed_attempts', coalesce((SELECT max(d.id) FROM erasured.decision d
                                                   WHERE d.ticket_id = t.id AND d.kind = 'approve'), 0)::text
          FROM erasured.ticket t
         WHERE t.id = ANY (tickets) AND rule.failed > 0
           AND (SELECT count(*) FROM erasured.identity_attempt a
                 WHERE a.subject_hash = t.subject_hash AND a.outcome IN ('open', 'no_match')
                   AND a.at > greatest(now() - rule.failed_within,
                                       (SELECT max(d.at) FROM erasured.decision d WHERE d.ticket_id = t.id AND d.kind = 'approve')))
               >= rule.failed
        UNION ALL
        SELECT t.id, 'many_subjects', ''
          FROM erasured.ticket t JOIN erasured.requester r ON r.ticket_id = t.id
         WHERE t.id = ANY (all_of) AND rule.subjects > 0
           AND (SELECT count(DISTINCT o.subject_hash) FROM erasured.requester q JOIN erasured.ticket o ON o.id = q.ticket_id
                 WHERE q.hash = r.hash AND o.received_at > now() - rule.subjects_within) >= rule.subjects
           AND NOT EXISTS (SELECT FROM erasured.sign g WHERE g.ticket_id = t.id AND g.kind = 'many_subjects')) x;
    IF seen IS NOT NULL THEN
        RETURN QUERY SELECT * FROM erasured.note_signs(
            ARRAY(SELECT f.ticket_id FROM unnest(seen) f), ARRAY(SELECT f.kind FROM unnest(seen) f),
            ARRAY(SELECT f.contact FROM unnest(seen) f), ARRAY(SELECT f.mark FROM unnest(seen) f));
    END IF;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA erasured FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA erasured FROM PUBLIC;
