//! The metrics' names, meanings and buckets: all that `/metrics` can show, in one place.
//!
//! Labels are bounded: systems and tables come from the configuration and the catalog, states,
//! actions and causes are words of this program. No label and no value is personal.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// Tickets, by `state`.
pub const TICKETS: &str = "erasured_tickets";
/// Subjects whose erasure was completed, by `subject` and `scope`.
pub const SUBJECTS_ERASED: &str = "erasured_subjects_erased_total";
/// Rows, by `system`, `table` and `action`.
pub const ROWS: &str = "erasured_rows_total";
/// One batch from lease to verifying.
pub const BATCH_SECONDS: &str = "erasured_batch_duration_seconds";
/// Tickets in a batch.
pub const BATCH_TICKETS: &str = "erasured_batch_tickets";
/// One system's transaction, by `system`.
pub const STEP_SECONDS: &str = "erasured_step_duration_seconds";
/// Tickets not closed whose due time has come.
pub const OVERDUE: &str = "erasured_sla_overdue_tickets";
/// Tickets not closed that have a due time.
pub const DUE: &str = "erasured_sla_due_tickets";
/// Tickets whose person could not be found: they have no due time yet, and need the desk.
pub const UNFOUND: &str = "erasured_unfound_tickets";
/// What the law keeps, waiting for its date.
pub const DEFERRALS: &str = "erasured_deferrals";
/// What the law kept and whose date has passed.
pub const DEFERRALS_OVERDUE: &str = "erasured_deferrals_overdue";
/// Legal holds in force.
pub const HOLDS: &str = "erasured_holds";
/// Legal holds in force that cover nobody, for what they name was not found.
pub const HOLDS_EMPTY: &str = "erasured_holds_empty";
/// Tickets and deferrals that a legal hold keeps from going on.
pub const HELD: &str = "erasured_held_tickets";
/// Seconds to the nearest due time.
pub const NEAREST_DUE: &str = "erasured_sla_nearest_due_seconds";
/// Tickets closed in time, by `profile`.
pub const SLA_MET: &str = "erasured_sla_met_total";
/// Tickets closed too late, by `profile`.
pub const SLA_MISSED: &str = "erasured_sla_missed_total";
/// Open tickets that have reached a step of escalation and are not late.
pub const ESCALATED: &str = "erasured_sla_escalated_tickets";
/// Steps of escalation told, by `profile` and `step`: its number, or `late` or `explain_required`.
pub const ESCALATIONS: &str = "erasured_sla_escalations_total";
/// How long a stage took, by `profile` and `stage`; of tickets closed by certificate.
pub const STAGE_SECONDS: &str = "erasured_sla_stage_seconds";
/// Open tickets, by `profile`.
pub const BACKLOG: &str = "erasured_sla_backlog_tickets";
/// Age of the oldest open request, by `profile`.
pub const BACKLOG_AGE: &str = "erasured_sla_backlog_age_seconds";
/// Open tickets whose receipt was not confirmed in time.
pub const UNCONFIRMED: &str = "erasured_sla_unconfirmed_tickets";
/// Bytes read by the sweep, by `system`.
pub const SWEEP_BYTES: &str = "erasured_sweep_read_bytes_total";
/// Residuals found, by `system`.
pub const SWEEP_FINDINGS: &str = "erasured_sweep_findings_total";
/// Places where data of somebody who was erased has come back, by `subject`.
pub const CAME_BACK: &str = "erasured_came_back_total";
/// One sweep.
pub const SWEEP_SECONDS: &str = "erasured_sweep_duration_seconds";
/// Transactions that a system keeps prepared for us, by `system`.
pub const IN_DOUBT: &str = "erasured_in_doubt_transactions";
/// For how long the oldest of them, by `system`.
pub const IN_DOUBT_SECONDS: &str = "erasured_in_doubt_seconds";
/// How often a COMMIT that erases was not begun, because somebody's transaction that places a hold did not
/// end.
pub const HOLD_BLOCKS: &str = "erasured_hold_blocks_total";
/// Work put off, by `cause`.
pub const RETRIES: &str = "erasured_retries_total";
/// Tickets that failed and need a person, by `code`.
pub const FAILURES: &str = "erasured_failures_total";
/// Tickets under a lease that has not run out, of all daemons.
pub const LEASED: &str = "erasured_leased_tickets";
/// Entries in the ledger.
pub const LEDGER_HEIGHT: &str = "erasured_ledger_height_entries";
/// Events not yet in the ledger.
pub const LEDGER_PENDING: &str = "erasured_ledger_pending_events";
/// Rows of a rule's own table that are gone, by `rule`.
pub const RETENTION_ROWS: &str = "erasured_retention_rows_total";
/// Runs of a schedule, by `rule` and `state`: `done`, `stopped`, `failed`.
pub const RETENTION_RUNS: &str = "erasured_retention_runs_total";
/// For how long the oldest row ought to be gone, by `rule`.
pub const RETENTION_LAG: &str = "erasured_retention_lag_seconds";
/// Time that runs waited, by `rule` and `reason`.
pub const THROTTLE_SECONDS: &str = "erasured_retention_throttle_seconds_total";
/// Rows that the run under way has still to do, by `rule`.
pub const RETENTION_TO_GO: &str = "erasured_retention_rows_to_go";
/// When a run came to its end last, by `rule`.
pub const RETENTION_LAST_SUCCESS: &str = "erasured_retention_last_success_timestamp_seconds";
/// When a rule runs next by its schedule, by `rule`.
pub const RETENTION_NEXT_RUN: &str = "erasured_retention_next_run_timestamp_seconds";
/// Runs that have failed since, by `rule`.
pub const RETENTION_FAILURES: &str = "erasured_retention_failures";
/// Due rows that holds covered at the last run, by `rule`.
pub const RETENTION_HELD: &str = "erasured_retention_held_rows";
/// Rows that could not go at the last run, by `rule`.
pub const RETENTION_SET_ASIDE: &str = "erasured_retention_set_aside_rows";
/// Dead rows behind the last run, by `system` and `table`.
pub const RETENTION_DEAD_ROWS: &str = "erasured_retention_dead_rows";
/// What was read last of that for which runs wait, by `system` and `reason`.
pub const THROTTLE_READING: &str = "erasured_retention_throttle_reading";
/// When the last ticket was completed.
pub const LAST_SUCCESS: &str = "erasured_last_success_timestamp_seconds";
/// Whether the policy for a `subject` fits its databases (1) or something within its reach has
/// changed (0).
pub const POLICY_FITS: &str = "erasured_policy_fits";
/// What the policy for a `subject` seems to have overlooked in a schema that it fits.
pub const POLICY_OVERLOOKED: &str = "erasured_policy_overlooked";
/// Whether the policies in force stand (1) or a newer set was refused (0).
pub const POLICIES_CURRENT: &str = "erasured_policies_current";
/// Whether a system could be reached at the last try, by `system`.
pub const SYSTEM_UP: &str = "erasured_system_up";
/// Whether an operator has daemons leave a system alone (1), by `system`.
pub const SYSTEM_MAINTENANCE: &str = "erasured_system_maintenance";
/// Tickets that are done in at least one system and wait for this one, by `system`.
pub const PARTIAL: &str = "erasured_partial_tickets";
/// Of them, those done in part for longer than `limits.partial`.
pub const PARTIAL_OVERDUE: &str = "erasured_partial_overdue_tickets";
/// For how long the first of them is done in part, by `system`.
pub const PARTIAL_OLDEST: &str = "erasured_partial_oldest_seconds";
/// One transaction on the control database, by `name` and `status`.
pub const CONTROL_SECONDS: &str = "erasured_control_transaction_seconds";
/// Messages not yet delivered, by `target`.
pub const OUTBOX_WAITING: &str = "erasured_outbox_waiting_messages";
/// Of them, messages for a target that no living daemon delivers to, by `target`.
pub const OUTBOX_UNSERVED: &str = "erasured_outbox_unserved_messages";
/// Messages given up, by `target`.
pub const OUTBOX_DEAD: &str = "erasured_outbox_dead_messages";
/// Age of the oldest message not yet delivered, by `target`.
pub const OUTBOX_OLDEST: &str = "erasured_outbox_oldest_seconds";
/// Files in the drop folder that are not taken for their names.
pub const DROP_LEFT: &str = "erasured_drop_left_files";
/// Lines of files in the drop folder, by `outcome`.
pub const DROP_LINES: &str = "erasured_drop_lines_total";
/// Tries to deliver a message, by `target` and `outcome`.
pub const DELIVERIES: &str = "erasured_deliveries_total";
/// Always 1; the `version` is the label.
pub const BUILD_INFO: &str = "erasured_build_info";

