//! A program of the operator's: the question as JSON on standard input, the answer as JSON on
//! standard output; no shell, no environment, nothing of a person among its arguments.

use super::place::{Adapter, Address, Erased, Failed, Person};
use crate::plan::Wanted;
use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A longer answer is none.
const LONGEST: usize = 16 << 20;
/// `EX_TEMPFAIL` of sysexits.h: the program asks for another try.
const TRY_AGAIN: i32 = 75;

/// The adapter.
pub struct Command {
    command: Vec<String>,
}

#[derive(Serialize)]
struct Question<'a> {
    version: u8,
    #[serde(rename = "do")]
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    people: Vec<Asked<'a>>,
}

#[derive(Serialize)]
struct Asked<'a> {
    request: Uuid,
    identifiers: &'a BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Vec<&'a str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<T> {
    people: Vec<T>,
}

/// The default is of those about whom nothing was asked.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    found: Vec<String>,
}

/// The default is of those about whom nothing was asked.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", tag = "result", deny_unknown_fields)]
enum Became {
    #[default]
    Gone,
    Pending,
    Kept {
        reason: String,
    },
}

impl Command {
    /// A program by its path, and its arguments.
    pub fn new(command: &[String]) -> Self {
        Self {
            command: command.to_vec(),
        }
    }

    async fn found(
        &self,
        what: &str,
        place: &str,
        people: &[Person],
        erased: Option<&[Vec<Address>]>,
    ) -> Result<Vec<Vec<Address>>, Failed> {
        let answers: Vec<Found> = self.ask(what, place, people, erased).await?;
        let addresses = answers.into_iter().map(|answer| {
            let addresses = answer.found.into_iter();
            addresses.map(Address::new).collect()
        });
        Ok(addresses.collect())
    }

    /// Who has none of the identifiers is not asked about: of them nothing is there.
    async fn ask<T: DeserializeOwned + Default>(
        &self,
        what: &str,
        place: &str,
        people: &[Person],
        found: Option<&[Vec<Address>]>,
    ) -> Result<Vec<T>, Failed> {
        let mut asked = Vec::new();
        for (at, person) in people.iter().enumerate() {
            for wanted in &person.wanted {
                if let Wanted::Person(identifiers) = wanted {
                    let found = found.and_then(|found| found.get(at));
                    asked.push((
                        at,
                        Asked {
                            request: person.request,
                            identifiers: &identifiers.0,
                            found: found.map(|found| found.iter().filter_map(text).collect()),
                        },
                    ));
                }
            }
        }
        let mut answers: Vec<T> = people.iter().map(|_| T::default()).collect();
        if !asked.is_empty() {
            let (places, people): (Vec<usize>, Vec<Asked<'_>>) = asked.into_iter().unzip();
            let place = Some(place);
            let given = self
                .run(&Question {
                    version: 1,
                    what,
                    place,
                    people,
                })
                .await?;
            let given: Answer<T> = serde_json::from_slice(&given).map_err(|_| {
                Failed::stuck("the program's answer is not the JSON that was asked for")
            })?;
            if given.people.len() != places.len() {
                return Err(Failed::stuck(
                    "the program's answer is not about the people it was asked about",
                ));
            }
            for (at, answer) in places.into_iter().zip(given.people) {
                answers[at] = answer;
            }
        }
        Ok(answers)
    }

    /// Runs it once, and returns what it wrote.
    async fn run(&self, question: &Question<'_>) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let mut child = self.start()?;
        // Declared behind the child, so that the group ends while its leader still has the number.
        let mut group = Group::of(&child);
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(output)) = (input, output) else {
            return Err(Failed::later("the program could not be started"));
        };
        let question =
            Zeroizing::new(serde_json::to_vec(question).expect("a question is always JSON"));
        let write = async move {
            // A program that does not read to the end may still have what it wants.
            input.write_all(&question).await.ok();
            input.write_all(b"\n").await.ok();
        };
        let read = async move {
            let mut answer = Zeroizing::new(Vec::new());
            let read = output
                .take(LONGEST as u64 + 1)
                .read_to_end(&mut answer)
                .await;
            read.map(|_| answer)
        };
        let ((), answer) = tokio::join!(write, read);
        let answer = answer.map_err(|_| Failed::later("the program's answer could not be read"))?;
        if answer.len() > LONGEST {
            return Err(Failed::stuck("the program's answer is longer than 16 MiB"));
        }
        let status = child.wait().await;
        group.has_ended();
        ended(status.map_err(|_| Failed::later("the program's end could not be waited for"))?)?;
        Ok(answer)
    }

    fn start(&self) -> Result<Child, Failed> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failed::stuck("no program is named"))?;
        tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Failed::later(format!(
                    "the program could not be started: {}",
                    error.kind()
                ))
            })
    }
}

fn text(address: &Address) -> Option<&str> {
    std::str::from_utf8(address.bytes()).ok()
}

fn ended(status: ExitStatus) -> Result<(), Failed> {
    match status.code() {
        Some(0) => Ok(()),
        Some(TRY_AGAIN) => Err(Failed::later(
            "the program asks for another try (exit code 75)",
        )),
        Some(code) => Err(Failed::stuck(format!(
            "the program ended with exit code {code}"
        ))),
        None => Err(Failed::later("the program was killed")),
    }
}

/// The program with all that it has started; killed unless it ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// Its number may be another's by now.
    fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Adapter for Command {
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(async {
            let question = Question {
                version: 1,
                what: "check",
                place: None,
                people: Vec::new(),
            };
            self.run(&question).await.map(drop)
        })
    }

    fn find<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        Box::pin(self.found("find", place, people, None))
    }

    fn erase<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
        found: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Erased>, Failed>> {
        Box::pin(async move {
            let became: Vec<Became> = self.ask("erase", place, people, Some(found)).await?;
            Ok(became.into_iter().map(Erased::from).collect())
        })
    }

    fn probe<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
        erased: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        Box::pin(self.found("probe", place, people, Some(erased)))
    }
}

impl From<Became> for Erased {
    fn from(became: Became) -> Self {
        match became {
            Became::Gone => Self::Gone,
            Became::Pending => Self::Pending,
            Became::Kept { reason } => Self::Kept(reason),
        }
    }
}
