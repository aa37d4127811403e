//! How a command fails: what is printed and the exit code.

use crate::daemon::DaemonError;
use crate::diagnostic::{self, Diagnostic};
use crate::erasure::context::Unplanned;
use crate::erasure::foresee::Unforeseen;
use crate::start::StartError;
use crate::store::StoreError;
use crate::system::postgres::connect::ConnectError;

/// Why a command did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// Mistakes with their places.
    Mistakes {
        diagnostics: Vec<Diagnostic>,
        exit_code: u8,
    },
    /// One sentence.
    Said { text: String, exit_code: u8 },
    /// What was found has been printed already.
    Found,
}

impl Failure {
    /// It ran and found something.
    pub(super) fn found(text: impl Into<String>) -> Self {
        Self::Said {
            text: text.into(),
            exit_code: 1,
        }
    }

    /// Arguments or configuration are wrong.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::Said {
            text: text.into(),
            exit_code: 2,
        }
    }

    /// A system could not be reached.
    pub(super) fn unreachable(text: impl Into<String>) -> Self {
        Self::Said {
            text: text.into(),
            exit_code: 3,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Mistakes { exit_code, .. } | Self::Said { exit_code, .. } => *exit_code,
            Self::Found => 1,
        }
    }

    /// Says it on stderr.
    pub(super) fn tell(&self, colours: bool) {
        match self {
            Self::Mistakes { diagnostics, .. } => {
                eprint!("{}", diagnostic::render(diagnostics, colours));
            }
            Self::Said { text, .. } if colours => eprintln!("\x1b[1;31merror:\x1b[0m {text}"),
            Self::Said { text, .. } => eprintln!("error: {text}"),
            Self::Found => {}
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Mistakes {
            diagnostics: error.diagnostics(),
            exit_code: 2,
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::BadSettings { .. } => Self::usage(error.to_string()),
            _ => Self::unreachable(error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit_code = match &error {
            StoreError::Database { code, .. } if code == "42501" => {
                return Self::usage(format!(
                    "{error}: this login lacks the right; see sql/roles/control.sql for who may do what"
                ));
            }
            error if error.is_transient() => 3,
            StoreError::Database { .. } => 3,
            StoreError::LeaseLost { .. } => 1,
            _ => 2,
        };
        let text = match &error {
            StoreError::Refused { code, .. } => format!("{code}: {error}"),
            _ => error.to_string(),
        };
        Self::Said { text, exit_code }
    }
}

impl From<Unplanned> for Failure {
    fn from(error: Unplanned) -> Self {
        match error {
            Unplanned::Misfit(diagnostics) => Self::Mistakes {
                diagnostics,
                exit_code: 1,
            },
            Unplanned::NoPolicy(_) => Self::usage(error.to_string()),
            Unplanned::Refused(_) => Self::found(format!("{}: {error}", error.code())),
            Unplanned::Unreachable(error) => error.into(),
            Unplanned::Failed { .. } => Self::unreachable(error.to_string()),
        }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let exit_code = error.exit_code();
        match error {
            DaemonError::Start(error) => Self::Mistakes {
                diagnostics: error.diagnostics(),
                exit_code,
            },
            error => Self::Said {
                text: error.to_string(),
                exit_code,
            },
        }
    }
}

impl From<Unforeseen> for Failure {
    fn from(error: Unforeseen) -> Self {
        match error {
            Unforeseen::Store(error) => error.into(),
            Unforeseen::Unplanned(error) => error.into(),
            Unforeseen::Unreachable(error) => error.into(),
            error @ (Unforeseen::Unfound(..) | Unforeseen::NotCounted(..)) => {
                Self::found(error.to_string())
            }
        }
    }
}
