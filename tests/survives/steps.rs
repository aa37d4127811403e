//! What was done in one attempt and what another attempt may say of it.

use super::company::{Case, QUICK, Running};
use super::kills::small;
use super::support::Workspace;
use erasured::certificate::Certificate;
use std::time::Duration;

/// More than anything takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn attempts_that_failed_and_those_that_did_not() {
    super::at_once(&[
        (
            "what_a_failed_attempt_put_off_is_put_off_once",
            what_a_failed_attempt_put_off_is_put_off_once,
        ),
        (
            "what_a_failed_attempt_put_off_may_be_deleted_by_the_next",
            what_a_failed_attempt_put_off_may_be_deleted_by_the_next,
        ),
        (
            "what_a_committed_step_keeps_is_kept_once",
            what_a_committed_step_keeps_is_kept_once,
        ),
        (
            "a_commit_not_written_down_is_recalled_when_the_plan_has_changed",
            a_commit_not_written_down_is_recalled_when_the_plan_has_changed,
        ),
        (
            "a_commit_not_written_down_is_recalled_by_the_next_generation",
            a_commit_not_written_down_is_recalled_by_the_next_generation,
        ),
        (
            "a_record_of_another_version_fails_its_ticket",
            a_record_of_another_version_fails_its_ticket,
        ),
        (
            "pieces_are_counted_once_wherever_the_daemon_dies",
            pieces_are_counted_once_wherever_the_daemon_dies,
        ),
        (
            "what_half_a_batch_put_off_survives_the_other_half",
            what_half_a_batch_put_off_survives_the_other_half,
        ),
        (
            "a_comment_in_the_policy_changes_no_plan",
            a_comment_in_the_policy_changes_no_plan,
        ),
    ]);
}

/// Somebody with an invoice that the law keeps.
fn keeps_an_invoice(case: &Case<'_>) -> (i64, u64) {
    let counts = &case.truth().counts;
    let (n, rows) = counts
        .iter()
        .find_map(|(n, c)| Some((*n, *c.get("shop.public.invoice kept")?)))
        .unwrap();
    (n, rows)
}

/// One batch, one after the other.
fn whole_batch(case: &Case<'_>) -> Workspace {
    case.another_host(&QUICK.replace("batch = 5", "batch = 50\nworkers = 1"))
}

fn run(host: &Workspace) -> Running {
    Running::start(host, &["run", "--until-idle"], "")
}

fn edit(host: &Workspace, edits: &[(&str, &str)]) {
    let file = host.path().join("policies/customer.toml");
    let mut policy = std::fs::read_to_string(&file).unwrap();
    for (from, to) in edits {
        assert!(policy.contains(from), "{from}");
        policy = policy.replace(from, to);
    }
    std::fs::write(file, policy).unwrap();
}

fn retry(case: &Case<'_>) {
    case.server().execute(
        &case.control,
        "SELECT erasured.retry_ticket(id) FROM erasured.ticket WHERE state = 'failed'",
    );
}

fn failed(case: &Case<'_>) -> String {
    case.control(
        "SELECT coalesce(string_agg(reference || ' ' || problem_code, ' ' ORDER BY id), '') FROM erasured.ticket WHERE state = 'failed'",
    )
}

fn put_off(case: &Case<'_>, n: i64) -> String {
    case.control(&format!(
        "SELECT coalesce(sum(d.rows), 0) FROM erasured.deferral d JOIN erasured.ticket t ON t.id = d.ticket_id WHERE t.reference = 'CRM-{n}'"
    ))
}

fn certificate(case: &Case<'_>, host: &Workspace, n: i64) -> Certificate {
    let ring = [erasured::start::public_key(&host.public_key()).unwrap()]
        .into_iter()
        .collect();
    let jws = case.control(&format!(
        "SELECT c.jws FROM erasured.certificate c JOIN erasured.ticket t ON t.id = c.ticket_id WHERE t.reference = 'CRM-{n}'"
    ));
    erasured::certificate::verify(&jws, &ring).unwrap()
}

/// Rows that the certificate says are kept in the invoices, and those put off.
fn kept_and_put_off(certificate: &Certificate) -> (u64, u64) {
    let tables = certificate.systems.iter().flat_map(|s| &s.tables);
    let kept = tables
        .filter(|t| t.table == "public.invoice")
        .flat_map(|t| &t.kept)
        .map(|k| k.rows)
        .sum();
    (kept, certificate.deferrals.iter().map(|d| d.rows).sum())
}

/// The ticket of `n` fails at COMMIT, after its keys were staged.
fn fails_at_commit(case: &Case<'_>, n: i64) {
    case.server().execute(
        &case.shop,
        &format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF OLD.id = {n} THEN RAISE EXCEPTION 'no'; END IF; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON customer DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
    );
    let (status, log) = case.start().end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(failed(case), format!("CRM-{n} E0508"), "{log}");
    assert_ne!(put_off(case, n), "0", "staged before it failed");
    case.server()
        .execute(&case.shop, "DROP FUNCTION refuse() CASCADE");
}

