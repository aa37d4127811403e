//! `[outbox]`, `[callback.NAME]` and `[hook.NAME]`: who is told of what becomes of a ticket.

use super::read::{CODES, PATH_HELP, path_at};
use crate::reading::{Table, amount, quoted};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How messages leave.
#[derive(Clone, Debug)]
pub struct Outbox {
    /// Whether `LISTEN erasured_outbox` hears of them.
    pub listen: bool,
    /// Tries of one message before it is given up.
    pub attempts: NonZeroU32,
    /// How long one try may take.
    pub timeout: Duration,
    /// How long messages are kept that everybody has got.
    pub keep: Duration,
    /// Whom they are posted to, by name.
    pub callbacks: BTreeMap<String, Callback>,
    /// Which programs are run, by name.
    pub hooks: BTreeMap<String, Hook>,
}

/// `[callback.NAME]`.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Where to.
    pub endpoint: Endpoint,
    /// Only of these kinds; of all, if not given.
    pub kinds: Option<Vec<String>>,
}

/// `[hook.NAME]`.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// Only of these kinds; of all, if not given.
    pub kinds: Option<Vec<String>>,
}

/// An address that is posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// By TLS.
    pub tls: bool,
    /// Name or address, an IPv6 one without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// PEM of the authorities to trust, if not the public ones.
    pub ca_file: Option<PathBuf>,
}

impl Endpoint {
    /// Reads a URL. Without TLS only this machine is spoken to.
    ///
    /// # Errors
    /// Why it is no address to post to.
    pub fn parse(text: &str) -> Result<Self, String> {
        let endpoint = Self::anywhere(text)?;
        match endpoint.tls || is_loopback(&endpoint.host) {
            true => Ok(endpoint),
            false => Err("without TLS only this machine is spoken to".into()),
        }
    }

    /// The same for what nothing of anybody is told, and which may be without TLS therefore.
    ///
    /// # Errors
    /// Why it is no address.
    pub fn anywhere(text: &str) -> Result<Self, String> {
        let uri: axum::http::Uri = text
            .parse()
            .map_err(|_| format!("{} is no URL", quoted(text)))?;
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name or a password".into());
        }
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it begins with neither https:// nor http://".into()),
        };
        let host = authority
            .host()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err("it names no host".into());
        }
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".into(), ToString::to_string),
            ca_file: None,
        })
    }
}

impl Endpoint {
    /// Scheme, host, and the port if it is not the scheme's own.
    pub fn url(&self) -> String {
        let (scheme, own) = if self.tls {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port == own {
            true => format!("{scheme}://{host}"),
            false => format!("{scheme}://{host}:{}", self.port),
        }
    }
}

/// Whether a name or an address is this machine's own.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl super::Config {
    /// Every target's name, as the control database knows it, and the kinds it wants.
    pub fn targets(&self) -> Vec<(String, Option<Vec<String>>)> {
        let callbacks = self.outbox.callbacks.iter();
        let callbacks = callbacks.map(|(name, c)| (format!("callback/{name}"), c.kinds.clone()));
        let hooks = self.outbox.hooks.iter();
        let hooks = hooks.map(|(name, h)| (format!("hook/{name}"), h.kinds.clone()));
        let listen = self.outbox.listen.then(|| ("listen".to_owned(), None));
        // Where one of OpenDSR's four words becomes another.
        let moves = ["executing", "completed", "deferred", "rejected"].map(str::to_owned);
        let opendsr = self.opendsr.as_ref();
        let opendsr = opendsr.map(|_| ("opendsr".to_owned(), Some(moves.to_vec())));
        callbacks
            .chain(hooks)
            .chain(listen)
            .chain(opendsr)
            .collect()
    }
}

/// Reads the three tables.
pub(super) fn read(top: &Table<'_>, folder: &Path) -> Outbox {
    let mut outbox = Outbox {
        listen: false,
        attempts: NonZeroU32::new(40).expect("not zero"),
        timeout: Duration::from_secs(10),
        keep: Duration::from_secs(30 * 86_400),
        callbacks: BTreeMap::new(),
        hooks: BTreeMap::new(),
    };
    if let Some(table) = top.table("outbox") {
        if let Some(listen) = table.boolean("listen") {
            outbox.listen = listen;
        }
        let attempts = table.integer("attempts", 1..=1_000);
        let attempts = attempts.and_then(|n| NonZeroU32::new(u32::try_from(n).ok()?));
        outbox.attempts = attempts.unwrap_or(outbox.attempts);
        let second = Duration::from_secs(1);
        let minute = Duration::from_secs(60);
        let year = Duration::from_secs(366 * 86_400);
        if let Some(timeout) = length(&table, "timeout", second / 10..=minute) {
            outbox.timeout = timeout;
        }
        if let Some(keep) = length(&table, "keep", Duration::from_secs(3600)..=year) {
            outbox.keep = keep;
        }
        table.finish();
    }
    outbox.callbacks = callbacks(top, folder);
    outbox.hooks = hooks(top);
    outbox
}

