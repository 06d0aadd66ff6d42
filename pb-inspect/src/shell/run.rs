//! One line: a command of the tool without its URL, or one of the shell's own.

use std::sync::Arc;

use clap::FromArgMatches as _;

use super::session::Session;
use super::words::{named, words};
use crate::cli::{Cli, Command, Common, command};
use crate::error::Error;
use crate::json::object;
use crate::out::Out;

/// What comes after a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    On,
    Quit,
}

/// The words that only the shell has, with what they do.
pub(super) const OWN: [(&str, &str); 4] = [
    ("held", "Lists the objects that this session holds: those that were named in it, or answered"),
    ("forget", "Lets go of objects: @12, $1, or all of them with --all"),
    ("help", "Prints this; help COMMAND tells more of one"),
    ("quit", "Ends the session, as the end of input does"),
];

/// The command line without a URL: it is the session's.
pub(super) fn commands() -> clap::Command {
    let whole = command();
    let names: Vec<String> = whole.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut inner = whole.no_binary_name(true).disable_version_flag(true);
    for name in names {
        inner = inner.mut_subcommand(name, |sub| {
            let has_url = sub.get_arguments().any(|argument| argument.get_id() == "url");
            let sub = if has_url {
                // It must be something, and is the session's in any case.
                sub.mut_arg("url", |url| url.long("url").hide(true).required(false).default_value(""))
                    .mut_arg("token_file", |file| file.hide(true))
            } else {
                sub
            };
            if ["shell", "completions"].contains(&sub.get_name()) { sub.hide(true) } else { sub }
        });
    }
    inner.override_usage("COMMAND [ARGUMENTS]")
}

/// Does what a line says.
///
/// # Errors
/// Those of the command. The session goes on.
pub(super) async fn run(session: &Arc<Session>, common: &Common, line: &str) -> Result<Then, Error> {
    let words = words(line)?;
    let result = |number| session.result(number);
    let words: Vec<String> = words.iter().map(|word| named(word, &result)).collect::<Result<_, _>>()?;
    let out = Out::of(common);
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["quit" | "exit"] => return Ok(Then::Quit),
        ["help"] => out.print(&help())?,
        ["held"] => {
            let held: String = session.held().iter().map(|id| format!("@{id}\n")).collect();
            out.print(if held.is_empty() { "nothing is held\n" } else { &held })?;
        }
        ["forget", "--all"] => {
            let gone = session.forget_all();
            out.print(&format!("{gone} are let go\n"))?;
        }
        ["forget", first, more @ ..] => {
            for word in [&[*first], more].concat() {
                let id =
                    object(word).ok_or_else(|| Error::Usage(format!("{word:?} is no object: write @12")))?;
                if !session.forget(id) {
                    return Err(Error::Usage(format!("@{id} is not held: `held` lists what is")));
                }
            }
        }
        _ => return session.within(command_of(&words)).await.map(|()| Then::On),
    }
    Ok(Then::On)
}

async fn command_of(words: &[String]) -> Result<(), Error> {
    let cli = commands().try_get_matches_from(words).and_then(|found| Cli::from_arg_matches(&found));
    match cli {
        Ok(Cli { command: Command::Shell { .. } }) => Err(Error::Usage("this is a shell already".to_owned())),
        Ok(cli) => Box::pin(crate::commands::run(cli)).await,
        // Help was asked for.
        Err(told) if told.exit_code() == 0 => Ok(told.print()?),
        Err(wrong) => {
            // What is wrong stands in front, and advice of other paragraphs behind.
            let wrong = wrong.to_string();
            let first = wrong.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = first.split_whitespace().collect();
            Err(Error::Usage(words.join(" ")))
        }
    }
}

fn help() -> String {
    let mut text =
        String::from("Commands, as those of `pb` without the URL; COMMAND --help tells more of one:\n");
    let commands = commands();
    let ours = commands.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| {
        (sub.get_name().to_owned(), sub.get_about().map_or_else(String::new, ToString::to_string))
    });
    for (name, about) in ours.chain(OWN.map(|(name, about)| (name.to_owned(), about.to_owned()))) {
        text.push_str(&format!("  {name:<10} {about}\n"));
    }
    text.push_str(
        "What a call answers is $1, $2 and so on: a word of later lines, in parts as $1.owner or $1[0]. Objects that were named or answered stay as\n\
         long as the session holds them, and so does @12. JSON needs no quotes: call @12 deposit {\"cents\": 100}\n",
    );
    text
}
