//! The programs `echo` and `chat`, as their users start them: processes and real sockets.

mod chat;
mod program;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use program::{Person, Serving, run};

fn output(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_echo_client_hears_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix://{}/echo", dir.path().display());
    let serving = Serving::start("echo", &["serve", "--listen", "tcp://127.0.0.1:0", "--listen", &unix], 2);
    for url in &serving.urls {
        let said = run("echo", &["say", url]);
        assert!(said.status.success(), "{}", output(&said.stderr));
        let expected = "receive: Hello, world!\nreceive: What a fine day it is.\nreceive: Bye-bye!\n";
        assert_eq!(output(&said.stdout), expected, "{url}");
        let said = run("echo", &["say", url, "", "x"]);
        assert_eq!(output(&said.stdout), "receive: \nreceive: x\n");
    }
}

#[test]
fn the_echo_client_says_what_went_wrong() {
    for (url, sentence) in [
        ("mem://nobody", "echo: mem://nobody: cannot connect: nobody listens on mem://nobody\n"),
        ("tcp://localhost", "echo: \"tcp://localhost\" has no port from 0 to 65535: write tcp://HOST:PORT\n"),
    ] {
        let said = run("echo", &["say", url]);
        assert_eq!(said.status.code(), Some(1));
        assert_eq!(output(&said.stderr), sentence);
    }
    // One that closes without a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let closing = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    let said = run("echo", &["say", &url]);
    assert_eq!(output(&said.stderr), "echo: the other side closed the connection\n");
    closing.join().unwrap();
}

#[test]
fn a_server_that_is_told_to_stop_finishes_and_ends_well() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let unix = format!("unix://{}/echo", dir.path().display());
        let mut serving =
            Serving::start("echo", &["serve", "--listen", "tcp://127.0.0.1:0", "--listen", &unix], 2);
        let mut person = Person::at(serving.host());
        person.say("a word\r\n");
        assert_eq!(person.line(), "a word\r\n");
        serving.signal(signal);
        assert_eq!(person.rest(), "");
        assert!(serving.end().success());
        assert!(!dir.path().join("echo").exists(), "its socket's file is gone");
    }
}

/// Fills the way there and back: reads nothing, and writes until nothing goes any more.
fn clog(stream: &mut TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut stuck) = (0, 0);
    while stuck < 20 {
        match stream.write(&[b'x'; 64 << 10]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stuck += 1;
                std::thread::sleep(Duration::from_millis(25));
            }
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
        assert!(sent < 256 << 20, "nobody holds it up");
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

#[cfg(target_os = "linux")]
#[test]
fn who_does_not_read_its_echo_is_held_up_and_loses_nothing() {
    let serving = Serving::start("echo", &["serve"], 1);
    let mut stream = TcpStream::connect(serving.host()).unwrap();
    stream.set_read_timeout(Some(program::PATIENCE)).unwrap();
    let sent = clog(&mut stream);
    assert!(serving.most_memory() < 64 << 10, "{} KiB", serving.most_memory());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo).unwrap();
    assert_eq!(echo.len(), sent);
}

#[test]
fn a_second_signal_does_not_wait_for_who_does_not_read() {
    let mut serving = Serving::start("echo", &["serve"], 1);
    let mut stream = TcpStream::connect(serving.host()).unwrap();
    clog(&mut stream);
    let host = serving.host().to_owned();
    serving.signal("-TERM");
    // It is told the second time once it has heard the first: then nobody listens any more.
    while TcpStream::connect(&host).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    serving.signal("-TERM");
    assert_eq!(serving.end().code(), Some(1));
}
