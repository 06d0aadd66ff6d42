//! What the user of a copy sees while it runs.

use std::fmt;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar and the notices above it. The bar grows with what is found, since nobody counts a tree beforehand.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar on standard error if a person looks at it, none if it or standard output is no terminal.
    pub fn on_terminal() -> Self {
        let seen = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let bar = if seen { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        if seen {
            bar.enable_steady_tick(REDRAWN_EVERY);
        }
        Progress { bar }
    }

    /// A sentence for the user, on standard error.
    pub fn notice(&self, sentence: impl fmt::Display) {
        self.bar.suspend(|| eprintln!("files: {sentence}"));
    }

    /// A file of so many bytes is to be copied.
    pub fn found(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// So many bytes are written.
    pub fn wrote(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// So many files have their names.
    pub fn finished(&self, files: u64) {
        self.bar.set_message(format!("{files} files"));
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

const TEMPLATE: &str = "[{elapsed}] {bar:30} {bytes}/{total_bytes} {bytes_per_sec}  {msg}";
const REDRAWN_EVERY: Duration = Duration::from_millis(100);
