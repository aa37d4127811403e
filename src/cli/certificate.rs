//! `erasured certificate`.

use super::failure::Failure;
use super::identifiers::{Identifiers, pair};
use super::source::Control;
use super::table::{self, Table};
use super::{Format, print, print_json, say};
use crate::certificate::run::RunCertificate;
use crate::certificate::show::{self, Lang};
use crate::certificate::{self, Document, NotGenuine};
use crate::identifier;
use crate::keys::{KeyId, KeyRing};
use crate::start;
use crate::store::certificates::CertificateRow;
use crate::store::run_certificates::RunCertificateRow;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

/// The proofs: list, show, check, find.
#[derive(Subcommand, Debug)]
pub(super) enum Certificate {
    List(List),
    Show(Show),
    Verify(Verify),
    Find(Find),
}

/// List certificates, newest first.
#[derive(Args, Debug)]
pub(super) struct List {
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

/// How a certificate is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Rendering {
    /// For a terminal.
    #[default]
    Text,
    /// One self-contained page in Japanese and English, for A4.
    Html,
    /// What was signed.
    Json,
    /// The signed text itself, to hand over.
    Jws,
}

/// Languages of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Language {
    /// 日本語
    Ja,
    /// English
    #[default]
    En,
}

/// Show a certificate: of a ticket, of a retention run, by its own id, or from a file.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured certificate show CRM-1042
  erasured certificate show CRM-1042 --lang ja
  erasured certificate show CRM-1042 --format html > CRM-1042.html
  erasured certificate show CRM-1042 --format jws > CRM-1042.jws")]
pub(super) struct Show {
    /// A ticket's reference or id, a retention run's id, a certificate's id, or a file.
    certificate: String,
    #[arg(long, value_enum, default_value_t)]
    format: Rendering,
    /// Language of the text rendering.
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    /// Public keys to check it with; without one, those of the configuration.
    #[arg(long, value_name = "PUB")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    control: Control,
}

/// Check a certificate offline: needs the file and the public key, no database, no configuration.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  erasured certificate verify CRM-1042.jws --key signing.pub.pem

Exit code 0: genuine. 1: not. docs/audit.md does the same with openssl, and with Python.")]
pub(super) struct Verify {
    /// The certificate, as `certificate show --format jws` writes it; `-` is standard input.
    file: PathBuf,
    /// The public key; several, if keys were rotated.
    #[arg(long, value_name = "PUB", required = true)]
    key: Vec<PathBuf>,
}

/// Was this person erased, and when? Asks by keyed hash, so it needs the configuration's hash key.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  erasured certificate find --member-no TM-0000042
  erasured certificate find --identifier email=taro@example.jp
  erasured certificate find --identifier-file -

Any identifier of the policy may be an option of its own. Exit code 1 if there is none.")]
pub(super) struct Find {
    #[command(flatten)]
    identifiers: Identifiers,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// --member-no VALUE, --email VALUE, …
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "--NAME VALUE"
    )]
    options: Vec<String>,
}

impl Certificate {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let store = list.control.store(config).await?;
                let mut all = of_tickets(store.certificates(list.limit).await?);
                all.extend(of_runs(store.run_certificates(list.limit).await?));
                all.sort_by_key(|listed| std::cmp::Reverse(listed.issued_at));
                all.truncate(usize::try_from(list.limit).unwrap_or(usize::MAX));
                tell(&all, list.format);
                Ok(())
            }
            Self::Show(show) => show.execute(config).await,
            Self::Verify(verify) => verify.execute(),
            Self::Find(find) => find.execute(config).await,
        }
    }
}

/// A certificate in a list.
struct Listed {
    issued_at: DateTime<Utc>,
    cells: [String; 5],
    json: serde_json::Value,
}

fn of_tickets(rows: Vec<CertificateRow>) -> Vec<Listed> {
    let listed = rows.into_iter().map(|row| Listed {
        issued_at: row.issued_at,
        json: serde_json::to_value(&row).unwrap_or_default(),
        cells: [
            row.id.to_string(),
            row.reference,
            row.kind,
            table::time(Some(row.issued_at)),
            row.kid.chars().take(16).collect(),
        ],
    });
    listed.collect()
}

