//! The command line: one file a subcommand, no logic of its own.

mod ask;
mod certificate;
mod check;
mod discover;
mod drift;
mod excluded;
mod explain;
mod failure;
mod graph;
mod hold;
mod identifiers;
mod keygen;
mod ledger;
mod migrate;
mod openapi;
mod plan;
mod retention;
mod run;
mod source;
mod sweep;
mod system;
mod table;
mod ticket;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use failure::Failure;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Erases people from databases on request, checks that nothing is left, and signs what it did.
#[derive(Parser, Debug)]
#[command(
    name = "erasured",
    version,
    max_term_width = 100,
    after_help = "\
The way of a ticket:
  erasured migrate                       once, as the owner of the databases
  erasured discover …                    a first draft of a policy, from the database
  erasured check                         do the policies fit the databases?
  erasured graph --output customer.html  what a policy reaches, as a picture
  erasured ticket submit …               the desk files it; verify, then approve it
  erasured hold place …                  what a court wants kept is not erased
  erasured retention run …               what is kept for too long goes
  erasured plan --ticket CRM-1           what will happen, before it does
  erasured run                           the daemon erases, checks, signs
  erasured certificate show CRM-1        the proof

Exit codes: 0 done and clean; 1 it ran and found something (a residual, drift, a failed check);
2 usage or configuration; 3 a system could not be reached.
What an error code such as E0201 asks of you: erasured explain E0201."
)]
pub struct Cli {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        env = "ERASURED_CONFIG",
        default_value = CONFIG,
        value_parser = OsStringValueParser::new().map(or_default),
        value_name = "FILE"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const CONFIG: &str = "/etc/erasured/erasured.toml";

/// A variable that is set to nothing is not set.
fn or_default(given: OsString) -> PathBuf {
    if given.is_empty() {
        CONFIG.into()
    } else {
        given.into()
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Explain(explain::Explain),
    Discover(discover::Discover),
    Plan(plan::Plan),
    Graph(graph::Graph),
    #[command(subcommand)]
    Ticket(ticket::Ticket),
    #[command(subcommand)]
    Hold(hold::Hold),
    #[command(subcommand)]
    Retention(retention::Retention),
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    Sweep(sweep::Sweep),
    #[command(subcommand)]
    System(system::System),
    Migrate(migrate::Migrate),
    #[command(subcommand)]
    Keygen(keygen::Keygen),
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  \
        erasured completions bash > /usr/share/bash-completion/completions/erasured")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns, for people.
    #[default]
    Table,
    /// JSON, for programs.
    Json,
}

/// Parses the arguments, does what they say, and tells how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(cli.command.execute(&cli.config)),
        Err(error) => Err(Failure::usage(format!(
            "the threads could not be started: {error}"
        ))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(colours(&std::io::stderr()));
            ExitCode::from(failure.exit_code())
        }
    }
}

impl Command {
    async fn execute(self, config: &std::path::Path) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.execute(config).await,
            Self::Check(check) => check.execute(config).await,
            Self::Explain(explain) => explain.execute(),
            Self::Discover(discover) => discover.execute(config).await,
            Self::Plan(plan) => plan.execute(config).await,
            Self::Graph(graph) => graph.execute(config).await,
            Self::Ticket(ticket) => ticket.execute(config).await,
            Self::Hold(hold) => hold.execute(config).await,
            Self::Retention(retention) => retention.execute(config).await,
            Self::Certificate(certificate) => certificate.execute(config).await,
            Self::Ledger(ledger) => ledger.execute(config).await,
            Self::Sweep(sweep) => sweep.execute(config).await,
            Self::System(system) => system.execute(config).await,
            Self::Migrate(migrate) => migrate.execute(config).await,
            Self::Keygen(keygen) => keygen.execute(),
            Self::OpenApi(openapi) => openapi.execute(),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "erasured", &mut script);
                print(&String::from_utf8_lossy(&script));
                Ok(())
            }
        }
    }
}

/// Colours only on a terminal whose user has not asked for none (no-color.org).
fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Prints to standard output. A reader who has seen enough (`| head`) ends the program, with the
/// code of a process that the broken pipe's signal has ended.
fn print(text: &str) {
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe {
            141
        } else {
            eprintln!("error: standard output: {error}");
            2
        };
        std::process::exit(code);
    }
}

/// Prints a line.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print(&format!("{}\n", format_args!($($text)*))) };
}
use say;

/// Prints JSON as people can still read it.
fn print_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).expect("what is listed is always JSON");
    say!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_well_formed() {
        Cli::command().debug_assert();
    }
}
