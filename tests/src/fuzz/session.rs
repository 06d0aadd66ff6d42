//! A hostile peer's messages against a live connection, while the program on this side calls, answers, keeps and drops: two small programs
//! that the input decides. Limits are as small as they can be.

use arbitrary::{Result, Unstructured};
use bytes::{Bytes, BytesMut};
use pb_core::message::{Failure, FailureKind, Grants, Message, Ran, Reply};
use pb_core::proto::{Limits, TableSizes};
use pb_core::wire::frame;

use super::Measure;
use crate::hostile::framed;
use crate::net::{A, B, Call, Ended, Handle, Net};

mod peer;

use peer::Peer;

/// Side A is the peer, of which only the link is used; side B is tested.
pub fn run(input: &[u8], _: Measure) {
    let mut session = Session::new();
    let mut input = Unstructured::new(input);
    for _ in 0..MAX_STEPS {
        if input.is_empty() || session.step(&mut input).is_err() {
            break;
        }
        session.within_limits();
    }
    session.end();
}

struct Session {
    net: Net,
    peer: Peer,
    handles: Vec<Handle>,
    calls: Vec<Call>,
}

impl Session {
    fn new() -> Self {
        let net = Net::strangers(limits(), limits());
        let session = Session { net, peer: Peer::default(), handles: Vec::new(), calls: Vec::new() };
        session.drain();
        let own_hello = session.net.side(A).next_message();
        assert!(matches!(own_hello, Some(Message::Hello(_))));
        session
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match u8::arbitrary_in(input)? {
            0..120 => {
                let message = self.peer.message(input)?;
                self.deliver(&encoded(&message));
            }
            120..140 => {
                let length = input.int_in_range(0..=200)?;
                let content = input.bytes(usize::min(length, input.len()))?.to_vec();
                self.deliver(&framed(&content));
            }
            140..250 => self.act(input)?,
            250..254 => self.drain(),
            _ => self.net.cut(B),
        }
        Ok(())
    }

    /// One frame of the peer's. What is no message is another target's.
    fn deliver(&mut self, frame: &[u8]) {
        let content = frame::split(&mut BytesMut::from(frame), Grants::MINIMUM.frame_bytes);
        let Ok(Some(content)) = content else { return };
        let Ok(decoded) = frame::decode(content) else { return };
        self.net.side(A).put_on_the_wire(frame);
        match self.net.try_deliver(A) {
            Ok(true) => self.peer.sent(&decoded),
            Ok(false) => unreachable!("a frame was put on the wire"),
            Err(violation) => {
                assert!(violation.to_string().len() > 10);
                assert!(self.net.ended(B).is_some(), "a violation ends the connection");
            }
        }
        if self.net.ended(B).is_some() {
            assert_eq!(self.net.sizes(B), TableSizes::default(), "after the end");
        }
    }

    /// The program on this side does something.
    fn act(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match u8::arbitrary_in(input)? % 16 {
            0..5 => self.call(input)?,
            5 => {
                let (on, method, with) = self.target(input)?;
                self.net.cast(B, &on, method, "cast", &with);
            }
            6 | 7 => self.answer(input)?,
            8 => {
                if let Some(call) = chosen(&self.calls, input)?
                    && call.is_reference()
                {
                    self.handles.push(call.promised());
                }
            }
            9 => self.handles.push(Handle::object("own")),
            10 | 11 => {
                if !self.handles.is_empty() {
                    let at = input.choose_index(self.handles.len())?;
                    drop(self.handles.swap_remove(at));
                }
            }
            12 | 13 => {
                if !self.calls.is_empty() {
                    let at = input.choose_index(self.calls.len())?;
                    let call = self.calls.swap_remove(at);
                    if input.ratio(1, 4)? { call.detach() } else { drop(call) }
                }
            }
            14 => {
                let ended = chosen(&self.calls, input)?.and_then(Call::ended);
                self.handles.extend(match ended {
                    Some(Ended::Reference(handle)) => vec![handle],
                    Some(Ended::Value(handles, _) | Ended::App(handles, _)) => handles,
                    _ => Vec::new(),
                });
            }
            _ => self.net.side(B).flush(),
        }
        self.handles.truncate(MAX_HELD);
        self.calls.truncate(MAX_HELD);
        Ok(())
    }

    fn call(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (on, method, with) = self.target(input)?;
        let call = match reply(input)? {
            Reply::Value => self.net.call(B, &on, method, "value", &with),
            Reply::Reference => self.net.refer(B, &on, method, "reference", &with),
        };
        if input.ratio(3, 4)? {
            self.calls.push(call);
        }
        Ok(())
    }