fn of_runs(rows: Vec<RunCertificateRow>) -> Vec<Listed> {
    let listed = rows.into_iter().map(|row| Listed {
        issued_at: row.issued_at,
        json: serde_json::to_value(&row).unwrap_or_default(),
        cells: [
            row.id.to_string(),
            row.rule,
            row.kind.to_owned(),
            table::time(Some(row.issued_at)),
            row.kid.chars().take(16).collect(),
        ],
    });
    listed.collect()
}

fn tell(all: &[Listed], format: Format) {
    if format == Format::Json {
        let rows: Vec<&serde_json::Value> = all.iter().map(|listed| &listed.json).collect();
        print_json(&rows);
        return;
    }
    let mut table = Table::new([
        "CERTIFICATE",
        "TICKET OR RULE",
        "KIND",
        "ISSUED",
        "SIGNED BY",
    ]);
    for listed in all {
        table.row(listed.cells.clone());
    }
    table.print();
}

fn ring(files: &[PathBuf]) -> Result<KeyRing, Failure> {
    let mut ring = KeyRing::default();
    for file in files {
        ring.add(start::public_key(file)?);
    }
    Ok(ring)
}

fn not_genuine(error: &NotGenuine) -> Failure {
    Failure::found(format!("{}: {error}", error.code()))
}

impl Verify {
    fn execute(self) -> Result<(), Failure> {
        let jws = super::identifiers::text(&self.file)?;
        let ring = ring(&self.key)?;
        let (document, signer) = certificate::read_by(&jws, &ring).map_err(|e| not_genuine(&e))?;
        let certificate = match document {
            Document::Ticket(certificate) => certificate,
            Document::Run(certificate) => {
                of_run(&certificate, &signer);
                return Ok(());
            }
        };
        say!(
            "genuine: certificate {}, signed by {signer}",
            certificate.id
        );
        say!(
            "  ticket {} ({}/{}), issued {}",
            certificate.ticket.reference,
            certificate.ticket.subject,
            certificate.ticket.scope,
            table::time(Some(certificate.issued_at))
        );
        let totals = certificate.totals();
        say!(
            "  {} row(s) deleted, {} anonymized, {} detached, {} kept by law",
            totals.deleted,
            totals.anonymized,
            totals.detached,
            totals.kept
        );
        Ok(())
    }
}

fn of_run(certificate: &RunCertificate, signer: &KeyId) {
    let run = &certificate.run;
    say!(
        "genuine: certificate {}, signed by {signer}",
        certificate.id
    );
    say!(
        "  run {} of the retention rule {} over {}, {}, issued {}",
        run.id,
        run.rule,
        run.table,
        run.state,
        table::time(Some(certificate.issued_at))
    );
    let left = certificate
        .remaining
        .map_or_else(|| "not looked at".to_owned(), |left| left.rows.to_string());
    say!(
        "  {} row(s) of {} and before deleted, {} held, {} set aside, {left} overdue left",
        certificate.deleted(),
        run.cutoff,
        certificate.held.rows,
        certificate.set_aside
    );
    let (partitions, files) = (certificate.partitions.len(), certificate.archives.len());
    if partitions + files > 0 {
        say!("  {partitions} partition(s) went whole; archived in {files} file(s)");
    }
}

