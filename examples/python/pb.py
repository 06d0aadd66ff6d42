"""A peer of the broker in one thread, written from docs/protocol.md alone: sections are those of the page.

It calls, pipelines, takes references and gives back what it received, and serves objects of its own while it waits. A
program that does nothing for long calls `turn` or `ping` now and then: a silent peer counts as dead after 30 s.
It traces no types: prints are never sent, bodies are read by shapes (`bodies.py`). What a method of its own is given
belongs to that method, which releases it. It answers with no reference of the caller's: so it passes no calls back.
"""
import socket
from collections import namedtuple

from bodies import REF, UNIT, Reader, text, uint, zigzag

(HELLO, CALL, CAST, RESOLVE, REJECT, RELEASE, CANCEL, DISEMBARGO, CREDIT, UNIMPLEMENTED, PING, PONG, GOAWAY,
 ABORT) = range(1, 15)
REFERENCE, LIMIT, DEADLINE, HOPS, METADATA, ONCE = 1, 2, 4, 8, 16, 32  # The flags of a call.
MINE, _, YOURS = range(3)  # The kinds of a capability.
MINIMA = dict(enumerate((4096, 16, 65536, 16, 16, 16)))  # Grants by key, until the other side's hello (section 1).
OURS = dict(enumerate((1 << 20, 64, 1 << 20, 1024, 256, 1024)))
FRAME_BYTES, CALLS, NAMES = 0, 1, 4
DRAIN = 4  # The feature that this peer has: it understands `goaway`.
KINDS = ("Failed Unimplemented Incompatible Overloaded Disconnected Cancelled DeadlineExceeded Refused Broken "
         "Protocol Internal").split()
RAN = "no maybe yes".split()

# `arguments` is a Tuple, `error` the shape of the method's own error, if it has one. Where `result` is REF itself, and
# not something that holds references, the call asks for a reference (section 7), which can be called at once.
Method = namedtuple("Method", "name arguments result error", defaults=(UNIT, UNIT, None))
Call = namedtuple("Call", "flags target result name counts refs body")


class Failure(Exception):
    """A call that the broker failed (section 11). `cause` is a Failure, the bytes of a method's error, or None."""

    def __init__(self, kind, ran, message, details=None, cause=None):
        super().__init__(f"{kind}, ran: {ran}: {message}")
        self.kind, self.ran, self.message, self.details, self.cause = kind, ran, message, details or {}, cause


class AppError(Exception):
    """A method's own error, with its value."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


class Violation(Exception):
    """The peer did what it must not (section 14)."""


class Remote:
    """An object of the peer's."""

    def __init__(self, peer, export):
        self.peer, self.id, self.mentions, self.broken = peer, export, 0, None

    def call(self, method, *values):
        """Sends a call, and returns the promise of its result."""
        return self.peer.call(self, method, values)

    def settled(self):
        return self

    def release(self):
        """Gives back every mention that came (section 8)."""
        self.peer.give_back(self.id, self.mentions)
        self.peer.imports.pop(self.id, None)
        self.broken = Failure("Broken", "no", "the reference was released")


class Promise(Remote):
    """The result of a call. Where that is a reference it may be called and passed before it is known (section 7)."""

    def __init__(self, peer, result, method):
        super().__init__(peer, result)
        self.method, self.wanted, self.piped, self.done, self.value, self.error = method, True, False, False, None, None

    def wait(self):
        """The result, or the exception that the call ended with. Serves the peer meanwhile."""
        while not self.done:
            self.peer.turn()
        if self.error:
            raise self.error
        return self.value

    def settled(self):
        """Where it leads, as far as that is known."""
        if self.method.result is not REF:
            raise TypeError(f"{self.method.name} gives a value, which is no reference")
        if self.error:
            raise Failure("Broken", "no", "the promise is broken", cause=self.error)
        return self.value if self.done else self

    def cancel(self):
        """Stops the call: the last word on its result, whose answer will still come."""
        if self.wanted and not self.done:
            self.wanted = False
            self.peer.send(CANCEL, uint(zigzag(self.id)))

    def end(self, value=None, error=None):
        self.done, self.value, self.error = True, value, error


