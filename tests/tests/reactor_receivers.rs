//! Lines and length-prefixed messages: cut at every byte, too long, empty, paused in the middle, raw in between.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pb_core::reactor::{
    Factory, LengthPrefixedReceiver, LineProtocol, LineReceiver, Lines, Lost, MessageProtocol, Messages,
    Prefix, Protocol, Reactor, Stream, Transport, Written, for_protocol,
};
use pb_tests::live::soon;
use pb_tests::protocols::Wire;
use proptest::prelude::*;

/// What a protocol of these tests hears, in words.
type Log = Arc<Mutex<Vec<String>>>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn of(log: &Log) -> Vec<String> {
    log.lock().unwrap().clone()
}

/// Runs `factory` on one end of a pipe; whoever has the other end has the bytes.
fn run(factory: &impl Factory) -> (Transport, Wire) {
    let (server, client) = Stream::pair();
    (Reactor::new().adopt(server, factory).expect("not refused"), Wire::new(client))
}

/// Notes its lines, and does what some of them say.
struct Noter(Log);

impl Noter {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl LineProtocol for Noter {
    fn line_received(&mut self, lines: &mut Lines<'_>, line: &[u8]) {
        self.note(text(line));
        match line {
            b"raw" => lines.set_raw_mode(),
            b"pause" => lines.pause(),
            b"close" => lines.lose_connection(),
            b"abort" => lines.abort(),
            b"panic" => panic!("planted"),
            _ => {}
        }
    }

    fn raw_data_received(&mut self, lines: &mut Lines<'_>, data: &[u8]) {
        // Raw data ends with an exclamation mark.
        let end = data.iter().position(|byte| *byte == b'!');
        let data_text = text(&data[..end.unwrap_or(data.len())]);
        let mut log = self.0.lock().unwrap();
        match log.last_mut() {
            Some(last) if last.starts_with("raw ") => last.push_str(&data_text),
            _ => log.push(format!("raw {data_text}")),
        }
        if let Some(at) = end {
            lines.set_line_mode(&data[at + 1..]);
        }
    }

    fn connection_lost(&mut self, reason: &Lost) {
        self.note(format!("lost: {reason}"));
    }
}

/// Notes its lines, and goes on after one that was too long.
struct Patient(Noter);

impl LineProtocol for Patient {
    fn line_received(&mut self, _: &mut Lines<'_>, line: &[u8]) {
        self.0.note(text(line));
    }

    fn line_length_exceeded(&mut self, _: &mut Lines<'_>, max_length: usize) {
        self.0.note(format!("over {max_length}"));
    }

    fn read_connection_lost(&mut self, lines: &mut Lines<'_>) {
        let rest = lines.clear_line_buffer();
        self.0.note(format!("rest {}", text(&rest)));
        lines.lose_connection();
    }
}

/// Feeds a receiver without any connection's task: pieces as they are.
fn feed<P: Protocol>(mut receiver: P, pieces: &[&[u8]]) {
    struct Idle;
    impl Protocol for Idle {
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (transport, _wire) = run(&for_protocol(|| Idle));
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            receiver.data_received(&transport, piece);
        }
        receiver.read_connection_lost(&transport);
    });
}

fn lines_of(make: impl Fn(Patient) -> LineReceiver<Patient>, pieces: &[&[u8]]) -> Vec<String> {
    let log = Log::default();
    feed(make(Patient(Noter(Arc::clone(&log)))), pieces);
    of(&log)
}

#[test]
fn lines_are_the_same_wherever_reads_cut_them() {
    let stream = b"one\r\n\r\n\rtwo\r\n\nthree\r\r\n\r\r\n\r\nrest\r";
    let expected = ["one", "", "\rtwo", "\nthree\r", "\r", "", "rest rest\r"];
    assert_eq!(lines_of(LineReceiver::new, &[stream]), expected);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(lines_of(LineReceiver::new, &pieces), expected, "cut at {first} and {second}");
        }
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(lines_of(LineReceiver::new, &bytes), expected);
}

#[test]
fn a_delimiter_may_be_anything_but_nothing() {
    let aba = |protocol| LineReceiver::new(protocol).delimiter(Bytes::from_static(b"aba"));
    let stream = b"xababayabaabaababaz";
    let expected = ["x", "bay", "", "", "rest baz"];
    for at in 0..=stream.len() {
        assert_eq!(lines_of(aba, &[&stream[..at], &stream[at..]]), expected, "cut at {at}");
    }
    let newline = |protocol| LineReceiver::new(protocol).delimiter(Bytes::from_static(b"\n"));
    assert_eq!(lines_of(newline, &[b"a\r\nb\n"]), ["a\r", "b", "rest "]);
    let nothing = |protocol| LineReceiver::new(protocol).delimiter(Bytes::new());
    assert_eq!(lines_of(nothing, &[b"a\r\nb"]), ["a", "rest b"]);
}

