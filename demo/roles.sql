-- The people and the daemon of the demo company, on its one server. Run in the control database
-- after sql/roles/control.sql; demo/shop_roles.sql and demo/loyalty_roles.sql go into the others.

CREATE ROLE erasured_demo LOGIN IN ROLE erasured_daemon;
CREATE ROLE hana LOGIN IN ROLE erasured_desk;              -- the privacy desk: files, verifies
CREATE ROLE kenji LOGIN IN ROLE erasured_approver;         -- the second pair of eyes
CREATE ROLE auditor LOGIN IN ROLE erasured_auditor;

-- The sweep reads everything, everywhere.
GRANT pg_read_all_data TO erasured_daemon;
