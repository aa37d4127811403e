//! What every step needs: the store, the systems, the keys, the policies in force.

use super::agreement::Agreement;
use super::under_way::UnderWay;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::diagnostic::{Diagnostic, Severity};
use crate::discovery;
use crate::keys::{HashKey, KeyRing, SigningKey};
use crate::lineage::{self, Lineage};
use crate::name::QualifiedTable;
use crate::plan::{self, Plan};
use crate::policy::folder::Beside;
use crate::policy::{self, Policy};
use crate::store::definitions::{Remembered, When};
use crate::store::{Store, StoreError};
use crate::system::postgres::catalog;
use crate::system::postgres::connect::{ConnectError, Pool};
use crate::system::postgres::execute::Timeouts;
use crate::system::postgres::failure;
use crate::system::{mariadb, place};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The longest wait of a batch of several tickets for one lock. An application that waits for what
/// the batch holds, and has what the batch waits for, loses the deadlock once the server looks for
/// one, a second after the wait began (`deadlock_timeout`): the batch lets go before.
const BATCH_WAITS: std::time::Duration = std::time::Duration::from_millis(500);

/// Policies by subject kind.
pub type Policies = BTreeMap<String, Arc<Policy>>;

/// Everything the steps share.
pub struct Context {
    /// `erasured.toml`.
    pub config: Config,
    /// The control database.
    pub store: Store,
    /// The PostgreSQL databases, by registered name.
    pub systems: BTreeMap<String, System>,
    /// The MariaDB servers, by registered name.
    pub mariadb: BTreeMap<String, mariadb::System>,
    /// The systems that are no databases, by registered name.
    pub places: BTreeMap<String, place::System>,
    /// For hashes and seals.
    pub hash_key: HashKey,
    /// For certificates.
    pub signing_key: SigningKey,
    /// All public keys, retired ones too.
    pub key_ring: KeyRing,
    /// Who this daemon is, in leases.
    pub holder: String,
    /// The time.
    pub clock: Clock,
    /// Where this daemon's batches are.
    pub under_way: UnderWay,
    agreement: Agreement,
    failures: AtomicU64,
    policies: RwLock<Arc<Policies>>,
    beside: RwLock<Arc<Beside>>,
    plans: Mutex<HashMap<(String, String), Arc<Planned>>>,
}

/// One registered database.
pub struct System {
    /// Its name.
    pub name: String,
    /// Sessions for erasing.
    pub pool: Pool,
    /// Sessions for the sweep, on a standby.
    pub sweep_pool: Option<Pool>,
    known: tokio::sync::Mutex<Option<(String, Arc<Catalog>)>>,
}

/// A scope's plan, and the definitions for which it is known to fit.
pub struct Planned {
    /// The policy it was made from.
    pub policy: Arc<Policy>,
    /// Its lineage.
    pub lineage: Lineage,
    /// The plan.
    pub plan: Plan,
    /// [`Plan::id`].
    pub id: String,
    /// System to catalog stamp.
    pub stamps: BTreeMap<String, String>,
    /// What is worth knowing, though nothing stops.
    pub warnings: Vec<Diagnostic>,
    /// How many of these are of [`discovery::overlooked`].
    pub overlooks: usize,
    /// It is what can run beside legal holds on rows: no ticket ends with it.
    pub partial: bool,
    /// The definitions that it was made for, to be remembered.
    definitions: Vec<Remembered>,
    /// Whether they have been, and for what.
    remembered: (AtomicBool, AtomicBool),
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Unplanned {
    /// No policy is in force for this kind of subject.
    #[error("no policy in force is for the subject kind {0:?}")]
    NoPolicy(String),
    /// The policy does not fit the databases.
    #[error("{}", first(.0))]
    Misfit(Vec<Diagnostic>),
    /// Without what was refused of the ticket it cannot be planned.
    #[error("{0}")]
    Refused(String),
    /// A system did not answer.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// A system answered with an error.
    #[error("{system}: {problem}")]
    Failed {
        /// Which.
        system: String,
        /// What it said, fit to be shown.
        problem: String,
        /// Whether another try may succeed.
        transient: bool,
    },
}

fn first(diagnostics: &[Diagnostic]) -> String {
    let errors: Vec<&Diagnostic> = diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .collect();
    let more = errors.len().saturating_sub(1);
    let more = if more == 0 {
        " (`erasured check` shows what changed)".to_owned()
    } else {
        format!(" (and {more} more: `erasured check` shows them, and what changed)")
    };
    errors.first().map_or_else(String::new, |d| {
        format!("{}: {}; {}{more}", d.code, d.message, d.help)
    })
}

impl Unplanned {
    /// The error code for the ticket.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy(_) => "E0408",
            Self::Refused(_) => "E0410",
            Self::Misfit(found) => found
                .iter()
                .find(|d| d.severity == Severity::Error)
                .map_or("E0200", |d| d.code),
            Self::Unreachable(_) | Self::Failed { .. } => "E0301",
        }
    }

    /// As what it is counted where work is put off for it.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unreachable(error) => error.cause(),
            _ => "unreachable",
        }
    }

    /// Whether waiting may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoPolicy(_) | Self::Misfit(_) | Self::Refused(_) => false,
            // A wrong password today may be right after the DBA's next step: tickets wait.
            Self::Unreachable(_) => true,
            Self::Failed { transient, .. } => *transient,
        }
    }
}

