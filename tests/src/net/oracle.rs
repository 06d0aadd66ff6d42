//! An independent small model of the protocol that watches the frames of one connection, and says which rule a message breaks.
//!
//! It keeps no table of what the sides have, only of what each has said and been told: a message is judged when it is sent, by what its
//! sender had read by then. So it finds what a forgiving receiver would let pass.

use bytes::Bytes;
use pb_core::message::{
    Call, Cap, Cast, Disembargo, Grants, Hello, Message, MethodName, Payload, Reject, Rejection, Release,
    Reply, Resolve,
};
use pb_core::wire::frame::{self, Decoded};
use thiserror::Error;

/// One of the two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The end that the network was told first.
    One,
    /// The other one.
    Other,
}

/// Which rule of `docs/protocol.md` a message breaks.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "each says itself what it means")]
pub enum Finding {
    #[error("the frame is no message")]
    NoMessage,
    #[error("a frame of {bytes} bytes was sent; {granted} are granted")]
    FrameTooLong { bytes: usize, granted: u64 },
    #[error("something was sent before the hello")]
    BeforeHello,
    #[error("a second hello was sent")]
    SecondHello,
    #[error("something was sent behind the end of the connection")]
    BehindTheEnd,
    #[error("call {id} does not take the next id, {next}")]
    ResultNotNext { id: i64, next: i64 },
    #[error("object {id} is mentioned, the next new one is {next}")]
    ObjectNotNext { id: i64, next: i64 },
    #[error("object {id} is mentioned again, though its last mention was released")]
    ObjectReused { id: i64 },
    #[error("id {id} was never given")]
    NeverGiven { id: i64 },
    #[error("result {id} is a value and cannot be named")]
    NotAReference { id: i64 },
    #[error("result {id} is named behind its last word")]
    BehindTheLastWord { id: i64 },
    #[error("result {id} is named, though its answer was read")]
    Settled { id: i64 },
    #[error("object {id} is named, though all its mentions were given back")]
    GivenBack { id: i64 },
    #[error("{released} mentions of {id} are released, {held} are held")]
    ReleasedTooMany { id: i64, released: u64, held: u64 },
    #[error("result {id} is released before its answer was read, or its echo")]
    ReleasedTooEarly { id: i64 },
    #[error("result {id} is cancelled, though its answer was read")]
    CancelledTooLate { id: i64 },
    #[error("call {id} is answered, which never came")]
    AnswerNotAsked { id: i64 },
    #[error("call {id} is answered twice")]
    AnsweredTwice { id: i64 },
    #[error("call {id} asks for a reference, its answer is something else")]
    NotOneReference { id: i64 },
    #[error("object {id} is broken, which the peer does not hold")]
    BrokenUnheld { id: i64 },
    #[error("object {id} is broken twice")]
    BrokenTwice { id: i64 },
    #[error("one more call than the {granted} granted")]
    TooManyCalls { granted: u64 },
    #[error("calls of {bytes} bytes wait for answers, {granted} are granted")]
    TooManyCallBytes { bytes: u64, granted: u64 },
    #[error("{held} objects and results are held, {granted} are granted")]
    TooManyHeld { held: u64, granted: u64 },
    #[error("{held} objects are exported, {granted} are granted")]
    TooManyExported { held: u64, granted: u64 },
    #[error("one more method's name than the {granted} granted")]
    TooManyNames { granted: u64 },
    #[error("method {number} is not defined, {defined} are")]
    UndefinedMethod { number: u32, defined: u64 },
    #[error("a question about an embargo has number {number}, the next is {next}")]
    AskNotNext { number: u64, next: u64 },
    #[error("an embargo is asked about {id}, which is no settled reference that came home")]
    NotHome { id: i64 },
    #[error("embargo {number} is echoed, which was not asked, or was echoed before")]
    EchoNotAsked { number: u64 },
    #[error("a pong of {nonce} that answers no ping")]
    PongNotAsked { nonce: u64 },
    #[error("{feature} was sent, which the peer does not offer")]
    NotOffered { feature: &'static str },
    #[error("goaway names call {last} as the last that runs, it is {expected}")]
    NotTheLast { last: i64, expected: i64 },
    #[error("something is called on the root of a side that leaves")]
    CallsWhoLeaves,
    #[error("call {id} on the root has a result, though call {last} was to be the last that runs")]
    RanAfterGoaway { id: i64, last: i64 },
    #[error("unimplemented was sent, but no unknown message came")]
    NothingUnknown,
    #[error("at the end {count} {what}")]
    DoesNotAddUp { count: usize, what: &'static str },
}

/// Watches one connection.
#[derive(Default)]
pub struct Oracle {
    ends: [Side; 2],
    /// Something that was sent never arrives: at the end nothing needs to add up.
    lost: bool,
}

impl Oracle {
    /// Judges a frame, without its length, that `from` sends.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn sent(&mut self, from: End, content: Bytes) -> Result<(), Finding> {
        let side = &mut self.ends[from as usize];
        if side.stands_back {
            return Ok(());
        }
        let bytes = content.len();
        let Ok(Decoded::Message(message)) = frame::decode(content) else { return Err(Finding::NoMessage) };
        side.judge(&message)?;
        // Whoever grants less is told so in a frame of this length.
        let granted = side.granted.frame_bytes.max(Grants::MINIMUM.frame_bytes);
        if bytes as u64 > granted {
            return Err(Finding::FrameTooLong { bytes, granted });
        }
        Ok(())
    }

    /// Notes that `by` reads a frame, without its length.
    pub fn received(&mut self, by: End, content: Bytes) {
        match frame::decode(content) {
            Ok(Decoded::Message(message)) => self.ends[by as usize].learn(&message),
            Ok(Decoded::Unknown { caps, .. }) => {
                let side = &mut self.ends[by as usize];
                side.learn_caps(&caps);
                side.unknown += 1;
            }
            Err(_) => {}
        }
    }

    /// From here on a test sends for `from` what it likes.
    pub fn stand_back(&mut self, from: End) {
        self.ends[from as usize].stands_back = true;
    }

    /// Something that was sent never arrives.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// `side` has learned that the connection has ended.
    pub fn ended(&mut self, side: End) {
        self.ends[side as usize].ended = true;
    }

    /// Judges what is left of `side`'s part, once everything was released and has arrived. Of a connection that has ended, or of which the test
    /// sent or lost a part, nothing needs to add up.
    ///
    /// # Errors
    /// What does not add up.
    pub fn adds_up(&self, side: End) -> Result<(), Finding> {
        if self.lost || self.ends.iter().any(|end| end.ended || end.said_abort || end.stands_back) {
            return Ok(());
        }
        self.ends[side as usize].adds_up()
    }
}

/// What one side has said and read.
struct Side {
    stands_back: bool,
    said_hello: bool,
    said_abort: bool,
    ended: bool,
    /// What the other side grants, and which features it offers; the minimum until its hello was read.
    granted: Grants,
    offered: u64,
    /// Its own calls: 1 first.
    asked: Vec<Asked>,
    unanswered: u64,
    unanswered_bytes: u64,
    /// Reference calls without an answer, or answered and without a last word.
    open_references: u64,
    /// The other side's calls: 1 first.
    owed: Vec<Owed>,
    /// Mentions of its own objects that have not come back: −1 first.
    exported: Vec<Exported>,
    root_broken: bool,
    exported_open: u64,
    /// Mentions of the other side's objects that it has not given back: −1 first.
    held: Vec<u64>,
    held_open: u64,
    defined: u64,
    /// Its own questions about embargoes: how many, and those without an echo, with the result each is about.
    last_ask: u64,
    asks: Vec<(u64, i64)>,
    /// The other side's, without an echo.
    to_echo: Vec<u64>,
    to_pong: Vec<u64>,
    unknown: u64,
    /// The last call of the other side's that had come when this side said that it leaves.
    leaves_after: Option<i64>,
    /// The other side has said that it leaves.
    peer_leaves: bool,
}

struct Asked {
    reply: Reply,
    bytes: u64,
    answer: Option<Answer>,
    /// Released, or cancelled.
    last_word: bool,
    embargo: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Home,
    Other,
}

struct Owed {
    reply: Reply,
    on_root: bool,
    answered: bool,
}

#[derive(Default)]
struct Exported {
    mentions: u64,
    broken: bool,
}

impl Default for Side {
    fn default() -> Self {
        Side {
            stands_back: false,
            said_hello: false,
            said_abort: false,
            ended: false,
            granted: Grants::MINIMUM,
            offered: 0,
            asked: Vec::new(),
            unanswered: 0,
            unanswered_bytes: 0,
            open_references: 0,
            owed: Vec::new(),
            exported: Vec::new(),
            root_broken: false,
            exported_open: 0,
            held: Vec::new(),
            held_open: 0,
            defined: 0,
            last_ask: 0,
            asks: Vec::new(),
            to_echo: Vec::new(),
            to_pong: Vec::new(),
            unknown: 0,
            leaves_after: None,
            peer_leaves: false,
        }
    }
}

/// What is sent.
impl Side {
    fn judge(&mut self, message: &Message) -> Result<(), Finding> {
        if self.said_abort || self.ended {
            return Err(Finding::BehindTheEnd);
        }
        if !self.said_hello && !matches!(message, Message::Hello(_) | Message::Abort(_)) {
            return Err(Finding::BeforeHello);
        }
        match message {
            Message::Hello(_) if self.said_hello => return Err(Finding::SecondHello),
            Message::Hello(_) => self.said_hello = true,
            Message::Call(call) => self.judge_call(call)?,
            Message::Cast(Cast { target, method, payload, .. }) => {
                self.judge_root(target.0)?;
                self.judge_method(method)?;
                self.judge_name(target.0)?;
                self.judge_caps(payload)?;
            }
            Message::Resolve(resolve) => self.judge_resolve(resolve)?,
            Message::Reject(reject) => self.judge_reject(reject)?,
            Message::Release(release) => self.judge_release(release)?,
            Message::Cancel(cancel) => self.judge_cancel(cancel.result.0)?,
            Message::Disembargo(Disembargo::Ask { target, number }) => self.judge_ask(target.0, *number)?,
            Message::Disembargo(Disembargo::Echo { number }) => {
                take(&mut self.to_echo, number).ok_or(Finding::EchoNotAsked { number: *number })?;
            }
            Message::Pong(ping) => {
                take(&mut self.to_pong, &ping.nonce).ok_or(Finding::PongNotAsked { nonce: ping.nonce })?;
            }
            Message::Credit(_) => self.judge_feature(CREDIT, "credit")?,
            Message::Goaway(goaway) => self.judge_goaway(goaway.last.0)?,
            Message::Unimplemented(_) => {
                self.unknown = self.unknown.checked_sub(1).ok_or(Finding::NothingUnknown)?;
            }
            Message::Abort(_) => self.said_abort = true,
            Message::Ping(_) => {}
        }
        Ok(())
    }