#[test]
fn any_newline_ends_a_line_for_people() {
    let any = |protocol| LineReceiver::new(protocol).any_newline().max_length(3);
    let stream = b"a\nb\r\n\n\r\n\r\r\nabc\r\nabcd\r\nabcd\nabc\r";
    let expected = ["a", "b", "", "", "\r", "abc", "over 3", "over 3", "rest abc\r"];
    for at in 0..=stream.len() {
        assert_eq!(lines_of(any, &[&stream[..at], &stream[at..]]), expected, "cut at {at}");
    }
}

#[test]
fn a_line_of_the_longest_length_passes_and_a_longer_one_is_skipped() {
    let three = |protocol| LineReceiver::new(protocol).max_length(3);
    let stream = b"abc\r\nabcd\r\nabcdefghijklmn\r\nab\r\nabcdefgh\r\r\nx\r\nyyyyyyyyy";
    let expected = ["abc", "over 3", "over 3", "ab", "over 3", "x", "over 3"];
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    let said = lines_of(three, &bytes);
    assert_eq!(said[..7], expected);
    for at in 0..=stream.len() {
        assert_eq!(lines_of(three, &[&stream[..at], &stream[at..]])[..7], expected, "cut at {at}");
    }
    // Nothing but an empty line is short enough.
    assert_eq!(
        lines_of(|protocol| LineReceiver::new(protocol).max_length(0), &[b"\r\na\r\n\r\n"])[..3],
        ["", "over 0", ""]
    );
}

#[test]
fn a_line_without_an_end_is_not_kept() {
    let piece = vec![b'x'; 60_000];
    let said = lines_of(LineReceiver::new, &vec![&piece[..]; 200]);
    assert_eq!(said[0], "over 16384");
    assert_eq!(said.len(), 2, "it is told once of one line");
    assert!(said[1].len() < 10, "what was skipped is gone: {} bytes are left", said[1].len());
}

proptest! {
    #[test]
    fn any_stream_is_cut_the_same_however_it_comes(
        stream in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..60),
        cuts in prop::collection::vec(0usize..60, 0..6),
        max in 0usize..8,
        any in any::<bool>(),
    ) {
        let make = |protocol| {
            let lines = LineReceiver::new(protocol).max_length(max);
            if any { lines.any_newline() } else { lines }
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        // What is left at the end may have been skipped in part; whole lines must be the same.
        let lines = |said: Vec<String>| said.into_iter().filter(|said| !said.starts_with("rest")).collect::<Vec<_>>();
        let whole = lines(lines_of(make, &[&stream]));
        prop_assert_eq!(&lines(lines_of(make, &pieces)), &whole);
        // And the same as a plain reader's.
        let end: &[u8] = if any { b"\n" } else { b"\r\n" };
        let mut expected = Vec::new();
        let mut rest = &stream[..];
        while let Some(at) = rest.windows(end.len()).position(|window| window == end) {
            let line = rest[..at].strip_suffix(b"\r").filter(|_| any).unwrap_or(&rest[..at]);
            expected.push(if line.len() > max { format!("over {max}") } else { text(line) });
            rest = &rest[at + end.len()..];
        }
        prop_assert_eq!(&whole[..expected.len()], &expected[..]);
        prop_assert!(whole[expected.len()..].iter().all(|said| said.starts_with("over")));
    }
}

#[tokio::test]
async fn a_line_too_long_closes_with_a_sentence() {
    let log = Log::default();
    let noted = Arc::clone(&log);
    let factory = for_protocol(move || LineReceiver::new(Noter(Arc::clone(&noted))).max_length(10));
    let (transport, mut wire) = run(&factory);
    wire.send(b"short\r\n01234567890123456789\r\nnever\r\n").await;
    assert_eq!(wire.rest().await.unwrap(), b"");
    drop(wire);
    assert_eq!(soon(transport.closed()).await.to_string(), "a line has more than 10 bytes");
    assert_eq!(of(&log), ["short", "lost: a line has more than 10 bytes"]);
}

