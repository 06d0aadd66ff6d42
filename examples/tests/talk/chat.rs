use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pb_core::reactor::{Listener, Lost, Reactor, Stream, Transport};
use pb_examples::chat::Chat;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;

use crate::program::{Person, Serving};

#[test]
fn people_talk_and_see_who_comes_and_goes() {
    let serving = Serving::start("chat", &[], 1);
    let mut ada = Person::at(serving.host());
    assert_eq!(ada.line(), "What is your name?\r\n");
    ada.say("ada\n"); // As `nc` ends a line.
    assert_eq!(ada.line(), "* ada joined\r\n");
    let mut bob = Person::at(serving.host());
    bob.say("bob\r\nhello, ada\r\n\r\n/who\r\n"); // As `telnet` does.
    assert_eq!(bob.line(), "What is your name?\r\n");
    assert_eq!(bob.line(), "* bob joined\r\n");
    assert_eq!(bob.line(), "bob: hello, ada\r\n");
    assert_eq!(bob.line(), "* 2 are here: ada, bob\r\n");
    assert_eq!(ada.line(), "* bob joined\r\n");
    assert_eq!(ada.line(), "bob: hello, ada\r\n");
    bob.say("/quit\n");
    assert_eq!(bob.rest(), "");
    assert_eq!(ada.line(), "* bob left: this side closed the connection\r\n");
    let mut cy = Person::at(serving.host());
    cy.say("cy\n");
    cy.hears("cy joined");
    drop(cy);
    ada.hears("* cy left: ");
}

#[test]
fn names_are_good_and_of_one() {
    let serving = Serving::start("chat", &[], 1);
    let mut ada = Person::at(serving.host());
    ada.say("ada\n");
    ada.hears("joined");
    let mut bob = Person::at(serving.host());
    for bad in ["", "  ", "\u{1b}[31mred", "two words", "ada:", "abcdefghijklmnopqrstu", "*"] {
        bob.say(&format!("{bad}\n"));
        assert!(bob.hears("name").contains("What is you"), "{bad:?}");
    }
    bob.say("ada\n");
    bob.hears("Somebody here has that name");
    bob.say("  Zoë7 \n");
    bob.hears("* Zoë7 joined");
    // Who has left frees a name.
    drop(ada);
    bob.hears("ada left");
    let mut ada = Person::at(serving.host());
    ada.say("ada\n");
    ada.hears("* ada joined");
}

#[test]
fn what_would_steer_a_terminal_is_shown_instead() {
    let serving = Serving::start("chat", &[], 1);
    let mut ada = Person::at(serving.host());
    ada.say("ada\n");
    ada.hears("joined");
    ada.say_bytes(b"\x1b[2J\x07\xff\xfe\0x\n");
    let line = ada.hears("ada: ");
    assert_eq!(line, "ada: \u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}x\r\n");
}

#[test]
fn a_line_too_long_drops_its_talker_with_a_reason() {
    let serving = Serving::start("chat", &[], 1);
    let mut ada = Person::at(serving.host());
    ada.say("ada\n");
    ada.hears("joined");
    let mut bob = Person::at(serving.host());
    bob.say("bob\n");
    bob.hears("bob joined");
    ada.hears("bob joined");
    bob.say(&format!("{}\n", "x".repeat(512)));
    bob.hears("bob: xxx");
    assert_eq!(ada.hears("bob: ").len(), 512 + "bob: \r\n".len());
    bob.say(&"x".repeat(600));
    assert_eq!(bob.rest(), "");
    assert_eq!(ada.line(), "* bob left: a line has more than 512 bytes\r\n");
}

#[test]
fn a_chat_that_is_told_to_stop_lets_everybody_go() {
    let mut serving = Serving::start("chat", &[], 1);
    let mut people: Vec<Person> = (0..20)
        .map(|n| {
            let mut person = Person::at(serving.host());
            person.say(&format!("p{n}\n"));
            person.hears("joined");
            person
        })
        .collect();
    let last = people.pop().expect("20 came");
    serving.signal("-TERM");
    drop(last.rest());
    for person in people {
        drop(person.rest());
    }
    assert!(serving.end().success());
}

