//! The terminal, which is as it was before when this goes: on a quit, an error, a signal or a panic.

use std::io::{self, Stdout};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

type Hook = Arc<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync>;

/// The terminal as a screen.
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    _restored: Restored,
}

impl Screen {
    /// # Errors
    /// The terminal cannot be written to, or is none; it is as it was before.
    pub(super) fn open() -> io::Result<Screen> {
        // From here on it is given back, whatever fails.
        let restored = Restored::when_dropped(|| {
            let _ = disable_raw_mode();
            let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        });
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        // Nothing is asked of the terminal, which may not answer: another screen is empty.
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Screen { terminal, _restored: restored })
    }
}

/// Does something when it is dropped, and before a panic is told, so that its words can be read.
struct Restored {
    restore: Arc<dyn Fn() + Send + Sync>,
    before: Hook,
}

impl Restored {
    fn when_dropped(restore: impl Fn() + Send + Sync + 'static) -> Restored {
        let done = AtomicBool::new(false);
        let once = move || {
            if !done.swap(true, Ordering::Relaxed) {
                restore();
            }
        };
        let (restore, before): (Arc<dyn Fn() + Send + Sync>, Hook) =
            (Arc::new(once), panic::take_hook().into());
        let (first, then) = (Arc::clone(&restore), Arc::clone(&before));
        panic::set_hook(Box::new(move |info| {
            first();
            then(info);
        }));
        Restored { restore, before }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        (self.restore)();
        // A panicking thread must leave the hooks alone.
        if !std::thread::panicking() {
            let before = Arc::clone(&self.before);
            panic::set_hook(Box::new(move |info| before(info)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The hook is the process', and so is this test's: none other here panics.
    #[test]
    fn a_panic_is_told_when_the_terminal_is_as_it_was() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let say = |word: &'static str| {
            let said = Arc::clone(&said);
            move || said.lock().expect("nobody panics here").push(word)
        };
        let (restore, tell) = (say("restored"), say("told"));
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |_| tell()));
        let panicked = std::thread::spawn(move || {
            let _restored = Restored::when_dropped(restore);
            panic!("on purpose");
        })
        .join();
        panic::set_hook(usual);
        assert!(panicked.is_err());
        assert_eq!(*said.lock().expect("nobody panics here"), ["restored", "told"]);
    }
}
