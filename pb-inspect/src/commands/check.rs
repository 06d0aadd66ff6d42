//! What is wrong with a server: one line a finding, the worst first.

mod findings;
mod gathered;

use std::fmt::Write as _;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use self::findings::{FEW, findings};
use self::gathered::{Gathered, gathered};
use super::seconds;
use crate::cli::Common;
use crate::error::Error;
use crate::link::Link;
use crate::out::{Out, many, plain};
use crate::shell::session;

/// What is looked for.
pub(super) struct Asked<'a> {
    pub(super) common: &'a Common,
    /// Seconds between the two looks at connections.
    pub(super) over: f64,
    /// Seconds that a call may take whatever its method.
    pub(super) older: f64,
    pub(super) own: bool,
}

pub(super) async fn check(asked: &Asked<'_>) -> Result<(), Error> {
    let over = seconds(asked.over, "to look for")?;
    let older = seconds(asked.older, "that a call may take")?;
    let link = Link::open(asked.common).await?;
    let gathered = gathered(&link.inspector, asked, over, older).await?;
    let found = findings(&gathered, &Tool::of(asked.common));
    let out = Out::of(asked.common);
    if out.json {
        out.print_json(&found)?;
    } else if found.is_empty() {
        out.print(&wrapped("", &nothing(&gathered), out.width))?;
    } else {
        let lines = found.iter().map(|finding| {
            let text = format!("{}; see: {}", finding.text, finding.command);
            wrapped(finding.severity.name(), &plain(&text), out.width)
        });
        out.print(&lines.collect::<String>())?;
    }
    if found.is_empty() { Ok(()) } else { Err(Error::Found) }
}

/// How bad something is.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Somebody waits for it.
    High,
    /// It will be, or was.
    Medium,
    /// It may be usual.
    Low,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
        }
    }
}

/// Something that is wrong. All have the same fields; what makes no sense is `null`.
#[derive(Serialize, Debug)]
struct Finding {
    /// The kind: `unread`, `old_calls`, `leak`, `broken`, `failures`, `owes`, `ended`.
    what: &'static str,
    severity: Severity,
    text: String,
    /// What to type to see more.
    command: String,
    /// How many there are, of what the kind is about.
    count: u64,
    connection: Option<u64>,
    peer: Option<String>,
    method: Option<String>,
    object: Option<u64>,
}

/// How commands are typed where this one was.
struct Tool {
    /// Words in front of a command, and behind it.
    before: String,
    behind: String,
}

impl Tool {
    fn of(common: &Common) -> Tool {
        if session::current().is_some() {
            return Tool { before: String::new(), behind: String::new() };
        }
        let token = common.token_file.as_ref();
        let token = token.map_or_else(String::new, |path| {
            format!(" --token-file {}", quoted(&path.display().to_string()))
        });
        Tool { before: "pb ".to_owned(), behind: format!(" {}{token}", quoted(&common.url)) }
    }

    /// A line that a shell takes apart into these words, whatever a server has put into them.
    fn line(&self, command: &str, words: &[&str]) -> String {
        let words: String = words.iter().map(|word| format!(" {}", quoted(word))).collect();
        format!("{}{command}{}{words}", self.before, self.behind)
    }
}

/// One word of a shell's.
fn quoted(word: &str) -> String {
    let word = plain(word);
    let usual = |char: char| char.is_ascii_alphanumeric() || "_-+./:=,@%".contains(char);
    match !word.is_empty() && word.chars().all(usual) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// What was looked at where nothing is wrong.
fn nothing(gathered: &Gathered) -> String {
    let groups = gathered.branches.iter().flat_map(|branch| &branch.groups);
    let objects = groups.fold(0_u64, |sum, group| sum.saturating_add(group.objects));
    format!(
        "nothing found: looked at {} (does each read its answers, and give those that it owes?), {} held there (are many never called, is any broken?), {} (is a call far older than others, have more than {FEW} of one failed, but for its own errors and cancelled calls?), {} lately (was each a goodbye?)",
        many(gathered.branches.len() as u64, "connection"),
        many(objects, "object"),
        many(gathered.methods.len() as u64, "method"),
        many(gathered.ended.len() as u64, "disconnect"),
    )
}

/// The text behind its head, in lines of so many columns where its words allow it.
fn wrapped(head: &str, text: &str, width: usize) -> String {
    let margin = if head.is_empty() { 0 } else { MARGIN };
    let mut lines = format!("{head:<margin$}");
    let mut at = margin;
    for (nth, word) in text.split(' ').enumerate() {
        let wide = word.width();
        if nth > 0 && at.saturating_add(1 + wide) > width {
            // A text takes whatever is written to it.
            let _ = write!(lines, "\n{:margin$}", "");
            at = margin;
        } else if nth > 0 {
            lines.push(' ');
            at += 1;
        }
        lines.push_str(word);
        at += wide;
    }
    lines.push('\n');
    lines
}

/// Columns of the severity.
const MARGIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_pasted_is_the_command_whatever_a_server_calls_its_methods() {
        let tool = Tool { before: "pb ".into(), behind: " unix:///run/bank.inspect".into() };
        assert_eq!(
            tool.line("calls", &["-f", "method=Dir/hang"]),
            "pb calls unix:///run/bank.inspect -f method=Dir/hang"
        );
        assert_eq!(
            tool.line("stats", &["-f", "method=a'; rm -r ~ \u{1b}"]),
            r"pb stats unix:///run/bank.inspect -f 'method=a'\''; rm -r ~ \u{1b}'"
        );
    }

    #[test]
    fn a_text_is_one_line_or_as_many_as_a_terminal_needs() {
        let text = "connection 1 does not read: 20KiB wait for it";
        assert_eq!(wrapped("high", text, usize::MAX), format!("high    {text}\n"));
        assert_eq!(
            wrapped("high", text, 30),
            "high    connection 1 does not\n        read: 20KiB wait for\n        it\n"
        );
        assert_eq!(wrapped("low", "averylongword", 9), "low     averylongword\n");
    }
}