class Peer:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port))
        self.input, self.greeted, self.granted, self.ended, self.pongs = bytearray(), False, dict(MINIMA), None, 0
        self.leaving = None  # Why the peer leaves, once it does (section 13.1).
        self.calls, self.last_call, self.sent_names = {}, 0, {}  # Our calls without an answer, by id; our names.
        self.imports, self.exports, self.last_export = {}, {}, 0  # Objects: id to Remote, and to [object, mentions].
        self.answers, self.last_answer, self.names = {}, 0, []  # Reference results of the peer's calls; its names.
        self.releases, self.embargoes, self.last_embargo, self.root = {}, {}, 0, Remote(self, 0)
        self.socket.sendall(b"\x89PB\n")
        grants = b"".join(uint(key) + uint(value) for key, value in OURS.items())
        self.send(HELLO, uint(1) + uint(1) + uint(DRAIN) + uint(len(OURS)) + grants)

    def tables(self):
        """How many entries are open: 0 each where nothing is held and nothing in flight."""
        return [len(table) for table in (self.calls, self.imports, self.exports, self.answers, self.embargoes)]

    # ---- What we send.

    def send(self, kind, fields, body=b"", caps=b"\0"):
        content = bytes([kind]) + caps + fields + body
        self.socket.sendall(uint(len(content)) + content)

    def call(self, target, method, values):
        target, refs = target.settled(), []
        if not isinstance(target, Remote):
            raise TypeError("the promise came home: call the object itself")
        if target.broken:
            raise target.broken
        if target is self.root and self.leaving is not None:
            raise Failure("Disconnected", "no", f"the peer is leaving: {self.leaving}")
        body = method.arguments.write(values, refs)
        refs = [ref.settled() if isinstance(ref, Remote) else ref for ref in refs]
        if len(self.calls) >= self.granted[CALLS] or 512 + len(body) + 10 * len(refs) > self.granted[FRAME_BYTES]:
            raise Failure("Overloaded", "no", "the peer grants no more than that")
        caps, self.last_call = self.mention(refs), self.last_call + 1
        flags, number = REFERENCE if method.result is REF else 0, self.sent_names.get(method.name)
        name = uint(number or 0)
        if number is None:
            name += text(method.name) + uint(0) + uint(0)  # Without prints nothing is compared (section 10).
            if len(self.sent_names) < self.granted[NAMES]:
                self.sent_names[method.name] = len(self.sent_names) + 1
            else:
                flags |= ONCE
        if isinstance(target, Promise):
            target.piped = True
        promise = self.calls[self.last_call] = Promise(self, self.last_call, method)
        self.send(CALL, bytes([flags]) + uint(zigzag(target.id)) + uint(promise.id) + name, body, caps)
        return promise

    def mention(self, refs):
        """A capability table: what is the peer's is named by its id, ours gets one or another mention (section 6)."""
        caps = uint(len(refs))
        for ref in refs:
            if isinstance(ref, Remote):
                caps += uint(zigzag(ref.id) << 2 | YOURS)
                continue
            export = next((one for one, entry in self.exports.items() if entry[0] is ref), None)
            if export is None:
                self.last_export = export = self.last_export - 1
                self.exports[export] = [ref, 0]
            self.exports[export][1] += 1
            caps += uint(zigzag(export) << 2 | MINE)
        return caps

    def give_back(self, import_id, count):
        if count:
            self.releases[import_id] = self.releases.get(import_id, 0) + count

    def flush(self):
        """Sends the releases that have collected, at most 1,024 in a message."""
        entries, self.releases = list(self.releases.items()), {}
        for at in range(0, len(entries), 1024):
            some = entries[at:at + 1024]
            self.send(RELEASE, uint(len(some)) + b"".join(uint(zigzag(one)) + uint(count) for one, count in some))

    def ping(self, nonce=1):
        """Waits until the peer has read all that was sent before."""
        self.flush()
        self.send(PING, uint(nonce))
        before = self.pongs
        while self.pongs == before:
            self.turn()

    def close(self, code=0, reason="closing"):
        if not self.ended:
            self.flush()
            self.send(ABORT, uint(code) + text(reason[:250]))
            self.end(reason)

    def end(self, reason):
        self.ended = Failure("Disconnected", "maybe", reason)
        self.socket.close()
        asked = [*self.calls.values(), *(promise for promise, _ in self.embargoes.values())]
        for one in [self.root, *self.imports.values(), *asked]:
            one.broken = self.ended
            if isinstance(one, Promise) and not one.done:
                one.end(error=self.ended)
        for table in (self.calls, self.imports, self.exports, self.answers, self.releases, self.embargoes):
            table.clear()

    # ---- What we read.

    def turn(self):
        """Reads one message and does what it asks for."""
        if self.ended:
            raise self.ended
        self.flush()
        try:
            content = self.frame()
            if content is None:
                return self.end("the stream has ended")
            self.handle(Reader(content))
        except (ValueError, IndexError) as error:
            self.close(2, f"malformed: {error}")
        except Violation as error:
            self.close(3, str(error))

    def frame(self):
        """The next message without its length; None at the end of the stream."""
        while True:
            if not self.greeted and len(self.input) >= 4:
                if self.input[:4] != b"\x89PB\n":
                    raise ValueError("the peer does not speak this protocol")
                self.greeted = True
                del self.input[:4]
            if self.greeted and any(byte < 128 for byte in self.input[:10]):
                r = Reader(bytes(self.input[:10]))
                length = r.uint()
                if not 2 <= length <= OURS[FRAME_BYTES]:
                    raise ValueError(f"a message of {length} bytes")
                if len(self.input) >= r.at + length:
                    content = bytes(self.input[r.at:r.at + length])
                    del self.input[:r.at + length]
                    return content
            got = self.socket.recv(1 << 16)
            if not got:
                return None
            self.input += got

    def handle(self, r):
        kind, count = r.byte(), r.uint()
        if count > 1024:
            raise ValueError(f"{count} capabilities")
        refs = [self.take_in(r.uint()) for _ in range(count)]
        if kind in (CALL, CAST):
            self.on_call(r, kind, refs)
        elif kind in (RESOLVE, REJECT):
            self.on_answer(r, kind, refs)
        elif kind == HELLO:
            lowest, highest, _features = r.uint(), r.uint(), r.uint()
            self.granted.update([(r.uint(), r.uint()) for _ in range(r.uint())])
            if not lowest <= 1 <= highest:
                self.close(1, "no common version")
        elif kind == RELEASE:
            for _ in range(r.uint()):
                self.on_release(r.id(), r.uint())
        elif kind == CANCEL:  # Methods here end before anything else is read: it is the release of the result, or late.
            self.answers.pop(r.id(), None)
        elif kind == DISEMBARGO:
            self.on_disembargo(r.byte(), r)
        elif kind == PING:
            self.send(PONG, uint(r.uint()))
        elif kind == PONG:
            self.pongs += 1
        elif kind == GOAWAY:
            _last, _milliseconds, self.leaving = r.id(), r.uint(), r.text()
        elif kind == ABORT:
            code, reason = r.uint(), r.text()
            self.end(f"the peer ended the connection: {reason} ({code})")
        elif 32 <= kind <= 127:
            self.drop(refs)
            self.send(UNIMPLEMENTED, bytes([kind]))
        elif kind != UNIMPLEMENTED:
            raise ValueError(f"a message of type {kind}")

    def take_in(self, cap):
        """What a capability of the peer's stands for (section 3)."""
        kind, one = cap & 3, Reader(uint(cap >> 2)).id()
        if kind == MINE and one < 0:
            remote = self.imports.setdefault(one, Remote(self, one))
            remote.mentions += 1
            return remote
        if kind != YOURS or not self.last_export <= one <= self.last_answer:
            raise Violation(f"a capability of kind {kind} with id {one}")
        if one in self.exports:
            return self.exports[one][0]
        if one in self.answers:
            return self.answers[one]
        late = Remote(self, one)
        late.broken = Failure("Broken", "no", "the reference was released, or was never there")
        return late

    def drop(self, refs):
        """Gives back one mention of each: nobody uses them."""
        for ref in refs:
            if isinstance(ref, Remote) and ref.mentions:
                ref.mentions -= 1
                self.give_back(ref.id, 1)
                if not ref.mentions:
                    self.imports.pop(ref.id, None)

    def on_release(self, one, count):
        entry = [None, 1] if one in self.answers else self.exports.get(one, [None, 0])
        if not 0 < count <= entry[1]:
            raise Violation(f"{count} mentions of {one} were released; {entry[1]} were held")
        entry[1] -= count
        if not entry[1]:
            self.exports.pop(one, None)
            self.answers.pop(one, None)

    def on_disembargo(self, form, r):
        if form == 0:  # It is asked for answers with the asker's own reference, and none of ours are.
            raise Violation(f"{r.id()} is no settled reference of the asker's own")
        promise, home = self.embargoes.pop(r.uint(), (None, None))
        if promise is None:
            raise Violation("an echo that was not asked for")
        self.give_back(promise.id, 1)
        promise.end(home)

    # ---- Answers to our calls.

    def on_answer(self, r, kind, refs):
        one = r.id()
        failure = self.failure(r) if kind == REJECT and r.byte() == 1 else None
        if kind == REJECT and one <= 0:  # The owner broke an object; we may have released it meanwhile (section 13.3).
            broken = self.root if one == 0 else self.imports.get(one, Remote(self, one))
            broken.broken = Failure("Broken", "no", "its owner broke it", cause=failure)
            return self.drop(refs)
        promise = self.calls.pop(one, None)
        if promise is None:
            raise Violation(f"an answer to {one}, which is not open")
        if not promise.wanted:  # The cancel was the last word on the result.
            self.drop(refs)
            return promise.end(error=failure or Failure("Cancelled", "maybe", "cancelled by its caller"))
        if kind == RESOLVE and promise.method.result is REF:
            return self.on_reference(promise, refs)
        if promise.method.result is REF:
            self.give_back(one, 1)
        try:
            if failure:
                promise.end(error=failure)
            elif kind == REJECT:
                promise.end(error=AppError(self.whole(promise.method.error, r, refs)))
            else:
                promise.end(self.whole(promise.method.result, r, refs))
        except (ValueError, AttributeError) as error:
            self.drop(refs)
            promise.end(error=Failure("Incompatible", "yes", f"the answer cannot be read: {error}"))

    def on_reference(self, promise, refs):
        if len(refs) != 1:
            raise Violation(f"{len(refs)} references came where one was asked for")
        if promise.piped and not isinstance(refs[0], Remote):
            # It is ours, and calls on it are on their way back: it is known once they have come (section 9).
            self.last_embargo += 1
            self.embargoes[self.last_embargo] = promise, refs[0]
            return self.send(DISEMBARGO, b"\0" + uint(zigzag(promise.id)) + uint(self.last_embargo))
        self.give_back(promise.id, 1)
        promise.end(refs[0])

    def failure(self, r):
        kind, ran, message = KINDS[r.byte()], RAN[r.byte()], r.text()
        details = [(r.text(), r.text()) for _ in range(r.uint())]
        cause = r.byte()
        cause = self.failure(r) if cause == 1 else r.take(r.uint()) if cause == 2 else None
        return Failure(kind, ran, message, dict(details), cause)

    @staticmethod
    def whole(shape, r, refs):
        value = shape.read(r, refs)
        if r.rest():
            raise ValueError("bytes are left over")
        return value

    # ---- Calls of the peer's.

    def known(self, method, call):
        """Our arguments. A newer caller may send more, if it says that so few are enough (section 10)."""
        ours, r = len(method.arguments.shapes), Reader(call.body)
        fewest, most = call.counts or (ours, ours)
        if not fewest <= ours <= most:
            raise Failure("Incompatible", "no", f"{method.name} has {ours} arguments here, not {fewest} to {most}")
        return self.whole(method.arguments, r, call.refs) if ours == most else method.arguments.read(r, call.refs)

    def on_call(self, r, kind, refs):
        flags, target = r.byte(), r.id()
        result = r.uint() if kind == CALL else None
        number = r.uint()
        if number == 0:
            name, fewest, prints = r.text(), r.uint(), r.uint()
            r.take(8 * prints)  # By them a peer that traces types would compare signatures; we go by the numbers.
            counts = (fewest, fewest + prints - 1) if prints else None
            if not flags & ONCE:
                self.names.append((name, counts))
        elif number <= len(self.names):
            name, counts = self.names[number - 1]
        else:
            raise Violation(f"method {number} was not defined")
        for flag in (LIMIT, DEADLINE, HOPS):
            if flags & flag:
                r.uint()
        for _ in range(r.uint() if flags & METADATA else 0):
            r.take(r.uint()), r.take(r.uint())
        if kind == CALL:
            self.last_answer += 1
            if result != self.last_answer:
                raise Violation(f"call {result} is not the next")
        call = Call(flags, target, result, name, counts, refs, r.rest())
        try:
            self.serve(call)
        except Failure as failure:
            numbers = bytes([1, KINDS.index(failure.kind), RAN.index(failure.ran)])
            self.answer(call, REJECT, numbers + text(failure.message[:250]) + b"\0\0")

    def serve(self, call):
        if not self.last_export <= call.target <= self.last_answer or call.target == call.result:
            raise Violation(f"a call on {call.target}, which was never given")
        target = self.answers.get(call.target) or self.exports.get(call.target, [None])[0]
        offered = getattr(target, "methods", ())
        method = next((one for one in offered if call.name in (one.name, one.name.split("/")[1])), None)
        try:
            if method is None:
                raise Failure("Unimplemented" if target else "Broken", "no", f"there is no {call.name} here")
            arguments = self.known(method, call)
        except (ValueError, Failure) as error:
            self.drop(call.refs)
            raise error if isinstance(error, Failure) else Failure("Failed", "no", f"the arguments: {error}")
        refs = []
        try:
            value = getattr(target, method.name.split("/")[1])(*arguments)
            kind, body = RESOLVE, method.result.write(value, refs)
        except AppError as error:
            kind, body = REJECT, b"\0" + method.error.write(error.value, refs)
        except Exception:
            raise Failure("Internal", "maybe", "the method failed") from None
        if kind == RESOLVE and (method.result is REF) != bool(call.flags & REFERENCE):
            raise Failure("Incompatible", "yes", "one side means a reference, the other a value")
        if kind == RESOLVE and method.result is REF:
            if isinstance(value, Remote):
                raise Failure("Unimplemented", "yes", "this peer does not pass calls back")
            self.answers[call.result], body = value, b""
        self.answer(call, kind, body, self.mention(refs))

    def answer(self, call, kind, rest, caps=b"\0"):
        if call.result:
            self.send(kind, uint(zigzag(call.result)), rest, caps)
