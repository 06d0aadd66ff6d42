//! This very test in a process of its own, as the server: started and ended by the test.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Says to the process that a test starts that it is the server, and which one.
const ROLE: &str = "PB_TESTS_ROLE";
/// Begins each line that a started process says to its test.
const SAYS: &str = "PB_TESTS_SAYS ";
/// A failure bound only.
const PATIENCE: Duration = Duration::from_secs(60);

/// What this process was started for; nothing where it is the test itself.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Says `words` to the test that has started this process.
pub fn say(words: &str) {
    use std::io::Write as _;
    // The harness writes on the same line before it.
    println!("\n{SAYS}{words}");
    std::io::stdout().flush().expect("somebody reads");
}

/// A process that was started. It is killed where the test ends before it.
pub struct Started {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Started {
    /// Starts the test `name` of this program again, as `role`. `stdin` is what it inherits there.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn new(name: &str, role: &str, stdin: Stdio) -> Started {
        Started::with_shell(name, role, stdin, "exec \"$0\" \"$@\"")
    }

    /// The same by a shell's script, which runs the program by `exec "$0" "$@"`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with_shell(name: &str, role: &str, stdin: Stdio, script: &str) -> Started {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(env::current_exe().expect("this program"))
            .args([name, "--exact", "--nocapture"])
            .env(ROLE, role)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Started { child, lines }
    }

    /// The next thing that it says.
    ///
    /// # Panics
    /// When it ends without.
    pub fn said(&mut self) -> String {
        let mut lines = self.lines.by_ref().map(|line| line.expect("a line of text"));
        lines.find_map(|line| line.strip_prefix(SAYS).map(str::to_owned)).expect("it says something")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, as `TERM`.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.id())]).status();
        assert!(sent.expect("there is a shell").success(), "{signal} cannot be sent");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < until, "it has not ended within {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
