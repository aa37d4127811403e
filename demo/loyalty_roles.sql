-- sql/roles/target.sql filled in for policies/travel/customer.toml: the least that it needs.

GRANT USAGE ON SCHEMA erasured TO erasured_daemon;
GRANT SELECT, INSERT ON erasured.applied_step TO erasured_daemon;

GRANT DELETE, UPDATE (id) ON member, point_ledger, reward_redemption, partner_optin TO erasured_daemon;
GRANT DELETE, UPDATE (member_id) ON tier_history TO erasured_daemon;