    fn judge_feature(&self, bit: u64, feature: &'static str) -> Result<(), Finding> {
        if self.offered & bit == 0 { Err(Finding::NotOffered { feature }) } else { Ok(()) }
    }

    fn judge_goaway(&mut self, last: i64) -> Result<(), Finding> {
        self.judge_feature(DRAIN, "goaway")?;
        let expected = *self.leaves_after.get_or_insert(self.owed.len() as i64);
        if last == expected { Ok(()) } else { Err(Finding::NotTheLast { last, expected }) }
    }

    fn judge_root(&self, target: i64) -> Result<(), Finding> {
        if target == 0 && self.peer_leaves { Err(Finding::CallsWhoLeaves) } else { Ok(()) }
    }

    fn judge_call(&mut self, call: &Call) -> Result<(), Finding> {
        self.judge_root(call.target.0)?;
        let next = self.asked.len() as i64 + 1;
        if call.result.0 != next {
            return Err(Finding::ResultNotNext { id: call.result.0, next });
        }
        self.judge_method(&call.method)?;
        self.judge_name(call.target.0)?;
        let bytes = call.payload.body.len() as u64;
        if self.unanswered >= self.granted.calls {
            return Err(Finding::TooManyCalls { granted: self.granted.calls });
        }
        if self.unanswered_bytes + bytes > self.granted.call_bytes {
            let bytes = self.unanswered_bytes + bytes;
            return Err(Finding::TooManyCallBytes { bytes, granted: self.granted.call_bytes });
        }
        if call.reply == Reply::Reference {
            self.open_references += 1;
            let held = self.open_references + self.held_open;
            if held > self.granted.exports {
                return Err(Finding::TooManyHeld { held, granted: self.granted.exports });
            }
        }
        self.judge_caps(&call.payload)?;
        self.unanswered += 1;
        self.unanswered_bytes += bytes;
        self.asked.push(Asked { reply: call.reply, bytes, answer: None, last_word: false, embargo: false });
        Ok(())
    }

