//! Systems without tables of ours to trace: what every adapter can do, and what bounds it.
//!
//! An adapter knows people by what to look for, and what it finds by opaque addresses. It knows
//! neither tickets nor policies nor the control database, and decides nothing: it may be asked
//! anything twice. One file a kind; `docs/systems.md` shows how one is added.

use super::{command, http, memcached, object_store, redis};
use crate::config::place::{Kind, PlaceSystem, Reached};
use crate::plan::Wanted;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// More of one person in one place is taken for a mistake of the policy's or the system's.
pub const MOST: usize = 100_000;

/// One person, as a system is asked about.
pub struct Person {
    /// The same for the same request, however often it is asked: for systems that keep count.
    pub request: Uuid,
    /// What to look for; may be empty.
    pub wanted: Vec<Wanted>,
}

/// Where something lies. It may hold values of identifiers: no Debug, and wiped when dropped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Zeroize, ZeroizeOnDrop)]
pub struct Address(Vec<u8>);

/// What became of one person's things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erased {
    /// They are gone, or were.
    Gone,
    /// The system has taken the order and not yet done it.
    Pending,
    /// They stay, for this reason: a word of lower-case letters, digits, `-` and `_`, no value.
    Kept(String),
}

/// Why something did not happen. Nothing here holds personal data, an address neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Failed {
    /// Another try may succeed; nothing about the people need change.
    pub transient: bool,
    /// It is about something of these people; the system is there, and others may fare better.
    pub of_them: bool,
    /// What happened, fit to be shown.
    pub problem: String,
}

/// One kind of system. Each answer has one entry for each person, in their order.
pub trait Adapter: Send + Sync {
    /// Whether it can be reached, and may do what it will be asked.
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>>;

    /// What is there of each person. Changes nothing.
    fn find<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>>;

    /// Takes away what was found; what is gone already is no failure.
    fn erase<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
        found: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Erased>, Failed>>;

    /// What is there now, by a way of its own where the system has one: what was taken away is asked
    /// for by its address, and what would be found today is found.
    fn probe<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
        erased: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        let _ = erased;
        self.find(place, people)
    }

    /// What copies the system itself keeps for a while, a sentence for certificates without anything of
    /// a person; `None` where it does not say.
    fn copies(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(None))
    }

    /// About so many people it can be asked in one call, and answer in time.
    fn people_at_once(&self) -> usize {
        usize::MAX
    }
}

/// A registered system: its adapter, and the bounds of each call.
pub struct System {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    timeout: Duration,
    adapter: Box<dyn Adapter>,
    rests: AtomicBool,
    turns: Semaphore,
    concurrency: usize,
}

impl System {
    /// A system by its settings. Nothing is asked yet.
    pub fn new(name: &str, settings: &PlaceSystem) -> Self {
        let adapter: Box<dyn Adapter> = match &settings.reached {
            Reached::Command(command) => Box::new(command::Command::new(&command.command)),
            Reached::Redis(settings) => Box::new(redis::Redis::new(settings)),
            Reached::Memcached(settings) => Box::new(memcached::Memcached::new(settings)),
            Reached::ObjectStore(store) => Box::new(object_store::ObjectStore::new(store)),
            Reached::Http(http) => Box::new(http::Http::new(name, http, settings.timeout)),
        };
        let system = Self::with(name, settings.kind(), settings.timeout, adapter);
        Self {
            turns: Semaphore::new(settings.concurrency.get()),
            concurrency: settings.concurrency.get(),
            ..system
        }
    }

