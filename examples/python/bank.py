"""Calls the bank of the tour: `python3 examples/python/bank.py PROGRAM` starts PROGRAM, the server in
examples/examples/bank.rs, and checks every answer, and that nothing is left in the tables of either side."""
import subprocess
import sys

from bodies import REF, STR, U64, UNIT, Enum, Struct, Tuple
from pb import AppError, Failure, Method, Peer, Remote

BANK_ERROR = Enum(Short=U64, Foreign=UNIT, Unwatched=UNIT)  # `Short { missing: u64 }` is its one field.
GREETING = Method("Bank/greeting", UNIT, STR)
OPEN = Method("Bank/open", Tuple(STR), REF, BANK_ERROR)
TRANSFER = Method("Bank/transfer", Tuple(REF, REF, U64), Struct(cents=U64, to=REF), BANK_ERROR)
DROPPED = Method("Bank/dropped", UNIT, STR)
DEPOSIT = Method("Account/deposit", Tuple(U64), U64, BANK_ERROR)
WITHDRAW = Method("withdraw", Tuple(U64), U64, BANK_ERROR)  # Found without its interface, too.
WATCH = Method("Account/watch", Tuple(REF))
WATCHER = Method("Account/watcher", UNIT, REF, BANK_ERROR)
CHANGED = Method("Watcher/changed", Tuple(STR, U64))
NOWHERE = Method("Account/close", UNIT, UNIT)


class Screen:
    """An object of our own, for the server to call."""

    methods = [CHANGED]

    def __init__(self):
        self.seen = []

    def changed(self, owner, cents):
        self.seen.append((owner, cents))
        return ()


def fails(kind, promise):
    try:
        promise.wait()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def walk(peer):
    bank = peer.root
    assert bank.call(GREETING).wait() == "Welcome to the City Bank"
    peer.ping(7)

    # Two calls in one round trip, and a reference.
    opened = bank.call(OPEN, "ada")
    deposited = opened.call(DEPOSIT, 100)
    assert deposited.wait() == 100
    ada = opened.wait()
    assert isinstance(ada, Remote) and ada.call(WITHDRAW, 30).wait() == 70

    # References come home to the bank, one of them while it is a promise still, and one comes back in a value.
    bob = bank.call(OPEN, "bob")
    receipt = bank.call(TRANSFER, ada, bob, 20).wait()
    bob = bob.wait()
    assert receipt == {"cents": 20, "to": bob}

    # Errors: the method's own, the broker's, and what was called on something that failed.
    assert fails(AppError, ada.call(WITHDRAW, 1000)).value == ("Short", 950)
    assert fails(Failure, ada.call(NOWHERE)).kind == "Unimplemented"
    unwatched = ada.call(WATCHER)
    piped = unwatched.call(CHANGED, "x", 1)
    assert fails(AppError, unwatched).value == ("Unwatched", ())
    broken = fails(Failure, piped)
    assert (broken.kind, broken.ran, broken.cause) == ("Broken", "no", b"\x02")
    foreign = Screen()  # An object of ours that is no account.
    assert fails(AppError, bank.call(TRANSFER, foreign, bob, 1)).value == ("Foreign", ())

    # A callback, served while we wait; and our object comes home, with a call on its way that must come first.
    screen = Screen()
    ada.call(WATCH, screen).wait()
    assert ada.call(DEPOSIT, 1).wait() == 51
    home = ada.call(WATCHER)
    early = home.call(CHANGED, "early", 1)
    assert home.wait() is screen
    screen.changed("late", 2)
    early.wait()
    assert screen.seen == [("ada", 51), ("early", 1), ("late", 2)]

    # A cancelled call, and one that answers once an account has gone.
    waiting = bank.call(DROPPED)
    waiting.cancel()
    assert fails(Failure, waiting).kind == "Cancelled"
    dropped = bank.call(DROPPED)
    ada.release()
    assert dropped.wait() == "ada"
    bob.release()
    assert bank.call(DROPPED).wait() == "bob"
    assert fails_at_once(ada, DEPOSIT, 1) == "Broken"


def fails_at_once(target, method, *values):
    try:
        target.call(method, *values)
    except Failure as failure:
        return failure.kind
    return None


def leave(peer, server):
    """The server leaves: the bank takes no more calls, an account that we hold does, and letting go of it is the end."""
    carol = peer.root.call(OPEN, "carol").wait()
    print("leave", file=server, flush=True)
    while peer.leaving is None:
        peer.turn()
    assert fails_at_once(peer.root, OPEN, "dora") == "Disconnected"
    assert carol.call(DEPOSIT, 5).wait() == 5
    carol.release()
    while peer.ended is None:
        peer.turn()
    assert "closing time" in peer.ended.message, peer.ended


class Server:
    """The program, what it says, and a peer that is connected to it."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def says(self, start):
        return next(line for line in self.process.stdout if line.startswith(start))[len(start):].strip()

    def __enter__(self):
        host, port = self.says("listening on tcp://").rsplit(":", 1)
        return self, Peer(host, int(port))

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def main(program):
    with Server(program) as (server, peer):
        walk(peer)
        peer.ping(8)  # What was released last is sent now, and read.
        assert not any(peer.tables()), peer.tables()
        print("check", file=server.process.stdin, flush=True)
        assert server.says("tables: ") == "empty"
        leave(peer, server.process.stdin)
        assert "closing time" in server.says("ended: ")
    with Server(program) as (server, peer):
        assert peer.root.call(OPEN, "dora").call(DEPOSIT, 1).wait() == 1
        peer.close(0, "that was all")
        assert fails_at_once(peer.root, GREETING) == "Disconnected"
        assert "that was all" in server.says("ended: ")
    print("python: every answer was right, and nothing was left on either side")


if __name__ == "__main__":
    main(sys.argv[1])
