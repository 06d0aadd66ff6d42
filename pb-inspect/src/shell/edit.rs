//! The line that is typed, on a thread of its own.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::sync::mpsc;

use super::complete::Helper;

/// What was typed.
pub(super) enum Typed {
    Line(String),
    /// It was given up.
    Nothing,
    End,
}

/// Reads a line when it is asked to.
pub(super) struct Lines {
    ask: mpsc::Sender<()>,
    typed: mpsc::Receiver<Typed>,
}

impl Lines {
    /// The next line.
    pub(super) async fn line(&mut self) -> Typed {
        if self.ask.send(()).await.is_err() {
            return Typed::End;
        }
        self.typed.recv().await.unwrap_or(Typed::End)
    }
}

/// Begins to read, with what was typed in earlier sessions where there is a file for it.
pub(super) fn start(helper: Helper, history: Option<PathBuf>) -> Lines {
    let (ask, mut asked) = mpsc::channel(1);
    let (tell, typed) = mpsc::channel(1);
    thread::spawn(move || {
        let Ok(mut editor) = editor(helper, history.as_ref()) else { return };
        while asked.blocking_recv().is_some() {
            let typed = match editor.readline(PROMPT) {
                Ok(line) => {
                    if let Some(path) = &history {
                        // What cannot be kept is not missed.
                        let _ = editor.append_history(path);
                    }
                    Typed::Line(line)
                }
                Err(ReadlineError::Interrupted) => Typed::Nothing,
                Err(_) => Typed::End,
            };
            if tell.blocking_send(typed).is_err() {
                return;
            }
        }
    });
    Lines { ask, typed }
}

fn editor(helper: Helper, history: Option<&PathBuf>) -> rustyline::Result<Editor<Helper, FileHistory>> {
    let config = Config::builder()
        .auto_add_history(true)
        // What begins with a space is for nobody else.
        .history_ignore_space(true)
        .max_history_size(MOST_HISTORY)?
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(helper));
    if let Some(path) = history {
        if let Some(folder) = path.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let _ = editor.load_history(path);
    }
    Ok(editor)
}

/// Where lines are kept unless somebody says: what belongs to a user's programs, and need not be saved.
pub(super) fn usual_history() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")))?;
    Some(state.join("pb/history"))
}

const PROMPT: &str = "pb> ";
/// Lines that are kept.
const MOST_HISTORY: usize = 1000;
