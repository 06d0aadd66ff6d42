//! The objects that live in the serving process. Plain structs, plain impls.

use std::sync::{Mutex, PoisonError};

use pb_server::Referenceable;
use tokio::sync::{Notify, mpsc};

use crate::bank::{Account, AccountRef, Bank, BankError, Receipt, WatcherRef};
use crate::say::line;

/// A bank. It does not keep the accounts; it is only told when one is dropped.
#[derive(Referenceable)]
pub struct City {
    tell: mpsc::UnboundedSender<String>,
    told: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    audit_stopped: Notify,
}

impl Default for City {
    fn default() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        City { tell, told: tokio::sync::Mutex::new(told), audit_stopped: Notify::new() }
    }
}

impl Bank for City {
    async fn greeting(&self) -> String {
        "Welcome to the City Bank".to_owned()
    }

    async fn open(&self, owner: String) -> Result<AccountRef, BankError> {
        line("server", format_args!("I make an account for {owner}. It stays here; a reference goes out."));
        let tell = self.tell.clone();
        Ok(AccountRef::new(Savings { owner, cents: Mutex::default(), watcher: Mutex::default(), tell }))
    }

    async fn transfer(&self, from: AccountRef, to: AccountRef, cents: u64) -> Result<Receipt, BankError> {
        // What was handed out is the object itself again, for whoever owns it.
        let from = from.remote().local::<Savings>().ok_or(BankError::Foreign)?;
        let payee = to.remote().local::<Savings>().ok_or(BankError::Foreign)?;
        line(
            "server",
            format_args!(
                "Both references came home: they are my own objects for {} and {}.",
                from.owner, payee.owner
            ),
        );
        from.withdraw(cents).await?;
        payee.deposit(cents).await?;
        Ok(Receipt { cents, to })
    }

    async fn dropped(&self) -> String {
        self.told.lock().await.recv().await.unwrap_or_default()
    }

    async fn audit(&self) -> u64 {
        line("server", "I begin to count all the money that there is.");
        let _stopped = Stopped(&self.audit_stopped);
        std::future::pending().await
    }

    async fn audit_stopped(&self) {
        self.audit_stopped.notified().await;
    }

    async fn vault(&self) -> u64 {
        std::future::pending().await
    }
}

/// A method that is stopped is dropped where it waits, with all that it holds.
struct Stopped<'a>(&'a Notify);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        line("server", "Nobody wants to know any more: I am stopped in the middle of counting.");
        self.0.notify_one();
    }
}

/// An account.
#[derive(Referenceable)]
struct Savings {
    #[inspect]
    owner: String,
    #[inspect]
    cents: Mutex<u64>,
    watcher: Mutex<Option<WatcherRef>>,
    tell: mpsc::UnboundedSender<String>,
}

impl Account for Savings {
    async fn deposit(&self, cents: u64) -> Result<u64, BankError> {
        let balance = {
            let mut balance = self.cents.lock().unwrap_or_else(PoisonError::into_inner);
            *balance = balance.saturating_add(cents);
            *balance
        };
        line("server", format_args!("{}: {cents} cents come in, now {balance}.", self.owner));
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(watcher) = watcher {
            line("server", format_args!("{} is watched: I call my client's object.", self.owner));
            // A watcher that has gone is no reason to refuse money.
            let _ = watcher.changed(self.owner.clone(), balance).await;
        }
        Ok(balance)
    }

    async fn withdraw(&self, cents: u64) -> Result<u64, BankError> {
        let mut balance = self.cents.lock().unwrap_or_else(PoisonError::into_inner);
        match balance.checked_sub(cents) {
            Some(rest) => {
                *balance = rest;
                line("server", format_args!("{}: {cents} cents go out, now {rest}.", self.owner));
                Ok(rest)
            }
            None => Err(BankError::Short { missing: cents - *balance }),
        }
    }

    async fn watch(&self, watcher: WatcherRef) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    }

    async fn watcher(&self) -> Result<WatcherRef, BankError> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(BankError::Unwatched)
    }
}

impl Drop for Savings {
    fn drop(&mut self) {
        line("server", format_args!("Nobody holds {}'s account any more: it is dropped.", self.owner));
        // Fails only when the bank itself is gone, and then nobody waits.
        let _ = self.tell.send(std::mem::take(&mut self.owner));
    }
}