impl System {
    /// A system on these pools; nothing is asked yet.
    pub fn new(name: &str, pool: Pool, sweep_pool: Option<Pool>) -> Self {
        Self {
            name: name.to_owned(),
            pool,
            sweep_pool,
            known: tokio::sync::Mutex::new(None),
        }
    }

    /// The catalog as it is now, with its stamp; read anew only if the stamp changed.
    ///
    /// # Errors
    /// [`Unplanned::Unreachable`], [`Unplanned::Failed`].
    pub async fn catalog(&self) -> Result<(String, Arc<Catalog>), Unplanned> {
        let mut client = self.pool.get().await.inspect_err(|error| {
            if !matches!(error, ConnectError::Maintenance { .. }) {
                self.up(false);
            }
        })?;
        self.up(true);
        let failed = |e: tokio_postgres::Error| Unplanned::Failed {
            system: self.name.clone(),
            problem: failure::describe(&e),
            transient: matches!(failure::classify(&e), failure::Failure::Transient(_)),
        };
        let mut known = self.known.lock().await;
        let tx = client
            .build_transaction()
            .read_only(true)
            .start()
            .await
            .map_err(failed)?;
        tx.batch_execute("/* erasured:catalog */ SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = '60s'")
            .await
            .map_err(failed)?;
        let stamp = catalog::stamp(&tx).await.map_err(failed)?;
        if let Some((old, catalog)) = &*known
            && *old == stamp
        {
            return Ok((stamp, catalog.clone()));
        }
        let catalog = Arc::new(catalog::read(&tx, &self.name).await.map_err(failed)?);
        *known = Some((stamp.clone(), catalog.clone()));
        Ok((stamp, catalog))
    }

    /// For plans alone: while a system is away it is taken for what it was, so that people go in the others
    /// meanwhile. What it has become is asked there before anything changes.
    ///
    /// # Errors
    /// As [`System::catalog`], where it has not been read before.
    async fn catalog_for_plans(&self) -> Result<(String, Arc<Catalog>), Unplanned> {
        match self.catalog().await {
            Err(Unplanned::Unreachable(error)) if error.is_transient() => {
                let known = self.known.lock().await;
                known.clone().ok_or(Unplanned::Unreachable(error))
            }
            read => read,
        }
    }

    /// Whether an operator has it left alone.
    pub fn rests(&self) -> bool {
        self.pool.rests()
    }

    fn up(&self, up: bool) {
        metrics::gauge!(crate::metrics::SYSTEM_UP, "system" => self.name.clone())
            .set(f64::from(u8::from(up)));
    }
}

