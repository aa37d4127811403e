-- What moves a ticket's clock, and the desk's part in it.
--
-- The due time is counted by the daemon, which knows the SLA profile. Here is written what has
-- happened, and ticket.clock_stale, upon which the daemon counts again. Only an extension takes
-- effect at once: the daemon has said beforehand what it would make of the due time.

CREATE TABLE erasured.pause (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id   uuid        NOT NULL REFERENCES erasured.ticket (id),
    asked_for   text        NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT now(),
    answered_at timestamptz CHECK (answered_at >= asked_at)
);
COMMENT ON TABLE erasured.pause IS 'Questions put to the customer. Whether the days until the answer count is the SLA profile''s word.';
CREATE INDEX pause_ticket ON erasured.pause (ticket_id);
CREATE UNIQUE INDEX pause_open ON erasured.pause (ticket_id) WHERE answered_at IS NULL;

-- Counted by the daemon with the due time, so that filing waits for nobody.
CREATE TABLE erasured.turn (
    desk   text        NOT NULL,
    due_at timestamptz NOT NULL,
    taken  integer     NOT NULL,
    PRIMARY KEY (desk, due_at)
);
COMMENT ON TABLE erasured.turn IS 'How many tickets each desk has had for one due time: the last turn given.';

CREATE FUNCTION erasured.acknowledge_ticket(ticket uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t   erasured.ticket := erasured.lock_ticket(ticket);
    who text := erasured.actor();
BEGIN
    IF t.acknowledged_at IS NOT NULL THEN
        RETURN t.state;
    END IF;
    IF t.state IN ('completed', 'deferred', 'rejected') THEN
        RAISE EXCEPTION 'a ticket in state % is not acknowledged any more', t.state USING ERRCODE = 'ER002';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role)
    VALUES (t.id, 'acknowledge', who, erasured.actor_role('erasured_desk'));
    UPDATE erasured.ticket x SET acknowledged_at = now() WHERE x.id = t.id;
    INSERT INTO erasured.event (kind, ticket_id, body) VALUES ('acknowledged', t.id, jsonb_build_object('by', who));
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.acknowledge_ticket IS 'Records that receipt was confirmed to the customer. Repeating it changes nothing.';

