//! `docs/guide/pipelining.md`.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use pb_server::defer::{OnFailure, gather};
use pb_server::{AppError, CallError, FailureKind, Ran, Referenceable, pair, remote_interface};
use serde::{Deserialize, Serialize};

#[remote_interface]
pub trait Bank {
    async fn open(&self, owner: String) -> Result<AccountRef, BankError>;
    async fn transfer(&self, from: AccountRef, to: AccountRef, cents: u64) -> Result<u64, BankError>;
}

#[remote_interface]
pub trait Account {
    async fn deposit(&self, cents: u64) -> u64;
    async fn balance(&self) -> u64;
}

#[derive(Serialize, Deserialize, thiserror::Error, PartialEq, Debug)]
pub enum BankError {
    #[error("an account has an owner")]
    NoName,
    #[error("that account is with another bank")]
    Foreign,
}

#[derive(Referenceable)]
struct MyBank;

#[derive(Default, Referenceable)]
struct MyAccount {
    cents: AtomicU64,
}

impl Bank for MyBank {
    async fn open(&self, owner: String) -> Result<AccountRef, BankError> {
        if owner.is_empty() {
            return Err(BankError::NoName);
        }
        Ok(AccountRef::new(MyAccount::default()))
    }

    async fn transfer(&self, from: AccountRef, to: AccountRef, cents: u64) -> Result<u64, BankError> {
        let from = from.remote().local::<MyAccount>().ok_or(BankError::Foreign)?;
        let to = to.remote().local::<MyAccount>().ok_or(BankError::Foreign)?;
        from.cents.fetch_sub(cents, SeqCst);
        Ok(to.cents.fetch_add(cents, SeqCst) + cents)
    }
}

impl Account for MyAccount {
    async fn deposit(&self, cents: u64) -> u64 {
        self.cents.fetch_add(cents, SeqCst) + cents
    }

    async fn balance(&self) -> u64 {
        self.cents.load(SeqCst)
    }
}

#[tokio::test]
async fn a_call_on_a_result_goes_with_the_call_that_it_is_the_result_of() {
    let (_serving, broker) = pair(BankRef::new(MyBank)).await;
    let bank: BankRef = broker.root();
    let balance = bank.open("ada".into()).deposit(100).await.unwrap();
    assert_eq!(balance, 100);

    let before = broker.counters();
    let ada = bank.open("ada".into());
    let deposited = ada.deposit(100);
    // Both are on their way, and nothing has come back.
    let now = broker.counters();
    assert_eq!(now.sent.calls - before.sent.calls, 2);
    assert_eq!(now.received.values - before.received.values, 0);
    assert_eq!(deposited.await, Ok(100));
    let ada: AccountRef = ada.await.unwrap();
    assert_eq!(ada.balance().await, Ok(100));
}

#[tokio::test]
async fn a_result_that_has_not_come_is_passed_on_and_kept() {
    let (_serving, broker) = pair(BankRef::new(MyBank)).await;
    let bank: BankRef = broker.root();
    let ada = bank.open("ada".into()).promised();
    let bob = bank.open("bob".into()).promised();
    ada.deposit(100).detach();
    let moved = bank.transfer(ada, bob, 30).await;
    // A promise that arrives before it is settled is no object of the bank's yet.
    assert_eq!(moved, Ok(30));
}

#[tokio::test]
async fn many_calls_go_at_once() {
    let (_serving, broker) = pair(BankRef::new(MyBank)).await;
    let bank: BankRef = broker.root();
    let account = bank.open("ada".into()).await.unwrap();
    let deposits = (1..=100).map(|cents| account.deposit(cents));
    let balances = gather(deposits, OnFailure::CancelRest).await.unwrap();
    assert_eq!(balances.last(), Some(&5050));
}

#[tokio::test]
async fn a_call_on_a_result_that_failed_says_so_and_holds_the_error() {
    let (_serving, broker) = pair(BankRef::new(MyBank)).await;
    let bank: BankRef = broker.root();
    let failure = bank.open(String::new()).deposit(100).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
    assert_eq!(failure.app::<BankError>(), Some(BankError::NoName));
    let seen = "the reference that was called is broken: the method that was to give it failed with an error of its own";
    assert_eq!(failure.to_string(), seen);

    let ada = bank.open(String::new());
    let deposited = ada.deposit(100);
    assert_eq!(ada.await.unwrap_err(), CallError::App(BankError::NoName));
    assert!(deposited.await.is_err());
}
