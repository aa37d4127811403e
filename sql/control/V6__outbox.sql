-- The outbox: what others are told of a ticket, written in the transaction that makes it true.
--
-- A message is written once and goes to every target that wants its kind. A target is something
-- that the daemons deliver to (a callback, a hook), or `listen`, to which nothing is delivered:
-- whoever has said LISTEN erasured_outbox gets the message's id and reads it here. Per ticket and
-- target, messages go out one after the other; a ticket that cannot be told of holds up no other.

CREATE TABLE erasured.outbox_target (
    name  text PRIMARY KEY CHECK (name ~ '^[a-z]+(/[a-z][a-z0-9_-]*)?$'),
    kinds text[]
);
COMMENT ON TABLE erasured.outbox_target IS 'Who is told: what any daemon''s configuration has named, until it is retired. Empty: nothing is written.';
COMMENT ON COLUMN erasured.outbox_target.kinds IS 'Of which kinds of messages, by whichever of its daemons wants them; NULL means all.';

CREATE TABLE erasured.outbox_server (
    daemon uuid        NOT NULL,
    target text        NOT NULL REFERENCES erasured.outbox_target (name) ON DELETE CASCADE,
    kinds  text[],
    until  timestamptz NOT NULL,
    PRIMARY KEY (daemon, target)
);
COMMENT ON TABLE erasured.outbox_server IS 'Which daemons deliver to a target, and for which kinds each is configured.';
COMMENT ON COLUMN erasured.outbox_server.until IS 'Until when it counts as alive; it says so again before.';