/// Seconds, from a millisecond to five minutes.
const SECONDS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0,
];
const DAY: f64 = 86_400.0;
/// A minute to three months.
const STAGES: &[f64] = &[
    60.0,
    600.0,
    3_600.0,
    14_400.0,
    DAY,
    2.0 * DAY,
    3.0 * DAY,
    5.0 * DAY,
    7.0 * DAY,
    10.0 * DAY,
    14.0 * DAY,
    21.0 * DAY,
    30.0 * DAY,
    45.0 * DAY,
    60.0 * DAY,
    90.0 * DAY,
];
const TICKETS_IN_BATCH: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Installs the recorder for the whole process and describes every metric; a second call gives
/// the same.
///
/// # Errors
/// If another recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = INSTALLED.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full(STAGE_SECONDS.into()), STAGES)?
        .set_buckets_for_metric(Matcher::Full(BATCH_TICKETS.into()), TICKETS_IN_BATCH)?
        .install_recorder()?;
    describe();
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(INSTALLED.get_or_init(|| handle).clone())
}

fn describe() {
    describe_gauge!(TICKETS, Unit::Count, "Tickets by state.");
    describe_counter!(
        SUBJECTS_ERASED,
        Unit::Count,
        "Subjects whose erasure was completed, by subject kind and scope."
    );
    describe_counter!(
        ROWS,
        Unit::Count,
        "Rows changed or kept, by system, table and action."
    );
    describe_histogram!(
        BATCH_SECONDS,
        Unit::Seconds,
        "Time of one batch, from its lease to the end of its transactions."
    );
    describe_histogram!(BATCH_TICKETS, Unit::Count, "Tickets in one batch.");
    describe_histogram!(
        STEP_SECONDS,
        Unit::Seconds,
        "Time of one batch's transaction on one system."
    );
    describe_gauge!(
        OVERDUE,
        Unit::Count,
        "Open tickets past their due time, clocks that stand still not counted."
    );
    describe_gauge!(DUE, Unit::Count, "Open tickets with a due time.");
    describe_gauge!(
        UNFOUND,
        Unit::Count,
        "Open tickets whose person could not be found, and so without a due time."
    );
    describe_gauge!(
        DEFERRALS,
        Unit::Count,
        "Deferrals that wait for the date until which the law keeps rows."
    );
    describe_gauge!(
        DEFERRALS_OVERDUE,
        Unit::Count,
        "Deferrals whose date has passed."
    );
    describe_gauge!(
        IN_DOUBT,
        Unit::Count,
        "Transactions that a system keeps prepared for us."
    );
    describe_gauge!(
        IN_DOUBT_SECONDS,
        Unit::Seconds,
        "For how long the oldest of them has waited for its end."
    );
    describe_gauge!(HOLDS, Unit::Count, "Legal holds in force.");
    describe_gauge!(
        HOLDS_EMPTY,
        Unit::Count,
        "Legal holds in force whose person was not found, so that they cover nobody yet."
    );
    describe_gauge!(
        HELD,
        Unit::Count,
        "Tickets and deferrals that a legal hold keeps from going on."
    );
    describe_gauge!(
        NEAREST_DUE,
        Unit::Seconds,
        "Seconds to the nearest due time of an open ticket; negative when overdue."
    );
    describe_counter!(SLA_MET, Unit::Count, "Tickets closed in time.");
    describe_counter!(
        SLA_MISSED,
        Unit::Count,
        "Tickets closed after their due time."
    );
    describe_gauge!(
        ESCALATED,
        Unit::Count,
        "Open tickets that have reached a step of escalation and are not late."
    );
    describe_counter!(
        ESCALATIONS,
        Unit::Count,
        "Steps of escalation told, by SLA profile and step."
    );
    describe_histogram!(
        STAGE_SECONDS,
        Unit::Seconds,
        "Time to acknowledge, verify, approve, execute and certify, by SLA profile; of tickets closed by certificate."
    );
    describe_gauge!(BACKLOG, Unit::Count, "Open tickets, by SLA profile.");
    describe_gauge!(
        BACKLOG_AGE,
        Unit::Seconds,
        "Age of the oldest open request, by SLA profile."
    );
    describe_gauge!(
        UNCONFIRMED,
        Unit::Count,
        "Open tickets whose receipt was not confirmed in time."
    );
    describe_counter!(
        SWEEP_BYTES,
        Unit::Bytes,
        "Bytes read in search of residuals, by system."
    );
    describe_counter!(SWEEP_FINDINGS, Unit::Count, "Residuals found, by system.");
    describe_counter!(
        CAME_BACK,
        Unit::Count,
        "Places where data of a person who was erased has come back, by subject."
    );
    describe_histogram!(
        SWEEP_SECONDS,
        Unit::Seconds,
        "Time of one sweep over all systems."
    );
    describe_counter!(
        HOLD_BLOCKS,
        Unit::Count,
        "COMMITs not begun because a transaction that places a legal hold did not end."
    );
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Work put off for another try, by cause."
    );
    describe_counter!(
        FAILURES,
        Unit::Count,
        "Tickets that failed and wait for a person, by error code."
    );
    describe_gauge!(
        LEASED,
        Unit::Count,
        "Tickets under a lease that has not run out, of all daemons."
    );
    describe_counter!(
        RETENTION_ROWS,
        Unit::Count,
        "Rows gone by their age, by retention rule."
    );
    describe_counter!(
        RETENTION_RUNS,
        Unit::Count,
        "Scheduled runs of retention rules, by how they ended."
    );
    describe_gauge!(
        RETENTION_LAG,
        Unit::Seconds,
        "Since when the oldest row of a retention rule ought to be gone."
    );
    describe_retention();
    describe_gauge!(LEDGER_HEIGHT, Unit::Count, "Entries in the ledger.");
    describe_gauge!(
        LEDGER_PENDING,
        Unit::Count,
        "Events that wait to be entered in the ledger."
    );
    describe_gauge!(
        LAST_SUCCESS,
        Unit::Seconds,
        "When the last ticket was completed, in Unix time."
    );
    describe_gauge!(
        POLICIES_CURRENT,
        Unit::Count,
        "1 if the policies in force are those on disk, 0 if a newer set was refused."
    );
    describe_gauge!(
        SYSTEM_UP,
        Unit::Count,
        "1 if the system answered at the last try."
    );
    describe_gauge!(
        SYSTEM_MAINTENANCE,
        Unit::Count,
        "Whether an operator has daemons leave a system alone."
    );
    describe_gauge!(
        PARTIAL,
        Unit::Count,
        "Open tickets that are done in at least one system and wait for this one."
    );
    describe_gauge!(
        PARTIAL_OVERDUE,
        Unit::Count,
        "Tickets that have been done in part for longer than limits.partial and wait for this system."
    );
    describe_gauge!(
        PARTIAL_OLDEST,
        Unit::Seconds,
        "For how long the first of the tickets that wait for a system has been done in others."
    );
    describe_histogram!(
        CONTROL_SECONDS,
        Unit::Seconds,
        "Time of one transaction on the control database, by name and status."
    );
    describe_gauge!(
        POLICY_OVERLOOKED,
        Unit::Count,
        "Tables and columns that seem to be the person's and that the policy for a subject kind does not speak of."
    );
    describe_outbox();
    describe_gauge!(
        POLICY_FITS,
        Unit::Count,
        "Whether the policy for a subject kind fits its databases (1) or not any more (0)."
    );
    describe_gauge!(
        BUILD_INFO,
        Unit::Count,
        "Always 1; the label says which version runs."
    );
}