/// A length of time between bounds.
pub(super) fn length(
    table: &Table<'_>,
    key: &'static str,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Option<Duration> {
    let parse = |text: &str| {
        let length = amount::duration(text)?;
        let fits = bounds.contains(&length);
        fits.then_some(length)
            .ok_or_else(|| format!("it must be {:?} to {:?}", bounds.start(), bounds.end()))
    };
    let read = table.parsed(key, CODES.bad_value, amount::DURATION_HELP, parse);
    read.map(|(length, _)| length)
}

fn callbacks(top: &Table<'_>, folder: &Path) -> BTreeMap<String, Callback> {
    let mut callbacks = BTreeMap::new();
    for (name, span, table) in top.named("callback") {
        plain(&table, &name, span);
        let help = "write where to post to: url = \"https://crm.example/erasures\"";
        table.need("url", help);
        let endpoint = table.parsed("url", "E0134", help, Endpoint::parse);
        let ca_file = path_at(&table, "ca_file", folder);
        let kinds = kinds(&table);
        table.finish();
        if let Some((endpoint, _)) = endpoint {
            let endpoint = Endpoint {
                ca_file,
                ..endpoint
            };
            callbacks.insert(name, Callback { endpoint, kinds });
        }
    }
    callbacks
}

fn hooks(top: &Table<'_>) -> BTreeMap<String, Hook> {
    let mut hooks = BTreeMap::new();
    for (name, span, table) in top.named("hook") {
        plain(&table, &name, span);
        let command = program(&table);
        let kinds = kinds(&table);
        table.finish();
        if let Some(command) = command {
            hooks.insert(name, Hook { command, kinds });
        }
    }
    hooks
}

/// `command`: a program by its path, and its arguments.
pub(in crate::config) fn program(table: &Table<'_>) -> Option<Vec<String>> {
    table.need(
        "command",
        "write the program and its arguments: [\"/usr/local/bin/told\"]",
    );
    let command = table.strings("command")?;
    let refuse = |at, message: String| {
        table.reader().error("E0135", at, message, PATH_HELP);
        None
    };
    match command.first() {
        None => refuse(
            table.span_of("command")?,
            format!("{} runs nothing", table.label()),
        ),
        Some((program, at)) if !Path::new(program).is_absolute() => refuse(
            at.clone(),
            format!("the program of {} is not named by its path", table.label()),
        ),
        Some(_) => Some(command.into_iter().map(|(word, _)| word).collect()),
    }
}

/// Kinds are open: what a later version tells of can be asked for by name.
fn kinds(table: &Table<'_>) -> Option<Vec<String>> {
    let kinds = table.strings("kinds")?;
    for (kind, at) in &kinds {
        let fits = kind.starts_with(|c: char| c.is_ascii_lowercase())
            && kind.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if !fits {
            let message = format!("{} is no kind of message", quoted(kind));
            let help = "write states such as \"completed\", or \"certificate\"";
            table
                .reader()
                .error(CODES.bad_value, at.clone(), message, help);
        }
    }
    Some(kinds.into_iter().map(|(kind, _)| kind).collect())
}

fn plain(table: &Table<'_>, name: &str, span: crate::reading::Span) {
    let fits = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    if !fits {
        table.reader().error(
            CODES.bad_value,
            span,
            format!("{} is not a plain name", quoted(name)),
            "use up to 40 lower-case letters, digits, `_` and `-`, with a letter first",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for good in [
            "https://crm.example/x?y=1",
            "http://127.0.0.1:8080/",
            "http://[::1]:8080",
            "http://localhost/x",
        ] {
            Endpoint::parse(good).unwrap();
        }
        for bad in [
            "http://crm.example/x",
            "http://10.0.0.1/",
            "http://127.0.0.1.evil.example/",
            "ftp://crm.example/",
            "https://user:secret@crm.example/",
            "https://",
            "/x",
            "",
        ] {
            Endpoint::parse(bad).unwrap_err();
        }
        let endpoint = Endpoint::parse("https://[2001:DB8::1]/a?b").unwrap();
        assert_eq!(
            (
                endpoint.host.as_str(),
                endpoint.port,
                endpoint.path.as_str()
            ),
            ("2001:db8::1", 443, "/a?b")
        );
    }
}
