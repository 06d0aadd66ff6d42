//! What both processes share: the traits are the schema.

use pb_server::remote_interface;
use serde::{Deserialize, Serialize};

/// A bank.
#[remote_interface]
pub trait Bank {
    /// What the bank says to whoever comes in, however often it is asked.
    #[remote(idempotent)]
    async fn greeting(&self) -> String;
    /// Opens an account. The bank does not keep it: it lives while somebody holds it.
    async fn open(&self, owner: String) -> Result<AccountRef, BankError>;
    /// Moves money between two accounts of this bank.
    async fn transfer(&self, from: AccountRef, to: AccountRef, cents: u64) -> Result<Receipt, BankError>;
    /// Answers when an account has been dropped since the bank opened, and says whose.
    async fn dropped(&self) -> String;
    /// Counts all the money that there is, for ever: somebody has to stop it.
    async fn audit(&self) -> u64;
    /// Answers when an audit has been stopped.
    async fn audit_stopped(&self);
    /// Opens the vault, which has not opened for anybody so far.
    async fn vault(&self) -> u64;
}

/// An account.
#[remote_interface]
pub trait Account {
    /// Puts money in, and says what is in the account now.
    async fn deposit(&self, cents: u64) -> Result<u64, BankError>;
    /// Takes money out, and says what is in the account now.
    async fn withdraw(&self, cents: u64) -> Result<u64, BankError>;
    /// Tells `watcher` of every deposit from now on.
    async fn watch(&self, watcher: WatcherRef);
    /// Who is told of deposits.
    async fn watcher(&self) -> Result<WatcherRef, BankError>;
}

/// Somebody who wants to be told.
#[remote_interface]
pub trait Watcher {
    /// There are so many cents in the account now.
    async fn changed(&self, owner: String, cents: u64);
}

/// By value, as any serde type. References may be in it.
#[derive(Serialize, Deserialize, Debug)]
pub struct Receipt {
    /// What was moved.
    pub cents: u64,
    /// Where it is now.
    pub to: AccountRef,
}

/// An ordinary error type: the caller gets this very variant.
#[derive(Serialize, Deserialize, thiserror::Error, Debug)]
pub enum BankError {
    #[error("{missing} cents short")]
    Short { missing: u64 },
    #[error("that account is with another bank")]
    Foreign,
    #[error("nobody watches")]
    Unwatched,
}
