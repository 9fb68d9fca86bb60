//! Logs: structured lines on stderr, as text or JSON.
//!
//! Nothing is logged per request above `debug`; what happens once (start, reload, drain) is
//! `info`. stdout stays free for the ready line and, if asked for, the access log.

use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt;

/// Environment variable that sets the level when the command line does not.
pub const LEVEL_VARIABLE: &str = "SWITCHBACK_LOG";

/// What is logged when nobody says.
pub const DEFAULT_LEVEL: &str = "info";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, its fields at the top level.
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is none.
    #[error(
        "{0:?} is not a log level: write error, warn, info, debug or trace, or a list such as \"info,switchback::upstream=debug\""
    )]
    Level(String),
    /// The format is none.
    #[error("{0:?} is not a log format: write \"text\" or \"json\"")]
    Format(String),
    /// Something in this process logs already.
    #[error("logging is already set up in this process")]
    AlreadyStarted,
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::Format(text.chars().take(40).collect())),
        }
    }
}

/// Starts logging to stderr, for the whole process. `level` is what the command line says; without
/// it the variable [`LEVEL_VARIABLE`] counts, then [`DEFAULT_LEVEL`].
///
/// # Errors
/// [`LoggingError`] when the level is none, or logging was started before.
pub fn init(format: LogFormat, level: Option<&str>) -> Result<(), LoggingError> {
    let variable = std::env::var(LEVEL_VARIABLE).ok();
    let level = level.or(variable.as_deref()).filter(|l| !l.trim().is_empty()).unwrap_or(DEFAULT_LEVEL);
    subscriber(format, level, std::io::stderr)?.try_init().map_err(|_| LoggingError::AlreadyStarted)
}

/// A subscriber that writes what `level` lets through.
fn subscriber<W>(
    format: LogFormat,
    level: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // An unknown bare word would be taken for the name of a module and switch all else off.
    let refused = || LoggingError::Level(level.chars().take(120).collect());
    let is_wrong = |part: &str| part.contains('[') || !part.contains(['=', ':']) && !is_level(part.trim());
    if level.split(',').any(is_wrong) {
        return Err(refused());
    }
    let mut filter: Targets = level.parse().map_err(|_| refused())?;
    // `h2` warns of what a client did wrong, a line for each frame: whoever sends such frames would
    // fill the disk. Connections that end for it are counted.
    let warns = LevelFilter::WARN..=LevelFilter::INFO;
    if filter.default_level().is_some_and(|level| warns.contains(&level)) && !level.contains("h2") {
        filter = filter.with_target("h2", LevelFilter::ERROR);
    }
    let lines = fmt::fmt().with_max_level(LevelFilter::TRACE).with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(lines.finish().with(filter)),
        LogFormat::Json => {
            Box::new(lines.json().flatten_event(true).with_current_span(false).finish().with(filter))
        }
    })
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|l| l.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, level, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(model = "fraud", weight = 10, "weights changed");
            tracing::debug!("detail");
            tracing::warn!(target: "h2::proto::ping_pong", "recv PING ack that we never sent");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_carry_their_fields_at_the_top_level() {
        let text = logged(LogFormat::Json, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "weights changed");
        assert_eq!((&line["model"], &line["weight"]), (&"fraud".into(), &10.into()));
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_level_decides_what_is_written() {
        assert_eq!(logged(LogFormat::Text, "warn"), "");
        assert_eq!(logged(LogFormat::Text, "debug").lines().count(), 3);
        assert_eq!(logged(LogFormat::Text, "warn,switchback=debug").lines().count(), 2);
    }

    #[test]
    fn clients_do_not_write_our_logs() {
        let says = |level| logged(LogFormat::Text, level).contains("never sent");
        assert!(!says("info") && !says("warn") && !says("switchback=debug,info"));
        assert!(says("debug") && says("info,h2=warn"));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_by_name() {
        for bad in ["verbose", "info,loud", "switchback=loud", "[span]=info"] {
            let error = subscriber(LogFormat::Text, bad, io::sink).err().unwrap();
            assert!(error.to_string().contains(bad), "{error}");
        }
        assert!("yaml".parse::<LogFormat>().is_err());
    }
}
