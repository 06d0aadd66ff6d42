//! Looks at the root of any server, calls it, and stands in front of it, without knowing its types.
//!
//! ```sh
//! any show tcp://127.0.0.1:8792                    # its interfaces, as their traits have them
//! any call tcp://127.0.0.1:8792 Counter/add 5      # arguments are numbers, true, false, or texts
//! any log tcp://127.0.0.1:8792 --listen tcp://127.0.0.1:8793   # passes all calls on, and prints them
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use pb_server::{AnyRef, CallError, Description, DynamicCall, DynamicObject, Server, Value};

/// A client and a proxy for servers of any kind.
#[derive(Parser)]
enum Command {
    /// Prints what the server's root says of itself
    Show {
        /// Where the server is
        url: String,
    },
    /// Calls a method of the server's root, and prints what it answers
    Call {
        /// Where the server is
        url: String,
        /// `Interface/method`, or the method alone
        method: String,
        /// Numbers, `true`, `false`; everything else is a text
        #[arg(allow_negative_numbers = true)]
        arguments: Vec<String>,
    },
    /// Passes calls on to the server's root, and prints them
    Log {
        /// Where the server is
        url: String,
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "tcp://127.0.0.1:0")]
        listen: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("any: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    let (Command::Show { url } | Command::Call { url, .. } | Command::Log { url, .. }) = &command;
    let broker = pb_client::connect(url).await?;
    let root: AnyRef = broker.root();
    let description = root.remote().describe().await?;
    match command {
        Command::Show { .. } => show(&description),
        Command::Call { method, arguments, .. } => {
            let arguments: Vec<Value> = arguments.into_iter().map(value).collect();
            match root.remote().invoke(description.method(&method)?, arguments).await {
                Ok(answer) => println!("{answer:?}"),
                Err(CallError::App(error)) => return Err(format!("{method} says {error:?}").into()),
                Err(CallError::Broker(failure)) => return Err(failure.into()),
            }
        }
        Command::Log { listen, .. } => {
            let logging = Logging { to: root, description: Arc::new(description) };
            let server = Server::new(AnyRef::dynamic(Arc::new(logging))?).listen(&listen).await?;
            println!("listening on {}", server.urls()[0]);
            server.run_until_signal(Duration::from_secs(1)).await?;
        }
    }
    Ok(())
}

fn show(description: &Description) {
    for interface in &description.interfaces {
        for method in &interface.methods {
            for line in method.docs.lines() {
                println!("/// {line}");
            }
            println!("{}", method.signature());
        }
    }
}

/// What a word on the command line stands for.
fn value(word: String) -> Value {
    match (word.parse::<i128>(), word.parse::<f64>(), word.parse::<bool>()) {
        (Ok(int), ..) => int.into(),
        (_, Ok(float), _) => float.into(),
        (_, _, Ok(bool)) => bool.into(),
        _ => word.into(),
    }
}

/// Has the methods of what it stands before.
struct Logging {
    to: AnyRef,
    description: Arc<Description>,
}

impl DynamicObject for Logging {
    fn describe(&self) -> Arc<Description> {
        Arc::clone(&self.description)
    }

    async fn call(&self, call: DynamicCall) -> Result<Value, CallError<Value>> {
        let said = format!("{} {:?}", call.method().name, call.arguments);
        let answer = self.to.remote().invoke(call.method(), call.arguments.clone()).await;
        println!("{} {said} -> {answer:?}", call.context().peer().unwrap_or("here"));
        answer
    }
}