CREATE TABLE erasured.outbox (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    ticket_id  uuid        NOT NULL REFERENCES erasured.ticket (id),
    seq        integer     NOT NULL CHECK (seq > 0),
    kind       text        NOT NULL,
    body       jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (ticket_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE erasured.outbox IS 'Messages about tickets, free of personal data; old ones are removed.';
COMMENT ON COLUMN erasured.outbox.seq IS 'Order within the ticket, without gaps.';
CREATE INDEX outbox_created ON erasured.outbox (created_at);

CREATE TABLE erasured.outbox_delivery (
    message_id  uuid        NOT NULL REFERENCES erasured.outbox (id) ON DELETE CASCADE,
    target      text        NOT NULL,
    ticket_id   uuid        NOT NULL,
    seq         integer     NOT NULL,
    state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts    integer     NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now(),
    problem     text        CHECK (problem ~ '^[a-z][a-z0-9_]{0,59}$'),
    lease_token uuid,
    lease_until timestamptz,
    done_at     timestamptz,
    PRIMARY KEY (message_id, target),
    CHECK ((state = 'waiting') = (done_at IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE erasured.outbox_delivery IS 'One message to one target: at least once, and only after the ticket''s earlier ones to that target.';
COMMENT ON COLUMN erasured.outbox_delivery.problem IS 'Why the last try failed, as a code; never what the other side answered.';
CREATE INDEX outbox_delivery_ready ON erasured.outbox_delivery (target, next_at) WHERE state = 'waiting';
CREATE INDEX outbox_delivery_order ON erasured.outbox_delivery (ticket_id, target, seq) WHERE state = 'waiting';
CREATE INDEX outbox_delivery_dead ON erasured.outbox_delivery (target) WHERE state = 'dead';

CREATE TABLE erasured.opendsr_request (
    ticket_id  uuid   PRIMARY KEY REFERENCES erasured.ticket (id),
    request_id uuid   NOT NULL UNIQUE,
    controller text   NOT NULL,
    callbacks  text[] NOT NULL CHECK (cardinality(callbacks) <= 5)
);
COMMENT ON TABLE erasured.opendsr_request IS 'Tickets that came in the words of OpenDSR: the controller''s own id, who it is, where to call back.';

CREATE FUNCTION erasured.note_opendsr(ticket uuid, request uuid, controller text, callbacks text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO erasured.opendsr_request AS o (ticket_id, request_id, controller, callbacks)
    VALUES (ticket, request, controller, callbacks) ON CONFLICT DO NOTHING;
    IF NOT EXISTS (SELECT FROM erasured.opendsr_request o WHERE o.ticket_id = ticket AND o.request_id = request
                      AND o.controller = note_opendsr.controller) THEN
        RAISE EXCEPTION 'the request id is already used by another' USING ERRCODE = 'ER003',
            HINT = 'A request id is a new UUID for each request.';
    END IF;
END $$;

-- Internal steps are not told, and of an event only what is fit for another company's machine: no
-- names of people or tables.
CREATE FUNCTION erasured.fill_outbox() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    announced bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM erasured.outbox_target) THEN
        RETURN NULL;
    END IF;
    -- Who writes about one ticket at the same time takes numbers one after the other.
    PERFORM FROM erasured.ticket t WHERE t.id IN (SELECT n.ticket_id FROM noted n)
      ORDER BY t.id FOR NO KEY UPDATE;
    WITH wanted AS MATERIALIZED (
        SELECT gen_random_uuid() AS id, n.id AS event, n.ticket_id, n.kind, n.at, n.body,
               ARRAY(SELECT g.name FROM erasured.outbox_target g
                      WHERE (g.kinds IS NULL OR n.kind = ANY (g.kinds))
                        -- A request that is done stays done.
                        AND (g.name <> 'opendsr' OR n.kind <> 'came_back' AND EXISTS (
                             SELECT FROM erasured.opendsr_request o WHERE o.ticket_id = n.ticket_id AND o.callbacks <> '{}'))) AS targets
          FROM noted n
         WHERE n.ticket_id IS NOT NULL AND n.kind NOT IN ('step_done', 'step_reopened')
    ), told AS (
        INSERT INTO erasured.outbox (id, ticket_id, seq, kind, created_at, body)
        SELECT w.id, w.ticket_id,
               coalesce((SELECT max(o.seq) FROM erasured.outbox o WHERE o.ticket_id = w.ticket_id), 0)
                 + row_number() OVER (PARTITION BY w.ticket_id ORDER BY w.event),
               w.kind, w.at,
               (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(w.body) e
                 WHERE e.key IN ('from', 'code', 'reason', 'method', 'level', 'generation', 'subject', 'scope',
                                 'certificate', 'kid', 'sha256', 'deferral', 'until', 'due', 'notice', 'template',
                                 'sign', 'contact'))
          FROM wanted w WHERE w.targets <> '{}'
        RETURNING id, ticket_id, seq
    ), due AS (
        INSERT INTO erasured.outbox_delivery (message_id, target, ticket_id, seq)
        SELECT t.id, g.name, t.ticket_id, t.seq
          FROM told t JOIN wanted w ON w.id = t.id, unnest(w.targets) AS g (name) WHERE g.name <> 'listen'
    )
    SELECT count(x.notified) INTO announced
      FROM (SELECT pg_notify('erasured_outbox', t.id::text) AS notified
              FROM told t JOIN wanted w ON w.id = t.id WHERE 'listen' = ANY (w.targets)
             ORDER BY t.ticket_id, t.seq) AS x;
    RETURN NULL;
END $$;
CREATE TRIGGER fill_outbox AFTER INSERT ON erasured.event
    REFERENCING NEW TABLE AS noted
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.fill_outbox();

CREATE FUNCTION erasured.redeliver(target text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    WITH revived AS (
        UPDATE erasured.outbox_delivery d
           SET state = 'waiting', done_at = NULL, attempts = 0, next_at = now(), problem = NULL,
               lease_token = NULL, lease_until = NULL
         WHERE d.target = redeliver.target AND d.state = 'dead'
        RETURNING 1)
    SELECT count(*) FROM revived
$$;
COMMENT ON FUNCTION erasured.redeliver IS 'Lets what was given up for a target be tried again, after its later messages; returns how many.';

-- Only a person knows that a target does not come back: a daemon that does not name it may be one of
-- several, or have been started with an older file.
CREATE FUNCTION erasured.retire_target(target text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    dropped bigint;
BEGIN
    -- Who publishes it at this moment waits, and so do we.
    PERFORM FROM erasured.outbox_target t WHERE t.name = target FOR UPDATE;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM erasured.outbox_delivery d WHERE d.target = retire_target.target AND d.state <> 'delivered') THEN
        RAISE EXCEPTION 'there is no such target' USING ERRCODE = 'ER006',
            HINT = coalesce('Known: ' || (SELECT left(string_agg(t.name, ', ' ORDER BY t.name), 400) FROM erasured.outbox_target t), 'There is none.');
    END IF;
    IF EXISTS (SELECT FROM erasured.outbox_server s WHERE s.target = retire_target.target AND s.until > clock_timestamp()) THEN
        RAISE EXCEPTION 'a daemon delivers to this target' USING ERRCODE = 'ER006',
            HINT = 'Take it out of the configuration of every daemon, restart them, and try again; of one that was killed, in five minutes.';
    END IF;
    DELETE FROM erasured.outbox_target t WHERE t.name = target;
    DELETE FROM erasured.outbox_delivery d WHERE d.target = retire_target.target AND d.state <> 'delivered';
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN dropped;
END $$;
COMMENT ON FUNCTION erasured.retire_target IS 'Ends a target that no daemon delivers to any more: nothing is written for it, and what it has not got is dropped; returns how many messages.';

REVOKE ALL ON erasured.outbox_server, erasured.opendsr_request, erasured.outbox, erasured.outbox_target, erasured.outbox_delivery FROM PUBLIC;
REVOKE ALL ON FUNCTION erasured.fill_outbox(), erasured.redeliver(text), erasured.retire_target(text),
    erasured.note_opendsr(uuid, uuid, text, text[]) FROM PUBLIC;
