//! What may come next on a line: commands, options, objects, methods, keys.

use std::sync::Arc;
use std::time::Duration;

use pb_client::CallError;
use pb_server::inspect::{InspectError, Query};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Result};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::run::{OWN, commands};
use super::session::Session;
use crate::json::object;
use crate::link::Link;
use crate::out::plain;

/// Completes words. It asks the server, for a short time: the thread that edits waits for it.
pub(super) struct Helper {
    session: Arc<Session>,
    runtime: Handle,
    commands: clap::Command,
}

impl Helper {
    pub(super) fn new(session: Arc<Session>, runtime: Handle) -> Helper {
        Helper { session, runtime, commands: commands() }
    }

    fn candidates(&self, before: &[&str], word: &str) -> Vec<String> {
        let Some(command) = before.first() else {
            let ours = self.commands.get_subcommands().filter(|sub| !sub.is_hide_set());
            let ours = ours.map(|sub| sub.get_name().to_owned());
            return ours.chain(OWN.map(|(name, _)| name.to_owned())).collect();
        };
        if word.starts_with('-') {
            return self.options(command);
        }
        if word.starts_with('$') {
            return self.session.results().iter().map(|number| format!("${number}")).collect();
        }
        let takes_object = ["show", "call", "methods", "revoke", "forget"].contains(command);
        match (*command, before) {
            ("help", _) => self.candidates(&[], word),
            ("call", [_, object]) => self.ask(methods(&self.session, object)),
            (_, [.., "-f" | "--filter" | "-s" | "--sort"]) => self.ask(keys(&self.session, command)),
            _ if word.starts_with('@') || takes_object && before.len() == 1 => {
                self.ask(objects(&self.session))
            }
            _ => Vec::new(),
        }
    }

    fn options(&self, command: &str) -> Vec<String> {
        let Some(command) = self.commands.find_subcommand(command) else { return Vec::new() };
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        shown.filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")).collect()
    }

    fn ask(&self, asked: impl Future<Output = Option<Vec<String>>>) -> Vec<String> {
        let answered = self.runtime.block_on(async { timeout(PATIENCE, asked).await });
        answered.ok().flatten().unwrap_or_default()
    }
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        let line = &line[..at];
        let start = line.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        let (before, word) = line.split_at(start);
        let before: Vec<&str> = before.split_whitespace().collect();
        let mut found = self.candidates(&before, word);
        found.retain(|candidate| candidate.starts_with(word));
        found.sort();
        found.dedup();
        Ok((start, found))
    }
}

impl Hinter for Helper {
    type Hint = String;
}

impl Highlighter for Helper {}
impl Validator for Helper {}
impl rustyline::Helper for Helper {}

/// What objects are called by: their names, and the numbers of those that were called most.
async fn objects(session: &Session) -> Option<Vec<String>> {
    let link = session.link().await.ok()?;
    let page = link.inspector.objects(Query { limit: MOST, ..Query::default() }).await.ok()?;
    let names = page.rows.iter().flat_map(|row| row.names.iter().map(|name| plain(name)));
    let numbers = page.rows.iter().map(|row| row.id).chain(session.held()).map(|id| format!("@{id}"));
    Some(names.chain(numbers).collect())
}

/// The methods of an object that was named, with and without their interfaces.
async fn methods(session: &Session, named: &str) -> Option<Vec<String>> {
    let link = session.link().await.ok()?;
    let id = match super::words::named(named, &|number| session.result(number)).ok()? {
        name if object(&name).is_some() => object(&name)?,
        name => number(&link, &name).await?,
    };
    let detail = link.inspector.object(id, false).await.ok()?;
    let both = |name: &str| {
        let short = name.rsplit_once('/').map(|(_, method)| plain(method));
        short.into_iter().chain([plain(name)]).collect::<Vec<_>>()
    };
    Some(detail.methods.iter().flat_map(|method| both(&method.name)).collect())
}

async fn number(link: &Link, name: &str) -> Option<u64> {
    crate::commands::number(link, name).await.ok()
}

/// The keys of a list: the server tells them to who asks for one that there is not.
async fn keys(session: &Session, command: &str) -> Option<Vec<String>> {
    let inspector = session.link().await.ok()?.inspector;
    if command == "watch" {
        let refused = inspector.watch(vec!["?".to_owned()], Vec::new(), false).await.err()?;
        let CallError::App(InspectError::Filter { keys, .. }) = refused else { return None };
        return Some(keys.split(", ").map(plain).collect());
    }
    let wrong = Query { sort: Some("?".to_owned()), ..Query::default() };
    let refused = match command {
        "objects" => inspector.objects(wrong).await.err()?,
        "calls" => inspector.calls(wrong).await.err()?,
        "conns" => inspector.connections(wrong).await.err()?,
        "stats" => inspector.methods(wrong).await.err()?,
        _ => return None,
    };
    let CallError::App(InspectError::Sort { keys, .. }) = refused else { return None };
    Some(keys.split(", ").map(plain).collect())
}

/// How long the server may take to tell what may come.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Objects that are offered.
const MOST: u32 = 200;
