-- What the privacy desk, an approver or a CRM calls, with plain SQL in its own transaction.
-- Each writes its event in that transaction and wakes the daemons by
-- NOTIFY erasured_ticket, '<ticket id>' when it commits.

CREATE FUNCTION erasured.lock_ticket(ticket uuid) RETURNS erasured.ticket
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    found_ticket erasured.ticket;
BEGIN
    SELECT * INTO found_ticket FROM erasured.ticket t WHERE t.id = ticket FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no ticket %', ticket
            USING ERRCODE = 'ER001', HINT = 'erasured.ticket_status lists tickets by reference.';
    END IF;
    RETURN found_ticket;
END $$;

-- A lease that has run out is nobody's; its holder's writes fail once it is gone. The caller holds
-- the ticket's lock.
CREATE FUNCTION erasured.end_lease(ticket uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    lent_until timestamptz;
BEGIN
    DELETE FROM erasured.lease l WHERE l.ticket_id = ticket RETURNING l.until INTO lent_until;
    IF lent_until > clock_timestamp() THEN
        RAISE EXCEPTION 'a daemon is at work on the ticket' USING ERRCODE = 'ER010', HINT = 'Try again in a minute.';
    END IF;
END $$;

-- The policy has come to ask for more since (E0513), or signs of an impostor were found since (E0524):
-- that can be made good before a retry.
CREATE FUNCTION erasured.is_asked_again(t erasured.ticket) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT t.state = 'failed' AND coalesce(t.problem_code, '') IN ('E0513', 'E0524') $$;

-- How far identity must be verified; NULL where no policy offers the scope any more.
CREATE FUNCTION erasured.needed(t erasured.ticket) RETURNS smallint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM erasured.sign g WHERE g.ticket_id = t.id)
                THEN greatest(s.at_least, s.doubtful) ELSE s.at_least END
      FROM erasured.scope s WHERE s.subject = t.subject AND s.scope = t.scope
$$;

