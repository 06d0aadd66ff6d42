//! Random dialogues of two sides. Each is a leak test, and each failing one prints its seed: `PB_SEED=n` runs it alone, `PB_SEEDS=n` runs
//! `n` of them.
//!
//! Every call through a reference that a side holds has that reference's next number in its body: wherever it arrives, it must arrive behind
//! the ones before it.
//!
//! About one dialogue in ten thousand makes a call that waits for itself by way of both sides, which nobody can answer: among the seeds
//! that run here there is none.

use std::collections::HashMap;

use pb_core::proto::Limits;
use pb_tests::hostile::Dice;
use pb_tests::net::{A, B, Call, Ended, Handle, Net, Who};

/// Dialogues of one test, and actions of each.
const SEEDS: u64 = 400;
const ACTIONS: usize = 120;

/// What the program of one side holds.
#[derive(Default)]
struct Program {
    handles: Vec<Numbered>,
    calls: Vec<Call>,
}

/// A reference, with a name of its own and how many calls went through it.
struct Numbered {
    name: u64,
    calls: u64,
    handle: Handle,
}

struct Play {
    net: Net,
    dice: Dice,
    programs: [Program; 2],
    names: u64,
}

impl Play {
    fn new(seed: u64, limits: Limits) -> Self {
        Play {
            net: Net::with_limits(limits, limits),
            dice: Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            programs: Default::default(),
            names: 0,
        }
    }

    fn program(&mut self, who: Who) -> &mut Program {
        &mut self.programs[who as usize]
    }

    fn hold(&mut self, who: Who, handle: Handle) {
        self.names += 1;
        let name = self.names;
        self.program(who).handles.push(Numbered { name, calls: 0, handle });
    }

    /// The peer's root, an object of one's own, or anything that came.
    fn any_handle(&mut self, who: Who) -> Handle {
        match self.dice.below(5) {
            0 => self.net.root(who),
            1 => Handle::object("own"),
            _ => {
                let at = self.dice.roll() as usize;
                let handles = &self.program(who).handles;
                let picked = handles.get(at % handles.len().max(1)).map(|held| held.handle.clone());
                picked.unwrap_or_else(|| self.net.root(who))
            }
        }
    }

    /// What to call, and the body that tells the order.
    fn any_target(&mut self, who: Who) -> (Handle, String) {
        let at = self.dice.roll() as usize;
        let handles = &mut self.program(who).handles;
        let count = handles.len();
        match handles.get_mut(at % count.max(1)).filter(|_| !at.is_multiple_of(4)) {
            Some(held) => {
                held.calls += 1;
                (held.handle.clone(), format!("{}:{}", held.name, held.calls))
            }
            None => (self.net.root(who), String::new()),
        }
    }

    fn act(&mut self) {
        let who = if self.dice.below(2) == 0 { A } else { B };
        match self.dice.below(20) {
            0..5 => self.call(who),
            5..10 => {
                self.net.deliver(who);
            }
            10 => self.net.side(who).flush(),
            11 | 12 => self.answer(who),
            13..16 => self.take_promise(who),
            16 => self.take_result(who),
            17 | 18 => {
                let count = self.program(who).calls.len();
                if count > 0 {
                    let at = self.dice.below(count);
                    let call = self.program(who).calls.swap_remove(at);
                    if self.dice.below(3) == 0 {
                        call.detach();
                    }
                }
            }
            _ => {
                let count = self.program(who).handles.len();
                if count > 0 {
                    let at = self.dice.below(count);
                    self.program(who).handles.swap_remove(at);
                }
            }
        }
    }

    fn call(&mut self, who: Who) {
        const METHODS: [&str; 12] =
            ["say", "say", "say", "echo", "echo", "echo", "open", "fail", "keep", "kept", "drop", "hold"];
        let method = METHODS[self.dice.below(METHODS.len())];
        let (on, body) = self.any_target(who);
        let with: Vec<_> = (0..self.dice.below(3)).map(|_| self.any_handle(who)).collect();
        match self.dice.below(5) {
            0 => self.net.cast(who, &on, method, &body, &with),
            1 => {
                let call = self.net.call(who, &on, method, &body, &with);
                self.program(who).calls.push(call);
            }
            _ => {
                let call = self.net.refer(who, &on, method, &body, &with);
                self.program(who).calls.push(call);
            }
        }
    }

