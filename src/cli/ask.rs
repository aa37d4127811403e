//! Questions at the terminal, and only there: a program that is run by another is never kept waiting.

use super::failure::Failure;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Write};
use zeroize::Zeroizing;

/// Whether there is somebody to ask: they see the question, and what they type comes here.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// What is chosen at the terminal for an argument that was not given, by number or by name: codes
/// and their words.
///
/// # Errors
/// There is nobody to ask, or they chose nothing.
pub(super) fn choose(argument: &str, choice: &[(String, String)]) -> Result<String, Failure> {
    if !is_possible() {
        let codes: Vec<&str> = choice.iter().map(|(code, _)| code.as_str()).collect();
        let codes = codes.join(", ");
        return Err(Failure::usage(format!(
            "{argument} is missing, and there is no terminal to ask on: give one of {codes}"
        )));
    }
    let failed = |e: std::io::Error| Failure::usage(format!("the terminal: {e}"));
    let mut out = std::io::stderr();
    for (at, (code, words)) in choice.iter().enumerate() {
        writeln!(out, "{:>3}  {code:<24} {words}", at + 1).map_err(failed)?;
    }
    write!(out, "{argument}, by number or name: ").map_err(failed)?;
    out.flush().map_err(failed)?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(failed)?;
    let line = line.trim();
    let by_number = line.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let chosen = match by_number {
        Some(at) => choice.get(at),
        None => choice.iter().find(|(code, _)| code == line),
    };
    chosen.map(|(code, _)| code.clone()).ok_or_else(|| {
        Failure::usage(format!(
            "{argument}: nothing was chosen, and nothing is done"
        ))
    })
}

/// Echo is off while it lives.
struct Quiet(Termios);

impl Quiet {
    fn new() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0).ok();
    }
}

/// One line that the terminal does not show.
pub(super) fn unseen(point: &str) -> std::io::Result<Zeroizing<String>> {
    let mut out = std::io::stderr();
    write!(out, "{point}: ")?;
    out.flush()?;
    let _quiet = Quiet::new()?;
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line)?;
    writeln!(out)?;
    Ok(line)
}