    fn judge_method(&mut self, method: &MethodName) -> Result<(), Finding> {
        match method {
            MethodName::Known(number) if *number == 0 || u64::from(*number) > self.defined => {
                Err(Finding::UndefinedMethod { number: *number, defined: self.defined })
            }
            MethodName::Defined(_) if self.defined >= self.granted.names => {
                Err(Finding::TooManyNames { granted: self.granted.names })
            }
            MethodName::Defined(_) => {
                self.defined += 1;
                Ok(())
            }
            MethodName::Known(_) | MethodName::Once(_) => Ok(()),
        }
    }

    /// Whether the sender may name something of the other side's.
    fn judge_name(&self, id: i64) -> Result<(), Finding> {
        match id {
            0 => Ok(()),
            1.. => {
                let asked = at(&self.asked, id).ok_or(Finding::NeverGiven { id })?;
                if asked.reply == Reply::Value {
                    Err(Finding::NotAReference { id })
                } else if asked.last_word {
                    Err(Finding::BehindTheLastWord { id })
                } else if asked.answer.is_some() {
                    Err(Finding::Settled { id })
                } else {
                    Ok(())
                }
            }
            _ => match at(&self.held, id) {
                None => Err(Finding::NeverGiven { id }),
                Some(0) => Err(Finding::GivenBack { id }),
                Some(_) => Ok(()),
            },
        }
    }