fn what_a_failed_attempt_put_off_is_put_off_once() {
    let case = small().copy();
    let (n, rows) = keeps_an_invoice(&case);
    fails_at_commit(&case, n);
    retry(&case);
    case.start().ends_well();
    case.is_whole();
    assert_eq!(put_off(&case, n), rows.to_string());
    let certificate = certificate(&case, case.workspace(), n);
    assert_eq!(kept_and_put_off(&certificate), (rows, rows));
}

fn what_a_failed_attempt_put_off_may_be_deleted_by_the_next() {
    let case = small().copy();
    let (n, rows) = keeps_an_invoice(&case);
    fails_at_commit(&case, n);
    edit(
        case.workspace(),
        &[
            (
                "action  = \"retain\"\nkeeps   = { ja = \"請求書(お名前とメールアドレスを除く)\", en = \"Invoices, without your name and e-mail address\" }\nuntil   = { column = \"issued_on\", plus = \"7 years\" }\nbecause = \"jp-ctax-7\"\nthen    = \"delete\"\nset     = { customer_id = \"null\", billing_email = \"null\" }",
                "action  = \"delete\"",
            ),
            (
                "action  = \"retain\"\nbecause = \"jp-ctax-7\"",
                "action  = \"delete\"",
            ),
        ],
    );
    retry(&case);
    case.start().ends_well();
    let certificate = certificate(&case, case.workspace(), n);
    assert_eq!(kept_and_put_off(&certificate), (0, 0));
    let deleted = certificate.systems.iter().flat_map(|s| &s.tables);
    let deleted = deleted.filter(|t| t.table == "public.invoice");
    assert!(deleted.map(|t| t.deleted).sum::<u64>() >= rows);
    let state = format!("SELECT state FROM erasured.ticket WHERE reference = 'CRM-{n}'");
    assert_eq!(case.control(&state), "completed");
}

/// Somebody's import writes the customer back before the sweep, with the invoices: another
/// generation finds the same rows again, and they are kept once.
fn what_a_committed_step_keeps_is_kept_once() {
    let case = small().copy();
    let (n, rows) = keeps_an_invoice(&case);
    let host = whole_batch(&case);
    let shop = |sql: &str| case.server().value(&case.shop, sql);
    let customer = shop(&format!("SELECT to_json(c) FROM customer c WHERE id = {n}"));
    let invoices = shop(&format!(
        "SELECT string_agg(i.id::text, ',') FROM invoice i JOIN booking b ON b.id = i.booking_id
          WHERE {n} IN (i.customer_id, b.customer_id) AND i.issued_on + interval '7 years' > now()"
    ));
    assert_eq!(invoices.split(',').count() as u64, rows);
    Running::start(&host, &["run", "--until-idle"], "after-verifying=return").dies();
    let columns = "id, member_no, family_name, given_name, family_kana, given_kana, family_romaji, given_romaji, email, phone, birth_date, advisor_id, created_at";
    case.server().execute(
        &case.shop,
        &format!(
            "INSERT INTO customer ({columns}) SELECT {columns} FROM json_populate_record(NULL::customer, '{}');
             UPDATE invoice SET customer_id = {n} WHERE id IN ({invoices})",
            customer.replace('\'', "''")
        ),
    );
    let (status, log) = run(&host).end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(failed(&case), format!("CRM-{n} E0510"), "{log}");
    retry(&case);
    run(&host).ends_well();
    let again = format!("SELECT generation FROM erasured.ticket WHERE reference = 'CRM-{n}'");
    assert_eq!(case.control(&again), "2");
    assert_eq!(put_off(&case, n), rows.to_string());
    assert_eq!(
        kept_and_put_off(&certificate(&case, &host, n)),
        (rows, rows)
    );
}

/// The shop has committed for all, and nobody has written it down.
fn dies_before_step_done(case: &Case<'_>) -> Workspace {
    let host = whole_batch(case);
    Running::start(
        &host,
        &["run", "--until-idle"],
        "before-step-done=1*off->return",
    )
    .dies();
    assert_eq!(case.control(NOT_KNOWN), small().people.len().to_string());
    host
}

const NOT_KNOWN: &str = "SELECT count(*) FROM erasured.step WHERE generation = 1 AND state = 'planned' AND system = 'shop'";

fn a_commit_not_written_down_is_recalled_when_the_plan_has_changed() {
    let case = small().copy();
    let host = dies_before_step_done(&case);
    edit(&host, &[("action = \"detach\"", "action = \"delete\"")]);
    let (status, log) = run(&host).end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(failed(&case).contains("E0505"), "{log}");
    assert_eq!(
        case.control(NOT_KNOWN),
        "0",
        "what was done is known: {log}"
    );
    retry(&case);
    run(&host).ends_well();
    case.is_whole();
}

