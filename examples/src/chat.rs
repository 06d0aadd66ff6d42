//! A chat in lines, for `nc` and `telnet`: each connection is a talker, and who is there is known to their factory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pb_core::reactor::{
    DelayedCall, Factory, LineProtocol, LineReceiver, Lines, Lost, Reactor, Settings, Transport,
};

/// The factory of all talkers: what they share.
pub struct Chat {
    room: Arc<Room>,
}

/// Who is there.
struct Room {
    reactor: Reactor,
    members: Mutex<BTreeMap<String, Transport>>,
}

/// One connection.
pub struct Talker {
    room: Arc<Room>,
    /// Its own name, once it has said it.
    name: Option<String>,
    /// Ends the connection of who says none.
    patience: Option<DelayedCall>,
}

impl Chat {
    /// A chat with nobody in it, on this reactor's time.
    pub fn new(reactor: Reactor) -> Chat {
        Chat { room: Arc::new(Room { reactor, members: Mutex::default() }) }
    }
}

impl Factory for Chat {
    type Protocol = LineReceiver<Talker>;

    fn build_protocol(&self, _: &str) -> Option<LineReceiver<Talker>> {
        let talker = Talker { room: Arc::clone(&self.room), name: None, patience: None };
        Some(LineReceiver::new(talker).any_newline().max_length(LINE_BYTES))
    }

    fn settings(&self) -> Settings {
        // Each is told when all that was said to it has left, and dropped when it does not read.
        Settings::default().high_bytes(0).low_bytes(0).limit_bytes(UNREAD_BYTES)
    }
}

impl Room {
    fn members(&self) -> MutexGuard<'_, BTreeMap<String, Transport>> {
        self.members.lock().expect("nobody panics with it")
    }

    /// Says a line to all. Writing never waits, so the lock can stay: everybody hears everything in the same order.
    fn say(&self, line: &str) {
        for transport in self.members().values() {
            transport.write_sequence(&[line.as_bytes(), b"\r\n"]);
        }
    }
}

impl LineProtocol for Talker {
    fn connection_made(&mut self, lines: &mut Lines<'_>) {
        lines.send_line(b"What is your name?");
        let silent = Transport::clone(lines);
        let patience = move || silent.fail("no name came in a minute");
        self.patience = Some(self.room.reactor.call_later(NAME_TIME, patience));
    }

    fn line_received(&mut self, lines: &mut Lines<'_>, line: &[u8]) {
        let line = shown(line);
        match (&self.name, line.as_str()) {
            (None, name) => self.enter(lines, name),
            (Some(_), "") => {}
            (Some(_), "/quit") => lines.lose_connection(),
            (Some(_), "/who") => {
                let names: Vec<String> = self.room.members().keys().cloned().collect();
                lines.send_line(format!("* {} are here: {}", names.len(), names.join(", ")).as_bytes());
            }
            (Some(name), said) => {
                self.room.say(&format!("{name}: {said}"));
                // Until its own copy has left, it is not listened to: nobody speaks faster than the room hears.
                lines.pause();
            }
        }
    }

    fn resume_producing(&mut self, lines: &mut Lines<'_>) {
        lines.resume();
    }

    fn connection_lost(&mut self, reason: &Lost) {
        if let Some(patience) = &self.patience {
            patience.cancel();
        }
        if let Some(name) = &self.name {
            self.room.members().remove(name);
            self.room.say(&format!("* {name} left: {reason}"));
        }
    }
}

impl Talker {
    fn enter(&mut self, lines: &mut Lines<'_>, name: &str) {
        let name = name.trim();
        let good =
            (1..=NAME_CHARS).contains(&name.chars().count()) && name.chars().all(char::is_alphanumeric);
        if !good {
            let answer = format!("A name has 1 to {NAME_CHARS} letters or digits. What is yours?");
            lines.send_line(answer.as_bytes());
            return;
        }
        {
            let mut members = self.room.members();
            if members.contains_key(name) {
                lines.send_line(b"Somebody here has that name. What is yours?");
                return;
            }
            members.insert(name.to_owned(), Transport::clone(lines));
        }
        self.name = Some(name.to_owned());
        if let Some(patience) = self.patience.take() {
            patience.cancel();
        }
        self.room.say(&format!("* {name} joined"));
    }
}

/// What a terminal is shown of a line: text, in which nothing steers it.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// The longest line.
const LINE_BYTES: usize = 512;
/// The longest name.
const NAME_CHARS: usize = 20;
/// How long a name may take to come.
const NAME_TIME: Duration = Duration::from_secs(60);
/// What may wait for somebody who does not read.
const UNREAD_BYTES: usize = 128 << 10;