    fn judge_caps(&mut self, payload: &Payload) -> Result<(), Finding> {
        for cap in &payload.caps {
            match cap {
                Cap::Yours(id) => self.judge_name(id.0)?,
                Cap::Mine(id) => self.judge_mention(id.0)?,
                Cap::MyPromise(id) => {
                    self.judge_feature(PROMISES, "a promise as capability")?;
                    self.judge_mention(id.0)?;
                }
            }
        }
        Ok(())
    }

    fn judge_mention(&mut self, id: i64) -> Result<(), Finding> {
        let next = -1 - self.exported.len() as i64;
        if id == next {
            self.exported.push(Exported { mentions: 1, broken: false });
            self.exported_open += 1;
            let (held, granted) = (self.exported_open, self.granted.imports);
            return if held > granted { Err(Finding::TooManyExported { held, granted }) } else { Ok(()) };
        }
        match at_mut(&mut self.exported, id).filter(|_| id < 0) {
            None => Err(Finding::ObjectNotNext { id, next }),
            Some(Exported { mentions: 0, .. }) => Err(Finding::ObjectReused { id }),
            Some(exported) => {
                exported.mentions += 1;
                Ok(())
            }
        }
    }

    fn judge_resolve(&mut self, resolve: &Resolve) -> Result<(), Finding> {
        let id = resolve.export.0;
        if id <= 0 {
            return self.judge_feature(PROMISES, "a resolve of a promise");
        }
        if let Some(last) = self.leaves_after.filter(|last| id > *last)
            && at(&self.owed, id).is_some_and(|owed| owed.on_root)
        {
            return Err(Finding::RanAfterGoaway { id, last });
        }
        let reply = self.judge_answer(id)?;
        let Payload { caps, body } = &resolve.payload;
        if reply == Reply::Reference && (caps.len() != 1 || !body.is_empty()) {
            return Err(Finding::NotOneReference { id });
        }
        self.judge_caps(&resolve.payload)
    }