fn describe_retention() {
    describe_gauge!(
        RETENTION_TO_GO,
        Unit::Count,
        "Rows that the run under way of a retention rule has still to do."
    );
    describe_gauge!(
        RETENTION_LAST_SUCCESS,
        Unit::Seconds,
        "When a run of a retention rule came to its end last, in Unix time."
    );
    describe_gauge!(
        RETENTION_NEXT_RUN,
        Unit::Seconds,
        "When a retention rule runs next by its schedule, in Unix time."
    );
    describe_gauge!(
        RETENTION_FAILURES,
        Unit::Count,
        "Runs of a retention rule that have failed since one came to its end."
    );
    describe_gauge!(
        RETENTION_HELD,
        Unit::Count,
        "Due rows that legal holds covered at the last run of a retention rule."
    );
    describe_gauge!(
        RETENTION_SET_ASIDE,
        Unit::Count,
        "Rows that could not go at the last run of a retention rule."
    );
    describe_gauge!(
        RETENTION_DEAD_ROWS,
        Unit::Count,
        "Dead rows that a table had after the last retention run that changed it."
    );
    describe_counter!(
        THROTTLE_SECONDS,
        Unit::Seconds,
        "Time that retention runs waited so as not to harm production, by rule and reason."
    );
    describe_gauge!(
        THROTTLE_READING,
        Unit::Count,
        "What was read last of that for which retention runs wait, in the unit of its limit; NaN if it could not be read."
    );
}

fn describe_outbox() {
    describe_gauge!(
        OUTBOX_WAITING,
        Unit::Count,
        "Messages that a target has not got yet."
    );
    describe_gauge!(
        OUTBOX_UNSERVED,
        Unit::Count,
        "Messages that wait for a target to which no living daemon delivers."
    );
    describe_gauge!(
        OUTBOX_DEAD,
        Unit::Count,
        "Messages that were given up for a target."
    );
    describe_gauge!(
        OUTBOX_OLDEST,
        Unit::Seconds,
        "Age of the oldest message that a target has not got yet."
    );
    describe_gauge!(
        DROP_LEFT,
        Unit::Count,
        "Files in the drop folder that are not taken for their names."
    );
    describe_counter!(
        DROP_LINES,
        Unit::Count,
        "Lines of files in the drop folder, by outcome."
    );
    describe_counter!(
        DELIVERIES,
        Unit::Count,
        "Tries to deliver a message, by target and outcome."
    );
}