    /// A method that waits ends somehow.
    fn answer(&mut self, who: Who) {
        let waiting = self.net.side(who).waiting_count();
        if waiting == 0 {
            return;
        }
        let started = self.net.side(who).take_at(self.dice.below(waiting));
        let ended = match (self.dice.below(4), started.handles.first().cloned()) {
            (0, _) => Ended::App(started.handles.clone(), "error".into()),
            (1, _) => Ended::Value(started.handles.clone(), "value".into()),
            (2, Some(first)) => Ended::Reference(first),
            _ => Ended::Reference(self.any_handle(who)),
        };
        self.net.side(who).answer(started, ended);
    }

    fn take_promise(&mut self, who: Who) {
        let at = self.dice.roll() as usize;
        let calls = &self.program(who).calls;
        if let Some(call) = calls.get(at % calls.len().max(1)).filter(|call| call.is_reference()) {
            let promise = call.promised();
            self.hold(who, promise);
        }
    }

    fn take_result(&mut self, who: Who) {
        let count = self.program(who).calls.len();
        if count == 0 {
            return;
        }
        let at = self.dice.below(count);
        let call = self.program(who).calls.swap_remove(at);
        match call.ended() {
            Some(Ended::Reference(handle)) => self.hold(who, handle),
            Some(Ended::Value(handles, _) | Ended::App(handles, _)) => {
                handles.into_iter().for_each(|handle| self.hold(who, handle));
            }
            Some(Ended::Failed(_)) => {}
            None => self.program(who).calls.push(call),
        }
    }

    /// Calls through one reference have arrived in the order in which they were made.
    fn assert_order(&self) {
        let mut last = HashMap::new();
        for who in [A, B] {
            for line in self.net.side(who).arrived() {
                let body = line.split_once('(').map_or("", |(_, body)| body.trim_end_matches(')'));
                let Some((name, number)) = body.split_once(':') else { continue };
                let number: u64 = number.parse().expect("a number");
                let before = last.insert((who as usize, name.to_owned()), number).unwrap_or(0);
                assert!(before < number, "{line} came behind {before}\n{}", self.net.dialogue().join("\n"));
            }
        }
    }

    /// Everything ends: methods that wait are answered until none does.
    fn finish(mut self) {
        loop {
            self.net.run();
            let Some(who) = [A, B].into_iter().find(|who| self.net.side(*who).waiting_count() > 0) else {
                break;
            };
            let started = self.net.side(who).take_at(0);
            self.net.side(who).answer(started, Ended::Value(Vec::new(), "end".into()));
        }
        for who in [A, B] {
            for call in &self.programs[who as usize].calls {
                assert!(
                    call.has_ended(),
                    "{call:?} of {who:?} has not ended\n{}",
                    self.net.dialogue().join("\n")
                );
            }
        }
        self.assert_order();
        self.programs = Default::default();
        self.net.finish();
    }

    fn cut(mut self) {
        self.net.cut(A);
        self.net.cut(B);
        for who in [A, B] {
            for call in &self.programs[who as usize].calls {
                assert!(call.has_ended() || self.net.side(who).waiting_count() > 0);
            }
        }
        while let Some(who) = [A, B].into_iter().find(|who| self.net.side(*who).waiting_count() > 0) {
            let started = self.net.side(who).take_at(0);
            self.net.side(who).answer(started, Ended::Value(Vec::new(), "end".into()));
        }
        self.assert_order();
        self.programs = Default::default();
        self.net.finish();
    }
}

fn for_all_seeds(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let seeds = match number("PB_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("PB_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("this was PB_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn random_dialogues_answer_every_call_once_and_leave_empty_tables() {
    for_all_seeds(|seed| {
        let mut play = Play::new(seed, Limits::default());
        (0..ACTIONS).for_each(|_| play.act());
        play.finish();
    });
}

#[test]
fn random_dialogues_that_are_cut_answer_every_call_once_and_leave_empty_tables() {
    for_all_seeds(|seed| {
        let mut play = Play::new(seed, Limits::default());
        (0..ACTIONS).for_each(|_| play.act());
        play.cut();
    });
}

/// A side that keeps to its grants is never punished, however small they are: `deliver` would panic.
#[test]
fn random_dialogues_under_small_grants_never_end_a_connection() {
    let limits = Limits {
        frame_bytes: 4096,
        calls: 16,
        call_bytes: 65_536,
        imports: 16,
        exports: 16,
        names: 16,
        strikes: 0,
        ..Limits::default()
    };
    for_all_seeds(|seed| {
        let mut play = Play::new(seed, limits);
        (0..3 * ACTIONS).for_each(|_| play.act());
        play.finish();
    });
}
