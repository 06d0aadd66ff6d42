//! The expansion names nothing that the prelude would have to provide, and documents what it makes public.
#![no_implicit_prelude]
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, unused, unsafe_code)]

/// The interfaces.
pub mod api {
    use ::pb_core::{CallContext, remote_interface};
    use ::std::string::String;

    /// What goes wrong.
    #[derive(::std::fmt::Debug, ::serde::Serialize, ::serde::Deserialize)]
    pub struct BankError;

    /// A bank.
    #[remote_interface]
    pub trait Bank {
        /// Opens an account.
        async fn open(&self, owner: String) -> ::std::result::Result<AccountRef, BankError>;
        /// Counts the accounts.
        async fn count(&self) -> u64;
        /// Says who calls. The arguments have the names that the expansion uses itself.
        async fn whoami(&self, cx: &CallContext, me: String, call: u8, method: u8) -> String;
        /// Notes something.
        #[remote(oneway)]
        async fn note(&self, text: String);
        /// Ends.
        #[remote(run_to_end, spawn)]
        async fn close(&self);
    }

    /// An account.
    #[remote_interface]
    pub trait Account {
        /// Puts money in.
        async fn deposit(&self, cents: u64) -> ::std::result::Result<u64, BankError>;
    }
}

use ::pb_core::{CallContext, Referenceable};
use ::std::result::Result::{self, Ok};
use ::std::string::String;
use api::{Account, AccountRef, Bank, BankError, BankRef};

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    async fn open(&self, _owner: String) -> Result<AccountRef, BankError> {
        Ok(AccountRef::new(MyAccount))
    }
    async fn count(&self) -> u64 {
        0
    }
    async fn whoami(&self, _cx: &CallContext, me: String, _call: u8, _method: u8) -> String {
        me
    }
    async fn note(&self, _text: String) {}
    async fn close(&self) {}
}

#[derive(Referenceable)]
struct MyAccount;

impl Account for MyAccount {
    async fn deposit(&self, cents: u64) -> Result<u64, BankError> {
        Ok(cents)
    }
}

fn main() {
    let bank: BankRef = BankRef::new(MyBank);
    let _same = ::std::clone::Clone::clone(&bank);
}