impl Show {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let jws = self.signed(config).await?;
        if self.format == Rendering::Jws {
            say!("{jws}");
            return Ok(());
        }
        let ring = self.ring(config)?;
        let (document, signer) = certificate::read_by(&jws, &ring).map_err(|e| not_genuine(&e))?;
        let certificate = match document {
            Document::Ticket(certificate) => certificate,
            Document::Run(certificate) => {
                match self.format {
                    Rendering::Json => print_json(&certificate),
                    Rendering::Html => print(&show::run_html(&certificate, &jws, &signer)),
                    _ => print(&show::run_text(&certificate, self.lang.into())),
                }
                return Ok(());
            }
        };
        match self.format {
            Rendering::Json => print_json(&certificate),
            Rendering::Html => {
                print(&show::html(&certificate, &jws, Some(&signer)));
            }
            Rendering::Text | Rendering::Jws => {
                print(&show::text(&certificate, self.lang.into()));
            }
        }
        Ok(())
    }

    /// What is shown is verified first: with the keys given, or with those of the configuration.
    fn ring(&self, config: &Path) -> Result<KeyRing, Failure> {
        if !self.key.is_empty() {
            return ring(&self.key);
        }
        if self.control.is_given() {
            return Err(Failure::usage(
                "with --control there is no configuration that names the public key: add --key PUB",
            ));
        }
        let config = start::configuration(config)?;
        Ok(start::key_ring(&config, &start::signing_key(&config)?)?)
    }

    async fn signed(&self, config: &Path) -> Result<String, Failure> {
        let file = Path::new(&self.certificate);
        if file.is_file() {
            return Ok(super::identifiers::text(file)?.trim().to_owned());
        }
        let store = self.control.store(config).await?;
        if let Ok(id) = self.certificate.parse() {
            if let Some(row) = store.certificate(id).await? {
                return Ok(row.jws);
            }
            if let Some(row) = store.run_certificate(id).await? {
                return Ok(row.jws);
            }
        }
        let ticket = store.ticket(&self.certificate).await?;
        let Some(id) = ticket.certificate_id else {
            return Err(Failure::found(format!(
                "ticket {} is {} and has no certificate yet: erasured ticket show {}",
                ticket.reference, ticket.state, ticket.reference
            )));
        };
        let row = store.certificate(id).await?;
        row.map(|row| row.jws)
            .ok_or_else(|| Failure::found("the ticket's certificate is gone"))
    }
}

impl From<Language> for Lang {
    fn from(language: Language) -> Self {
        match language {
            Language::Ja => Self::Ja,
            Language::En => Self::En,
        }
    }
}

impl Find {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let mut named = self.identifiers.read()?;
        named.extend(options(&self.options)?);
        if named.is_empty() {
            return Err(Failure::usage(
                "name the person, such as --member-no TM-0000042 or --identifier-file -",
            ));
        }
        let config = start::configuration(config)?;
        let policies = start::policies(&config)?;
        let hash_key = start::hash_key(&config)?;
        let pool = start::control_pool(&config, "cli", 2)?;
        let store = crate::store::Store::new(pool.inner().clone());
        let mut rows: Vec<CertificateRow> = Vec::new();
        for (name, value) in &named {
            let mut known = false;
            for policy in policies.values() {
                let Some(identifier) = policy.identifiers.get(name) else {
                    continue;
                };
                known = true;
                let value = identifier::normalise(&identifier.kind, value.expose())
                    .map_err(|e| Failure::usage(format!("{name}: {e}")))?;
                for row in store
                    .find_by_hash(&hash_key.hash(name, value.value()))
                    .await?
                {
                    if rows.iter().all(|r| r.id != row.id) {
                        rows.push(row);
                    }
                }
            }
            if !known {
                return Err(Failure::usage(format!(
                    "no policy knows an identifier {name:?}"
                )));
            }
        }
        if rows.is_empty() && self.format == Format::Table {
            return Err(Failure::found("no certificate is for that person"));
        }
        let none = rows.is_empty();
        tell(&of_tickets(rows), self.format);
        if none { Err(Failure::Found) } else { Ok(()) }
    }
}

/// `--member-no VALUE`, `--member-no=VALUE`: names of the policy, as options.
fn options(words: &[String]) -> Result<super::identifiers::Named, Failure> {
    let wrong =
        || Failure::usage("name the person as --NAME VALUE, such as --member-no TM-0000042");
    let mut named = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let option = word.strip_prefix("--").ok_or_else(wrong)?;
        let text = if option.contains('=') {
            option.to_owned()
        } else {
            format!("{option}={}", words.next().ok_or_else(wrong)?)
        };
        let (name, value) = pair(&text).ok_or_else(wrong)?;
        named.push((name.replace('-', "_"), value));
    }
    Ok(named)
}
