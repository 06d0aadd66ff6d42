use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pb_core::message::line;
use pb_core::wire::frame::{self, Decoded};

/// A network's time, and what was sent and done in it.
pub(super) struct Log {
    start: Instant,
    now: Cell<Instant>,
    events: RefCell<Vec<(Duration, Event)>>,
}

enum Event {
    /// `own`: by the tables, not by the test.
    Sent {
        from: String,
        to: String,
        frame: Bytes,
        own: bool,
    },
    Done(String),
}

impl Log {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        Log { start, now: Cell::new(start), events: RefCell::default() }
    }

    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Time goes on to `now`; never back.
    pub(super) fn pass_to(&self, now: Instant) {
        self.now.set(now.max(self.now.get()));
    }

    pub(super) fn sent(&self, from: &str, to: &str, frame: &Bytes, own: bool) {
        let (from, to, frame) = (from.to_owned(), to.to_owned(), frame.clone());
        self.note(Event::Sent { from, to, frame, own });
    }

    pub(super) fn done(&self, what: String) {
        self.note(Event::Done(what));
    }

    fn note(&self, event: Event) {
        self.events.borrow_mut().push((self.now.get() - self.start, event));
    }

    pub(super) fn clear(&self) {
        self.events.borrow_mut().clear();
    }

    pub(super) fn count(&self, message_type: u8) -> usize {
        let is_one = |(_, event): &&(Duration, Event)| match event {
            Event::Sent { frame, own: true, .. } => content(frame).first() == Some(&message_type),
            _ => false,
        };
        self.events.borrow().iter().filter(is_one).count()
    }

    /// What the tables sent, as `docs/protocol.md` has it.
    pub(super) fn dialogue(&self) -> Vec<String> {
        let line = |(_, event): &(Duration, Event)| match event {
            Event::Sent { from, frame, own: true, .. } => Some(format!("{from}: {}", describe(frame))),
            _ => None,
        };
        self.events.borrow().iter().filter_map(line).collect()
    }

    /// Everything: when, who to whom, what.
    pub(super) fn dump(&self) -> String {
        let mut text = String::new();
        for (at, event) in self.events.borrow().iter() {
            let at = at.as_secs_f64();
            let _ = match event {
                Event::Sent { from, to, frame, own } => {
                    let by = if *own { "" } else { "  (the test's)" };
                    writeln!(text, "{at:9.3}  {from} → {to}  {}{by}", describe(frame))
                }
                Event::Done(what) => writeln!(text, "{at:9.3}  -- {what}"),
            };
        }
        text
    }
}

/// A frame without its length.
pub(super) fn content(frame: &Bytes) -> Bytes {
    let length = frame.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    frame.slice(length.min(frame.len())..)
}

fn describe(frame: &Bytes) -> String {
    match frame::decode(content(frame)) {
        Ok(Decoded::Message(message)) => line(&message),
        Ok(Decoded::Unknown { message_type, caps }) => {
            format!("a message of the unknown type {message_type} with {} capabilities", caps.len())
        }
        Err(malformed) => format!("no message: {malformed}"),
    }
}