    fn target(&self, input: &mut Unstructured<'_>) -> Result<(Handle, &'static str, Vec<Handle>)> {
        let on = self.handle(input)?;
        let method = *input.choose(&METHODS)?;
        let count = input.int_in_range(0..=2)?;
        let with = (0..count).map(|_| self.handle(input)).collect::<Result<_>>()?;
        Ok((on, method, with))
    }

    fn handle(&self, input: &mut Unstructured<'_>) -> Result<Handle> {
        Ok(match chosen(&self.handles, input)? {
            Some(handle) if input.ratio(3, 4)? => handle.clone(),
            _ => self.net.root(B),
        })
    }

    fn answer(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let side = self.net.side(B);
        if side.waiting_count() == 0 {
            return Ok(());
        }
        let at = input.choose_index(side.waiting_count())?;
        let handle = self.handle(input)?;
        let body = Bytes::from_static(b"answer");
        let ended = match u8::arbitrary_in(input)? % 8 {
            0 | 1 => Ended::Value(Vec::new(), body),
            2 => Ended::Value(vec![handle.clone(), handle], body),
            3 => Ended::App(vec![handle], body),
            4 => Ended::Failed(failure()),
            _ => Ended::Reference(handle),
        };
        // Taken last: where the input ends before, the method still waits.
        let started = side.take_at(at);
        side.answer(started, ended);
        Ok(())
    }

    /// Takes what this side has sent off the wire; the peer knows it by its numbers.
    fn drain(&self) {
        while self.net.side(B).next_message().is_some() {}
    }

    fn within_limits(&self) {
        let (sizes, limits) = (self.net.sizes(B), limits());
        assert!(sizes.imports as u64 <= limits.imports, "{sizes:?}");
        assert!(sizes.exports as u64 <= limits.exports, "{sizes:?}");
        let refused = limits.strikes + 1;
        let running = self.net.running(B);
        assert!(running as u64 <= limits.calls, "{running} of {sizes:?}");
        // Calls that were let in when one more result could be kept may all end with one.
        let settled = (sizes.answers - running) as u64;
        assert!(settled < limits.exports + limits.calls + refused, "{settled} of {sizes:?}");
        assert!(sizes.embargoes <= sizes.calls + MAX_STEPS, "{sizes:?}");
    }

    /// The stream ends: every call has ended, and nothing is left.
    fn end(self) {
        let Session { net, handles, calls, .. } = self;
        net.cut(B);
        assert_eq!(net.sizes(B), TableSizes::default());
        // Casts, and calls within this side, wait here as long as their methods do.
        while net.side(B).waiting_count() > 0 {
            let started = net.side(B).take_at(0);
            net.side(B).answer(started, Ended::Failed(failure()));
        }
        for call in &calls {
            assert!(call.has_ended(), "{call:?} has not ended with the connection");
        }
        drop((handles, calls));
        while net.side(B).next_message().is_some() {}
        net.finish();
    }
}

trait InInput: Sized {
    fn arbitrary_in(input: &mut Unstructured<'_>) -> Result<Self>;
}

impl InInput for u8 {
    /// Fails at the input's end, where `arbitrary` would go on with zeros.
    fn arbitrary_in(input: &mut Unstructured<'_>) -> Result<u8> {
        input.bytes(1).map(|bytes| bytes[0])
    }
}

fn chosen<'a, T>(all: &'a [T], input: &mut Unstructured<'_>) -> Result<Option<&'a T>> {
    if all.is_empty() {
        return Ok(None);
    }
    Ok(all.get(input.choose_index(all.len())?))
}

fn reply(input: &mut Unstructured<'_>) -> Result<Reply> {
    Ok(if input.ratio(1, 2)? { Reply::Reference } else { Reply::Value })
}

fn failure() -> Failure {
    Failure::new(FailureKind::Failed, Ran::Maybe, "made by the fuzzer")
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::encode(message, &mut frame);
    frame
}

/// As small as can be, so that they are met.
fn limits() -> Limits {
    let Grants { frame_bytes, calls, call_bytes, imports, names, exports } = Grants::MINIMUM;
    Limits { frame_bytes, calls, call_bytes, imports, exports, names, strikes: 3, ..Limits::default() }
}

/// The methods of the harness's objects; the last one waits until it is answered.
const METHODS: [&str; 8] = ["say", "echo", "open", "fail", "keep", "kept", "drop", "wait"];
/// Steps of one session, and what the program holds.
const MAX_STEPS: usize = 400;
const MAX_HELD: usize = 32;
