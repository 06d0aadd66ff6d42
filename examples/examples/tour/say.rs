//! Lines for people. Both processes write to the same output, each whole lines at once; the calls between them keep the order.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// A line above or below everything.
pub fn title(text: &str) {
    print(format_args!("{}\n", painted("1", text)));
}

/// The headline of the next stop.
pub fn step(number: u32, what: &str) {
    print(format_args!("\n{}\n", painted("1", &format!("{number}. {what}"))));
}

/// What `who`, a process, has to say.
pub fn line(who: &str, what: impl Display) {
    let colour = if who == "server" { "33" } else { "36" };
    print(format_args!("   {} {what}\n", painted(colour, &format!("{who} |"))));
}

/// The code that the client runs now.
pub fn code(code: &str) {
    print(format_args!("   {} {}\n", painted("36", "client |"), painted("2", &format!("> {code}"))));
}

fn painted(style: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// In one write, so that the other process cannot come between. A reader that went away is no reason to panic.
fn print(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.to_string().as_bytes()).and_then(|()| out.flush());
}