    /// A system by its adapter.
    pub fn with(name: &str, kind: Kind, timeout: Duration, adapter: Box<dyn Adapter>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            timeout,
            adapter,
            rests: AtomicBool::new(false),
            turns: Semaphore::new(1),
            concurrency: 1,
        }
    }

    /// Has every call fail, or none any more.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::SeqCst);
    }

    /// How long what is held for one call must be held.
    pub fn patience(&self) -> Duration {
        self.timeout + Duration::from_secs(10)
    }

    /// A turn at it, among the groups of people that this daemon asks about at the same time. Its end is the
    /// end of the turn.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.turns.acquire().await.ok()
    }

    /// How many turns there are.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// As [`Adapter::people_at_once`].
    pub fn people_at_once(&self) -> usize {
        self.adapter.people_at_once()
    }

    /// As [`Adapter::check`].
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn check(&self) -> Result<(), Failed> {
        self.within(self.adapter.check()).await
    }

    /// As [`Adapter::find`].
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn find(&self, place: &str, people: &[Person]) -> Result<Vec<Vec<Address>>, Failed> {
        let found = self.within(self.adapter.find(place, people)).await?;
        self.bounded(people, found)
    }

    /// How many things it names of somebody who does not exist: whatever it is, it cannot be asked about
    /// anybody then. Who is refused for their form has nothing there.
    ///
    /// # Errors
    /// [`Failed`], if it cannot be asked just now.
    pub async fn names_of_nobody(&self, place: &str, nobody: Person) -> Result<usize, Failed> {
        match self.find(place, &[nobody]).await {
            Ok(found) => Ok(found.iter().map(Vec::len).sum()),
            Err(failed) if failed.transient => Err(failed),
            Err(_) => Ok(0),
        }
    }

    /// As [`Adapter::erase`].
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn erase(
        &self,
        place: &str,
        people: &[Person],
        found: &[Vec<Address>],
    ) -> Result<Vec<Erased>, Failed> {
        let erased = self.within(self.adapter.erase(place, people, found));
        let erased = erased.await?;
        self.complete(people, erased.len())?;
        match erased.iter().all(Erased::is_fit_to_be_shown) {
            true => Ok(erased),
            false => Err(Failed::stuck(format!(
                "{}: a reason for keeping is not a word of lower-case letters, digits, `-` and `_`",
                self.name
            ))),
        }
    }

    /// As [`Adapter::probe`].
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn probe(
        &self,
        place: &str,
        people: &[Person],
        erased: &[Vec<Address>],
    ) -> Result<Vec<Vec<Address>>, Failed> {
        let left = self.within(self.adapter.probe(place, people, erased));
        let left = left.await?;
        self.bounded(people, left)
    }

    /// As [`Adapter::copies`].
    pub async fn copies(&self) -> Option<String> {
        let asked = tokio::time::timeout(self.timeout, self.adapter.copies());
        asked.await.ok().flatten()
    }

    async fn within<T>(&self, call: BoxFuture<'_, Result<T, Failed>>) -> Result<T, Failed> {
        if self.rests.load(Ordering::SeqCst) {
            return Err(Failed::later(format!(
                "{} is in maintenance; `erasured system list` says who had it left alone, and why",
                self.name
            )));
        }
        let answer = match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Failed::later(format!(
                "no answer within {:?}",
                self.timeout
            ))),
        };
        let away = |failed: &Failed| failed.transient && !failed.of_them;
        let up = !answer.as_ref().is_err_and(away);
        metrics::gauge!(crate::metrics::SYSTEM_UP, "system" => self.name.clone())
            .set(f64::from(u8::from(up)));
        answer.map_err(|failed| Failed {
            problem: format!("{}: {}", self.name, failed.problem),
            ..failed
        })
    }

    fn bounded(
        &self,
        people: &[Person],
        found: Vec<Vec<Address>>,
    ) -> Result<Vec<Vec<Address>>, Failed> {
        self.complete(people, found.len())?;
        match found.iter().all(|one| one.len() <= MOST) {
            true => Ok(found),
            false => Err(Failed::stuck(format!(
                "{}: more than {MOST} things of one person in one place",
                self.name
            ))),
        }
    }

    fn complete(&self, people: &[Person], answers: usize) -> Result<(), Failed> {
        match answers == people.len() {
            true => Ok(()),
            false => Err(Failed::stuck(format!(
                "{}: {answers} answers for {} people",
                self.name,
                people.len()
            ))),
        }
    }
}

impl Erased {
    /// A reason stands on certificates: no room for a value.
    fn is_fit_to_be_shown(&self) -> bool {
        let Self::Kept(reason) = self else {
            return true;
        };
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        reason.len() <= 40
            && reason.starts_with(|c: char| c.is_ascii_lowercase())
            && reason.chars().all(plain)
    }
}

impl Failed {
    /// Another try may succeed.
    pub fn later(problem: impl Into<String>) -> Self {
        Self {
            transient: true,
            of_them: false,
            problem: problem.into(),
        }
    }

    /// Another try may succeed, and what stands in the way is something of these people.
    pub fn not_yet(problem: impl Into<String>) -> Self {
        Self {
            of_them: true,
            ..Self::later(problem)
        }
    }

    /// The same will happen again until somebody changes something.
    pub fn stuck(problem: impl Into<String>) -> Self {
        Self {
            transient: false,
            of_them: false,
            problem: problem.into(),
        }
    }
}

impl Address {
    /// An address of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::place::command;
    use std::num::NonZeroUsize;

    #[tokio::test]
    async fn there_are_so_many_turns_at_once_and_no_more() {
        let settings = PlaceSystem {
            timeout: Duration::from_secs(1),
            concurrency: NonZeroUsize::new(2).unwrap(),
            reached: Reached::Command(command::Command {
                command: vec!["/bin/true".into()],
            }),
        };
        let system = System::new("list", &settings);
        let (first, second) = (system.turn().await, system.turn().await);
        let mut third = std::pin::pin!(system.turn());
        let waits = tokio::time::timeout(Duration::from_millis(50), &mut third);
        assert!(waits.await.is_err(), "the third waits");
        drop(first);
        assert!(third.await.is_some());
        drop(second);
    }
}
