//! The walk: what the second process does.

use std::error::Error;
use std::sync::Arc;

use pb_client::{CallError, Referenceable};
use tokio::sync::Notify;

use crate::bank::{AccountRef, BankError, BankRef, Watcher, WatcherRef};
use crate::far;
use crate::say::{code, line, step};

/// Connects to the bank at `url` and walks from stop to stop.
pub async fn walk(url: &str) -> Result<(), Box<dyn Error>> {
    code(&format!("let broker = pb_client::connect(\"{url}\").await?;"));
    let broker = pb_client::connect(url).await?;
    code("let bank: BankRef = broker.root();");
    let bank: BankRef = broker.root();
    line(
        "client",
        format_args!("I am process {} and hold the bank. I asked nobody for it.", std::process::id()),
    );
    code("bank.greeting().await?");
    line("client", format_args!("The bank says: {}.", bank.greeting().await?));

    let ada = handed_out(&bank).await?;
    let bob = one_round_trip(&bank).await?;
    given_back(&bank, &ada, &bob).await?;
    typed_error(&bank, &ada, &bob).await?;
    let screen_gone = callbacks(&ada).await?;
    letting_go(&bank, ada, bob, &screen_gone).await?;
    far::walk(url, &bank).await?;

    step(12, "The end");
    drop(bank);
    let tables = broker.tables();
    line(
        "client",
        format_args!(
            "Objects that I lent out: {}. Calls of mine without an answer: {}.",
            tables.exports, tables.calls
        ),
    );
    broker.close();
    Ok(())
}

async fn handed_out(bank: &BankRef) -> Result<AccountRef, Box<dyn Error>> {
    step(2, "An object is handed out");
    code("let ada = bank.open(\"ada\").await?;");
    let ada = bank.open("ada".into()).await?;
    line("client", "I hold ada's account: not a copy, not a key to look up, a reference.");
    code("ada.deposit(100).await?");
    let cents = ada.deposit(100).await?;
    line("client", format_args!("ada has {cents} cents."));
    Ok(ada)
}

async fn one_round_trip(bank: &BankRef) -> Result<AccountRef, Box<dyn Error>> {
    step(3, "Two calls, one round trip");
    code("let bob = bank.open(\"bob\");          // no await");
    code("let cents = bob.deposit(50).await?;");
    line("client", "I call an account that I do not have yet: both calls travel together.");
    let bob = bank.open("bob".into());
    let cents = bob.deposit(50);
    let cents = cents.await?;
    line("client", format_args!("bob has {cents} cents, after one round trip."));
    Ok(bob.await?)
}

async fn given_back(bank: &BankRef, ada: &AccountRef, bob: &AccountRef) -> Result<(), Box<dyn Error>> {
    step(4, "References are arguments, and come home");
    code("let receipt = bank.transfer(ada, bob, 30).await?;");
    let receipt = bank.transfer(ada.clone(), bob.clone(), 30).await?;
    let same = if receipt.to.remote().same(bob) { "the same as mine" } else { "another" };
    line(
        "client",
        format_args!("I have a receipt over {} cents. The account named in it is {same}.", receipt.cents),
    );
    Ok(())
}

async fn typed_error(bank: &BankRef, ada: &AccountRef, bob: &AccountRef) -> Result<(), Box<dyn Error>> {
    step(5, "Errors keep their types");
    code("bank.transfer(ada, bob, 1_000).await");
    match bank.transfer(ada.clone(), bob.clone(), 1_000).await {
        Err(CallError::App(BankError::Short { missing })) => {
            line(
                "client",
                format_args!(
                    "I get Err(App(BankError::Short {{ missing: {missing} }})), and can match on it."
                ),
            );
            Ok(())
        }
        Err(other) => Err(other.into()),
        Ok(_) => Err("the bank moved money that ada does not have".into()),
    }
}

/// An object of the client's own, which the server will call.
#[derive(Referenceable)]
struct Screen {
    gone: Arc<Notify>,
}

impl Watcher for Screen {
    async fn changed(&self, owner: String, cents: u64) {
        line("client", format_args!("My screen is called, from over there: {owner} has {cents} cents."));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        line("client", "The server has let go of my screen: it is dropped.");
        self.gone.notify_one();
    }
}

async fn callbacks(ada: &AccountRef) -> Result<Arc<Notify>, Box<dyn Error>> {
    step(6, "Calls go both ways");
    let gone = Arc::new(Notify::new());
    code("let screen = Arc::new(Screen { .. });  // an object of mine");
    let screen = Arc::new(Screen { gone: Arc::clone(&gone) });
    code("ada.watch(WatcherRef::new(screen.clone())).await?;");
    ada.watch(WatcherRef::new(Arc::clone(&screen))).await?;
    code("ada.deposit(5).await?;");
    ada.deposit(5).await?;
    code("let watcher = ada.watcher().await?;    // who watches?");
    let watcher = ada.watcher().await?;
    match watcher.remote().local::<Screen>() {
        Some(home) if Arc::ptr_eq(&home, &screen) => {
            line("client", "My own screen came back, the very object: calling it takes no network.");
            Ok(gone)
        }
        _ => Err("the watcher that came back is not the one that was given".into()),
    }
}

async fn letting_go(
    bank: &BankRef,
    ada: AccountRef,
    bob: AccountRef,
    screen_gone: &Notify,
) -> Result<(), Box<dyn Error>> {
    step(7, "Letting go");
    code("drop(bob);");
    drop(bob);
    bank.dropped().await?;
    line("client", "I held the last reference to bob's account, so the server could drop it.");
    code("drop(ada);                             // it holds my screen");
    drop(ada);
    bank.dropped().await?;
    screen_gone.notified().await;
    Ok(())
}