    fn judge_answer(&mut self, id: i64) -> Result<Reply, Finding> {
        let owed = at_mut(&mut self.owed, id).ok_or(Finding::AnswerNotAsked { id })?;
        if std::mem::replace(&mut owed.answered, true) {
            return Err(Finding::AnsweredTwice { id });
        }
        Ok(owed.reply)
    }

    fn judge_reject(&mut self, reject: &Reject) -> Result<(), Finding> {
        let id = reject.export.0;
        if id > 0 {
            self.judge_answer(id)?;
        } else if id == 0 {
            if std::mem::replace(&mut self.root_broken, true) {
                return Err(Finding::BrokenTwice { id });
            }
        } else {
            let exported = at_mut(&mut self.exported, id).filter(|exported| exported.mentions > 0);
            let exported = exported.filter(|_| id < 0).ok_or(Finding::BrokenUnheld { id })?;
            if std::mem::replace(&mut exported.broken, true) {
                return Err(Finding::BrokenTwice { id });
            }
        }
        match &reject.rejection {
            Rejection::App(payload) => self.judge_caps(payload),
            Rejection::Broker(_) => Ok(()),
        }
    }

    fn judge_release(&mut self, release: &Release) -> Result<(), Finding> {
        for (id, released) in &release.mentions {
            let (id, released) = (id.0, *released);
            if id > 0 {
                self.judge_last_word(id, released)?;
                continue;
            }
            let held = at_mut(&mut self.held, id).filter(|_| id < 0).ok_or(Finding::NeverGiven { id })?;
            if released == 0 || released > *held {
                return Err(Finding::ReleasedTooMany { id, released, held: *held });
            }
            *held -= released;
            self.held_open -= u64::from(*held == 0);
        }
        Ok(())
    }

    fn judge_last_word(&mut self, id: i64, released: u64) -> Result<(), Finding> {
        let asked = at_mut(&mut self.asked, id).ok_or(Finding::NeverGiven { id })?;
        if asked.reply == Reply::Value {
            return Err(Finding::NotAReference { id });
        }
        if asked.last_word {
            return Err(Finding::BehindTheLastWord { id });
        }
        if asked.answer.is_none() || asked.embargo {
            return Err(Finding::ReleasedTooEarly { id });
        }
        if released != 1 {
            return Err(Finding::ReleasedTooMany { id, released, held: 1 });
        }
        asked.last_word = true;
        self.open_references -= 1;
        Ok(())
    }

    fn judge_cancel(&mut self, id: i64) -> Result<(), Finding> {
        let asked = at_mut(&mut self.asked, id).filter(|_| id > 0).ok_or(Finding::NeverGiven { id })?;
        if asked.last_word {
            return Err(Finding::BehindTheLastWord { id });
        }
        if asked.answer.is_some() {
            return Err(Finding::CancelledTooLate { id });
        }
        asked.last_word = true;
        Ok(())
    }

    fn judge_ask(&mut self, id: i64, number: u64) -> Result<(), Finding> {
        let next = self.last_ask + 1;
        if number != next {
            return Err(Finding::AskNotNext { number, next });
        }
        let asked = at_mut(&mut self.asked, id).filter(|_| id > 0).ok_or(Finding::NeverGiven { id })?;
        if asked.last_word {
            return Err(Finding::BehindTheLastWord { id });
        }
        if asked.reply == Reply::Value || asked.answer != Some(Answer::Home) || asked.embargo {
            return Err(Finding::NotHome { id });
        }
        asked.embargo = true;
        self.last_ask = next;
        self.asks.push((number, id));
        Ok(())
    }

