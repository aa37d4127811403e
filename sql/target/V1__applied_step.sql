-- What erasured keeps in a database that it erases from: one row for each ticket's work there,
-- written in the transaction that does the work. That row, and no daemon's memory, says whether
-- the work happened. It holds no personal data.

CREATE TABLE erasured.applied_step (
    ticket_id    uuid        NOT NULL,
    generation   integer     NOT NULL,
    system       text        NOT NULL,
    batch        uuid        NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    counts       jsonb       NOT NULL,
    PRIMARY KEY (ticket_id, generation, system)
);
COMMENT ON TABLE erasured.applied_step IS 'Steps that have committed here: the ticket (or deferral), its counts, and when. Kept: replay after a restore reads it.';
CREATE INDEX applied_step_batch ON erasured.applied_step (batch);

-- Applied once means once: a step's row is never changed.
CREATE FUNCTION erasured.refuse_step_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'erasured.applied_step is append-only: % refused', TG_OP USING ERRCODE = 'ER009';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON erasured.applied_step
    FOR EACH STATEMENT EXECUTE FUNCTION erasured.refuse_step_change();
ALTER TABLE erasured.applied_step ENABLE ALWAYS TRIGGER append_only;

-- Where a policy lets a table's rows go in pieces: how many have gone before the step itself, written
-- by each piece's own transaction. The step's counts take these up.
CREATE TABLE erasured.applied_piece (
    ticket_id  uuid        NOT NULL,
    generation integer     NOT NULL,
    system     text        NOT NULL,
    "table"    text        NOT NULL,
    pieces     bigint      NOT NULL CHECK (pieces > 0),
    rows       bigint      NOT NULL CHECK (rows > 0),
    first_at   timestamptz NOT NULL DEFAULT now(),
    last_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ticket_id, generation, system, "table")
);
COMMENT ON TABLE erasured.applied_piece IS 'Rows that went before their step, in transactions of their own (large = "batches"). Kept, like applied_step.';

-- A partition that a retention rule is taking away, from before it is detached until it is dropped, or counted
-- and left: by this row, and no other way, a later run knows what it may finish or must attach again.
CREATE TABLE erasured.leaving_partition (
    partition       oid         PRIMARY KEY,
    name            text        NOT NULL,
    parent          text        NOT NULL,
    bound           text        NOT NULL,
    subject         text        NOT NULL,
    rule            text        NOT NULL,
    backend         integer     NOT NULL DEFAULT pg_backend_pid(),
    backend_started timestamptz,
    noted_at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE erasured.leaving_partition IS 'Partitions that a retention rule is detaching or has detached and not finished with. Empty but during a run, or after one that died.';

REVOKE ALL ON TABLE erasured.leaving_partition FROM PUBLIC;
REVOKE ALL ON TABLE erasured.applied_piece FROM PUBLIC;
REVOKE ALL ON TABLE erasured.applied_step FROM PUBLIC;
REVOKE ALL ON FUNCTION erasured.refuse_step_change() FROM PUBLIC;
