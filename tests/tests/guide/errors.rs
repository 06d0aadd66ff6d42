//! `docs/guide/errors.md`. The counter's errors are those of the example `counter`.

use std::time::Duration;

use pb_server::{AppError, CallError, Failure, FailureKind, Ran, Referenceable, pair, remote_interface};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, thiserror::Error, PartialEq, Debug)]
pub enum TillError {
    #[error("{missing} cents short")]
    Short { missing: u64 },
    #[error("the till is locked")]
    Locked,
}

#[remote_interface]
pub trait Till {
    async fn take(&self, cents: u64) -> Result<u64, TillError>;
    async fn count(&self) -> u64;
    async fn stuck(&self);
}

#[derive(Referenceable)]
struct MyTill;

impl Till for MyTill {
    async fn take(&self, cents: u64) -> Result<u64, TillError> {
        match cents {
            0..=100 => Ok(100 - cents),
            _ => Err(TillError::Short { missing: cents - 100 }),
        }
    }

    async fn count(&self) -> u64 {
        panic!("a bug")
    }

    async fn stuck(&self) {
        std::future::pending().await
    }
}

async fn take(till: &TillRef) -> String {
    match till.take(130).await {
        Ok(left) => format!("{left} cents are left"),
        Err(CallError::App(TillError::Short { missing })) => format!("come back with {missing} cents less"),
        Err(CallError::App(error)) => format!("no: {error}"),
        Err(CallError::Broker(failure)) => format!("nobody knows: {failure}"),
    }
}

#[tokio::test]
async fn a_methods_own_error_comes_as_its_own_type() {
    let (_serving, broker) = pair(TillRef::new(MyTill)).await;
    let till: TillRef = broker.root();
    assert_eq!(take(&till).await, "come back with 30 cents less");
    let error = till.take(130).await.unwrap_err();
    assert_eq!(error.to_string(), "30 cents short");
    broker.close();
    assert_eq!(take(&till).await, "nobody knows: this side closed the connection");
}

async fn take_all(till: &TillRef) -> Result<u64, Box<dyn std::error::Error>> {
    let left = till.take(100).await?;
    Ok(left + till.take(130).await?)
}

#[tokio::test]
async fn the_question_mark_takes_both_kinds() {
    let (_serving, broker) = pair(TillRef::new(MyTill)).await;
    let till: TillRef = broker.root();
    assert_eq!(take_all(&till).await.unwrap_err().to_string(), "30 cents short");
    if let Err(error) = take_all(&till).await {
        eprintln!("{error}");
    }
}

#[tokio::test]
async fn what_is_handed_on_needs_no_code() {
    let (_serving, broker) = pair(TillRef::new(MyTill)).await;
    // A middleman, who serves what he holds.
    let (_middle, client) = pair(broker.root::<TillRef>()).await;
    assert_eq!(client.root::<TillRef>().take(30).await, Ok(70));
}

/// What to do about a call that failed.
fn advice(failure: &Failure) -> &'static str {
    match (failure.kind, failure.ran) {
        (FailureKind::Overloaded, Ran::No) => "wait, then repeat",
        (_, Ran::No) => "repeat, perhaps elsewhere",
        (_, Ran::Maybe) => "repeat if the method is idempotent, else ask somebody",
        (_, Ran::Yes) => "do not repeat",
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_sees_of_the_brokers_failures() {
    let (_serving, broker) = pair(TillRef::new(MyTill)).await;
    let till: TillRef = broker.root();

    let failure = till.count().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Internal);
    assert_eq!(failure.to_string(), "the method ended without an answer: it panicked, or was stopped");
    assert_eq!(advice(&failure), "repeat if the method is idempotent, else ask somebody");

    let failure = till.within(Duration::from_secs(5)).stuck().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::DeadlineExceeded);
    assert_eq!(failure.to_string(), "the deadline passed before the answer");

    let waiting = till.stuck();
    broker.close();
    let failure = waiting.await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe));
    assert_eq!(failure.to_string(), "this side closed the connection");
    let failure = till.stuck().await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No));
    assert_eq!(advice(&failure), "repeat, perhaps elsewhere");
}

#[tokio::test]
async fn a_broken_reference_says_why_and_so_does_its_cause() {
    let (_serving, broker) = pair(TillRef::new(MyTill)).await;
    let (lent, revoker) = broker.root::<TillRef>().remote().revocable::<TillRef>();
    revoker.revoke("the audit is over");
    let CallError::Broker(failure) = lent.take(1).await.unwrap_err() else { panic!("it is lent") };
    assert_eq!(failure.kind, FailureKind::Broken);
    assert_eq!(failure.to_string(), "the reference that was called is broken: the audit is over");
    assert_eq!(failure.app::<TillError>(), None);
}
