//! `erasured explain`.

use super::failure::Failure;
use super::{colours, print};
use crate::diagnostic::Diagnostic;
use crate::explanation::{self, Explanation};
use clap::Args;

/// Say what an error code means, with an example, and what to do.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured explain E0219
  erasured explain 201 209                   several, without the letter
  erasured explain                           all codes with their titles

Exit code 2: there is no such code.")]
pub(super) struct Explain {
    /// Codes such as E0219; none lists them all.
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
}

/// Wider lines are hard to read.
const WIDEST: usize = 100;

impl Explain {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let found = self.codes.iter().map(|asked| find(asked));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() {
            let lines = explanation::all().into_iter().map(line);
            print(&lines.collect::<String>());
            return Ok(());
        }
        let colours = colours(&std::io::stdout());
        let texts = found.iter().map(|e| e.text(width(), colours));
        print(&texts.collect::<Vec<_>>().join("\n"));
        Ok(())
    }
}

fn line(explanation: Explanation) -> String {
    format!("{}  {}\n", explanation.code, explanation.title)
}

fn find(asked: &str) -> Result<Explanation, Failure> {
    explanation::find(asked).map_err(|near| {
        let near: String = near.into_iter().map(|e| format!("  {}", line(e))).collect();
        let help = match near.trim_end() {
            "" => "`erasured explain` lists them all".to_owned(),
            near => format!("did you mean one of these?\n{near}"),
        };
        Failure::usage(format!("there is no error code {asked:?}; {help}"))
    })
}

fn width() -> usize {
    match terminal_size::terminal_size_of(std::io::stdout()) {
        Some((columns, _)) => usize::from(columns.0).clamp(20, WIDEST),
        None => 80,
    }
}

/// The last line below what was found: where more about it is to be had.
pub(super) fn hint(found: &[Diagnostic]) -> String {
    const FEW: usize = 3;
    let mut codes: Vec<&str> = Vec::new();
    for diagnostic in found {
        if !codes.contains(&diagnostic.code) {
            codes.push(diagnostic.code);
        }
    }
    codes.truncate(FEW);
    match codes.as_slice() {
        [] => String::new(),
        codes => format!("more on this: erasured explain {}\n", codes.join(" ")),
    }
}
