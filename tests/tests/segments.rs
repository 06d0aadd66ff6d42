//! What a stream in segments of one byte costs: the processor's time of the one thread that does everything, by which a busy machine is no slower.

use std::time::Duration;

use pb_core::message::{Call, Message, MethodName};
use pb_core::wire::frame;
use pb_core::{Limits, Stub};
use pb_server::{Referenceable, remote_interface};
use pb_tests::quiet::Quiet;
use pb_tests::raw::call;
use rustix::time::{ClockId, clock_gettime};

#[remote_interface]
trait Echo {
    async fn length(&self, text: String) -> u64;
}

#[derive(Referenceable)]
struct Plain;

impl Echo for Plain {
    async fn length(&self, text: String) -> u64 {
        text.len() as u64
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

/// The frames of calls, each with a text of `bytes`.
fn calls(count: i64, bytes: usize) -> Vec<Vec<u8>> {
    let frame = |result| {
        let call = call(result, "Echo/length", &"x".repeat(bytes));
        let method = if result == 1 { call.method } else { MethodName::Known(1) };
        let mut frame = Vec::new();
        frame::encode(&Message::Call(Call { method, ..call }), &mut frame);
        frame
    };
    (1..=count).map(frame).collect()
}

/// What a server's end and its peer take together until all calls are answered, each sent in segments of `size`: the least of three times.
fn cost(calls: &[Vec<u8>], size: usize) -> Duration {
    let once = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let root = Some(EchoRef::new(Plain).as_reference().clone());
            let (_broker, mut quiet) = Quiet::greeted(root, Limits::default()).await;
            assert!(matches!(quiet.read().await, Some(Message::Hello(_))));
            let before = processor_time();
            for segment in calls.iter().flat_map(|call| call.chunks(size)) {
                quiet.send(segment).await;
                // It is read before the next one comes.
                tokio::task::yield_now().await;
            }
            for _ in calls {
                assert!(matches!(quiet.read().await, Some(Message::Resolve(_))));
            }
            processor_time() - before
        })
    };
    (0..3).map(|_| once()).min().expect("three of them")
}

#[test]
fn segments_of_one_byte_cost_less_than_fifty_times_as_much() {
    let calls = calls(100, 20);
    let (whole, single) = (cost(&calls, usize::MAX), cost(&calls, 1));
    println!("{single:?} in segments of one byte, {whole:?} in one for each call");
    assert!(single < 50 * whole, "{single:?} in segments of one byte, {whole:?} in one for each call");
}

#[test]
fn a_frame_in_segments_of_one_byte_costs_by_its_length_and_not_by_its_square() {
    let [small, large] = [4 << 10, 32 << 10].map(|bytes| cost(&calls(1, bytes), 1));
    println!("{large:?} for 32 KiB, {small:?} for 4");
    // Eight times as long; its square would be 64 times as much.
    assert!(large < 32 * small, "{large:?} for 32 KiB, {small:?} for 4");
}
