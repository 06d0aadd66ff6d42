//! A walk through the broker: this process serves a bank, a second one is its client, and both say what happens.
//!
//! `cargo run --release --example tour`; with `-- --inspect unix:///tmp/tour.sock` the server stays when the tour is over, for `pb` to look into it.

mod bank;
mod client;
mod far;
mod link;
mod say;
mod server;

use std::error::Error;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use pb_examples::inspecting::Inspecting;
use pb_server::Server;
use tokio::process::Command;

use bank::BankRef;
use say::{line, step};

/// The tour takes a second or two. If it hangs, the user is told instead of left waiting.
const LONGEST: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let toured = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => lead(&Inspecting::default()).await,
        ["--inspect", url] => {
            lead(&Inspecting { inspect: Some(url.to_owned()), ..Inspecting::default() }).await
        }
        ["client", url] => client::walk(url).await,
        _ => Err("takes --inspect URL, or nothing: it starts its own client".into()),
    };
    match toured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the bank, starts the client, and waits until that has seen everything.
async fn lead(inspecting: &Inspecting) -> Result<(), Box<dyn Error>> {
    say::title("A tour of the broker: two processes, and live objects between them.");
    step(1, "Two processes and a root");
    let server = Server::new(BankRef::new(server::City::default())).listen("tcp://127.0.0.1:0").await?;
    let server = inspecting.tell(server).await?.spawn()?;
    let url = server.urls().first().cloned().ok_or("the server listens nowhere")?;
    line("server", format_args!("I am process {} and listen on {url}.", std::process::id()));
    line("server", "I serve one object, the root: a bank.");

    // Should anything below fail, the client is killed as `client` is dropped.
    let mut client = Command::new(std::env::current_exe()?)
        .args(["client", &url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let status = tokio::time::timeout(LONGEST, client.wait())
        .await
        .map_err(|_| format!("the client did not come to its end in {} seconds", LONGEST.as_secs()))??;
    if !status.success() {
        return Err(format!("the client ended with {status}").into());
    }
    if let Some(url) = server.inspector_url() {
        line(
            "server",
            format_args!("My client is gone. I stay until I am interrupted: look with `pb objects {url}`."),
        );
        tokio::signal::ctrl_c().await?;
    }
    line("server", "My client is gone, and with it all that it held here. I stop as well.");
    server.shutdown().await;
    say::title("That was the tour. Its code is in examples/examples/tour, some 700 lines.");
    Ok(())
}
