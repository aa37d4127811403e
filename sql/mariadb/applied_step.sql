-- What erasured keeps on a MariaDB server that it erases from: one row for each ticket's work there,
-- written in the transaction that does the work. That row, and no daemon's memory, says whether
-- the work happened. It holds no personal data.
CREATE TABLE erasured.applied_step (
    ticket_id    CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    generation   INT          NOT NULL,
    system       VARCHAR(63)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    batch        CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    committed_at DATETIME(6)  NOT NULL,
    counts       LONGTEXT     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL CHECK (json_valid(counts)),
    PRIMARY KEY (ticket_id, generation, system)
) ENGINE = InnoDB
  COMMENT = 'Steps that have committed here: the ticket (or deferral), its counts, and when. Kept: replay after a restore reads it.'
