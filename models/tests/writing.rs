//! Append and flush: who writes is handed over between callers, the reading task and the writing task.

use std::sync::Mutex;

use pb_core::{Broker, Referenceable, remote_interface};
use pb_models::{connected, end, schedules};
use shuttle::future::block_on;
use shuttle::thread;

#[remote_interface]
trait Counter {
    async fn add(&self, caller: u32, number: u32) -> u32;
}

/// What came, in its order.
#[derive(Referenceable, Default)]
struct Log(Mutex<Vec<(u32, u32)>>);

impl Counter for Log {
    async fn add(&self, caller: u32, number: u32) -> u32 {
        self.0.lock().expect("nobody panics").push((caller, number));
        number
    }
}

/// Calls of one thread are on their way when they return, and are answered in whatever order.
fn call(broker: &Broker, caller: u32) {
    let counter: CounterRef = broker.root();
    let calls = [counter.add(caller, 1), counter.add(caller, 2)];
    for (number, call) in (1..).zip(calls) {
        assert_eq!(block_on(call).ok(), Some(number));
    }
}

fn model() {
    let (server, client) = block_on(connected("writing", CounterRef::new(Log::default())));
    let callers: Vec<_> = (0..2)
        .map(|caller| {
            let broker = client.clone();
            thread::spawn(move || call(&broker, caller))
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().expect("every call is answered"));
    block_on(end(server, client));
}

/// No frame is lost or cut by another, nobody waits for a writer who was not called: each of these would end the connection, or leave a
/// call unanswered, which is a deadlock here.
#[test]
fn every_frame_is_written_once_and_in_order() {
    schedules(model);
}