#[tokio::test(start_paused = true)]
async fn who_says_no_name_is_dropped_after_a_minute_and_who_does_is_not() {
    let reactor = Reactor::new();
    let chat = Arc::new(Chat::new(reactor.clone()));
    let (silent, _other_end) = Stream::pair();
    let (named, other) = Stream::pair();
    let silent = reactor.adopt(silent, &chat).expect("not refused");
    let named = reactor.adopt(named, &chat).expect("not refused");
    let (_read, mut write) = other.into_split();
    assert_eq!(write.write(b"ada\n").await.expect("it is there"), 4);
    let began = tokio::time::Instant::now();
    let lost = silent.closed().await;
    assert_eq!(lost.to_string(), "no name came in a minute");
    assert!((60..62).contains(&began.elapsed().as_secs()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(named.lost().is_none());
    named.abort();
    assert!(matches!(named.closed().await, Lost::Aborted));
}

/// Talkers, besides the one who does not read.
const TALKERS: usize = 199;
/// Of them so many speak, this often.
const SPEAKERS: usize = 40;
const LINES: usize = 25;

/// A chat on a thread of its own, whose sockets hold little: what a kernel keeps for who does not read is none of the chat's.
struct Apart {
    host: std::net::SocketAddr,
    reactor: Reactor,
    thread: std::thread::JoinHandle<()>,
}

impl Apart {
    fn start() -> Apart {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = TcpSocket::new_v4().unwrap();
                socket.set_send_buffer_size(16 << 10).unwrap(); // Those that it accepts have it from there.
                socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
                let listener = socket.listen(1024).unwrap();
                let host = listener.local_addr().unwrap();
                let listener = Listener::from_tcp(listener.into_std().unwrap()).unwrap();
                let reactor = Reactor::new();
                reactor.listen_on(listener, Chat::new(reactor.clone())).unwrap();
                tell.send((host, reactor.clone())).unwrap();
                reactor.run_without_signals().await;
            });
        });
        let (host, reactor) = told.recv().unwrap();
        Apart { host, reactor, thread }
    }
}

#[tokio::test]
async fn two_hundred_talk_and_one_who_does_not_read_is_dropped() {
    let apart = Apart::start();
    let host = apart.host;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut deaf = socket.connect(host).await.unwrap();
    deaf.write_all(b"deaf\n").await.unwrap();
    let mut question = [0; 20 + 15];
    deaf.read_exact(&mut question).await.unwrap();
    assert!(question.ends_with(b"* deaf joined\r\n"));

    let everybody = Arc::new(tokio::sync::Barrier::new(TALKERS));
    let talking: Vec<_> = (0..TALKERS).map(|n| tokio::spawn(talk(host, n, Arc::clone(&everybody)))).collect();
    let most = Arc::new(AtomicUsize::new(0));
    let looking = tokio::spawn({
        let (reactor, most) = (apart.reactor.clone(), Arc::clone(&most));
        async move {
            loop {
                let waiting = reactor.transports().iter().map(Transport::waiting_bytes).max();
                most.fetch_max(waiting.unwrap_or(0), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut heard = Vec::new();
    for talking in talking {
        heard
            .push(tokio::time::timeout(crate::program::PATIENCE, talking).await.expect("all go on").unwrap());
    }
    let first = &heard[0];
    assert_eq!(first.len(), SPEAKERS * LINES);
    assert!(heard.iter().all(|lines| lines == first), "everybody hears everything, in the same order");
    for speaker in 0..SPEAKERS {
        let name = format!("t{speaker}: ");
        let said: Vec<_> = first.iter().filter(|line| line.starts_with(&name)).collect();
        assert!(said.iter().enumerate().all(|(n, line)| line.starts_with(&format!("{name}{n} "))));
    }
    assert!(most.load(Ordering::Relaxed) <= (128 << 10) + 512, "{most:?} bytes waited for somebody");
    // What it left in its socket comes, and then no more.
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest).await;
    assert!(rest.len() < SPEAKERS * LINES * LINE, "it was dropped");
    looking.abort();
    apart.reactor.stop();
    tokio::task::spawn_blocking(|| apart.thread.join()).await.unwrap().unwrap();
}

/// Length of a line that is said.
const LINE: usize = 400;

/// Joins, waits for everybody, speaks if it is a speaker, and returns what was said, once it has heard all, and that the deaf one left.
///
/// Nobody speaks on before everybody has heard what was said: however slow this machine is, nobody has so much unread that he is dropped for it.
async fn talk(host: std::net::SocketAddr, n: usize, everybody: Arc<tokio::sync::Barrier>) -> Vec<String> {
    let stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(format!("t{n}\n").as_bytes()).await.unwrap();
    let me = format!("* t{n} joined");
    while lines.next_line().await.unwrap().expect("it goes on") != me {}
    let (mut said, mut left) = (Vec::new(), 0);
    for round in 0..LINES / ROUND {
        everybody.wait().await;
        for line in round * ROUND..if n < SPEAKERS { (round + 1) * ROUND } else { 0 } {
            write.write_all(format!("{line} {}\n", "x".repeat(LINE)).as_bytes()).await.unwrap();
        }
        let is_last = (round + 1) * ROUND == LINES;
        while said.len() < SPEAKERS * (round + 1) * ROUND || is_last && left == 0 {
            let line = lines.next_line().await.unwrap().expect("it goes on");
            if line.starts_with('t') {
                said.push(line);
            } else if line.starts_with("* deaf left: the other side does not read: ") {
                left += 1;
            }
        }
    }
    assert_eq!(left, 1, "its end is told once");
    said
}

/// Lines that a speaker says before it waits until everybody has heard them.
const ROUND: usize = 5;
const _: () = assert!(LINES.is_multiple_of(ROUND) && SPEAKERS * ROUND * (LINE + 16) < 100 << 10);
