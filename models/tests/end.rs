//! The connection ends as calls are made: every call is answered, every reference breaks, both tables are empty.

use pb_core::{Broker, Referenceable, remote_interface};
use pb_models::{connected, gone, schedules};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

#[remote_interface]
trait Echo {
    async fn say(&self, number: u32) -> u32;
    async fn slow(&self, number: u32) -> u32;
    async fn again(&self) -> EchoRef;
}

#[derive(Referenceable)]
struct Same;

impl Echo for Same {
    async fn say(&self, number: u32) -> u32 {
        number
    }
    async fn slow(&self, number: u32) -> u32 {
        yield_now().await;
        number
    }
    async fn again(&self) -> EchoRef {
        EchoRef::new(Same)
    }
}

/// Calls while the connection ends: each is answered, or fails; a call without an end is a deadlock here.
fn call(broker: Broker) {
    let echo: EchoRef = broker.root();
    let (said, slow, piped) = (echo.say(1), echo.slow(2), echo.again().say(3));
    let ended = |result: Result<u32, pb_core::Failure>, right: u32| {
        assert!(result.map_or_else(|failure| !failure.to_string().is_empty(), |number| number == right));
    };
    ended(block_on(said), 1);
    ended(block_on(slow), 2);
    ended(block_on(piped), 3);
}

/// Who ends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Caller,
    Server,
    Both,
}

fn model(ending: Ending) {
    let (server, client) = block_on(connected("end", EchoRef::new(Same)));
    let caller = {
        let broker = client.clone();
        thread::spawn(move || call(broker))
    };
    let watcher = {
        let echo: EchoRef = client.root();
        thread::spawn(move || block_on(echo.remote().on_broken()))
    };
    let closer = (ending != Ending::Server).then(|| {
        let broker = client.clone();
        thread::spawn(move || broker.close())
    });
    if ending != Ending::Caller {
        server.close();
    }
    closer.into_iter().for_each(|closer| closer.join().expect("closing does not panic"));
    caller.join().expect("every call has ended");
    watcher.join().expect("who watches a reference learns that it broke");
    block_on(gone(server, client));
}

#[test]
fn every_call_ends_when_its_own_side_closes() {
    schedules(|| model(Ending::Caller));
}

#[test]
fn every_call_ends_when_the_other_side_closes() {
    schedules(|| model(Ending::Server));
}

#[test]
fn every_call_ends_when_both_sides_close() {
    schedules(|| model(Ending::Both));
}
