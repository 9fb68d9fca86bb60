//! What is seen of a test while it goes on, and how it is stopped.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::load::drive::{Moment, Stop};
use crate::load::report;
use crate::load::run::Progress;

use super::super::exit::Failure;
use super::super::say;

/// How often a line is written where there is no terminal to draw on.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// From which time on rates are taken.
const WINDOW: Duration = Duration::from_secs(1);

/// Where progress is shown: a line that is drawn again and again, or a line now and then.
pub(super) struct Screen {
    quiet: bool,
    terminal: bool,
    logged: Instant,
    before: Option<Moment>,
    tries: usize,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { quiet, terminal, logged: Instant::now(), before: None, tries: 0 }
    }

    /// Shows what happens.
    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        if self.quiet {
            return;
        }
        match progress {
            Progress::Try { number, rate, confirms } => {
                self.tries = *number;
                self.before = None;
                if self.terminal {
                    let again = if *confirms { " again" } else { "" };
                    say::draw(&format!("\r\x1b[K{number:>3}  trying {rate:.1}/s{again} …"));
                }
            }
            Progress::Moment(now) => self.moment(now),
            Progress::Tried(one) => {
                self.clear();
                say::note(&report::tried(self.tries, one));
            }
        }
    }

    fn moment(&mut self, now: &Moment) {
        let line = report::live(now, self.before.as_ref());
        if self.terminal {
            say::draw(&format!("\r\x1b[K{line}"));
        } else if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            say::note(&line);
        }
        let old = self.before.as_ref().is_none_or(|before| now.elapsed >= before.elapsed + WINDOW);
        if old {
            self.before = Some(now.clone());
        }
    }

    /// Makes room for other lines.
    pub(super) fn clear(&mut self) {
        if self.terminal && !self.quiet {
            say::draw("\r\x1b[K");
        }
    }
}

/// Ends the test at the first SIGINT or SIGTERM; a second one ends the process without a report, and
/// so does the first until what is returned is set: before the test begins there is none.
pub(super) fn stop_on_signals(stop: &Stop) -> Result<Arc<AtomicBool>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("no runtime for signals: {error}")))?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let watched = |kind| signal(kind).map_err(|error| Failure::error(format!("no signals: {error}")));
        (watched(SignalKind::interrupt())?, watched(SignalKind::terminate())?)
    };
    let stop = stop.clone();
    let begun = Arc::new(AtomicBool::new(false));
    let has_begun = Arc::clone(&begun);
    let wait = move || {
        runtime.block_on(async {
            let both = async |interrupt: &mut tokio::signal::unix::Signal,
                              terminate: &mut tokio::signal::unix::Signal| {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            };
            both(&mut interrupt, &mut terminate).await;
            stop.ask();
            if has_begun.load(Ordering::SeqCst) {
                both(&mut interrupt, &mut terminate).await;
                say::note(&"switchback: stopped without a report");
            } else {
                say::note(&"switchback: stopped before the test began");
            }
            std::process::exit(super::super::exit::Exit::Interrupted as i32);
        })
    };
    std::thread::Builder::new()
        .name("load-signals".to_owned())
        .spawn(wait)
        .map(|_| begun)
        .map_err(|error| Failure::error(format!("no thread for signals: {error}")))
}
