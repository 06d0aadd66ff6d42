use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// Looks into a running server: which objects live, who holds them, which calls hang.
///
/// URL is where the server's inspector listens, such as unix:///run/bank.inspect: not where it serves.
#[derive(Parser, Debug)]
#[command(name = "pb", version, about, long_about, after_help = STATUSES)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const STATUSES: &str = "\
Exit status: 0 done; 1 what was asked for is not there or failed; 2 the command line is wrong; 3 no connection, or lost;
4 the token is wrong, or the server does not allow it; 5 the called method returned its own error; 6 `check` has
found something.";

/// The command line, for who makes something of it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// What all commands take.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Where the server's inspector listens: unix://PATH or tcp://127.0.0.1:PORT
    pub(crate) url: String,
    /// The file with the token, where the inspector wants one
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Prints JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// The columns that there are; without it those of the terminal, or as many as are needed
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) width: Option<usize>,
}

/// What all lists take.
#[derive(Args, Clone, Debug)]
pub(crate) struct Listing {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Only rows that meet it: KEY=TEXT, KEY!=TEXT, KEY~PART, KEY>NUMBER or KEY<NUMBER; keys are those of --json. Several must all hold
    #[arg(short, long, value_name = "CONDITION")]
    pub(crate) filter: Vec<String>,
    /// The key to sort by, with - before it for the largest first
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) sort: Option<String>,
    /// How many rows, at most; 0 for all
    #[arg(short = 'n', long, value_name = "ROWS", default_value_t = 100)]
    pub(crate) limit: u64,
    /// How many rows to leave out before
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    pub(crate) offset: u64,
    /// Counts the inspector's own connections, too
    #[arg(long)]
    pub(crate) own: bool,
    /// Lists again every so many seconds, until it is stopped; with --json a line each time
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) watch: Option<f64>,
}