CREATE FUNCTION erasured.extend_ticket(ticket uuid, ground text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t   erasured.ticket := erasured.lock_ticket(ticket);
    who text := erasured.actor();
BEGIN
    PERFORM erasured.require_code('ground', ground);
    IF t.extended_at IS NOT NULL AND t.extended_for = ground THEN
        RETURN t.state;
    END IF;
    IF t.state IN ('completed', 'deferred', 'rejected') THEN
        RAISE EXCEPTION 'a ticket in state % is not extended any more', t.state USING ERRCODE = 'ER002';
    END IF;
    IF t.extended_at IS NOT NULL THEN
        RAISE EXCEPTION 'the term was made longer already, for %', t.extended_for
            USING ERRCODE = 'ER017', HINT = 'That is possible once.';
    END IF;
    IF t.due_at IS NULL THEN
        RAISE EXCEPTION 'no daemon has counted the term yet'
            USING ERRCODE = 'ER017', HINT = 'Start the daemon, or try again in a minute.';
    END IF;
    IF t.extended_due_at IS NULL THEN
        RAISE EXCEPTION 'the SLA profile knows no extension'
            USING ERRCODE = 'ER017', HINT = 'The profiles are explained in docs/policies.md, Clocks.';
    END IF;
    IF t.due_at < now() AND t.clock = 'running' THEN
        RAISE EXCEPTION 'the first term is over since %', t.due_at
            USING ERRCODE = 'ER017', HINT = 'An extension is told to the customer within the first term.';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
    VALUES (t.id, 'extend', ground, who, erasured.actor_role('erasured_approver'));
    -- Counted again as well: a paused term ends later than was said beforehand.
    UPDATE erasured.ticket x
       SET extended_at = now(), extended_for = ground, due_at = x.extended_due_at, clock_stale = true
     WHERE x.id = t.id;
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('extended', t.id, jsonb_build_object('by', who, 'ground', ground, 'from', t.due_at, 'until', t.extended_due_at));
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.extend_ticket IS 'Makes the term longer, once, within the first term, where the SLA profile knows an extension; the ground is a code, and the customer is to be told.';

CREATE FUNCTION erasured.ask_ticket(ticket uuid, what text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t   erasured.ticket := erasured.lock_ticket(ticket);
    who text := erasured.actor();
BEGIN
    PERFORM erasured.require_code('question', what);
    IF t.asked_for = what THEN
        RETURN t.state;
    END IF;
    IF t.state IN ('executing', 'verifying', 'completed', 'deferred', 'rejected') THEN
        RAISE EXCEPTION 'nothing is asked about a ticket in state %', t.state USING ERRCODE = 'ER002';
    END IF;
    IF t.asked_for IS NOT NULL THEN
        RAISE EXCEPTION 'the customer is asked for % already', t.asked_for
            USING ERRCODE = 'ER018', HINT = 'Record the answer first: erasured.answered_ticket.';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
    VALUES (t.id, 'ask', what, who, erasured.actor_role('erasured_desk'));
    INSERT INTO erasured.pause (ticket_id, asked_for) VALUES (t.id, what);
    UPDATE erasured.ticket x SET asked_for = what, asked_at = now(), clock_stale = true WHERE x.id = t.id;
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('asked', t.id, jsonb_build_object('by', who, 'for', what));
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.ask_ticket IS 'Records that the customer was asked for something, such as identity; the clock stops only where the SLA profile says so.';

-- The caller holds the ticket's lock.
CREATE FUNCTION erasured.end_question(ticket uuid, who text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    asked text;
BEGIN
    UPDATE erasured.pause p SET answered_at = greatest(p.asked_at, now())
     WHERE p.ticket_id = ticket AND p.answered_at IS NULL RETURNING p.asked_for INTO asked;
    UPDATE erasured.ticket x SET asked_for = NULL, asked_at = NULL, clock_stale = true WHERE x.id = ticket;
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('answered', ticket, jsonb_build_object('by', who, 'for', asked));
END $$;

CREATE FUNCTION erasured.answered_ticket(ticket uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t   erasured.ticket := erasured.lock_ticket(ticket);
    who text := erasured.actor();
BEGIN
    IF t.asked_for IS NULL THEN
        RAISE EXCEPTION 'the customer is not asked for anything' USING ERRCODE = 'ER018',
            HINT = 'A question is put by erasured.ask_ticket.';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
    VALUES (t.id, 'answer', t.asked_for, who, erasured.actor_role('erasured_desk'));
    PERFORM erasured.end_question(t.id, who);
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.answered_ticket IS 'Records that the customer has answered; never what.';

-- Proof of identity answers the question for it. Whether it or an approval starts the clock is the
-- profile's word, published with the scope.
CREATE FUNCTION erasured.clock_heard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    IF NEW.kind = 'verify' AND EXISTS (SELECT FROM erasured.ticket t
            WHERE t.id = NEW.ticket_id AND t.asked_for = 'identity') THEN
        PERFORM erasured.end_question(NEW.ticket_id, NEW.by_name);
    END IF;
    UPDATE erasured.ticket t SET clock_stale = true FROM erasured.scope s
     WHERE t.id = NEW.ticket_id AND NOT t.clock_stale
       AND s.subject = t.subject AND s.scope = t.scope AND NEW.kind = ANY (s.clock_moves);
    RETURN NULL;
END $$;
CREATE TRIGGER clock_heard AFTER INSERT ON erasured.decision
    FOR EACH ROW WHEN (NEW.kind IN ('verify', 'approve')) EXECUTE FUNCTION erasured.clock_heard();

-- A listing chooses by this one and looks up in erasured.ticket_status only what it shows.
CREATE VIEW erasured.ticket_order WITH (security_barrier) AS
SELECT t.id, t.state, t.subject, t.requested_at, t.due_at, t.turn, t.clock, t.escalated, t.asked_for, t.problem_code, t.subject_hash
  FROM erasured.ticket t;
COMMENT ON VIEW erasured.ticket_order IS 'What decides how dangerous a ticket is; part of erasured.ticket_status.';

CREATE VIEW erasured.ticket_timeline WITH (security_barrier) AS
SELECT t.id AS ticket_id, h.at, h.what, h.by_role, h.detail
  FROM erasured.ticket t,
       LATERAL (
           SELECT t.requested_at AS at, 'requested' AS what, 'customer' AS by_role, t.ground AS detail
           UNION ALL SELECT t.received_at, 'filed', 'erasured_desk', NULL
           UNION ALL SELECT d.at,
                  CASE d.kind WHEN 'verify' THEN 'verified' WHEN 'approve' THEN 'approved' WHEN 'reject' THEN 'rejected'
                       WHEN 'hold' THEN 'held' WHEN 'release' THEN 'released' WHEN 'retry' THEN 'retried'
                       WHEN 'acknowledge' THEN 'receipt confirmed' WHEN 'extend' THEN 'term extended'
                       WHEN 'ask' THEN 'customer asked' WHEN 'answer' THEN 'customer answered' WHEN 'object' THEN 'owner objected' ELSE d.kind END,
                  d.by_role, nullif(concat_ws(', ', d.method, erasured.level_name(d.level), d.reason), '')
             FROM erasured.decision d WHERE d.ticket_id = t.id
           UNION ALL SELECT h.seen_at, CASE WHEN h.copied THEN 'document seen, copy held' ELSE 'document seen' END, h.seen_role, h.kind
             FROM erasured.document h WHERE h.ticket_id = t.id
           UNION ALL SELECT h.destroyed_at, 'copy destroyed', h.destroyed_role, h.kind
             FROM erasured.document h WHERE h.ticket_id = t.id AND h.destroyed_at IS NOT NULL
           UNION ALL SELECT g.found_at, 'sign of an impostor', NULL, concat_ws(': ', g.kind, nullif(g.contact, ''))
             FROM erasured.sign g WHERE g.ticket_id = t.id
           UNION ALL SELECT t.started_at, 'erasure begun', NULL, NULL WHERE t.started_at IS NOT NULL
           UNION ALL SELECT t.verifying_since, 'erased everywhere', NULL, NULL WHERE t.verifying_since IS NOT NULL
           UNION ALL SELECT c.issued_at, CASE c.kind WHEN 'erasure' THEN 'certified' ELSE 'supplement certified' END, NULL, NULL
             FROM erasured.certificate c WHERE c.ticket_id = t.id) h;
COMMENT ON VIEW erasured.ticket_timeline IS 'What has happened to a ticket, in what capacity people did it, and codes; no names, no values.';

REVOKE ALL ON erasured.pause, erasured.turn, erasured.ticket_timeline, erasured.ticket_order FROM PUBLIC;
REVOKE ALL ON FUNCTION erasured.acknowledge_ticket, erasured.extend_ticket, erasured.ask_ticket, erasured.answered_ticket,
    erasured.end_question, erasured.clock_heard FROM PUBLIC;
