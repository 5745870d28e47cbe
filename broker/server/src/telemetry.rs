//! Log lines, to standard error.

use crate::settings::{LogFormat, Telemetry};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// Log lines could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error(
        "`telemetry.filter`: {0}; write one such as \"info\" or \"info,anabranch_kafka=debug\""
    )]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("cannot set up log lines: {0}")]
    Install(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Checks the settings without acting on them.
pub(crate) fn check(settings: &Telemetry) -> Result<EnvFilter, TelemetryError> {
    Ok(EnvFilter::builder().parse(&settings.filter)?)
}

/// Starts writing log lines; panics become log lines too. To be called once.
pub(crate) fn start(settings: &Telemetry) -> Result<(), TelemetryError> {
    let lines = tracing_subscriber::fmt().with_env_filter(check(settings)?).with_writer(io::stderr);
    match settings.format {
        LogFormat::Pretty => {
            let lines = lines.with_ansi(io::stderr().is_terminal());
            tracing::subscriber::set_global_default(lines.finish())?;
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::set_global_default(lines.finish())?;
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(place, %backtrace, "a bug: {message}");
    }));
    Ok(())
}
