//! The commands, one a function.

mod call;
mod check;
mod decode;
pub(crate) mod lists;
mod record;
pub(crate) mod show;
mod stats;
mod summary;
mod watch;

use std::io;
use std::time::Duration;

use pb_server::inspect::Query;

use crate::cli::{Cli, Command, Common, Listing, command};
use crate::error::Error;
use crate::json::object;
use crate::link::Link;
use crate::out::{Out, many, time};

/// Does what the command line says.
///
/// # Errors
/// Why it is not done, as a sentence with an exit status.
///
/// # Cancel safety
/// Dropping the future closes the connection; a call that was made is cancelled.
pub async fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Check { common, over, older, own } => {
            check::check(&check::Asked { common: &common, over, older, own }).await
        }
        Command::Objects(listing) => lists::objects(&listing).await,
        Command::Show { common, object, own } => show::show(&common, &object, own).await,
        Command::Tree { common, own } => show::tree(&common, own).await,
        Command::Calls { listing, cancel: None } => lists::calls(&listing).await,
        Command::Calls { listing, cancel: Some(call) } => cancel(&listing, &call).await,
        Command::Call { common, object, method, arguments, within } => {
            call::call(&common, &object, &method, &arguments, within).await
        }
        Command::Methods { common, object } => show::methods(&common, &object).await,
        Command::Conns { listing, ended: false } => lists::connections(&listing).await,
        Command::Conns { listing, ended: true } => lists::ended(&listing).await,
        Command::Stats { listing, over } => stats::stats(&listing, over).await,
        Command::Top { common, interval, own } => crate::top::top(&common, interval, own).await,
        Command::Shell { common, history } => crate::shell::shell(&common, history).await,
        Command::Ping { common, count } => ping(&common, count).await,
        Command::Revoke { common, object, reason } => revoke(&common, &object, reason).await,
        Command::Watch { common, wanted } => watch::watch(&common, wanted).await,
        Command::Record { common, file, connections, bodies, seconds } => {
            record::record(&common, &file, connections, bodies, seconds).await
        }
        Command::Decode { file, connections, json, width } => {
            decode::decode(&file, &connections, &Out::new(json, width))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "pb", &mut script);
            Ok(io::Write::write_all(&mut io::stdout(), &script)?)
        }
    }
}

/// What a listing asks for, a page of it from `offset`.
fn query(listing: &Listing, offset: u64, left: u64) -> Query {
    let limit = u32::try_from(left.min(MOST_ROWS)).unwrap_or(u32::MAX);
    Query { filter: listing.filter.clone(), sort: listing.sort.clone(), offset, limit, own: listing.own }
}

/// The number of an object that was named on the command line.
pub(crate) async fn number(link: &Link, text: &str) -> Result<u64, Error> {
    if let Some(id) = object(text).or_else(|| text.parse().ok()) {
        return Ok(id);
    }
    let filter = vec![format!("names={text}")];
    let found = link.inspector.objects(Query { filter, limit: 2, ..Query::default() }).await?;
    match found.rows.as_slice() {
        [row] => Ok(row.id),
        [] => Err(Error::Usage(format!(
            "{text:?} is no object: write its number, as @12, root, or the name that it is published by"
        ))),
        _ => Err(Error::Usage(format!(
            "{text:?} names several objects, for each connection has its own: write one's number, as `pb objects --filter names={text}` lists them"
        ))),
    }
}

async fn cancel(listing: &Listing, call: &str) -> Result<(), Error> {
    let wrong =
        || Error::Usage(format!("{call:?} is no call: write CONNECTION/CALL, as `pb calls` lists them"));
    let (connection, id) = call.split_once('/').ok_or_else(wrong)?;
    let (connection, id) = (connection.parse().map_err(|_| wrong())?, id.parse().map_err(|_| wrong())?);
    let link = Link::open(&listing.common).await?;
    link.inspector.cancel(connection, id).await?;
    let out = Out::of(&listing.common);
    if out.json {
        return out
            .print_json(&serde_json::json!({ "connection": connection, "call": id, "cancelled": true }));
    }
    out.print(&format!("call {connection}/{id} is stopped; its caller is told that it was cancelled\n"))
}

async fn revoke(common: &Common, text: &str, reason: String) -> Result<(), Error> {
    let link = Link::open(common).await?;
    let id = number(&link, text).await?;
    let holders = link.inspector.revoke(id, reason).await?;
    let out = Out::of(common);
    if out.json {
        return out.print_json(&serde_json::json!({ "id": id, "holders": holders }));
    }
    out.print(&format!("@{id} is revoked; {} held it\n", many(holders, "connection")))
}

async fn ping(common: &Common, count: u32) -> Result<(), Error> {
    let link = Link::open(common).await?;
    let out = Out::of(common);
    for at in 0..count.max(1) {
        if at > 0 {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let took = link.broker.ping().await.map_err(Error::from)?;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if out.json {
            out.print_json(&serde_json::json!({ "ping_us": micros }))?;
        } else {
            out.print(&format!("answered within {}\n", crate::out::micros(micros)))?;
        }
    }
    Ok(())
}

/// A number of seconds that was written.
///
/// # Errors
/// It is no time: less than nothing, or more than there is.
pub(crate) fn seconds(written: f64, for_what: &str) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(written)
        .map_err(|_| Error::Usage(format!("{written} s is no time {for_what}: write seconds, as 0.5 or 10")))
}

/// Waits for so long, or until somebody interrupts it.
async fn ends_after(time: Option<Duration>) {
    tokio::select! {
        signal = tokio::signal::ctrl_c() => drop(signal),
        () = tokio::time::sleep(time.unwrap_or(LONGEST).min(LONGEST)) => {}
    }
}

/// An age, or that there is none.
fn or_never(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".to_owned(), time)
}

/// How long something goes on where nobody says.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Rows that the server gives at once, at the most.
const MOST_ROWS: u64 = 1000;
