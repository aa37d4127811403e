-- Legal holds: orders to keep. What a hold covers is not erased, whatever a ticket or a date says,
-- until the hold is released or its day has come.
--
--   ER014 a batch commits at this moment, or a legal hold keeps the ticket
--   ER015 a legal hold covers the ticket
--
-- The rows are in the systems and the holds are here, so one lock joins the two. Whoever is about
-- to COMMIT a deletion takes it shared, reads the holds, commits there, and lets go; whoever places a
-- hold takes it alone until the hold is committed. When erasured.place_hold has returned and its
-- transaction has committed, nothing that the hold covers is deleted any more.

CREATE TABLE erasured.hold (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    matter       text        NOT NULL CHECK (matter ~ '^[a-z][a-z0-9_-]{0,59}$'),
    reason       text        NOT NULL CHECK (reason ~ '^[a-z][a-z0-9_-]{0,59}$'),
    kind         text        NOT NULL CHECK (kind IN ('subject', 'table')),
    subject      text,
    system       text,
    schema_name  text,
    table_name   text,
    conditions   jsonb,
    sealed       bytea,
    until        timestamptz,
    placed_at    timestamptz NOT NULL DEFAULT now(),
    placed_by    text        NOT NULL,
    placed_role  text        NOT NULL,
    read_at      timestamptz,
    named_by     integer     NOT NULL DEFAULT 0,
    problem_code text,
    problem      text,
    released_at  timestamptz,
    released_by  text,
    CHECK ((kind = 'subject') = (subject IS NOT NULL)),
    CHECK ((kind = 'table') = (num_nonnulls(system, schema_name, table_name, conditions) = 4)),
    CHECK (released_at IS NULL OR sealed IS NULL)
);
COMMENT ON TABLE erasured.hold IS 'Orders to keep. matter is the case, of which there may be many holds; matter and reason are codes and stay.';
COMMENT ON COLUMN erasured.hold.read_at IS 'When the daemon had hashed what the hold names. Until then nothing of that kind of subject is erased.';
COMMENT ON COLUMN erasured.hold.conditions IS 'Of a hold on rows: column, op and values of each condition, all of which must hold. The values go once the daemon has sealed them.';
COMMENT ON COLUMN erasured.hold.sealed IS 'The conditions with their values, encrypted by the daemon; NULL once released.';
COMMENT ON COLUMN erasured.hold.named_by IS 'How many identifiers name the person: all of them must fit.';
COMMENT ON COLUMN erasured.hold.released_by IS 'NULL for one that ended on its day.';
CREATE INDEX hold_matter ON erasured.hold (matter);
CREATE INDEX hold_unread ON erasured.hold (subject) WHERE read_at IS NULL AND released_at IS NULL;
CREATE INDEX hold_until ON erasured.hold (until) WHERE released_at IS NULL AND until IS NOT NULL;

