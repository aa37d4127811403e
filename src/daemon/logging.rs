//! Log lines for people, for programs, or for the journal.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// Installs the subscriber. Only this program's own words are logged, at whatever level: the
/// libraries beneath write statements and parameters into theirs.
///
/// Under a progress bar only warnings are: lines of log would tear it apart.
pub(super) fn install(log: &Log, under_a_bar: bool) {
    let level = if under_a_bar {
        log.level.min(Level::WARN)
    } else {
        log.level
    };
    let ours = Targets::new().with_target("erasured", LevelFilter::from_level(level));
    let out = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    // A second daemon in one process (tests) keeps the first one's subscriber.
    let _ = match log.format {
        LogFormat::Pretty => registry
            .with(
                out.with_ansi(std::io::stderr().is_terminal())
                    .with_filter(ours),
            )
            .try_init(),
        LogFormat::Json => registry.with(out.json().with_filter(ours)).try_init(),
        LogFormat::Journald => registry
            .with(out.event_format(Journal).with_filter(ours))
            .try_init(),
    };
}

/// One line with a priority that journald understands (sd-daemon(3)), and no time of its own.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