impl Context {
    /// Puts it together. Nothing is asked of any database yet.
    #[allow(clippy::too_many_arguments)] // the parts of the daemon, each once
    pub fn new(
        config: Config,
        store: Store,
        systems: BTreeMap<String, System>,
        mariadb: BTreeMap<String, mariadb::System>,
        places: BTreeMap<String, place::System>,
        hash_key: HashKey,
        signing_key: SigningKey,
        key_ring: KeyRing,
        policies: Policies,
        beside: Beside,
        clock: Clock,
    ) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            config,
            store,
            systems,
            mariadb,
            places,
            hash_key,
            signing_key,
            key_ring,
            holder: format!("{}:{}", host.trim(), std::process::id()),
            clock,
            under_way: UnderWay::default(),
            agreement: Agreement::default(),
            failures: AtomicU64::new(0),
            policies: RwLock::new(Arc::new(policies)),
            beside: RwLock::new(Arc::new(beside)),
            plans: Mutex::new(HashMap::new()),
        }
    }

    /// A ticket has failed and waits for a person. Counted at once: what comes after may end the
    /// round with an error of its own.
    pub(super) fn has_failed(&self, code: &str) {
        metrics::counter!(crate::metrics::FAILURES, "code" => code.to_owned()).increment(1);
        self.needs_a_person();
    }

    /// Learns which systems an operator has daemons leave alone, and leaves them alone from now on. What is
    /// under way there ends first.
    ///
    /// # Errors
    /// [`StoreError`]: what was known before holds on.
    pub async fn heed_maintenance(&self) -> Result<(), StoreError> {
        // Why, and who says so, is an operator's to read, and stands in no log.
        let all = self.store.maintenance().await?;
        let rests = |system: &str| all.iter().any(|m| m.system == system);
        let show = |system: &str, rests: bool| {
            metrics::gauge!(crate::metrics::SYSTEM_MAINTENANCE, "system" => system.to_owned())
                .set(f64::from(u8::from(rests)));
        };
        for system in self.systems.values() {
            let rests = rests(&system.name);
            show(&system.name, rests);
            for pool in std::iter::once(&system.pool).chain(&system.sweep_pool) {
                pool.rest(rests);
            }
        }
        for server in self.mariadb.values() {
            let rests = rests(&server.name);
            show(&server.name, rests);
            server.rest(rests);
        }
        for place in self.places.values() {
            let rests = rests(&place.name);
            show(&place.name, rests);
            place.rest(rests);
        }
        Ok(())
    }

    /// Something waits for a person.
    pub fn needs_a_person(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something came to wait for a person since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Compares our clock with the control database's; what is wrong, if they differ.
    pub fn compare_clocks(&self, theirs: DateTime<Utc>) -> Option<String> {
        self.agreement.compare(self.now(), theirs)
    }

    /// Why our clock is not to be believed now.
    pub fn clock_problem(&self) -> Option<String> {
        self.agreement.problem(self.now())
    }

    /// The time by the daemon's clock.
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<Policies> {
        self.policies
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// The data files that are in force.
    pub fn beside(&self) -> Arc<Beside> {
        self.beside
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Puts other policies into force, and what lies beside them.
    pub fn replace_policies(&self, policies: Policies, beside: Beside) {
        *self
            .policies
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(policies);
        *self
            .beside
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(beside);
    }

    /// Bounds for one transaction on a system; where many are in one batch, one held lock must
    /// not keep all the others waiting for long.
    pub fn timeouts(&self, tickets: usize) -> Timeouts {
        let limits = &self.config.limits;
        let lock = if tickets > 1 {
            limits.lock_timeout.min(BATCH_WAITS)
        } else {
            limits.lock_timeout
        };
        Timeouts {
            lock,
            statement: limits.statement_timeout,
            idle: limits.idle_timeout,
        }
    }

    /// The plan of a scope for the catalogs as they are now.
    ///
    /// # Errors
    /// [`Unplanned`]; nothing may run then.
    pub async fn planned(&self, subject: &str, scope: &str) -> Result<Arc<Planned>, Unplanned> {
        let policy = self
            .policies()
            .get(subject)
            .cloned()
            .ok_or_else(|| Unplanned::NoPolicy(subject.to_owned()))?;
        let mut stamps = BTreeMap::new();
        for name in lineage::systems_of(&policy) {
            if let Some(system) = self.systems.get(&name) {
                stamps.insert(name, system.catalog_for_plans().await?.0);
            } else if let Some(system) = self.mariadb.get(&name) {
                stamps.insert(name, on_mariadb(system).await?.0);
            }
        }
        let key = (subject.to_owned(), scope.to_owned());
        if let Some(planned) = self
            .plans
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&key)
            && planned.stamps == stamps
            && planned.policy.sha256 == policy.sha256
        {
            return Ok(planned.clone());
        }
        let (catalogs, stamps) = self.catalogs_for_plans(&policy).await?;
        let (lineage, mut warnings) =
            lineage::trace(&policy, scope, &catalogs).map_err(Unplanned::Misfit)?;
        self.kept_elsewhere(&policy)?;
        self.places_fit(&policy)?;
        let overlooked = discovery::overlooked(&policy, &catalogs);
        for warning in &overlooked {
            tracing::warn!(subject, code = warning.code, "{}", warning.message);
        }
        let overlooks = overlooked.len();
        warnings.extend(overlooked);
        let plan = self.with_places(plan::build(&policy, &lineage), &policy);
        let planned = Arc::new(Planned {
            id: plan.id(),
            definitions: definitions(&policy, &lineage, &catalogs),
            remembered: <(AtomicBool, AtomicBool)>::default(),
            policy,
            lineage,
            plan,
            stamps,
            warnings,
            overlooks,
            partial: false,
        });
        self.plans
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(key, planned.clone());
        Ok(planned)
    }

    /// Kinds of subject and scopes whose tickets go to none of these systems, and do not go in several as one. What
    /// has not been planned yet under the policy in force is none of them.
    pub fn away_from(&self, systems: &BTreeSet<String>) -> Vec<(String, String)> {
        let plans = self.plans.lock();
        let plans = plans.unwrap_or_else(std::sync::PoisonError::into_inner);
        let policies = self.policies();
        let away = plans.iter().filter(|((subject, _), planned)| {
            let in_force = policies.get(subject);
            if in_force.is_none_or(|policy| policy.sha256 != planned.policy.sha256) {
                return false;
            }
            let plan = &planned.plan;
            let databases = plan.systems.iter().map(|part| &part.system);
            let mut all = databases.chain(plan.places.iter().map(|part| &part.system));
            let one_by_one = plan.units().iter().all(|unit| unit.len() == 1);
            one_by_one && !all.any(|system| systems.contains(system))
        });
        away.map(|(of, _)| of.clone()).collect()
    }

    /// What of a plan can run while rows of these tables are held; `None` if nothing can.
    ///
    /// # Errors
    /// [`Unplanned`]: the rest does not stand by itself.
    pub(super) async fn planned_beside(
        &self,
        planned: &Planned,
        held: &BTreeSet<QualifiedTable>,
    ) -> Result<Option<Planned>, Unplanned> {
        let scope = &planned.lineage.scope;
        let left = lineage::kept_whole(&planned.policy, &planned.lineage, held);
        let policy = planned.policy.without(scope, &left);
        let mut rest = self.narrowed(policy, scope).await?;
        let before = planned.plan.systems.iter().flat_map(|part| &part.left);
        let left: BTreeSet<QualifiedTable> = before.cloned().chain(left).collect();
        for part in &mut rest.plan.systems {
            part.left = left.clone();
        }
        rest.id = rest.plan.id();
        rest.partial = true;
        let nothing = rest.plan.systems.iter().all(|part| part.changes.is_empty());
        Ok((!nothing).then_some(rest))
    }

    /// The plan of a ticket of which these parts are refused: with them stays what hangs together with
    /// them, and the rest is the ticket's whole.
    ///
    /// # Errors
    /// [`Unplanned`]: a part is not known, or the rest does not stand by itself.
    pub(super) async fn planned_without(
        &self,
        planned: &Planned,
        refused: &BTreeSet<String>,
    ) -> Result<Planned, Unplanned> {
        let scope = &planned.lineage.scope;
        let refusing = planned
            .policy
            .refusing(scope, refused.iter().map(String::as_str));
        let (policy, tables) = refusing.map_err(|part| {
            Unplanned::Refused(format!(
                "{part}, which was refused, is no part of the scope any more"
            ))
        })?;
        let left = lineage::kept_whole(&planned.policy, &planned.lineage, &tables);
        let rest = self.narrowed(policy.without(scope, &left), scope).await?;
        let no_rows = rest.plan.systems.iter().all(|part| part.changes.is_empty());
        if no_rows && rest.plan.places.is_empty() {
            let problem =
                "nothing is left to erase beside what was refused and what hangs together with it";
            return Err(Unplanned::Refused(problem.into()));
        }
        Ok(rest)
    }

    /// Nothing, unless another policy in force keeps rows that tickets of this one would take.
    fn kept_elsewhere(&self, policy: &Policy) -> Result<(), Unplanned> {
        let policies = self.policies();
        let in_force: Vec<&Policy> = policies.values().map(|p| &**p).collect();
        let kept = lineage::kept_from_tickets(policy, &in_force);
        match kept.is_empty() {
            true => Ok(()),
            false => Err(Unplanned::Misfit(kept)),
        }
    }

    /// Nothing, unless a place cannot be looked into, or a system cannot go together with others.
    fn places_fit(&self, policy: &Policy) -> Result<(), Unplanned> {
        let kinds = self.config.kinds();
        let mut misfits = policy::place::misfits(policy, &kinds);
        misfits.extend(policy::atomic::misfits(policy, &kinds));
        if !misfits.is_empty() {
            return Err(Unplanned::Misfit(misfits));
        }
        Ok(())
    }

    fn with_places(&self, plan: Plan, policy: &Policy) -> Plan {
        Plan {
            places: plan::places(policy, &plan.scope, &self.config.kinds()),
            ..plan
        }
    }

    async fn catalogs_for_plans(&self, policy: &Policy) -> Result<Catalogs, Unplanned> {
        let (mut catalogs, mut stamps) = (BTreeMap::new(), BTreeMap::new());
        for name in lineage::systems_of(policy) {
            let (stamp, catalog) = match (self.systems.get(&name), self.mariadb.get(&name)) {
                (Some(system), _) => {
                    let (stamp, catalog) = system.catalog_for_plans().await?;
                    (stamp, (*catalog).clone())
                }
                (None, Some(system)) => on_mariadb(system).await?,
                (None, None) => continue,
            };
            catalogs.insert(name.clone(), catalog);
            stamps.insert(name, stamp);
        }
        Ok((catalogs, stamps))
    }

    /// The plan of a scope that covers less than the policy in force says.
    async fn narrowed(&self, policy: Policy, scope: &str) -> Result<Planned, Unplanned> {
        let (catalogs, stamps) = self.catalogs_for_plans(&policy).await?;
        let (lineage, warnings) =
            lineage::trace(&policy, scope, &catalogs).map_err(Unplanned::Misfit)?;
        self.kept_elsewhere(&policy)?;
        let plan = self.with_places(plan::build(&policy, &lineage), &policy);
        Ok(Planned {
            id: plan.id(),
            definitions: Vec::new(),
            // The whole scope's are.
            remembered: (AtomicBool::new(true), AtomicBool::new(true)),
            policy: Arc::new(policy),
            lineage,
            plan,
            stamps,
            warnings,
            overlooks: 0,
            partial: false,
        })
    }

    /// Stores the definitions that a plan was made for, once for each reason.
    ///
    /// # Errors
    /// [`StoreError`]: as any other statement there.
    pub async fn remember(&self, planned: &Planned, when: When) -> Result<(), StoreError> {
        let done = match when {
            When::Ran => &planned.remembered.0,
            When::Fits => &planned.remembered.1,
        };
        if !done.load(Ordering::Relaxed) {
            self.store.remember(&planned.definitions, when).await?;
            done.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lets idle sessions go, and with them the buffers through which identifiers went.
    pub fn forget_sessions(&self) {
        for system in self.systems.values() {
            system.pool.drop_idle();
            if let Some(pool) = &system.sweep_pool {
                pool.drop_idle();
            }
        }
    }
}

/// What a plan's fingerprints stand for.
fn definitions(
    policy: &Policy,
    lineage: &Lineage,
    catalogs: &BTreeMap<String, Catalog>,
) -> Vec<Remembered> {
    let mut within = lineage::within_reach(policy, &lineage.scope, catalogs);
    let systems = lineage.systems.iter();
    let of = systems.filter_map(|s| {
        let body = within.remove(&s.system)?;
        Some(Remembered {
            subject: lineage.subject.clone(),
            scope: lineage.scope.clone(),
            system: s.system.clone(),
            policy_sha256: lineage.policy_sha256.clone(),
            fingerprint: s.fingerprint.clone(),
            body: serde_json::to_string(&body).expect("definitions are always JSON"),
        })
    });
    of.collect()
}

/// Catalogs and stamps, by system.
type Catalogs = (BTreeMap<String, Catalog>, BTreeMap<String, String>);

/// The catalogs of these systems and their stamps; those that are not registered are left out.
///
/// # Errors
/// As [`System::catalog`].
pub async fn catalogs(
    systems: &BTreeMap<String, System>,
    mariadb: &BTreeMap<String, mariadb::System>,
    names: impl IntoIterator<Item = String>,
) -> Result<Catalogs, Unplanned> {
    let (mut catalogs, mut stamps) = (BTreeMap::new(), BTreeMap::new());
    for name in names {
        let (stamp, catalog) = match (systems.get(&name), mariadb.get(&name)) {
            (Some(system), _) => {
                let (stamp, catalog) = system.catalog().await?;
                (stamp, (*catalog).clone())
            }
            (None, Some(system)) => on_mariadb(system).await?,
            (None, None) => continue,
        };
        catalogs.insert(name.clone(), catalog);
        stamps.insert(name, stamp);
    }
    Ok((catalogs, stamps))
}

async fn on_mariadb(system: &mariadb::System) -> Result<(String, Catalog), Unplanned> {
    let read = system.catalog().await;
    read.map_err(|unread| Unplanned::Failed {
        system: system.name.clone(),
        problem: unread.problem,
        transient: unread.transient,
    })
}

/// What a failed write to the control database means for a running step.
pub(crate) fn lost(error: &StoreError) -> bool {
    matches!(error, StoreError::LeaseLost { .. })
}