/// What to watch.
#[derive(Args, Clone, Debug)]
pub(crate) struct Wanted {
    /// Only events that meet it: KEY=TEXT, KEY!=TEXT, KEY~PART, KEY>NUMBER or KEY<NUMBER; keys are those of --json. Several must all hold
    #[arg(short, long, value_name = "CONDITION")]
    pub(crate) filter: Vec<String>,
    /// Only these: connected, disconnected, called, answered, failed, exported, released, revoked
    #[arg(short, long, value_name = "EVENTS", value_delimiter = ',')]
    pub(crate) events: Vec<String>,
    /// Shows the inspector's own connections, too
    #[arg(long)]
    pub(crate) own: bool,
    /// Ends after so many events; 0 for never
    #[arg(short = 'n', long, value_name = "EVENTS", default_value_t = 0)]
    pub(crate) count: u64,
    /// Ends after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<f64>,
    /// Prints no events, but at the end, or when it is interrupted, how often each method of each object was answered and how long that took
    #[arg(long, conflicts_with = "events")]
    pub(crate) summary: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Says what is wrong with the server, the worst first, and which command shows more: the first thing to run
    #[command(
        after_help = "Exit status: 0 nothing was found; 6 something was found; others as those of all commands."
    )]
    Check {
        #[command(flatten)]
        common: Common,
        /// The seconds between two looks at connections: what a peer does not read, or owes, must last as long
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
        over: f64,
        /// The seconds that any call may take; one of a method that takes long, three times as long as its longest
        #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
        older: f64,
        /// Looks at the inspector's own connections, too
        #[arg(long)]
        own: bool,
    },
    /// Lists the objects that peers hold, the roots and the published ones
    Objects(Listing),
    /// Shows one object: its fields, methods and holders
    Show {
        #[command(flatten)]
        common: Common,
        /// The object, as @12
        object: String,
        /// Counts the inspector's own connections, too
        #[arg(long)]
        own: bool,
    },
    /// Shows what each connection holds, by type
    Tree {
        #[command(flatten)]
        common: Common,
        /// Counts the inspector's own connections, too
        #[arg(long)]
        own: bool,
    },
    /// Lists the calls that are in flight, the oldest first
    Calls {
        #[command(flatten)]
        listing: Listing,
        /// Stops this call, CONNECTION/CALL as in the list, instead of listing; the server must allow it
        #[arg(long, value_name = "CALL")]
        cancel: Option<String>,
    },
    /// Calls a method of an object, and prints what it answers as JSON; the server must allow it
    Call {
        #[command(flatten)]
        common: Common,
        /// The object: @12, or root
        object: String,
        /// Interface/method, or the method alone
        method: String,
        /// The arguments in their order, as JSON or bare words, objects as @12; or one JSON object with their names
        #[arg(allow_negative_numbers = true)]
        arguments: Vec<String>,
        /// How many seconds the answer may take
        #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
        within: f64,
    },
    /// Prints the methods of an object, with their documentation
    Methods {
        #[command(flatten)]
        common: Common,
        /// The object: @12, or root
        object: String,
    },
    /// Lists the connections
    Conns {
        #[command(flatten)]
        listing: Listing,
        /// Lists those that have ended last instead, with when and why
        #[arg(long)]
        ended: bool,
    },
    /// Prints the server's counters, and its methods with their rates and times
    Stats {
        #[command(flatten)]
        listing: Listing,
        /// The seconds over which rates are measured
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
        over: f64,
    },
    /// Shows objects, calls, connections and methods on a screen that is alive; ? there tells its keys
    Top {
        #[command(flatten)]
        common: Common,
        /// The seconds between two looks, 0.1 at the least; lists that take the server long are taken rarely
        #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
        interval: f64,
        /// Counts the inspector's own connections, too
        #[arg(long)]
        own: bool,
    },
    /// Reads commands without the URL, from a prompt or, where standard input is no terminal, as a script
    Shell {
        #[command(flatten)]
        common: Common,
        /// Where lines that were typed are kept, but those that begin with a space; without it in $XDG_STATE_HOME/pb/history or ~/.local/state/pb/history
        #[arg(long, value_name = "FILE")]
        history: Option<PathBuf>,
    },
    /// Measures how long the server takes to answer
    Ping {
        #[command(flatten)]
        common: Common,
        /// How often
        #[arg(short, long, default_value_t = 4)]
        count: u32,
    },
    /// Takes an object away from all who hold it; the server must allow it
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The object, as @12
        object: String,
        /// What its holders are told
        #[arg(default_value = "an operator has revoked it")]
        reason: String,
    },
    /// Prints what happens, as it happens: a line an event, until it is stopped
    Watch {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Writes the frames of connections to a file, until it is stopped; without what programs say to each other
    Record {
        #[command(flatten)]
        common: Common,
        /// The file, which must not be there; - for the standard output
        file: PathBuf,
        /// Only these connections, by their numbers as in `pb conns`; without it all, those that come too
        #[arg(long = "conn", value_name = "CONNECTIONS", value_delimiter = ',')]
        connections: Vec<u64>,
        /// Records arguments, results and errors, too; the server must allow it
        #[arg(long)]
        bodies: bool,
        /// Ends after so many seconds
        #[arg(long = "for", value_name = "SECONDS")]
        seconds: Option<f64>,
    },
    /// Prints a recording, or bytes that were captured of one direction of a connection from its beginning, a message a line
    Decode {
        /// The file; - for the standard input
        file: PathBuf,
        /// Only these connections
        #[arg(long = "conn", value_name = "CONNECTIONS", value_delimiter = ',')]
        connections: Vec<u64>,
        /// Prints one JSON object a line
        #[arg(long)]
        json: bool,
        /// The columns that there are; without it those of the terminal, or as many as are needed
        #[arg(long, value_name = "COLUMNS")]
        width: Option<usize>,
    },
    /// Prints a script that completes commands for a shell
    Completions {
        /// Which
        shell: Shell,
    },
}