CREATE TABLE erasured.hold_identifier (
    hold_id uuid NOT NULL REFERENCES erasured.hold (id),
    name    text NOT NULL,
    value   text CHECK (length(value) BETWEEN 1 AND 1000),
    hash    text CHECK (hash ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (hold_id, name)
);
COMMENT ON TABLE erasured.hold_identifier IS 'By what a hold names the person: the value until the daemon has hashed it, then its keyed hash alone.';
CREATE INDEX hold_identifier_hash ON erasured.hold_identifier (hash, name) WHERE hash IS NOT NULL;

CREATE TABLE erasured.hold_subject (
    hold_id      uuid NOT NULL REFERENCES erasured.hold (id),
    subject_hash text NOT NULL CHECK (subject_hash ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (hold_id, subject_hash)
);
COMMENT ON TABLE erasured.hold_subject IS 'Whom a hold covers, as keyed hashes; more than one where several people have what it names.';
CREATE INDEX hold_subject_hash ON erasured.hold_subject (subject_hash);

CREATE TABLE erasured.hold_ticket (
    hold_id   uuid NOT NULL REFERENCES erasured.hold (id),
    ticket_id uuid NOT NULL REFERENCES erasured.ticket (id),
    PRIMARY KEY (hold_id, ticket_id)
);
COMMENT ON TABLE erasured.hold_ticket IS 'Tickets that reach rows which a hold on rows covers, as the daemon found them under lock.';
CREATE INDEX hold_ticket_ticket ON erasured.hold_ticket (ticket_id);

ALTER TABLE erasured.ticket ADD COLUMN held_since timestamptz;
ALTER TABLE erasured.deferral ADD COLUMN held_since timestamptz;
COMMENT ON COLUMN erasured.ticket.held_since IS 'Since when it is on hold.';
COMMENT ON COLUMN erasured.deferral.held_since IS 'Its date had come and a legal hold kept it: since when.';
CREATE INDEX ticket_on_hold ON erasured.ticket (id) WHERE state = 'on_hold';
CREATE INDEX deferral_held ON erasured.deferral (id) WHERE held_since IS NOT NULL AND state = 'waiting';

-- An order that somebody gave is not altered afterwards, only ended.
CREATE FUNCTION erasured.guard_hold() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (OLD.id, OLD.matter, OLD.reason, OLD.kind, OLD.subject, OLD.system, OLD.schema_name, OLD.table_name,
        OLD.until, OLD.placed_at, OLD.placed_by, OLD.placed_role)
       IS DISTINCT FROM
       (NEW.id, NEW.matter, NEW.reason, NEW.kind, NEW.subject, NEW.system, NEW.schema_name, NEW.table_name,
        NEW.until, NEW.placed_at, NEW.placed_by, NEW.placed_role)
       OR (OLD.released_at IS NOT NULL AND (OLD.released_at, OLD.released_by) IS DISTINCT FROM (NEW.released_at, NEW.released_by))
    THEN
        RAISE EXCEPTION 'a legal hold is not altered, only released' USING ERRCODE = 'ER009',
            HINT = 'Release it and place another.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_hold BEFORE UPDATE ON erasured.hold FOR EACH ROW EXECUTE FUNCTION erasured.guard_hold();
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON erasured.hold
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_change();

-- ---------------------------------------------------------------- what is covered

CREATE FUNCTION erasured.holds_on(tickets uuid[]) RETURNS TABLE (ticket uuid, hold uuid, matter text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    WITH asked AS MATERIALIZED (
        SELECT t.id, t.subject, t.subject_hash FROM erasured.ticket t WHERE t.id = ANY (tickets)),
    covering AS (
        SELECT t.id AS ticket, s.hold_id AS hold
          FROM asked t JOIN erasured.hold_subject s ON s.subject_hash = t.subject_hash
        UNION
        -- Who is not in the system any more is known by what the ticket was filed for.
        SELECT i.ticket_id, h.hold_id
          FROM erasured.ticket_identifier i
          JOIN erasured.hold_identifier h ON h.hash = i.hash AND h.name = i.name
          JOIN erasured.hold x ON x.id = h.hold_id
         WHERE i.ticket_id = ANY (tickets)
         GROUP BY i.ticket_id, h.hold_id, x.named_by
        HAVING count(*) = x.named_by
        UNION
        SELECT r.ticket_id, r.hold_id FROM erasured.hold_ticket r WHERE r.ticket_id = ANY (tickets))
    SELECT c.ticket, c.hold, x.matter
      FROM covering c
      JOIN erasured.hold x ON x.id = c.hold
      JOIN asked t ON t.id = c.ticket AND (x.kind = 'table' OR t.subject = x.subject)
     WHERE x.released_at IS NULL AND (x.until IS NULL OR x.until > clock_timestamp())
$$;
COMMENT ON FUNCTION erasured.holds_on IS 'Which legal holds in force cover these tickets; without those that nobody has read yet.';

-- A system that is away keeps only its own work waiting.
CREATE FUNCTION erasured.hold_unread(tickets uuid[], system text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM erasured.hold x
                    WHERE x.read_at IS NULL AND x.released_at IS NULL
                      AND (x.kind = 'table' AND x.system = hold_unread.system OR x.subject = ANY (ARRAY(SELECT DISTINCT t.subject FROM erasured.ticket t WHERE t.id = ANY (tickets)))))
$$;
COMMENT ON FUNCTION erasured.hold_unread IS 'Whether a hold on this kind of subject, or on rows of this system, waits to be read: what it covers is not known yet.';

CREATE FUNCTION erasured.row_holds(system text) RETURNS uuid[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT ARRAY(SELECT x.id FROM erasured.hold x
                  WHERE x.kind = 'table' AND x.system = row_holds.system AND x.sealed IS NOT NULL
                    AND x.released_at IS NULL AND (x.until IS NULL OR x.until > clock_timestamp()) ORDER BY x.id)
$$;
COMMENT ON FUNCTION erasured.row_holds IS 'Holds on rows of this system that are in force and have been read.';

CREATE FUNCTION erasured.stopped_by_person(ticket uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT coalesce((SELECT d.kind = 'hold' FROM erasured.decision d
                      WHERE d.ticket_id = ticket AND d.kind IN ('hold', 'release') ORDER BY d.id DESC LIMIT 1), false)
$$;
COMMENT ON FUNCTION erasured.stopped_by_person IS 'Whether erasured.hold_ticket stopped the ticket and nobody has released it.';

-- ---------------------------------------------------------------- placing and releasing

CREATE FUNCTION erasured.hold_role() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, erasured, pg_temp
AS $$ SELECT CASE erasured.actor_role('erasured_approver') WHEN 'owner' THEN erasured.actor_role('erasured_admin')
             ELSE 'erasured_approver' END $$;

-- Alone, until the end of the caller's transaction. As long as that lasts nothing is erased anywhere, so
-- one that lies idle for a minute is ended by the server, and the hold with it.
CREATE FUNCTION erasured.before_hold() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s'
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('erasured.hold', 0));
    IF (SELECT s.setting::bigint NOT BETWEEN 1 AND 60000 FROM pg_settings s WHERE s.name = 'idle_in_transaction_session_timeout') THEN
        PERFORM set_config('idle_in_transaction_session_timeout', '60s', true);
    END IF;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'a batch commits at this moment' USING ERRCODE = 'ER014', HINT = 'The hold is not placed. Try again.';
END $$;

CREATE FUNCTION erasured.require_hold(matter text, reason text, until timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    PERFORM erasured.require_code('matter', matter);
    PERFORM erasured.require_code('reason', reason);
    IF until IS NOT NULL AND (NOT isfinite(until) OR until <= now()) THEN
        RAISE EXCEPTION 'the hold would have ended already' USING ERRCODE = 'ER006',
            HINT = 'Give a day to come, or none: then it lasts until it is released.';
    END IF;
END $$;

CREATE FUNCTION erasured.place_hold(
    matter      text,
    reason      text,
    subject     text,
    identifiers jsonb,
    until       timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known  text[];
    wrong  text;
    new_id uuid;
BEGIN
    PERFORM erasured.require_hold(place_hold.matter, place_hold.reason, place_hold.until);
    SELECT array_agg(DISTINCT i.name) INTO known
      FROM erasured.scope s, unnest(s.identifiers) AS i (name) WHERE s.subject = place_hold.subject;
    IF known IS NULL THEN
        RAISE EXCEPTION 'no policy is for this subject' USING ERRCODE = 'ER004',
            HINT = 'Known: ' || coalesce((SELECT left(string_agg(DISTINCT s.subject, ', '), 400) FROM erasured.scope s), 'none yet');
    END IF;
    IF place_hold.identifiers IS NULL OR jsonb_typeof(place_hold.identifiers) <> 'object'
       OR (SELECT count(*) FROM jsonb_object_keys(place_hold.identifiers)) NOT BETWEEN 1 AND 20 THEN
        RAISE EXCEPTION 'a hold names the person by 1 to 20 identifiers, a JSON object of name and text'
            USING ERRCODE = 'ER005', HINT = 'Such as {"member_no": "…"}.';
    END IF;
    -- Names may hold a value by mistake: only known ones are shown.
    IF EXISTS (SELECT FROM jsonb_object_keys(place_hold.identifiers) k WHERE k <> ALL (known)) THEN
        RAISE EXCEPTION 'an identifier''s name is not one that the policy finds people by' USING ERRCODE = 'ER005',
            HINT = 'It knows: ' || array_to_string(known, ', ');
    END IF;
    SELECT e.key INTO wrong FROM jsonb_each(place_hold.identifiers) e
     WHERE jsonb_typeof(e.value) <> 'string'
        OR length(btrim(e.value #>> '{}')) = 0 OR length(e.value #>> '{}') > 1000
     ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'identifier % must be a text of 1 to 1,000 characters', wrong USING ERRCODE = 'ER005';
    END IF;
    SELECT e.key INTO wrong FROM jsonb_each_text(place_hold.identifiers) e
     WHERE length(erasured.folded(e.value)) >= 5
       AND position(erasured.folded(e.value) IN place_hold.matter || ' ' || place_hold.reason) > 0
     ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the matter or the reason contains the identifier %', wrong USING ERRCODE = 'ER006',
            HINT = 'Both are kept for ever: they must not name the person.';
    END IF;

    PERFORM erasured.before_hold();
    INSERT INTO erasured.hold AS h (matter, reason, kind, subject, until, placed_by, placed_role, named_by)
    VALUES (place_hold.matter, place_hold.reason, 'subject', place_hold.subject, place_hold.until,
            erasured.actor(), erasured.hold_role(), (SELECT count(*) FROM jsonb_object_keys(place_hold.identifiers)))
    RETURNING h.id INTO new_id;
    INSERT INTO erasured.hold_identifier (hold_id, name, value)
    SELECT new_id, e.key, btrim(e.value) FROM jsonb_each_text(place_hold.identifiers) e;
    INSERT INTO erasured.event (kind, body)
    VALUES ('hold_placed', jsonb_strip_nulls(jsonb_build_object('hold', new_id, 'matter', place_hold.matter,
            'reason', place_hold.reason, 'subject', place_hold.subject, 'until', place_hold.until, 'by', erasured.actor())));
    PERFORM pg_notify('erasured_ticket', new_id::text);
    RETURN new_id;
END $$;
COMMENT ON FUNCTION erasured.place_hold IS 'Orders that what belongs to a person is kept. From the COMMIT on nothing of theirs is erased. The values go once the daemon has hashed them.';

-- Rows are named by conditions on columns, as data: nobody's SQL text runs anywhere.
CREATE FUNCTION erasured.place_row_hold(
    matter     text,
    reason     text,
    rows_of    text,
    conditions jsonb       DEFAULT '[]',
    until      timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    parts  text[] := string_to_array(place_row_hold.rows_of, '.');
    new_id uuid;
BEGIN
    PERFORM erasured.require_hold(place_row_hold.matter, place_row_hold.reason, place_row_hold.until);
    IF parts IS NULL OR cardinality(parts) <> 3 OR '' = ANY (parts) THEN
        RAISE EXCEPTION 'the table is written system.schema.table' USING ERRCODE = 'ER006',
            HINT = 'Such as shop.public.invoice.';
    END IF;
    IF place_row_hold.conditions IS NULL OR jsonb_typeof(place_row_hold.conditions) <> 'array'
       OR jsonb_array_length(place_row_hold.conditions) > 20
       OR EXISTS (SELECT FROM jsonb_array_elements(place_row_hold.conditions) c WHERE NOT coalesce(erasured.is_condition(c), false)) THEN
        RAISE EXCEPTION 'the conditions are a list of at most 20, each with column, op and values' USING ERRCODE = 'ER006',
            HINT = 'Such as [{"column": "issued_on", "op": "between", "values": ["2026-01-01", "2026-03-31"]}]. '
                || 'Ops: =, <>, <, <=, >, >=, in, between, "is null", "is not null". Values are texts.';
    END IF;
    PERFORM erasured.before_hold();
    INSERT INTO erasured.hold AS h (matter, reason, kind, system, schema_name, table_name, conditions, until, placed_by, placed_role)
    VALUES (place_row_hold.matter, place_row_hold.reason, 'table', parts[1], parts[2], parts[3], place_row_hold.conditions,
            place_row_hold.until, erasured.actor(), erasured.hold_role())
    RETURNING h.id INTO new_id;
    INSERT INTO erasured.event (kind, body)
    VALUES ('hold_placed', jsonb_strip_nulls(jsonb_build_object('hold', new_id, 'matter', place_row_hold.matter,
            'reason', place_row_hold.reason, 'until', place_row_hold.until, 'by', erasured.actor())));
    PERFORM pg_notify('erasured_ticket', new_id::text);
    RETURN new_id;
END $$;
COMMENT ON FUNCTION erasured.place_row_hold IS 'Orders that rows of a table are kept: those for which all conditions hold or cannot be told. Of a ticket that reaches one of them the table waits, with what hangs together with it; the rest goes on.';

CREATE FUNCTION erasured.is_condition(c jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_typeof(c) = 'object' AND jsonb_typeof(c->'column') = 'string' AND length(c->>'column') BETWEEN 1 AND 63
       AND jsonb_typeof(coalesce(c->'values', '[]')) = 'array'
       AND NOT EXISTS (SELECT FROM jsonb_array_elements(CASE jsonb_typeof(c->'values') WHEN 'array' THEN c->'values' ELSE '[]' END) v
                        WHERE jsonb_typeof(v) <> 'string' OR length(v #>> '{}') > 1000)
       AND CASE c->>'op' WHEN 'is null' THEN n = 0 WHEN 'is not null' THEN n = 0
                         WHEN 'between' THEN n = 2 WHEN 'in' THEN n BETWEEN 1 AND 1000
                         ELSE c->>'op' IN ('=', '<>', '<', '<=', '>', '>=') AND n = 1 END
      FROM (SELECT CASE jsonb_typeof(c->'values') WHEN 'array' THEN jsonb_array_length(c->'values') ELSE 0 END) AS given (n)
$$;

-- Tickets that nothing keeps any more go on from where they stood; holds whose day has come end.
CREATE FUNCTION erasured.resume_held() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    waiting uuid[];
    going   uuid[];
    dates   bigint;
BEGIN
    WITH ended AS (
        UPDATE erasured.hold h SET released_at = h.until, sealed = NULL, conditions = erasured.without_values(h.conditions)
         WHERE h.released_at IS NULL AND h.until <= clock_timestamp()
        RETURNING h.id, h.matter)
    INSERT INTO erasured.event (kind, body)
    SELECT 'hold_ended', jsonb_build_object('hold', e.id, 'matter', e.matter) FROM ended e;
    UPDATE erasured.hold_identifier i SET value = NULL
      FROM erasured.hold h WHERE h.id = i.hold_id AND h.released_at IS NOT NULL AND i.value IS NOT NULL;

    waiting := ARRAY(SELECT t.id FROM erasured.ticket t
                      WHERE t.state = 'on_hold' AND t.problem_code = 'E0521' ORDER BY t.id FOR UPDATE SKIP LOCKED);
    IF waiting <> '{}' THEN
        going := ARRAY(SELECT w FROM unnest(waiting) w
                        WHERE w NOT IN (SELECT c.ticket FROM erasured.holds_on(waiting) c));
        UPDATE erasured.ticket t SET problem_code = NULL, problem = NULL
         WHERE t.id = ANY (going) AND erasured.stopped_by_person(t.id);
        UPDATE erasured.ticket t SET state = t.held_from, held_from = NULL, problem_code = NULL, problem = NULL,
               next_attempt_at = CASE WHEN t.not_before > now() THEN t.not_before END
         WHERE t.id = ANY (going) AND NOT erasured.stopped_by_person(t.id);
    END IF;
    UPDATE erasured.deferral d SET held_since = NULL
     WHERE d.held_since IS NOT NULL AND d.state = 'waiting'
       AND NOT EXISTS (SELECT FROM erasured.holds_on(ARRAY[d.ticket_id]));
    GET DIAGNOSTICS dates = ROW_COUNT;
    RETURN coalesce(cardinality(going), 0) + dates;
END $$;
COMMENT ON FUNCTION erasured.resume_held IS 'Ends holds whose day has come and lets go on what no hold keeps any more; returns how many tickets and deferrals.';

CREATE FUNCTION erasured.without_values(conditions jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN conditions IS NOT NULL THEN
        coalesce((SELECT jsonb_agg(c - 'values') FROM jsonb_array_elements(conditions) c), '[]') END $$;

CREATE FUNCTION erasured.end_holds(holds uuid[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    ended uuid[];
BEGIN
    WITH released AS (
        UPDATE erasured.hold h SET released_at = now(), released_by = erasured.actor(), sealed = NULL,
               conditions = erasured.without_values(h.conditions)
         WHERE h.id = ANY (holds) AND h.released_at IS NULL
        RETURNING h.id, h.matter),
    told AS (
        INSERT INTO erasured.event (kind, body)
        SELECT 'hold_released', jsonb_build_object('hold', r.id, 'matter', r.matter, 'by', erasured.actor()) FROM released r)
    SELECT array_agg(r.id) INTO ended FROM released r;
    PERFORM erasured.resume_held();
    PERFORM pg_notify('erasured_ticket', '');
    RETURN coalesce(cardinality(ended), 0);
END $$;

CREATE FUNCTION erasured.release_hold(hold uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF NOT EXISTS (SELECT FROM erasured.hold h WHERE h.id = hold) THEN
        RAISE EXCEPTION 'there is no such hold' USING ERRCODE = 'ER001', HINT = 'erasured.hold_status lists them.';
    END IF;
    RETURN erasured.end_holds(ARRAY[hold]);
END $$;
COMMENT ON FUNCTION erasured.release_hold IS 'Releases one hold; what nothing else keeps goes on by itself. Returns 1, or 0 for one that has ended.';

CREATE FUNCTION erasured.release_matter(matter text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    holds uuid[] := ARRAY(SELECT h.id FROM erasured.hold h WHERE h.matter = release_matter.matter);
BEGIN
    IF holds = '{}' THEN
        RAISE EXCEPTION 'no hold was ever placed for this matter' USING ERRCODE = 'ER001',
            HINT = 'erasured.hold_status lists them.';
    END IF;
    RETURN erasured.end_holds(holds);
END $$;
COMMENT ON FUNCTION erasured.release_matter IS 'Releases every hold of a matter; returns how many were in force.';

-- The same order sent twice by a program that has lost the answer is one. The key, and all that was
-- ordered under it, are hashes keyed by the API: neither a word nor a value is kept.
CREATE TABLE erasured.hold_request (
    key     text PRIMARY KEY CHECK (key ~ '^[0-9a-f]{64}$'),
    asked   text NOT NULL CHECK (asked ~ '^[0-9a-f]{64}$'),
    hold_id uuid NOT NULL REFERENCES erasured.hold (id)
);
COMMENT ON TABLE erasured.hold_request IS 'Under which key of a program a hold was placed, so that what is sent again is not placed again.';

-- The hold of a key, if there is one; else notes this one, if one is given.
CREATE FUNCTION erasured.hold_once(key text, asked text, hold uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    before erasured.hold_request;
BEGIN
    -- Who sends the same at the same moment waits here.
    PERFORM pg_advisory_xact_lock(hashtextextended('erasured.hold_request ' || key, 0));
    SELECT * INTO before FROM erasured.hold_request r WHERE r.key = hold_once.key;
    IF FOUND THEN
        IF before.asked <> asked OR before.hold_id <> hold THEN
            RAISE EXCEPTION 'the key is already used for another hold' USING ERRCODE = 'ER003',
                HINT = 'A hold that is to be placed has a new key. This one is not placed.';
        END IF;
        RETURN before.hold_id;
    END IF;
    IF hold IS NOT NULL THEN
        INSERT INTO erasured.hold_request (key, asked, hold_id) VALUES (key, asked, hold);
    END IF;
    RETURN hold;
END $$;

-- ---------------------------------------------------------------- what the daemon does

-- It has hashed what a hold names, and says whom it found, or with which code it found nobody. It says so
-- once.
CREATE FUNCTION erasured.hold_read(
    hold uuid, names text[], hashes text[], subjects text[], code text, words text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    people bigint;
BEGIN
    PERFORM FROM erasured.hold h WHERE h.id = hold AND h.read_at IS NULL AND h.released_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE erasured.hold_identifier i SET value = NULL, hash = n.hash
      FROM unnest(names, hashes) AS n (name, hash) WHERE i.hold_id = hold AND i.name = n.name;
    UPDATE erasured.hold_identifier i SET value = NULL WHERE i.hold_id = hold;
    -- People found in the system, and those of whom only their tickets know.
    INSERT INTO erasured.hold_subject (hold_id, subject_hash)
    SELECT hold, s FROM unnest(subjects) s
    UNION
    SELECT hold, t.subject_hash
      FROM erasured.hold x
      JOIN erasured.hold_identifier h ON h.hold_id = x.id
      JOIN erasured.ticket_identifier i ON i.hash = h.hash AND i.name = h.name
      JOIN erasured.ticket t ON t.id = i.ticket_id AND t.subject = x.subject AND t.subject_hash IS NOT NULL
     WHERE x.id = hold
     GROUP BY t.id, t.subject_hash, x.named_by
    HAVING count(*) = x.named_by;
    SELECT count(*) INTO people FROM erasured.hold_subject s WHERE s.hold_id = hold;
    UPDATE erasured.hold x SET read_at = now(),
           problem_code = CASE WHEN people = 0 THEN code END,
           problem = CASE WHEN people = 0 THEN words END
     WHERE x.id = hold;
    INSERT INTO erasured.event (kind, body)
    VALUES ('hold_read', jsonb_strip_nulls(jsonb_build_object('hold', hold, 'people', people,
            'code', CASE WHEN people = 0 THEN code END)));
    RETURN true;
END $$;

-- Of a hold on rows: it has sealed the conditions, or says why it cannot compare them. Those of a table
-- that no policy names yet are sealed all the same: the policy may come.
CREATE FUNCTION erasured.row_hold_read(hold uuid, conditions_sealed bytea, code text, words text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    UPDATE erasured.hold x
       SET read_at = now(), sealed = conditions_sealed,
           -- What nobody knows may be a value by mistake.
           conditions = CASE WHEN code IS NULL THEN erasured.without_values(x.conditions) ELSE '[]' END,
           problem_code = code, problem = words
     WHERE x.id = hold AND x.kind = 'table' AND x.read_at IS NULL AND x.released_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO erasured.event (kind, body)
    SELECT 'hold_read', jsonb_strip_nulls(jsonb_build_object('hold', hold, 'code', code,
             'table', CASE WHEN code IS NULL THEN concat_ws('.', x.system, x.schema_name, x.table_name) END,
             'columns', CASE WHEN code IS NULL THEN (SELECT jsonb_agg(c->'column') FROM jsonb_array_elements(x.conditions) c) END))
      FROM erasured.hold x WHERE x.id = hold;
    RETURN true;
END $$;

-- It has found under lock that these tickets reach rows which these holds cover.
CREATE FUNCTION erasured.hold_covers(holds uuid[], tickets uuid[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    INSERT INTO erasured.hold_ticket (hold_id, ticket_id)
    SELECT DISTINCT n.hold, n.ticket FROM unnest(holds, tickets) AS n (hold, ticket)
      JOIN erasured.hold x ON x.id = n.hold AND x.kind = 'table'
    ON CONFLICT DO NOTHING
$$;

-- Which tables steps of this generation have left as they are, because legal holds cover rows there or
-- of what hangs together with them; NULL if none has left any.
CREATE FUNCTION erasured.left_to_holds(ticket uuid, of_generation integer) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT array_agg(DISTINCT l ORDER BY l)
      FROM erasured.step s, jsonb_array_elements_text(s.counts->'counts'->'left') AS l
     WHERE s.ticket_id = left_to_holds.ticket AND s.generation = left_to_holds.of_generation AND s.state = 'done'
$$;

-- What a ticket still waits with while the rest of it is done; NULL if nothing is done beside a hold.
CREATE FUNCTION erasured.waits_with(ticket uuid) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT erasured.left_to_holds(t.id, t.generation - 1) FROM erasured.ticket t
     WHERE t.id = waits_with.ticket AND NOT EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = t.id AND s.generation = t.generation)
$$;

-- Tickets that a hold in force covers stop where they are; what they have done is done.
CREATE FUNCTION erasured.suspend_held(tickets uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    covered uuid[];
BEGIN
    PERFORM FROM erasured.ticket t WHERE t.id = ANY (tickets) ORDER BY t.id FOR UPDATE;
    covered := ARRAY(SELECT DISTINCT t.id FROM erasured.holds_on(tickets) c JOIN erasured.ticket t ON t.id = c.ticket
                      WHERE t.state IN ('scheduled', 'executing'));
    -- A step that left something to a hold is nobody's last. And a hold may last for years, in which the
    -- application writes on: when it has ended all is planned anew, and what is done is done again. Planned
    -- steps count too: whether such a step committed is known only to its target.
    UPDATE erasured.ticket t SET generation = t.generation + 1, plan_id = NULL
     WHERE t.id = ANY (tickets)
       AND (t.state = 'executing' AND erasured.left_to_holds(t.id, t.generation) IS NOT NULL
            OR t.id = ANY (covered) AND EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = t.id AND s.generation = t.generation));
    DELETE FROM erasured.lease l WHERE l.ticket_id = ANY (covered);
    INSERT INTO erasured.event (kind, ticket_id, body)
    SELECT 'legal_hold', c.ticket, jsonb_strip_nulls(jsonb_build_object('holds', jsonb_agg(c.hold ORDER BY c.hold),
             'matters', jsonb_agg(DISTINCT c.matter), 'left', to_jsonb(erasured.waits_with(c.ticket))))
      FROM erasured.holds_on(covered) c GROUP BY c.ticket ORDER BY c.ticket;
    RETURN QUERY
    UPDATE erasured.ticket t
       SET state = 'on_hold', held_from = 'scheduled', problem_code = 'E0521',
           problem = coalesce('a legal hold keeps ' || left(array_to_string(erasured.waits_with(t.id), ', '), 400)
                              || ' of it, the rest is done: ', 'a legal hold keeps it: ') || (SELECT left(string_agg(DISTINCT c.matter, ', '), 400)
                                                     FROM erasured.holds_on(ARRAY[t.id]) c)
     WHERE t.id = ANY (covered)
    RETURNING t.id;
END $$;

-- Deferrals whose date has come and which a hold keeps: recorded once, and not lent.
CREATE FUNCTION erasured.suspend_deferrals(day timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    due uuid[] := ARRAY(SELECT DISTINCT d.ticket_id FROM erasured.deferral d
                         WHERE d.state = 'waiting' AND d.due_at <= day AND d.held_since IS NULL);
    kept bigint;
BEGIN
    IF due = '{}' THEN
        RETURN 0;
    END IF;
    WITH covered AS (
        SELECT c.ticket, jsonb_agg(DISTINCT c.hold) AS holds, jsonb_agg(DISTINCT c.matter) AS matters
          FROM erasured.holds_on(due) c GROUP BY c.ticket),
    stopped AS (
        UPDATE erasured.deferral d SET held_since = now() FROM covered c
         WHERE d.ticket_id = c.ticket AND d.state = 'waiting' AND d.due_at <= day AND d.held_since IS NULL
        RETURNING d.id, d.ticket_id, c.holds, c.matters)
    INSERT INTO erasured.event (kind, ticket_id, body)
    SELECT 'deferral_held', s.ticket_id, jsonb_build_object('deferral', s.id, 'holds', s.holds, 'matters', s.matters)
      FROM stopped s;
    GET DIAGNOSTICS kept = ROW_COUNT;
    RETURN kept;
END $$;

-- ---------------------------------------------------------------- looking

CREATE VIEW erasured.hold_status WITH (security_barrier) AS
SELECT h.id, h.matter, h.reason, h.kind, h.subject, h.system || '.' || h.schema_name || '.' || h.table_name AS rows_of, h.until, h.placed_at, h.placed_by, h.placed_role,
       h.read_at, h.problem_code, h.problem, h.released_at, h.released_by,
       h.released_at IS NULL AND (h.until IS NULL OR h.until > now()) AS in_force,
       CASE h.kind WHEN 'subject' THEN
            (SELECT array_agg(i.name ORDER BY i.name) FROM erasured.hold_identifier i WHERE i.hold_id = h.id)
            ELSE ARRAY(SELECT (c->>'column') || ' ' || (c->>'op') FROM jsonb_array_elements(h.conditions) c) END AS named_by,
       (SELECT count(*) FROM erasured.hold_subject s WHERE s.hold_id = h.id) AS people,
       w.tickets, w.deferrals, w.since, w.left_whole
  FROM erasured.hold h
  LEFT JOIN LATERAL (
    SELECT array_agg(t.reference ORDER BY t.reference) FILTER (WHERE t.state = 'on_hold') AS tickets,
           sum(d.n)::bigint AS deferrals, least(min(t.held_since) FILTER (WHERE t.state = 'on_hold'), min(d.since)) AS since,
           ARRAY(SELECT DISTINCT l FROM unnest(array_agg(t.id) FILTER (WHERE t.state = 'on_hold')) AS x (id),
                        unnest(erasured.waits_with(x.id)) l ORDER BY l) AS left_whole
      FROM erasured.ticket t
      LEFT JOIN LATERAL (SELECT count(*) AS n, min(d.held_since) AS since FROM erasured.deferral d
                          WHERE d.ticket_id = t.id AND d.state = 'waiting' AND d.held_since IS NOT NULL) d ON true
     WHERE (h.kind = 'table' OR t.subject = h.subject)
       AND t.id IN (SELECT r.ticket_id FROM erasured.hold_ticket r WHERE r.hold_id = h.id
                    UNION
                    SELECT t2.id FROM erasured.hold_subject s JOIN erasured.ticket t2 ON t2.subject_hash = s.subject_hash
                     WHERE s.hold_id = h.id
                    UNION
                    SELECT i.ticket_id FROM erasured.hold_identifier hi
                      JOIN erasured.ticket_identifier i ON i.hash = hi.hash AND i.name = hi.name
                     WHERE hi.hold_id = h.id GROUP BY i.ticket_id HAVING count(*) = h.named_by)
       AND (t.state = 'on_hold' AND t.problem_code = 'E0521' OR d.n > 0)) w ON h.released_at IS NULL;
COMMENT ON VIEW erasured.hold_status IS 'Legal holds, whom they cover in number, and what each keeps waiting and since when: left_whole are the tables that stay while the rest of these tickets is done. Never a value.';

-- ---------------------------------------------------------------- why, and why not

CREATE TABLE erasured.ground (
    kind         text        NOT NULL CHECK (kind IN ('request', 'refusal')),
    code         text        NOT NULL CHECK (code ~ '^[a-z][a-z0-9_-]{0,59}$'),
    ja           text        NOT NULL,
    en           text        NOT NULL,
    source       text        NOT NULL,
    complain_ja  text,
    complain_en  text,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, code)
);
COMMENT ON TABLE erasured.ground IS 'Why a person may ask and a company refuse, with the words for the customer: published by the daemon from grounds.toml.';
COMMENT ON COLUMN erasured.ground.complain_en IS 'Where a customer who is refused may complain; NULL where nothing is refused.';

-- Before any daemon has published, no code is known, and every one is taken.
CREATE FUNCTION erasured.require_ground(of_kind text, what text, given text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    known text;
BEGIN
    PERFORM erasured.require_code(what, given);
    SELECT string_agg(g.code, ', ' ORDER BY g.code) INTO known FROM erasured.ground g WHERE g.kind = of_kind;
    IF known IS NOT NULL AND NOT EXISTS (SELECT FROM erasured.ground g WHERE g.kind = of_kind AND g.code = given) THEN
        RAISE EXCEPTION 'the % is not a known code', what USING ERRCODE = 'ER006',
            HINT = 'Known: ' || left(known, 900) || '. Others stand in grounds.toml beside the policies.';
    END IF;
END $$;

-- ---------------------------------------------------------------- the same request twice

CREATE INDEX ticket_duplicate ON erasured.ticket (duplicate_of) WHERE duplicate_of IS NOT NULL;

CREATE FUNCTION erasured.closes_with_another(ticket uuid, original uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM erasured.ticket o WHERE o.id = original AND o.state IN ('completed', 'deferred'))
       AND NOT EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = ticket)
$$;

-- Of tickets about to begin those for whose person and scope another is under way, or about to begin
-- before them: they are linked to it and wait. Only what stands as far can be in the way: who files a
-- request that nobody verifies keeps nobody's from running.
CREATE FUNCTION erasured.link_duplicates(tickets uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    linked uuid[];
BEGIN
    -- Two workers that begin with one of two each must not both find the other not begun.
    PERFORM pg_advisory_xact_lock(hashtextextended('erasured.begin', 0));
    SELECT array_agg(t.id) INTO linked FROM erasured.ticket t
     WHERE t.id = ANY (tickets) AND t.state = 'scheduled'
       AND NOT EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = t.id)
       AND EXISTS (SELECT FROM erasured.ticket o
                    WHERE o.subject_hash = t.subject_hash AND o.subject = t.subject AND o.scope = t.scope AND o.refused = t.refused AND o.id <> t.id
                      AND (o.state IN ('executing', 'verifying')
                           OR o.id = ANY (tickets) AND o.state = 'scheduled' AND (o.requested_at, o.id) < (t.requested_at, t.id)));
    IF linked IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM erasured.lease l WHERE l.ticket_id = ANY (linked);
    -- It looks again in a day if nothing wakes it before.
    UPDATE erasured.ticket t SET duplicate_of = o.original, next_attempt_at = now() + interval '1 day'
      FROM (SELECT t2.id, (SELECT o2.id FROM erasured.ticket o2
                            WHERE o2.subject_hash = t2.subject_hash AND o2.subject = t2.subject AND o2.scope = t2.scope AND o2.refused = t2.refused
                              AND o2.id <> t2.id AND o2.id <> ALL (linked)
                              AND (o2.state IN ('executing', 'verifying') OR o2.id = ANY (tickets) AND o2.state = 'scheduled')
                            ORDER BY o2.state = 'scheduled', o2.requested_at, o2.id LIMIT 1) AS original
              FROM erasured.ticket t2 WHERE t2.id = ANY (linked)) o
     WHERE t.id = o.id;
    INSERT INTO erasured.event (kind, ticket_id, body)
    SELECT 'duplicate', t.id, jsonb_build_object('of', t.duplicate_of) FROM erasured.ticket t WHERE t.id = ANY (linked) ORDER BY t.id;
    RETURN QUERY SELECT unnest(linked);
END $$;

-- What waited for a ticket closes with it, or goes on by itself.
CREATE FUNCTION erasured.end_duplicates() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    -- Hundreds close at once, and hardly any has a duplicate.
    IF NOT EXISTS (SELECT FROM erasured.ticket t WHERE t.duplicate_of = NEW.id) THEN
        RETURN NULL;
    END IF;
    IF NEW.state IN ('completed', 'deferred') THEN
        -- One with a copy of a document does not close: it goes on by itself, and waits at its own end.
        UPDATE erasured.ticket t SET duplicate_of = NULL, next_attempt_at = NULL
         WHERE t.duplicate_of = NEW.id AND t.state = 'scheduled' AND erasured.holds_copy(t.id);
        UPDATE erasured.ticket_identifier i SET value = NULL FROM erasured.ticket t
         WHERE t.duplicate_of = NEW.id AND t.state = 'scheduled' AND i.ticket_id = t.id AND i.value IS NOT NULL;
        UPDATE erasured.ticket t SET state = 'completed', finished_at = now(), sealed = NULL, problem_code = NULL, problem = NULL,
               next_attempt_at = NULL, sla_met = CASE WHEN t.clock <> 'none' THEN now() <= t.due_at END
         WHERE t.duplicate_of = NEW.id AND t.state = 'scheduled';
    ELSE
        UPDATE erasured.ticket t SET duplicate_of = NULL, next_attempt_at = NULL
         WHERE t.duplicate_of = NEW.id AND t.state = 'scheduled';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER end_duplicates AFTER UPDATE ON erasured.ticket
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state AND NEW.state IN ('completed', 'deferred', 'failed', 'rejected', 'on_hold'))
    EXECUTE FUNCTION erasured.end_duplicates();

-- Who was erased before: by the hash of what names them now.
CREATE FUNCTION erasured.erased_before(of_subject text, names text[], hashes text[]) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT t.reference FROM erasured.ticket t
      JOIN erasured.ticket_identifier i ON i.ticket_id = t.id
      JOIN unnest(names, hashes) AS n (name, hash) ON n.name = i.name AND n.hash = i.hash
     WHERE t.subject = of_subject AND t.state IN ('completed', 'deferred') AND t.duplicate_of IS NULL
     GROUP BY t.id HAVING count(*) = cardinality(names) ORDER BY t.finished_at DESC LIMIT 1
$$;

-- The customer changes their mind; until something of it has been carried out.
CREATE FUNCTION erasured.withdraw_ticket(ticket uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    role text := CASE erasured.actor_role('erasured_desk') WHEN 'owner' THEN erasured.actor_role('erasured_approver')
                 ELSE 'erasured_desk' END;
BEGIN
    RETURN erasured.close_undone(ticket, 'withdrawn', role);
END $$;
COMMENT ON FUNCTION erasured.withdraw_ticket IS 'Closes a ticket because the customer does not want it any more. Its identifiers go at once.';

REVOKE ALL ON ALL TABLES IN SCHEMA erasured FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA erasured FROM PUBLIC;
