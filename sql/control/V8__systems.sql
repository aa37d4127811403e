-- What operators say of systems, and who is erased in some of them and not yet in others.

-- Systems that daemons leave alone. They read it every few seconds.
CREATE TABLE erasured.maintenance (
    system text        PRIMARY KEY CHECK (length(system) BETWEEN 1 AND 100),
    reason text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    until  timestamptz,
    set_at timestamptz NOT NULL DEFAULT now(),
    set_by text        NOT NULL
);
COMMENT ON TABLE erasured.maintenance IS 'Systems in which daemons begin nothing, for an operator works there; until a time, or until they are resumed.';
REVOKE ALL ON erasured.maintenance FROM PUBLIC;

CREATE FUNCTION erasured.pause_system(system text, reason text, until timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    who text := erasured.actor();
BEGIN
    IF system IS NULL OR length(system) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'this is no name of a system' USING ERRCODE = 'ER006',
            HINT = 'erasured system list names them.';
    END IF;
    IF reason IS NULL OR length(btrim(reason)) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'why the system rests is missing' USING ERRCODE = 'ER006',
            HINT = 'A few words for colleagues, such as ''disk change''; nothing of a person.';
    END IF;
    IF until <= now() THEN
        RAISE EXCEPTION 'the time until which the system rests is over' USING ERRCODE = 'ER006',
            HINT = 'Leave it out to rest until erasured.resume_system.';
    END IF;
    INSERT INTO erasured.maintenance AS m (system, reason, until, set_by) VALUES (system, btrim(reason), until, who)
    ON CONFLICT ON CONSTRAINT maintenance_pkey
    DO UPDATE SET reason = excluded.reason, until = excluded.until, set_at = now(), set_by = excluded.set_by;
    INSERT INTO erasured.event (kind, body)
    VALUES ('system_paused', jsonb_strip_nulls(jsonb_build_object('system', system, 'until', until, 'by', who)));
    RETURN EXISTS (SELECT FROM erasured.step s WHERE s.system = pause_system.system);
END $$;
COMMENT ON FUNCTION erasured.pause_system IS 'Has daemons leave a system alone, until a time or until it is resumed; whether a ticket has met a system of this name.';

CREATE FUNCTION erasured.resume_system(system text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    who text := erasured.actor();
BEGIN
    DELETE FROM erasured.maintenance m WHERE m.system = resume_system.system;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- What waited for it need not wait for its next try.
    UPDATE erasured.ticket t SET next_attempt_at = now()
     WHERE t.state = 'scheduled' AND t.next_attempt_at > now() AND (t.problem = 'maintenance' OR EXISTS (
           SELECT FROM erasured.step s
            WHERE s.ticket_id = t.id AND s.generation = t.generation AND s.system = resume_system.system AND s.state = 'planned'));
    INSERT INTO erasured.event (kind, body)
    VALUES ('system_resumed', jsonb_build_object('system', system, 'by', who));
    NOTIFY erasured_ticket;
    RETURN true;
END $$;
COMMENT ON FUNCTION erasured.resume_system IS 'Ends the rest of a system; false if it did not rest.';
REVOKE ALL ON FUNCTION erasured.pause_system(text, text, timestamptz), erasured.resume_system(text) FROM PUBLIC;

-- A person who is erased here and not there is neither a customer nor forgotten. That ends by itself, or is
-- somebody's to end; a legal hold that keeps part of a ticket is not among it.
CREATE VIEW erasured.partial_ticket WITH (security_barrier) AS
SELECT t.id AS ticket_id, t.reference, t.state, t.problem_code, t.next_attempt_at, s.system AS waits_for, d.since
  FROM erasured.ticket t
  JOIN erasured.step s ON s.ticket_id = t.id AND s.generation = t.generation AND s.state = 'planned'
  JOIN LATERAL (SELECT min(d.committed_at) AS since FROM erasured.step d WHERE d.ticket_id = t.id AND d.state = 'done') d
    ON d.since IS NOT NULL
 WHERE t.state IN ('scheduled', 'executing', 'failed') AND t.plan_id IS NOT NULL;
COMMENT ON VIEW erasured.partial_ticket IS 'Open tickets that are done in at least one system: a row for each system that they wait for, and since when.';
REVOKE ALL ON erasured.partial_ticket FROM PUBLIC;