#[tokio::test]
async fn lines_wait_while_the_protocol_pauses() {
    let log = Log::default();
    let noted = Arc::clone(&log);
    let (transport, mut wire) = run(&for_protocol(move || LineReceiver::new(Noter(Arc::clone(&noted)))));
    wire.send(b"a\r\npause\r\nb\r\npause\r\nc\r\nd").await;
    for expected in [&["a", "pause"][..], &["a", "pause", "b", "pause"], &["a", "pause", "b", "pause", "c"]] {
        soon(async {
            while of(&log).len() < expected.len() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(of(&log), expected, "no line more than before the pause");
        transport.resume();
    }
    wire.send(b"\r\n").await;
    wire.finish().await;
    soon(transport.closed()).await;
    assert_eq!(of(&log)[5..], ["d", "lost: the other side closed the connection"]);
}

#[tokio::test]
async fn lines_that_came_with_the_last_one_are_not_delivered_after_it() {
    for (word, lost) in [
        ("close", "this side closed the connection"),
        ("abort", "this side aborted the connection"),
        ("panic", "the protocol of the connection panicked"),
    ] {
        let log = Log::default();
        let noted = Arc::clone(&log);
        let (transport, mut wire) = run(&for_protocol(move || LineReceiver::new(Noter(Arc::clone(&noted)))));
        wire.send(format!("one\r\n{word}\r\ntwo\r\n").as_bytes()).await;
        let _ = wire.rest().await;
        drop(wire);
        soon(transport.closed()).await;
        assert_eq!(of(&log), ["one", word, &format!("lost: {lost}")]);
    }
}

#[tokio::test]
async fn raw_data_in_the_middle_of_lines() {
    for cut in 0..26 {
        let log = Log::default();
        let noted = Arc::clone(&log);
        let (transport, mut wire) = run(&for_protocol(move || LineReceiver::new(Noter(Arc::clone(&noted)))));
        let stream = b"a\r\nraw\r\nx\r\ny!b\r\nc\r\nraw\r\nz";
        wire.send(&stream[..cut]).await;
        tokio::task::yield_now().await;
        wire.send(&stream[cut..]).await;
        wire.finish().await;
        soon(transport.closed()).await;
        let all = of(&log).join("|");
        assert_eq!(
            all, "a|raw|raw x\r\ny|b|c|raw|raw z|lost: the other side closed the connection",
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn raw_mode_without_a_use_for_it_ends_the_connection() {
    struct Liner;
    impl LineProtocol for Liner {
        fn line_received(&mut self, lines: &mut Lines<'_>, _: &[u8]) {
            lines.set_raw_mode();
        }
    }
    let (transport, mut wire) = run(&for_protocol(|| LineReceiver::new(Liner)));
    wire.send(b"raw\r\ndata").await;
    let _ = wire.rest().await;
    drop(wire);
    let lost = soon(transport.closed()).await;
    assert!(lost.to_string().contains("no raw_data_received"), "{lost}");
}

#[tokio::test]
async fn a_line_is_sent_with_its_delimiter() {
    struct Greeter;
    impl LineProtocol for Greeter {
        fn connection_made(&mut self, lines: &mut Lines<'_>) {
            assert_eq!(lines.send_line(b"hello"), Written::Taken);
            lines.send_line(b"");
            lines.lose_connection();
            assert_eq!(lines.send_line(b"too late"), Written::Closed);
        }

        fn line_received(&mut self, _: &mut Lines<'_>, _: &[u8]) {}
    }
    let (_transport, mut wire) = run(&for_protocol(|| LineReceiver::new(Greeter)));
    assert_eq!(wire.rest().await.unwrap(), b"hello\r\n\r\n");
    let semicolons = for_protocol(|| LineReceiver::new(Greeter).delimiter(Bytes::from_static(b";")));
    let (_transport, mut wire) = run(&semicolons);
    assert_eq!(wire.rest().await.unwrap(), b"hello;;");
}

/// Notes its messages, and skips those that are too long where it is patient.
struct MessageNoter {
    noter: Noter,
    patient: bool,
}

impl MessageProtocol for MessageNoter {
    fn message_received(&mut self, messages: &mut Messages<'_>, message: &[u8]) {
        self.noter.note(format!("{} {}", message.len(), text(&message[..message.len().min(10)])));
        if message == b"pause" {
            messages.pause();
        }
    }

    fn length_limit_exceeded(&mut self, messages: &mut Messages<'_>, length: u64) {
        self.noter.note(format!("over {}: {length}", messages.max_length()));
        if !self.patient {
            messages.lose_connection();
        }
    }
}

fn messages_of(prefix: Prefix, max: usize, pieces: &[&[u8]]) -> Vec<String> {
    let log = Log::default();
    let protocol = MessageNoter { noter: Noter(Arc::clone(&log)), patient: true };
    feed(LengthPrefixedReceiver::new(prefix, protocol).max_length(max), pieces);
    of(&log)
}

#[test]
fn messages_are_the_same_wherever_reads_cut_them() {
    for (prefix, width) in [(Prefix::U8, 1), (Prefix::U16, 2), (Prefix::U32, 4), (Prefix::U64, 8)] {
        let mut stream = Vec::new();
        for message in [&b"one"[..], b"", b"", b"\0\0\0\x01", b"0123456789", b"last"] {
            stream.extend(&(message.len() as u64).to_be_bytes()[8 - width..]);
            stream.extend(message);
        }
        let expected = ["3 one", "0 ", "0 ", "4 \0\0\0\u{1}", "over 9: 10", "4 last"];
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(
                    messages_of(prefix, 9, &pieces),
                    expected,
                    "{prefix:?} cut at {first} and {second}"
                );
            }
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(messages_of(prefix, 9, &bytes), expected);
    }
}

#[test]
fn the_largest_lengths_cost_nothing() {
    assert_eq!(messages_of(Prefix::U64, usize::MAX, &[&[0xff; 8], b"some"]), Vec::<String>::new());
    assert_eq!(messages_of(Prefix::U64, 9, &[&[0xff; 8], b"some"]), [format!("over 9: {}", u64::MAX)]);
    assert_eq!(messages_of(Prefix::U32, 9, &[&[0xff; 4], b"some"]), [format!("over 9: {}", u32::MAX)]);
    assert_eq!(messages_of(Prefix::U8, 255, &[&[0xff], &[b'x'; 255]]), ["255 xxxxxxxxxx"]);
    assert_eq!(messages_of(Prefix::U8, 0, &[&[0, 1, b'x', 0]]), ["0 ", "over 0: 1", "0 "]);
}

#[tokio::test]
async fn a_message_too_long_closes_before_it_has_come() {
    struct Strict;
    impl MessageProtocol for Strict {
        fn message_received(&mut self, _: &mut Messages<'_>, _: &[u8]) {}
    }
    let (transport, mut wire) = run(&for_protocol(|| LengthPrefixedReceiver::new(Prefix::U32, Strict)));
    wire.send(&100_000u32.to_be_bytes()).await;
    assert_eq!(wire.rest().await.unwrap(), b"");
    drop(wire);
    let lost = soon(transport.closed()).await.to_string();
    assert_eq!(lost, "a message has 100000 bytes, and may have 99999");
}

#[tokio::test]
async fn messages_wait_while_the_protocol_pauses_and_end_with_it() {
    let log = Log::default();
    let noted = Arc::clone(&log);
    let factory = for_protocol(move || {
        let protocol = MessageNoter { noter: Noter(Arc::clone(&noted)), patient: false };
        LengthPrefixedReceiver::new(Prefix::U8, protocol).max_length(9)
    });
    let (transport, mut wire) = run(&factory);
    wire.send(b"\x05pause\x01a\x0a\x01b").await;
    soon(async {
        while of(&log).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(of(&log), ["5 pause"]);
    transport.resume();
    assert_eq!(wire.rest().await.unwrap(), b"");
    assert_eq!(of(&log), ["5 pause", "1 a", "over 9: 10"]);
}

#[tokio::test]
async fn a_message_that_its_prefix_cannot_count_is_not_sent() {
    struct Sender;
    impl MessageProtocol for Sender {
        fn connection_made(&mut self, messages: &mut Messages<'_>) {
            assert_eq!(messages.send_message(&[b'x'; 255]), Ok(Written::Taken));
            let error = messages.send_message(&[b'x'; 256]).expect_err("a byte counts to 255");
            assert_eq!((error.length, error.max_length), (256, 255));
            assert_eq!(messages.send_message(b""), Ok(Written::Taken));
            messages.lose_connection();
        }

        fn message_received(&mut self, _: &mut Messages<'_>, _: &[u8]) {}
    }
    let (transport, mut wire) = run(&for_protocol(|| LengthPrefixedReceiver::new(Prefix::U8, Sender)));
    let bytes = wire.rest().await.unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[256]), (257, 255, 0));
    assert!(Prefix::U16.send_message(&transport, &[0; 70_000]).is_err());
}
