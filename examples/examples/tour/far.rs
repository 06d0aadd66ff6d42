//! The second half of the walk: servers that are far away, slow, or gone.

use std::error::Error;
use std::time::Duration;

use pb_client::{Connect, FailureKind, Reconnect};

use crate::bank::BankRef;
use crate::link::Ferry;
use crate::say::{code, line, step};

/// Walks on, with the bank at `url` and over a slow link to it.
pub async fn walk(url: &str, bank: &BankRef) -> Result<(), Box<dyn Error>> {
    let ferry = Ferry::to(url).await?;
    round_trips(&ferry).await?;
    giving_up(bank).await?;
    deadlines(bank).await?;
    links_that_break(&ferry).await
}

async fn round_trips(ferry: &Ferry) -> Result<(), Box<dyn Error>> {
    step(8, "Round trips, counted");
    line("client", "I go to the same bank by a ferry, which counts its crossings.");
    let broker = pb_client::connect(&ferry.url).await?;
    let bank: BankRef = broker.root();
    bank.greeting().await?;

    let before = ferry.crossings();
    code("let eve = bank.open(\"eve\").await?;");
    let eve = bank.open("eve".into()).await?;
    for cents in [1, 2, 3] {
        code(&format!("eve.deposit({cents}).await?;"));
        eve.deposit(cents).await?;
    }
    line("client", format_args!("Four calls, each awaited: {} crossings.", ferry.crossings() - before));

    let before = ferry.crossings();
    code("let dan = bank.open(\"dan\");");
    let dan = bank.open("dan".into());
    code("let calls = [dan.deposit(1), dan.deposit(2), dan.deposit(3)];");
    let calls = [dan.deposit(1), dan.deposit(2), dan.deposit(3)];
    let mut cents = 0;
    code("for call in calls { cents = call.await?; }");
    for call in calls {
        cents = call.await?;
    }
    let crossings = ferry.crossings() - before;
    line(
        "client",
        format_args!(
            "Four calls, awaited when all were made: {crossings} crossing, and dan has {cents} cents."
        ),
    );
    drop(eve);
    bank.dropped().await?;
    drop(dan);
    bank.dropped().await?;
    Ok(())
}

async fn giving_up(bank: &BankRef) -> Result<(), Box<dyn Error>> {
    step(9, "Giving up");
    code("let audit = bank.audit();");
    let audit = bank.audit();
    // Behind it on the same reference: so when this is answered, the audit has begun.
    bank.greeting().await?;
    code("drop(audit);                           // I do not want to know any more");
    drop(audit);
    bank.audit_stopped().await?;
    line("client", "A call whose Deferred is dropped is cancelled, over any number of hops.");
    Ok(())
}

async fn deadlines(bank: &BankRef) -> Result<(), Box<dyn Error>> {
    step(10, "Deadlines");
    code("bank.within(Duration::from_millis(50)).vault().await");
    match bank.within(Duration::from_millis(50)).vault().await {
        Err(failure) if failure.kind == FailureKind::DeadlineExceeded => {
            line("client", format_args!("I get an error: {failure}."));
            line(
                "client",
                "The server has the deadline too: it stops the method, and all that this asked of others.",
            );
            Ok(())
        }
        Err(failure) => Err(failure.into()),
        Ok(_) => Err("the vault has opened".into()),
    }
}

async fn links_that_break(ferry: &Ferry) -> Result<(), Box<dyn Error>> {
    step(11, "Links that break");
    code("let server = Connect::to(ferry).reconnecting(Reconnect::default())?;");
    let server = Connect::to(ferry.url.as_str()).reconnecting(Reconnect::default())?;
    code("let bank: BankRef = server.root();     // and again for each thing that is to be done");
    let bank: BankRef = server.root();
    bank.greeting().await?;
    code("let (vault, greeting) = (bank.vault(), bank.greeting());");
    let (vault, greeting) = (bank.vault(), bank.greeting());
    line("client", "Both are on their way, and the ferry sinks.");
    ferry.sink();
    match vault.await {
        Err(failure) => {
            line("client", format_args!("The first fails {:?}; has it run? {:?}.", failure.kind, failure.ran))
        }
        Ok(_) => return Err("the vault has opened".into()),
    }
    let greeting = greeting.await?;
    line("client", "The second may be repeated, its trait says: it was sent again by the next ferry.");
    line("client", format_args!("The bank says: {greeting}."));
    Ok(())
}