fn a_commit_not_written_down_is_recalled_by_the_next_generation() {
    let case = small().copy();
    let host = dies_before_step_done(&case);
    let stray = "CREATE TABLE stray (customer_id bigint REFERENCES customer)";
    case.server().execute(&case.shop, stray);
    let (status, log) = run(&host).end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(failed(&case).contains("E02"), "{log}");
    assert_ne!(case.control(NOT_KNOWN), "0");
    case.server().execute(&case.shop, "DROP TABLE stray");
    retry(&case);
    run(&host).ends_well();
    assert_eq!(case.control(NOT_KNOWN), "0");
    case.is_whole();
}

/// A batch is split, one half commits, and the daemon dies before it has written that down: whoever
/// takes both halves up together does not forget what the first has put off.
fn what_half_a_batch_put_off_survives_the_other_half() {
    let case = small().copy();
    let host = whole_batch(&case);
    let people = &small().people;
    let among: Vec<String> = people.iter().map(ToString::to_string).collect();
    let last = case.server().value(
        &case.shop,
        &format!(
            "SELECT max(customer_id) FROM booking WHERE customer_id IN ({})",
            among.join(", ")
        ),
    );
    let hold = format!(
        "SELECT count(*) FROM (SELECT FROM booking WHERE customer_id = {last} FOR UPDATE) AS b; SELECT pg_sleep(300)"
    );
    let application_name = format!("SET application_name = 'holds {last}';");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Ended from outside.
            let _ = case
                .server()
                .try_execute(&case.shop, &(application_name + &hold));
        });
        std::thread::sleep(Duration::from_millis(500));
        let daemon = Running::start(
            &host,
            &["run", "--until-idle"],
            "before-step-done=1*off->return",
        );
        daemon.dies();
        case.server().execute(
            &case.shop,
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holds {last}'"),
        );
    });
    let committed = case.server().count(
        &case.shop,
        "SELECT count(*) FROM erasured.applied_step WHERE system = 'shop'",
    );
    assert!(
        committed > 0 && committed < i64::try_from(people.len()).unwrap(),
        "{committed}"
    );
    run(&host).ends_well();
    for n in people {
        let kept = case.truth().counts[n].get("shop.public.invoice kept");
        let kept = kept.copied().unwrap_or(0);
        assert_eq!(put_off(&case, *n), kept.to_string(), "{n}");
    }
    case.is_whole();
}

fn pieces_are_counted_once_wherever_the_daemon_dies() {
    let case = small().copy();
    let toml = QUICK.replace("batch = 5", "batch = 50\nworkers = 1\npiece_rows = 2");
    let host = case.another_host(&toml);
    let large = "action = \"delete\"\nlarge  = \"batches\"";
    for rule in [
        "name   = \"shop.public.call_note\"\n",
        "link   = { json = { column = \"payload\", path = [\"user\", \"id\"] }, to = \"shop.public.customer\" }\n",
        "name   = \"loyalty.public.tier_history\"\n",
    ] {
        let from = format!("{rule}action = \"delete\"");
        edit(&host, &[(&from, &format!("{rule}{large}"))]);
    }
    for point in [
        "before-piece-commit=return(abort)",
        "before-piece-commit=1*off->return(abort)",
        "after-piece=return(abort)",
        "after-piece=2*off->return(abort)",
    ] {
        Running::start(&host, &["run", "--until-idle"], point).dies();
    }
    // The answer to a piece's COMMIT is lost, and nobody dies of that, but later.
    let points = "after-piece=1*return;before-commit=1*off->return(abort)";
    let (status, log) = Running::start(&host, &["run", "--until-idle"], points).end(LONG);
    assert!(!status.success(), "{status}");
    assert!(log.contains("the answer to COMMIT was lost"), "{log}");
    run(&host).ends_well();
    case.is_whole();
    let pieces = |n: &i64| -> u64 {
        let certificate = certificate(&case, &host, *n);
        let tables = certificate.systems.iter().flat_map(|s| &s.tables);
        tables.map(|t| t.pieces).sum()
    };
    let pieces: u64 = small().people.iter().map(pieces).sum();
    assert!(pieces > 12, "{pieces}");
}

fn a_comment_in_the_policy_changes_no_plan() {
    let case = small().copy();
    let host = dies_before_step_done(&case);
    edit(&host, &[("[sweep]", "# Other words.\n[sweep]")]);
    run(&host).ends_well();
    case.is_whole();
    let anew = "SELECT count(*) FROM erasured.ticket WHERE generation > 1";
    assert_eq!(case.control(anew), "0");
}

fn a_record_of_another_version_fails_its_ticket() {
    let case = small().copy();
    let host = whole_batch(&case);
    Running::start(&host, &["run", "--until-idle"], "after-verifying=return").dies();
    let n = small().people[2];
    let set = |counts: &str| {
        let sql = format!(
            "UPDATE erasured.step s SET counts = {counts} FROM erasured.ticket t \
              WHERE t.id = s.ticket_id AND t.reference = 'CRM-{n}' AND s.system = 'shop'"
        );
        case.server().execute(&case.control, &sql);
    };
    set("jsonb_build_object('later', counts)");
    let (status, log) = run(&host).end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(failed(&case), format!("CRM-{n} E0514"), "{log}");
    set("counts -> 'later'");
    retry(&case);
    run(&host).ends_well();
    case.is_whole();
}