CREATE FUNCTION erasured.require_code(what text, given text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Codes, not prose: these words go into the ledger, from which nothing can be removed.
    IF given IS NULL OR given !~ '^[a-z][a-z0-9_-]{0,59}$' THEN
        RAISE EXCEPTION 'the % is a code of lower-case letters, digits, - and _, at most 60', what
            USING ERRCODE = 'ER006', HINT = 'Such as callback, gdpr-17-1-b or appi-unverified.';
    END IF;
END $$;

CREATE FUNCTION erasured.submit_ticket(
    reference    text,
    subject      text,
    identifiers  jsonb,
    scope        text,
    ground       text,
    requested_at timestamptz DEFAULT now(),
    language     text DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    asked    erasured.scope;
    new_id   uuid;
    before   erasured.ticket;
    alike    boolean;
    wrong    text;
BEGIN
    IF submit_ticket.reference IS NULL OR length(submit_ticket.reference) NOT BETWEEN 1 AND 200
       OR submit_ticket.reference ~ '[[:cntrl:]]' THEN
        RAISE EXCEPTION 'the reference must have 1 to 200 printable characters' USING ERRCODE = 'ER006';
    END IF;
    PERFORM erasured.require_ground('request', 'ground', submit_ticket.ground);
    IF submit_ticket.language IS NOT NULL AND submit_ticket.language !~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' THEN
        RAISE EXCEPTION 'the language is a tag such as ja or en-GB' USING ERRCODE = 'ER006';
    END IF;
    IF submit_ticket.requested_at IS NULL OR NOT isfinite(submit_ticket.requested_at)
       OR submit_ticket.requested_at > now() + interval '5 minutes' THEN
        RAISE EXCEPTION 'the time of the request lies in the future or is missing' USING ERRCODE = 'ER006',
            HINT = 'Give the time at which the person asked; leave it out for now.';
    END IF;

    SELECT * INTO asked FROM erasured.scope s
     WHERE s.subject = submit_ticket.subject AND s.scope = submit_ticket.scope;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no policy offers this subject and scope' USING ERRCODE = 'ER004',
            HINT = coalesce('Offered: ' || (SELECT left(string_agg(s.subject || '/' || s.scope, ', ' ORDER BY s.subject, s.scope), 400)
                                              FROM erasured.scope s),
                            'No policy has been published yet: start the daemon, or run erasured check.');
    END IF;

    IF submit_ticket.identifiers IS NULL OR jsonb_typeof(submit_ticket.identifiers) <> 'object' THEN
        RAISE EXCEPTION 'identifiers are a JSON object of name and text' USING ERRCODE = 'ER005',
            HINT = 'Such as {"member_no": "…"}.';
    END IF;
    IF (SELECT count(*) FROM jsonb_object_keys(submit_ticket.identifiers)) NOT BETWEEN 1 AND 20 THEN
        RAISE EXCEPTION 'a ticket names the person by 1 to 20 identifiers' USING ERRCODE = 'ER005';
    END IF;
    -- Names come from the caller too and might hold a value by mistake: only known ones are shown.
    IF EXISTS (SELECT FROM jsonb_object_keys(submit_ticket.identifiers) k WHERE k <> ALL (asked.identifiers)) THEN
        RAISE EXCEPTION 'an identifier''s name is not one that the policy finds people by' USING ERRCODE = 'ER005',
            HINT = 'It knows: ' || array_to_string(asked.identifiers, ', ');
    END IF;
    SELECT e.key INTO wrong FROM jsonb_each(submit_ticket.identifiers) e
     WHERE jsonb_typeof(e.value) <> 'string'
        OR length(btrim(e.value #>> '{}')) = 0 OR length(e.value #>> '{}') > 1000
     ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'identifier % must be a text of 1 to 1,000 characters', wrong USING ERRCODE = 'ER005';
    END IF;
    -- The reference stays when the values go. Shorter ones would be met by chance.
    SELECT e.key INTO wrong FROM jsonb_each_text(submit_ticket.identifiers) e
     WHERE length(erasured.folded(e.value)) >= 5
       AND position(erasured.folded(e.value) IN erasured.folded(submit_ticket.reference)) > 0
     ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the reference contains the identifier %', wrong USING ERRCODE = 'ER006',
            HINT = 'A reference is kept for ever: it must not name the person.';
    END IF;

    INSERT INTO erasured.ticket (reference, subject, scope, ground, language, requested_at, filed_by)
    VALUES (submit_ticket.reference, submit_ticket.subject, submit_ticket.scope, submit_ticket.ground,
            submit_ticket.language, submit_ticket.requested_at, erasured.door())
    ON CONFLICT (reference) DO NOTHING
    RETURNING id INTO new_id;

    IF new_id IS NULL THEN
        SELECT * INTO STRICT before FROM erasured.ticket t WHERE t.reference = submit_ticket.reference;
        -- Its values are gone: nobody can tell whether this is the same person.
        IF before.state IN ('completed', 'deferred', 'rejected') THEN
            RAISE EXCEPTION 'the reference is already used by a ticket that is closed'
                USING ERRCODE = 'ER003',
                      HINT = format('It is ticket %s, %s. Use a new reference for a new request.', before.id, before.state);
        END IF;
        SELECT before.subject = submit_ticket.subject AND before.scope = submit_ticket.scope
           AND before.ground = submit_ticket.ground
           AND NOT EXISTS (
                SELECT FROM (SELECT i.name, i.value FROM erasured.ticket_identifier i WHERE i.ticket_id = before.id AND i.given) i
                  FULL JOIN jsonb_each_text(submit_ticket.identifiers) e ON e.key = i.name
                 WHERE i.name IS NULL OR e.key IS NULL OR i.value <> e.value)
          INTO alike;
        IF NOT alike THEN
            RAISE EXCEPTION 'the reference is already used by a ticket that asks for something else'
                USING ERRCODE = 'ER003', HINT = format('It is ticket %s. Use a new reference for a new request.', before.id);
        END IF;
        RETURN before.id;
    END IF;

    INSERT INTO erasured.ticket_identifier (ticket_id, name, value)
    SELECT new_id, e.key, e.value FROM jsonb_each_text(submit_ticket.identifiers) e;
    PERFORM pg_notify('erasured_ticket', new_id::text);
    RETURN new_id;
END $$;
COMMENT ON FUNCTION erasured.submit_ticket IS 'Files a request and returns its ticket; the same reference with the same content is the same ticket, as long as it is open.';

-- The level is the method's own: whoever verifies cannot state one.
CREATE FUNCTION erasured.verify_ticket(ticket uuid, method text, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t       erasured.ticket := erasured.lock_ticket(ticket);
    rank    smallint;
    demands text;
    compares boolean;
    needed  smallint;
    who     text := erasured.actor();
BEGIN
    PERFORM erasured.require_code('method', method);
    IF reason IS NOT NULL THEN
        PERFORM erasured.require_code('reason', reason);
    END IF;
    SELECT m.level, m.demands, m.compare <> '{}' INTO rank, demands, compares FROM erasured.method m WHERE m.code = method;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such method of verification' USING ERRCODE = 'ER006',
            HINT = coalesce('Methods: ' || (SELECT left(string_agg(m.code, ', ' ORDER BY m.level, m.code), 600)
                                              FROM erasured.method m),
                            'None has been published yet: start the daemon.');
    END IF;
    IF EXISTS (SELECT FROM erasured.decision d
                WHERE d.ticket_id = t.id AND d.kind = 'verify' AND d.method = verify_ticket.method
                  AND d.level = rank AND d.by_name = who) THEN
        RETURN t.state;
    END IF;
    IF t.state NOT IN ('received', 'verified') AND NOT erasured.is_asked_again(t) THEN
        RAISE EXCEPTION 'a ticket in state % is not verified', t.state USING ERRCODE = 'ER002',
            HINT = 'Identity is verified before approval.';
    END IF;
    needed := erasured.needed(t);
    IF needed IS NULL THEN
        RAISE EXCEPTION 'no policy offers %/% any more', t.subject, t.scope USING ERRCODE = 'ER004';
    END IF;
    -- A burden that the request does not deserve: people give up, and what was shown must be kept safe.
    IF rank > needed AND demands IN ('document', 'presence') AND reason IS NULL THEN
        RAISE EXCEPTION 'this method demands a %, and % is enough here', demands, erasured.level_name(needed)
            USING ERRCODE = 'ER011',
                  HINT = 'Enough: ' || coalesce((SELECT left(string_agg(m.code, ', ' ORDER BY m.level, m.code), 400)
                                                   FROM erasured.method m WHERE m.level >= needed
                                                    AND m.demands NOT IN ('document', 'presence')), 'nothing less')
                         || '. Or record why by a reason''s code.';
    END IF;
    IF compares AND NOT erasured.has_matched(t.id, method, who) THEN
        RAISE EXCEPTION 'no answers of this caller have been compared and found to match' USING ERRCODE = 'ER012',
            HINT = 'Have them compared first, by the same person and an hour ago at most: erasured ticket prove.';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, method, level, reason, by_name, by_role)
    VALUES (t.id, 'verify', method, rank, reason, who, erasured.actor_role('erasured_desk'));
    IF t.state = 'received' THEN
        UPDATE erasured.ticket x SET state = 'verified' WHERE x.id = t.id;
    ELSE
        INSERT INTO erasured.event (kind, ticket_id, body)
        VALUES ('verified_again', t.id, jsonb_build_object('by', who, 'method', method, 'level', erasured.level_name(rank)));
    END IF;
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN CASE t.state WHEN 'received' THEN 'verified' ELSE t.state END;
END $$;
COMMENT ON FUNCTION erasured.verify_ticket IS 'Records by which method the person''s identity was verified; how far that reaches is the method''s. Never what was seen.';

CREATE FUNCTION erasured.approve_ticket(ticket uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t       erasured.ticket := erasured.lock_ticket(ticket);
    asked   erasured.scope;
    reached smallint;
    needed  smallint;
    who     text := erasured.actor();
BEGIN
    IF t.state IN ('approved', 'scheduled', 'executing', 'verifying', 'completed', 'deferred') THEN
        RETURN t.state;
    END IF;
    IF t.state <> 'verified' AND NOT erasured.is_asked_again(t) THEN
        RAISE EXCEPTION 'a ticket in state % cannot be approved', t.state USING ERRCODE = 'ER002',
            HINT = CASE t.state WHEN 'received' THEN 'Verify the identity first: erasured.verify_ticket.' ELSE '' END;
    END IF;
    SELECT * INTO asked FROM erasured.scope s WHERE s.subject = t.subject AND s.scope = t.scope;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no policy offers %/% any more', t.subject, t.scope USING ERRCODE = 'ER004';
    END IF;
    -- A method that has come to reach less since counts for that.
    SELECT max(least(d.level, coalesce(m.level, d.level))) INTO reached
      FROM erasured.decision d LEFT JOIN erasured.method m ON m.code = d.method WHERE d.ticket_id = t.id AND d.kind = 'verify';
    needed := erasured.needed(t);
    IF reached IS NULL OR reached < needed THEN
        RAISE EXCEPTION 'identity is verified as %, the policy asks for %',
            erasured.level_name(reached), erasured.level_name(needed)
                || CASE WHEN needed > asked.at_least THEN ' where there are signs of an impostor' ELSE '' END
            USING ERRCODE = 'ER007', HINT = 'Verify again by a stronger method: erasured.verify_ticket.';
    END IF;
    IF asked.four_eyes AND EXISTS (
        SELECT FROM erasured.decision d WHERE d.ticket_id = t.id AND d.kind = 'verify'
           AND erasured.folded(d.by_name) = erasured.folded(who)) THEN
        RAISE EXCEPTION 'whoever verified the identity cannot approve the ticket too'
            USING ERRCODE = 'ER008', HINT = 'The policy asks for four eyes: another person approves.';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role)
    VALUES (t.id, 'approve', who, erasured.actor_role('erasured_approver'));
    DELETE FROM erasured.forecast f WHERE f.ticket_id = t.id;
    IF t.state = 'failed' THEN
        INSERT INTO erasured.event (kind, ticket_id, body)
        VALUES ('approved_again', t.id, jsonb_build_object('by', who));
        RETURN t.state;
    END IF;
    UPDATE erasured.ticket x
       SET state = 'approved', not_before = greatest(x.not_before, now() + asked.cooling_off),
           next_attempt_at = greatest(x.not_before, now() + asked.cooling_off)
     WHERE x.id = t.id;
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN 'approved';
END $$;
COMMENT ON FUNCTION erasured.approve_ticket IS 'Approves a verified ticket; it runs after the cooling-off time. Repeating it changes nothing.';

-- Five tries for each ticket: it must not be a way to guess what the desk may not see.
CREATE FUNCTION erasured.is_typed_back(ticket uuid, digest text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    agrees boolean;
BEGIN
    UPDATE erasured.forecast f
       SET wrong = CASE WHEN f.digest = is_typed_back.digest THEN f.wrong ELSE f.wrong + 1 END
     WHERE f.ticket_id = ticket AND f.digest IS NOT NULL AND f.wrong < 5
    RETURNING f.digest = is_typed_back.digest INTO agrees;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nothing can be typed back for the ticket any more' USING ERRCODE = 'ER002',
            HINT = 'Five times was wrong, or it is not waiting for an approval. Look at it: erasured plan --ticket; then erasured ticket approve --yes.';
    END IF;
    RETURN coalesce(agrees, false);
END $$;
COMMENT ON FUNCTION erasured.is_typed_back IS 'Whether what an approver typed is what the ticket''s person is known by; digest is the SHA-256 of forecast.salt and the letters and digits.';

-- Where a copy of a document keeps a ticket from closing: it runs no more, whoever approved, released or
-- retried it. The caller holds the ticket's lock.
CREATE FUNCTION erasured.stop_to_close(t erasured.ticket, reason text, as_role text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    held text;
BEGIN
    IF t.closing IN (reason, 'contested') THEN
        RETURN t.state;
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
    VALUES (t.id, 'hold', reason, erasured.actor(), as_role);
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('closing', t.id, jsonb_build_object('by', erasured.actor(), 'reason', reason));
    -- What has failed stays as it is: nothing takes it up by itself.
    UPDATE erasured.ticket x
       SET closing = reason,
           held_from = CASE WHEN x.state IN ('on_hold', 'failed') THEN x.held_from ELSE x.state END,
           state = CASE WHEN x.state IN ('on_hold', 'failed') THEN x.state ELSE 'on_hold' END
     WHERE x.id = t.id
    RETURNING x.state INTO held;
    DELETE FROM erasured.forecast f WHERE f.ticket_id = t.id;
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN held;
END $$;

-- The end of a ticket of which nothing has been carried out. The caller holds its lock, and has looked.
CREATE FUNCTION erasured.end_undone(ticket uuid, reason text, who text, as_role text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
    VALUES (end_undone.ticket, 'reject', end_undone.reason, end_undone.who, end_undone.as_role);
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('rejecting', end_undone.ticket, jsonb_build_object('by', end_undone.who, 'reason', end_undone.reason));
    UPDATE erasured.ticket x
       SET state = 'rejected', finished_at = now(), sealed = NULL, problem_code = NULL, problem = NULL, closing = NULL,
           next_attempt_at = NULL, sla_met = CASE WHEN x.clock <> 'none' THEN now() <= x.due_at END
     WHERE x.id = end_undone.ticket;
    UPDATE erasured.ticket_identifier i SET value = NULL WHERE i.ticket_id = end_undone.ticket;
    DELETE FROM erasured.forecast f WHERE f.ticket_id = end_undone.ticket;
    -- What a try had written down before it would have changed anything.
    DELETE FROM erasured.found f WHERE f.ticket_id = end_undone.ticket;
    DELETE FROM erasured.deferral d WHERE d.ticket_id = end_undone.ticket AND d.state = 'waiting';
    PERFORM pg_notify('erasured_ticket', end_undone.ticket::text);
END $$;

-- For a refusal and for a withdrawal.
CREATE FUNCTION erasured.close_undone(ticket uuid, reason text, as_role text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t   erasured.ticket := erasured.lock_ticket(ticket);
    who text := erasured.actor();
BEGIN
    IF t.state = 'rejected' THEN
        RETURN t.state;
    END IF;
    IF t.state NOT IN ('received', 'verified', 'approved', 'scheduled', 'failed', 'on_hold') THEN
        RAISE EXCEPTION 'a ticket in state % cannot be rejected', t.state USING ERRCODE = 'ER002';
    END IF;
    PERFORM erasured.end_lease(t.id);
    -- Planned steps count too: whether such a step committed is known only to its target.
    IF EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = t.id) THEN
        RAISE EXCEPTION 'something may already have been erased for this ticket' USING ERRCODE = 'ER002',
            HINT = 'It can only go forward: erasured.retry_ticket.';
    END IF;
    IF erasured.holds_copy(t.id) THEN
        -- Nobody waits for a piece of paper to say no: it stops now, and ends with the last copy.
        IF reason IN ('contested', 'withdrawn') THEN
            RETURN erasured.stop_to_close(t, reason, as_role);
        END IF;
        RAISE EXCEPTION 'a copy of a document is recorded as held' USING ERRCODE = 'ER016',
            HINT = 'Destroy it, and record that: erasured.destroy_document.';
    END IF;
    PERFORM erasured.end_undone(t.id, reason, who, as_role);
    RETURN 'rejected';
END $$;
CREATE FUNCTION erasured.reject_ticket(ticket uuid, reason text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
BEGIN
    PERFORM erasured.require_ground('refusal', 'reason', reason);
    RETURN erasured.close_undone(ticket, reason, erasured.actor_role('erasured_approver'));
END $$;
COMMENT ON FUNCTION erasured.reject_ticket IS 'Closes a ticket of which nothing has been carried out; the reason is a code. Its identifiers go at once.';

-- By an objection the person whom the ticket names says: it was not me.
CREATE FUNCTION erasured.object_ticket(ticket uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
DECLARE
    t erasured.ticket := erasured.lock_ticket(ticket);
BEGIN
    -- Kept for their next request by what stands for the person; without it nobody would know of it.
    IF t.subject_hash IS NULL THEN
        RAISE EXCEPTION 'the person of the ticket is not found' USING ERRCODE = 'ER002',
            HINT = CASE t.state WHEN 'rejected' THEN 'It is rejected already, and nothing of it stands for them: object to the next one.'
                                ELSE 'Try again in a moment.' END;
    END IF;
    -- Also where the ticket is rejected already: the impostor's next one is to show it. The real owner has
    -- said no, so whoever else asks for the same person is looked at.
    IF NOT EXISTS (SELECT FROM erasured.decision d WHERE d.ticket_id = t.id AND d.kind = 'object') THEN
        INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
        VALUES (t.id, 'object', 'contested', erasured.actor(), erasured.actor_role('erasured_desk'));
        INSERT INTO erasured.event (kind, ticket_id, body)
        VALUES ('objected', t.id, jsonb_build_object('by', erasured.actor()));
        PERFORM erasured.look_for_signs(ARRAY(SELECT o.id FROM erasured.ticket o WHERE o.subject_hash = t.subject_hash AND o.id <> t.id
                                                 AND o.state NOT IN ('completed', 'deferred', 'rejected')));
    END IF;
    RETURN erasured.close_undone(ticket, 'contested', erasured.actor_role('erasured_desk'));
END $$;
COMMENT ON FUNCTION erasured.object_ticket IS 'Stops and closes a ticket because the real owner of what would be erased objects, also one that is rejected already. It counts as a sign for the other tickets of that person.';

-- The rest goes on as if it were all that was asked for. It must be a part that the policy offers, so
-- nobody's name comes to stand here.
CREATE FUNCTION erasured.refuse_part(ticket uuid, part text, reason text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t     erasured.ticket := erasured.lock_ticket(ticket);
    asked erasured.scope;
    who   text := erasured.actor();
BEGIN
    PERFORM erasured.require_ground('refusal', 'reason', reason);
    IF t.state NOT IN ('verified', 'approved', 'scheduled', 'on_hold') OR t.state = 'on_hold' AND t.held_from = 'received' THEN
        RAISE EXCEPTION 'no part of a ticket in state % can be refused', t.state USING ERRCODE = 'ER002',
            HINT = CASE t.state WHEN 'received' THEN 'Verify the identity first: erasured.verify_ticket.' ELSE '' END;
    END IF;
    IF EXISTS (SELECT FROM erasured.step s WHERE s.ticket_id = t.id) THEN
        RAISE EXCEPTION 'something may already have been erased for this ticket' USING ERRCODE = 'ER002',
            HINT = 'A part can be refused until the ticket begins to run.';
    END IF;
    SELECT * INTO asked FROM erasured.scope s WHERE s.subject = t.subject AND s.scope = t.scope;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no policy offers %/% any more', t.subject, t.scope USING ERRCODE = 'ER004';
    END IF;
    IF NOT coalesce(asked.words->'parts' ? part, false) THEN
        RAISE EXCEPTION 'the scope has no part of this name' USING ERRCODE = 'ER006',
            HINT = left('It has: ' || coalesce((SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(asked.words->'parts') k), 'none'), 900);
    END IF;
    IF asked.four_eyes AND EXISTS (
        SELECT FROM erasured.decision d WHERE d.ticket_id = t.id AND d.kind = 'verify'
           AND erasured.folded(d.by_name) = erasured.folded(who)) THEN
        RAISE EXCEPTION 'whoever verified the identity cannot decide on the ticket too'
            USING ERRCODE = 'ER008', HINT = 'The policy asks for four eyes: another person refuses.';
    END IF;
    IF t.refused->>part = reason THEN
        RETURN t.state;
    END IF;
    PERFORM erasured.end_lease(t.id);
    INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
    VALUES (t.id, 'refuse_part', reason, who, erasured.actor_role('erasured_approver'));
    INSERT INTO erasured.event (kind, ticket_id, body)
    VALUES ('part_refused', t.id, jsonb_build_object('by', who, 'part', part, 'reason', reason));
    UPDATE erasured.ticket x SET refused = x.refused || jsonb_build_object(part, reason) WHERE x.id = t.id;
    RETURN t.state;
END $$;
COMMENT ON FUNCTION erasured.refuse_part IS 'Refuses a part of what a verified ticket asks for, on a ground given as a code; what hangs together with it stays too, the rest goes on. Until it begins to run.';

CREATE FUNCTION erasured.hold_ticket(ticket uuid, reason text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t   erasured.ticket := erasured.lock_ticket(ticket);
    who text := erasured.actor();
BEGIN
    PERFORM erasured.require_code('reason', reason);
    IF t.state = 'on_hold' AND erasured.stopped_by_person(t.id) THEN
        RETURN t.state;
    END IF;
    IF t.state NOT IN ('received', 'verified', 'approved', 'scheduled', 'on_hold') THEN
        RAISE EXCEPTION 'a ticket in state % cannot be put on hold', t.state USING ERRCODE = 'ER002';
    END IF;
    PERFORM erasured.end_lease(t.id);
    INSERT INTO erasured.decision (ticket_id, kind, reason, by_name, by_role)
    VALUES (t.id, 'hold', reason, who, erasured.actor_role('erasured_approver'));
    -- A legal hold stopped it before; now that hold's end alone lets it go on no more.
    IF t.state = 'on_hold' THEN
        RETURN t.state;
    END IF;
    UPDATE erasured.ticket x
       SET state = 'on_hold', held_from = t.state
     WHERE x.id = t.id;
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN 'on_hold';
END $$;
COMMENT ON FUNCTION erasured.hold_ticket IS 'Stops a ticket that has not begun, until it is released.';

CREATE FUNCTION erasured.release_ticket(ticket uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t erasured.ticket := erasured.lock_ticket(ticket);
BEGIN
    IF t.state <> 'on_hold' THEN
        RAISE EXCEPTION 'the ticket is not on hold but %', t.state USING ERRCODE = 'ER002';
    END IF;
    IF t.closing IS NOT NULL THEN
        RAISE EXCEPTION 'the ticket is % and waits for its end only', t.closing USING ERRCODE = 'ER016',
            HINT = 'Destroy the copies that are held, and record that: erasured.destroy_document.';
    END IF;
    IF NOT erasured.stopped_by_person(t.id) THEN
        RAISE EXCEPTION 'a legal hold keeps the ticket' USING ERRCODE = 'ER015',
            HINT = 'It goes on when the hold is released: erasured.release_hold, erasured.hold_status.';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role)
    VALUES (t.id, 'release', erasured.actor(), erasured.actor_role('erasured_approver'));
    IF EXISTS (SELECT FROM erasured.holds_on(ARRAY[t.id])) THEN
        UPDATE erasured.ticket x SET problem_code = 'E0521', problem = 'a legal hold keeps it' WHERE x.id = t.id;
        RETURN t.state;
    END IF;
    UPDATE erasured.ticket x SET state = t.held_from, held_from = NULL WHERE x.id = t.id;
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN t.held_from;
END $$;
COMMENT ON FUNCTION erasured.release_ticket IS 'Lets a held ticket go on from where it stood.';

CREATE FUNCTION erasured.retry_ticket(ticket uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, erasured, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    t erasured.ticket := erasured.lock_ticket(ticket);
BEGIN
    IF t.state = 'failed' THEN
        -- A new generation: planned anew under the policy as it is now, with steps of its own.
        UPDATE erasured.ticket x
           SET state = 'scheduled', generation = x.generation + 1, plan_id = NULL, attempt = 0,
               next_attempt_at = CASE WHEN x.not_before > now() AND NOT erasured.has_begun(x.id) THEN x.not_before END, problem_code = NULL, problem = NULL
         WHERE x.id = t.id;
        UPDATE erasured.finding f SET resolved_at = now() WHERE f.ticket_id = t.id AND f.resolved_at IS NULL;
        -- Nobody is asked any more: an approval would have to come before.
        DELETE FROM erasured.forecast f WHERE f.ticket_id = t.id;
    ELSIF t.state IN ('received', 'verified', 'approved') AND t.subject_hash IS NULL AND t.problem_code IS NOT NULL THEN
        UPDATE erasured.ticket x SET problem_code = NULL, problem = NULL, attempt = 0 WHERE x.id = t.id;
        INSERT INTO erasured.event (kind, ticket_id, body)
        VALUES ('retried', t.id, jsonb_build_object('by', erasured.actor()));
    ELSIF t.state = 'scheduled' AND t.next_attempt_at > coalesce(t.not_before, '-infinity') THEN
        UPDATE erasured.ticket x SET next_attempt_at = nullif(greatest(x.not_before, now()), now()) WHERE x.id = t.id;
        INSERT INTO erasured.event (kind, ticket_id, body)
        VALUES ('retried', t.id, jsonb_build_object('by', erasured.actor()));
    ELSE
        RAISE EXCEPTION 'there is nothing to retry on a ticket in state %', t.state USING ERRCODE = 'ER002';
    END IF;
    INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role)
    VALUES (t.id, 'retry', erasured.actor(), erasured.actor_role('erasured_desk'));
    PERFORM pg_notify('erasured_ticket', t.id::text);
    RETURN (SELECT x.state FROM erasured.ticket x WHERE x.id = t.id);
END $$;
COMMENT ON FUNCTION erasured.retry_ticket IS 'Lets a failed, unfindable or waiting ticket try again now.';

CREATE VIEW erasured.ticket_status WITH (security_barrier) AS
SELECT t.id, t.reference, t.subject, t.scope, t.ground, t.language, t.state, t.held_from,
       t.problem_code, t.problem,
       t.requested_at, t.received_at, CASE WHEN t.clock <> 'none' THEN t.due_at END AS due_at, t.not_before, t.next_attempt_at, t.started_at, t.finished_at, t.sla_met,
       t.attempt, t.generation, t.plan_id, t.subject_hash,
       t.clock, t.acknowledge_by, t.acknowledged_at, t.extended_due_at, t.extended_at, t.extended_for, t.asked_at, t.asked_for,
       t.escalated, t.explain,
       (SELECT array_agg(i.name ORDER BY i.name) FROM erasured.ticket_identifier i WHERE i.ticket_id = t.id AND i.given) AS identified_by,
       v.method AS verified_by_method, erasured.level_name(v.level) AS verified_level,
       v.by_name AS verified_by, v.at AS verified_at,
       a.by_name AS approved_by, a.at AS approved_at,
       (SELECT count(*) FROM erasured.finding f WHERE f.ticket_id = t.id AND f.resolved_at IS NULL) AS findings,
       (SELECT min(d.due_at) FROM erasured.deferral d WHERE d.ticket_id = t.id AND d.state = 'waiting') AS deferred_until,
       c.id AS certificate_id,
       (SELECT o.reference FROM erasured.ticket o WHERE o.id = t.duplicate_of) AS duplicate_of,
       CASE t.state WHEN 'rejected' THEN (SELECT d.reason FROM erasured.decision d
           WHERE d.ticket_id = t.id AND d.kind = 'reject' ORDER BY d.id DESC LIMIT 1) END AS rejected_for,
       (SELECT array_agg(DISTINCT h.kind) FROM erasured.document h
         WHERE h.ticket_id = t.id AND h.copied AND h.destroyed_at IS NULL) AS copies_held,
       g.signs, erasured.level_name(CASE WHEN g.signs IS NULL THEN s.at_least ELSE greatest(s.at_least, s.doubtful) END) AS needed_level,
       t.refused, t.closing
  FROM erasured.ticket t
  LEFT JOIN erasured.scope s ON s.subject = t.subject AND s.scope = t.scope
  LEFT JOIN LATERAL (SELECT array_agg(DISTINCT concat_ws(': ', i.kind, nullif(i.contact, ''))) AS signs
                       FROM erasured.sign i WHERE i.ticket_id = t.id) g ON true
  LEFT JOIN LATERAL (SELECT d.method, d.level, d.by_name, d.at FROM erasured.decision d
                      WHERE d.ticket_id = t.id AND d.kind = 'verify' ORDER BY d.level DESC, d.id DESC LIMIT 1) v ON true
  LEFT JOIN LATERAL (SELECT d.by_name, d.at FROM erasured.decision d
                      WHERE d.ticket_id = t.id AND d.kind = 'approve' ORDER BY d.id DESC LIMIT 1) a ON true
  -- A duplicate has the first one's.
  LEFT JOIN erasured.certificate c ON c.ticket_id = coalesce(t.duplicate_of, t.id) AND c.kind = 'erasure';
COMMENT ON VIEW erasured.ticket_status IS 'Tickets as the desk may see them: without the values they name people by.';

REVOKE ALL ON ALL TABLES IN SCHEMA erasured FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA erasured FROM PUBLIC;
