-- Who is asking: the ways to prove it. erasured.verify_ticket (V2) reads them.

CREATE TABLE erasured.method (
    code         text        PRIMARY KEY,
    level        smallint    NOT NULL CHECK (level BETWEEN 0 AND 4),
    demands      text        NOT NULL CHECK (demands IN ('nothing', 'knowledge', 'possession', 'document', 'presence')),
    ask          text[]      NOT NULL,
    ja           text        NOT NULL,
    en           text        NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE erasured.method IS 'How people prove who is asking, and how far each way reaches: published by the daemon from identity.toml.';
COMMENT ON COLUMN erasured.method.ask IS 'What may be asked for, by words.';

REVOKE ALL ON ALL TABLES IN SCHEMA erasured FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA erasured FROM PUBLIC;
