-- Rights in a database that erasured erases from. A template: nothing here is run by erasured.
-- Read it, replace the tables by those that your policies name (`erasured check` lists what is
-- missing), and run it after `erasured migrate`:
--   psql -d shop -f target.sql
-- CREATE ROLE and GRANT pg_read_all_data take a superuser (from PostgreSQL 16 on CREATEROLE with
-- ADMIN OPTION will do), ALTER ROLE under 5 and 6 always; the rights on tables take their owner. A
-- superuser can run all of it.

-- 1. The group, once for each server. Leave the line out where it exists.
CREATE ROLE erasured_daemon NOLOGIN;
--   The login that erasured.toml names is its member:
-- CREATE ROLE erasured_prod LOGIN IN ROLE erasured_daemon;

-- 2. The daemon's own table here: read, and append. Not update, not delete.
GRANT USAGE ON SCHEMA erasured TO erasured_daemon;
GRANT SELECT, INSERT ON erasured.applied_step, erasured.applied_piece TO erasured_daemon;
GRANT UPDATE (pieces, rows, last_at) ON erasured.applied_piece TO erasured_daemon;
GRANT SELECT, INSERT, DELETE ON erasured.leaving_partition TO erasured_daemon;

-- 3. The tables of the policies, each with the least its action needs:
--    root table, and every action   SELECT, and for the row lock UPDATE of one column
--    action = "delete"              SELECT, DELETE (and UPDATE of one column, for the lock)
--    action = "anonymize"           SELECT, UPDATE of the columns under set
--    action = "detach"              SELECT, UPDATE of the link's columns
--    action = "retain"              as delete or anonymize, for the day it ends
--    action = "exempt"              SELECT
--    large_objects                  the objects' owner: lo_unlink asks for no less. And SELECT on every
--                                   table with a column of type oid, to know that no other row refers to one
--    partitions = "drop", "detach"  membership in the role that owns the table: nobody else may detach
--                                   (GRANT shop_owner TO erasured_prod). Without it rows go one by one
-- GRANT USAGE ON SCHEMA public TO erasured_daemon;
-- GRANT SELECT, DELETE, UPDATE (id)               ON public.customer TO erasured_daemon;
-- GRANT SELECT, UPDATE (contact_name, contact_phone, request_note)
--                                                 ON public.booking  TO erasured_daemon;
-- GRANT SELECT, DELETE, UPDATE (id)               ON public.invoice  TO erasured_daemon;

-- 4. The sweep reads every table, registered or not, in every schema: what it may not read it
--    cannot vouch for, so it stops there, and the ticket waits in `verifying` without a
--    certificate until it may. This predefined role is exactly that right.
GRANT pg_read_all_data TO erasured_daemon;
--    Without it, table by table (and each new table again):
-- GRANT SELECT ON ALL TABLES IN SCHEMA public TO erasured_daemon;

--    Where [system.NAME.throttle] counts others' sessions or names standbys by application_name:
-- GRANT pg_read_all_stats TO erasured_daemon;
--    From PostgreSQL 17 on, so that retention may VACUUM a table of which much went:
-- GRANT MAINTAIN ON public.call_recording TO erasured_daemon;

-- 5. Row-level security hides rows from the daemon as from anybody, and an erasure that cannot
--    see a row stops. Where a table has policies let the login bypass them (a group's attribute is
--    not inherited, and of a policy that shows all nobody can prove that it does):
-- ALTER ROLE erasured_prod BYPASSRLS;

-- 6. Keys and identifiers travel as parameters of statements, and a server that logs statements
--    (log_statement, log_min_duration_statement, auto_explain) writes parameters into its log, where
--    no erasure finds them. Settings of a group do not reach its members, so for the login:
-- ALTER ROLE erasured_prod SET log_parameter_max_length = 0;
-- ALTER ROLE erasured_prod SET log_parameter_max_length_on_error = 0;
