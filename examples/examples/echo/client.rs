use std::sync::{Arc, Mutex};

use pb_core::reactor::{
    ClientFactory, ConnectFailed, Connector, Factory, LineProtocol, LineReceiver, Lines, Lost, Reactor,
};

/// How the talk went: nothing yet, well, or why not.
pub type Outcome = Arc<Mutex<Option<Result<(), String>>>>;

/// Says its lines, prints what comes back, and stops the reactor when it is over.
pub struct Talk {
    reactor: Reactor,
    lines: Vec<String>,
    outcome: Outcome,
}

impl Talk {
    pub fn new(reactor: Reactor, lines: Vec<String>) -> Talk {
        Talk { reactor, lines, outcome: Outcome::default() }
    }

    pub fn outcome(&self) -> Outcome {
        Arc::clone(&self.outcome)
    }

    fn over(&self, outcome: Result<(), String>) {
        self.outcome.lock().expect("nobody panics with it").get_or_insert(outcome);
        self.reactor.stop();
    }
}

impl Factory for Talk {
    type Protocol = LineReceiver<Talker>;

    fn build_protocol(&self, _: &str) -> Option<LineReceiver<Talker>> {
        let talker = Talker { lines: self.lines.clone(), heard: 0, outcome: self.outcome() };
        Some(LineReceiver::new(talker))
    }
}

impl ClientFactory for Talk {
    fn connection_failed(&self, connector: &Connector, reason: &ConnectFailed) {
        self.over(Err(format!("{}: {reason}", connector.address())));
    }

    fn connection_lost(&self, _: &Connector, reason: &Lost) {
        self.over(Err(reason.to_string()));
    }
}

/// One connection of [`Talk`].
pub struct Talker {
    lines: Vec<String>,
    heard: usize,
    outcome: Outcome,
}

impl LineProtocol for Talker {
    fn connection_made(&mut self, lines: &mut Lines<'_>) {
        for line in &self.lines {
            lines.send_line(line.as_bytes());
        }
    }

    fn line_received(&mut self, lines: &mut Lines<'_>, line: &[u8]) {
        println!("receive: {}", String::from_utf8_lossy(line));
        self.heard += 1;
        if self.heard == self.lines.len() {
            *self.outcome.lock().expect("nobody panics with it") = Some(Ok(()));
            lines.lose_connection();
        }
    }
}
