//! Random dialogues of two sides. Each is a leak test, and each failing one prints its seed: `PB_SEED=n` runs it alone, `PB_SEEDS=n` runs
//! `n` of them.

use pb_core::proto::Limits;
use pb_tests::hostile::Dice;
use pb_tests::net::{A, B, Call, Ended, Handle, Net, Who};

/// Dialogues of one test, and actions of each.
const SEEDS: u64 = 400;
const ACTIONS: usize = 120;

/// What the program of one side holds.
#[derive(Default)]
struct Program {
    handles: Vec<Handle>,
    calls: Vec<Call>,
}

struct Play {
    net: Net,
    dice: Dice,
    programs: [Program; 2],
}

impl Play {
    fn new(seed: u64, limits: Limits) -> Self {
        Play {
            net: Net::with_limits(limits, limits),
            dice: Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            programs: Default::default(),
        }
    }

    fn pick<T>(&mut self, of: &[T]) -> Option<usize> {
        (!of.is_empty()).then(|| self.dice.below(of.len()))
    }

    /// The peer's root, an object of one's own, or anything that came.
    fn any_handle(&mut self, who: Who) -> Handle {
        match self.dice.below(4) {
            0 => self.net.root(who),
            1 => Handle::object("own"),
            _ => {
                let handles = std::mem::take(&mut self.programs[who as usize].handles);
                let picked = self.pick(&handles).map(|at| handles[at].clone());
                self.programs[who as usize].handles = handles;
                picked.unwrap_or_else(|| self.net.root(who))
            }
        }
    }

    fn act(&mut self) {
        let who = if self.dice.below(2) == 0 { A } else { B };
        match self.dice.below(16) {
            0..4 => self.call(who),
            4..9 => {
                self.net.deliver(who);
            }
            9 => self.net.side(who).flush(),
            10 => self.answer(who),
            11 => self.take_promise(who),
            12 => self.take_result(who),
            13 => {
                let calls = std::mem::take(&mut self.programs[who as usize].calls);
                let at = self.pick(&calls);
                self.programs[who as usize].calls = calls;
                if let Some(at) = at {
                    let call = self.programs[who as usize].calls.swap_remove(at);
                    if self.dice.below(3) == 0 {
                        call.detach();
                    }
                }
            }
            _ => {
                let handles = std::mem::take(&mut self.programs[who as usize].handles);
                let at = self.pick(&handles);
                self.programs[who as usize].handles = handles;
                if let Some(at) = at {
                    self.programs[who as usize].handles.swap_remove(at);
                }
            }
        }
    }

    fn call(&mut self, who: Who) {
        const METHODS: [&str; 8] = ["say", "echo", "open", "fail", "keep", "kept", "drop", "hold"];
        let method = METHODS[self.dice.below(METHODS.len())];
        let on = self.any_handle(who);
        let with: Vec<_> = (0..self.dice.below(3)).map(|_| self.any_handle(who)).collect();
        match self.dice.below(5) {
            0 => self.net.cast(who, &on, method, "", &with),
            1 | 2 => {
                let call = self.net.call(who, &on, method, "", &with);
                self.programs[who as usize].calls.push(call);
            }
            _ => {
                let call = self.net.refer(who, &on, method, "", &with);
                self.programs[who as usize].calls.push(call);
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
        let program = &mut self.programs[who as usize];
        if !program.calls.is_empty() {
            let call = &program.calls[self.dice.below(program.calls.len())];
            if call.is_reference() {
                program.handles.push(call.promised());
            }
        }
    }

    fn take_result(&mut self, who: Who) {
        let program = &mut self.programs[who as usize];
        if program.calls.is_empty() {
            return;
        }
        let call = program.calls.swap_remove(self.dice.below(program.calls.len()));
        match call.ended() {
            Some(Ended::Reference(handle)) => program.handles.push(handle),
            Some(Ended::Value(handles, _) | Ended::App(handles, _)) => program.handles.extend(handles),
            Some(Ended::Failed(_)) => {}
            None => program.calls.push(call),
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
    };
    for_all_seeds(|seed| {
        let mut play = Play::new(seed, limits);
        (0..3 * ACTIONS).for_each(|_| play.act());
        play.finish();
    });
}
