//! The product in small: both ends, objects both ways, in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pb_server::{CallContext, CallError, Referenceable, remote_interface};
use serde::{Deserialize, Serialize};

#[remote_interface]
trait Bank {
    /// Opens an account.
    async fn open(&self, owner: String) -> Result<AccountRef, BankError>;
    async fn count(&self) -> u64;
    async fn watch(&self, watcher: WatcherRef) -> Result<(), BankError>;
    async fn echo(&self, account: AccountRef) -> AccountRef;
    async fn whoami(&self, cx: &CallContext) -> Option<String>;
    async fn slow(&self) -> u64;
    async fn panics(&self) -> u64;
    async fn list(&self, n: u32) -> Vec<AccountRef>;
    #[remote(oneway)]
    async fn note(&self, text: String);
}

#[remote_interface]
trait Account {
    async fn deposit(&self, cents: u64) -> Result<u64, BankError>;
}

#[remote_interface]
trait Watcher {
    async fn changed(&self, cents: u64) -> u64;
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum BankError {
    Short { missing: u64 },
}

#[derive(Referenceable, Default)]
struct MyBank {
    opened: AtomicU64,
}

#[derive(Referenceable, Default)]
struct MyAccount {
    cents: AtomicU64,
}

#[derive(Referenceable, Default)]
struct MyWatcher {
    seen: AtomicU64,
}

impl Bank for MyBank {
    async fn open(&self, owner: String) -> Result<AccountRef, BankError> {
        if owner.is_empty() {
            return Err(BankError::Short { missing: 1 });
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(AccountRef::new(MyAccount::default()))
    }
    async fn count(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
    async fn watch(&self, watcher: WatcherRef) -> Result<(), BankError> {
        watcher.changed(7).await.map_err(|_| BankError::Short { missing: 2 })?;
        Ok(())
    }
    async fn echo(&self, account: AccountRef) -> AccountRef {
        account
    }
    async fn whoami(&self, cx: &CallContext) -> Option<String> {
        cx.peer().map(str::to_owned)
    }
    async fn slow(&self) -> u64 {
        std::future::pending().await
    }
    async fn panics(&self) -> u64 {
        panic!("secret text")
    }
    async fn list(&self, n: u32) -> Vec<AccountRef> {
        (0..n).map(|_| AccountRef::new(MyAccount::default())).collect()
    }
    async fn note(&self, _text: String) {
        self.opened.fetch_add(100, Ordering::Relaxed);
    }
}

impl Account for MyAccount {
    async fn deposit(&self, cents: u64) -> Result<u64, BankError> {
        Ok(self.cents.fetch_add(cents, Ordering::Relaxed) + cents)
    }
}

impl Watcher for MyWatcher {
    async fn changed(&self, cents: u64) -> u64 {
        self.seen.fetch_add(cents, Ordering::Relaxed)
    }
}

async fn settle(broker: &pb_server::Broker) {
    for _ in 0..1000 {
        if broker.tables() == Default::default() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("tables are not empty: {:?}", broker.tables());
}

#[tokio::test]
async fn calls_references_callbacks_and_errors_cross() {
    let (server, client) = pb_server::pair(BankRef::new(MyBank::default())).await;
    let bank: BankRef = client.root();
    assert_eq!(bank.count().await, Ok(0));
    let account = bank.open("ada".into()).await.expect("opened");
    assert_eq!(account.deposit(100).await, Ok(100));
    assert_eq!(bank.open("bob".into()).deposit(5).await, Ok(5));
    assert_eq!(bank.open(String::new()).await.err(), Some(CallError::App(BankError::Short { missing: 1 })));
    let broken = bank.open(String::new()).deposit(5).await.expect_err("broken");
    let CallError::Broker(failure) = broken else { panic!("{broken:?}") };
    assert_eq!(pb_server::AppError::app::<BankError>(&failure), Some(BankError::Short { missing: 1 }));
    let watcher = Arc::new(MyWatcher::default());
    bank.watch(WatcherRef::new(watcher.clone())).await.expect("watched");
    assert_eq!(watcher.seen.load(Ordering::Relaxed), 7);
    let mine = Arc::new(MyAccount::default());
    let home = bank.echo(AccountRef::new(mine.clone())).await.expect("echo");
    assert!(Arc::ptr_eq(&home.remote().local::<MyAccount>().expect("home"), &mine));
    let back = bank.echo(account.clone()).await.expect("echo");
    assert!(back.remote().same(&account));
    assert_eq!(bank.whoami().await, Ok(Some("mem://pair".into())));
    drop(bank.slow());
    let failure = bank.panics().await.expect_err("panicked");
    assert!(!failure.to_string().contains("secret"), "{failure}");
    let list = bank.list(1000).await.expect("list");
    assert_eq!(list[999].deposit(3).await, Ok(3));
    bank.note("x".into());
    assert_eq!(bank.count().await, Ok(102));
    drop((home, back, account, list, bank, watcher));
    settle(&client).await;
    settle(&server).await;
}

#[tokio::test]
async fn calls_on_a_reference_that_comes_home_keep_their_order() {
    let (server, client) = pb_server::pair(BankRef::new(MyBank::default())).await;
    let bank: BankRef = client.root();
    let mine = Arc::new(MyAccount::default());
    let echoed = bank.echo(AccountRef::new(mine.clone()));
    let first = echoed.deposit(1);
    let second = echoed.deposit(10);
    let home = echoed.await.expect("echo");
    let third = home.deposit(100);
    assert_eq!(first.await, Ok(1));
    assert_eq!(second.await, Ok(11));
    assert_eq!(third.await, Ok(111));
    drop((home, bank));
    settle(&client).await;
    settle(&server).await;
}

#[tokio::test]
async fn local_calls_need_no_connection() {
    let bank = BankRef::new(MyBank::default());
    assert_eq!(bank.open("ada".into()).deposit(7).await, Ok(7));
    assert_eq!(bank.whoami().await, Ok(None));
    bank.note("x".into());
    assert_eq!(bank.count().await, Ok(101));
    assert!(bank.panics().await.is_err());
}
