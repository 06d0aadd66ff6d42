//! `docs/guide/testing.md`.

use std::sync::Arc;
use std::time::Duration;

use pb_server::{FailureKind, Ran, Referenceable, TableSizes, pair, remote_interface};

#[remote_interface]
pub trait Clock {
    async fn wait(&self, seconds: u64) -> u64;
}

#[derive(Referenceable)]
struct MyClock;

impl Clock for MyClock {
    async fn wait(&self, seconds: u64) -> u64 {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        seconds
    }
}

#[tokio::test]
async fn a_clock_answers() {
    let (_serving, client) = pair(ClockRef::new(MyClock)).await;
    let clock: ClockRef = client.root();
    assert_eq!(clock.wait(0).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn an_hour_takes_no_time() {
    let (_serving, client) = pair(ClockRef::new(MyClock)).await;
    let clock: ClockRef = client.root();
    let begun = tokio::time::Instant::now();
    assert_eq!(clock.wait(3600).await, Ok(3600));
    assert_eq!(begun.elapsed().as_secs(), 3600);
    let late = clock.within(Duration::from_secs(10)).wait(3600);
    assert_eq!(late.await.unwrap_err().kind, FailureKind::DeadlineExceeded);
}

#[tokio::test]
async fn a_connection_that_is_lost_fails_what_is_in_flight() {
    let (serving, client) = pair(ClockRef::new(MyClock)).await;
    let clock: ClockRef = client.root();
    let waiting = clock.wait(3600);
    serving.close();
    let failure = waiting.await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe));
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let (serving, client) = pair(ClockRef::new(MyClock)).await;
    let clock: ClockRef = client.root();
    drop(clock.wait(3600));
    assert_eq!(clock.wait(0).await, Ok(0));
    client.idle().await;
    serving.idle().await;
    assert_eq!(client.tables(), TableSizes::default());
    assert_eq!(serving.tables(), TableSizes::default());
}

#[tokio::test]
async fn a_method_is_tested_without_any_connection() {
    let clock = Arc::new(MyClock);
    assert_eq!(clock.wait(0).await, 0);
    // With the order, the cancels and the deadlines of calls.
    assert_eq!(ClockRef::new(clock).wait(0).await, Ok(0));
}

#[test]
fn a_call_without_a_runtime_fails() {
    let failure = futures::executor::block_on(ClockRef::new(MyClock).wait(0)).unwrap_err();
    assert_eq!(failure.to_string(), "no runtime runs here; call from inside a tokio runtime");
}