    fn adds_up(&self) -> Result<(), Finding> {
        let check = |count: usize, what| {
            if count == 0 { Ok(()) } else { Err(Finding::DoesNotAddUp { count, what }) }
        };
        let unsaid = |asked: &&Asked| asked.reply == Reply::Reference && !asked.last_word;
        check(self.asked.iter().filter(|asked| asked.answer.is_none()).count(), "calls have no answer")?;
        check(self.asked.iter().filter(unsaid).count(), "results have no last word")?;
        check(self.exported_open as usize, "objects were not released by the peer")?;
        check(self.held_open as usize, "objects of the peer's were not released")?;
        check(self.asks.len(), "questions about embargoes have no echo")?;
        check(self.to_echo.len(), "embargoes were not echoed")?;
        check(self.to_pong.len(), "pings have no pong")
    }
}

/// What is read. What breaks a rule is the sender's fault, and is passed over.
impl Side {
    fn learn(&mut self, message: &Message) {
        match message {
            Message::Hello(Hello { features, grants, .. }) => {
                self.offered = *features;
                self.granted = *grants;
            }
            Message::Call(Call { target, result, reply, payload, .. }) => {
                if result.0 == self.owed.len() as i64 + 1 {
                    self.owed.push(Owed { reply: *reply, on_root: target.0 == 0, answered: false });
                }
                self.learn_caps(&payload.caps);
            }
            Message::Cast(Cast { payload, .. }) => self.learn_caps(&payload.caps),
            Message::Resolve(Resolve { export, payload }) => {
                self.learn_answer(export.0, &payload.caps, true);
                self.learn_caps(&payload.caps);
            }
            Message::Reject(Reject { export, rejection }) => {
                self.learn_answer(export.0, &[], false);
                if let Rejection::App(payload) = rejection {
                    self.learn_caps(&payload.caps);
                }
            }
            Message::Release(release) => release.mentions.iter().for_each(|(id, count)| {
                self.learn_release(id.0, *count);
            }),
            Message::Disembargo(Disembargo::Ask { number, .. }) => self.to_echo.push(*number),
            Message::Disembargo(Disembargo::Echo { number }) => self.learn_echo(*number),
            Message::Ping(ping) => self.to_pong.push(ping.nonce),
            Message::Abort(_) => self.ended = true,
            Message::Cancel(_) | Message::Pong(_) | Message::Credit(_) | Message::Unimplemented(_) => {}
            Message::Goaway(_) => self.peer_leaves = true,
        }
    }

    fn learn_caps(&mut self, caps: &[Cap]) {
        for cap in caps {
            let (Cap::Mine(id) | Cap::MyPromise(id)) = cap else { continue };
            if id.0 == -1 - self.held.len() as i64 {
                self.held.push(0);
            }
            if let Some(held) = at_mut(&mut self.held, id.0).filter(|_| id.0 < 0) {
                *held += 1;
                self.held_open += u64::from(*held == 1);
            }
        }
    }

    fn learn_answer(&mut self, id: i64, caps: &[Cap], resolved: bool) {
        let Some(asked) = at_mut(&mut self.asked, id).filter(|asked| id > 0 && asked.answer.is_none()) else {
            return;
        };
        let home = resolved && matches!(caps, [Cap::Yours(_)]);
        asked.answer = Some(if home { Answer::Home } else { Answer::Other });
        self.unanswered -= 1;
        self.unanswered_bytes -= asked.bytes;
        if asked.last_word && asked.reply == Reply::Reference {
            self.open_references -= 1;
        }
    }

    fn learn_release(&mut self, id: i64, count: u64) {
        let Some(exported) = at_mut(&mut self.exported, id).filter(|_| id < 0) else { return };
        let before = exported.mentions;
        exported.mentions = before.saturating_sub(count);
        self.exported_open -= u64::from(before > 0 && exported.mentions == 0);
    }

    fn learn_echo(&mut self, number: u64) {
        let Some(at) = self.asks.iter().position(|(asked, _)| *asked == number) else { return };
        let (_, id) = self.asks.swap_remove(at);
        if let Some(asked) = at_mut(&mut self.asked, id) {
            asked.embargo = false;
        }
    }
}

/// The entry of an id, whose sign the caller knows.
fn at<T>(entries: &[T], id: i64) -> Option<&T> {
    entries.get((id.unsigned_abs() as usize).checked_sub(1)?)
}

fn at_mut<T>(entries: &mut [T], id: i64) -> Option<&mut T> {
    entries.get_mut((id.unsigned_abs() as usize).checked_sub(1)?)
}

fn take<T: PartialEq>(among: &mut Vec<T>, wanted: &T) -> Option<T> {
    let at = among.iter().position(|one| one == wanted)?;
    Some(among.remove(at))
}

const PROMISES: u64 = 1;
const CREDIT: u64 = 2;
const DRAIN: u64 = 4;
