//! The tool in a pseudo-terminal, as somebody sees it who sits there.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::{Read as _, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// A terminal with the tool in it.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    seen: Arc<Mutex<vt100::Parser>>,
    /// How it was before the tool came.
    before: String,
}

impl Terminal {
    /// Starts it with these words, in a terminal of 24 lines of 80 columns.
    pub fn open(words: &[&str], home: &std::path::Path) -> Terminal {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).expect("the system has pseudo-terminals");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_pb"));
        command.args(words);
        command.env("TERM", "xterm-256color");
        command.env("XDG_STATE_HOME", home);
        let before = modes(&*pty.master);
        let child = pty.slave.spawn_command(command).expect("it starts");
        let mut screen = pty.master.try_clone_reader().expect("it is read");
        let keyboard = pty.master.take_writer().expect("it is typed on");
        let some = |count| NonZeroU16::new(count).expect("it is not 0");
        let seen = Arc::new(Mutex::new(vt100::Parser::new(some(24), some(80), 0)));
        let read = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                read.lock().expect("nobody panics").process(&bytes[..count]);
            }
        });
        Terminal { master: pty.master, keyboard, child, seen, before }
    }

    /// What stands there.
    pub fn text(&self) -> String {
        self.seen.lock().expect("nobody panics").screen().contents()
    }

    /// Waits until it says so.
    pub async fn until(&self, says: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if says(&text) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not say so:\n{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it says this.
    pub async fn says(&self, words: &str) -> String {
        self.until(|text| text.contains(words)).await
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).and_then(|()| self.keyboard.flush()).expect("it listens");
    }

    /// The process.
    pub fn process(&self) -> u32 {
        self.child.process_id().expect("it runs")
    }

    /// Its exit status. The terminal is as it was before.
    pub async fn ended(&mut self) -> u32 {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(modes(&*self.master), self.before, "the terminal is another than before");
        let usual = |seen: &Mutex<vt100::Parser>| {
            let seen = seen.lock().expect("nobody panics");
            !seen.screen().alternate_screen() && !seen.screen().hide_cursor()
        };
        while !usual(&self.seen) {
            assert!(begun.elapsed() < PATIENCE, "the screen was not given back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        status.exit_code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether lines are edited, keys echoed and signals made, and all the like.
fn modes(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios())
}

const PATIENCE: Duration = Duration::from_secs(60);
