//! What the screen looks like, and what its keys do. `PB_KEEP=1` writes the pictures in `snapshots` anew.

use std::path::Path;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use pb_server::inspect::{
    About, Branch, CallRow, ConnectionRow, FieldRow, Group, HolderRow, MethodRow, ObjectDetail, ObjectRow,
    SignatureRow,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::time::Instant;

use super::app::{App, Next};
use super::ask::{Ask, Body, Head, Visitor};
use super::draw::draw;
use super::poll::News;

fn about(process: u32) -> About {
    About {
        version: "0.1.0".into(),
        process,
        uptime_ms: 3_723_000,
        listens: vec!["tcp://127.0.0.1:8787".into()],
        open: 3,
        accepted: 9,
        refused: 0,
        failed: 1,
        ended: 5,
        allows: Vec::new(),
        details: Vec::new(),
    }
}

fn object(id: u64) -> ObjectRow {
    ObjectRow {
        id,
        kind: "local".into(),
        type_name: "files::served::ServedFile".into(),
        interfaces: vec!["File".into()],
        names: if id == 1 { vec!["root".into()] } else { Vec::new() },
        holders: 1,
        references: 1,
        calls: 1_000 / id,
        in_flight: u64::from(id == 3),
        failed: 0,
        age_ms: 75_000,
        idle_ms: (id != 4).then_some(1_500),
        suspect: id == 4,
        broken: None,
        details: Vec::new(),
    }
}

fn call(id: i64) -> CallRow {
    CallRow {
        connection: 2,
        call: id,
        method: "File/read".into(),
        object: Some(7),
        type_name: "files::served::ServedFile".into(),
        peer: "tcp://127.0.0.1:50123".into(),
        age_ms: 12_345,
        deadline_ms: None,
        state: "waiting".into(),
        waits_for: None,
        forwarded_to: None,
        details: Vec::new(),
    }
}

fn connection(number: u64) -> ConnectionRow {
    ConnectionRow {
        connection: number,
        peer: format!("tcp://127.0.0.1:{}", 50_121 + number),
        listener: "tcp://127.0.0.1:8787".into(),
        age_ms: 60_000,
        objects: 40 - number,
        imports: 0,
        in_flight: 2,
        casts_in_flight: 0,
        calls: 1_234,
        errors: 0,
        failures: 0,
        failed: 0,
        owes: 0,
        bytes_in: 12_345,
        bytes_out: 20 << 20,
        unread_bytes: if number == 2 { 512 << 10 } else { 0 },
        halted: number == 2,
        held_up: 0,
        details: Vec::new(),
    }
}

fn method(name: &str, calls: u64) -> MethodRow {
    MethodRow {
        method: name.into(),
        calls,
        errors: 1,
        failures: 0,
        failed: 1,
        failures_by_kind: Default::default(),
        in_flight: 2,
        oldest_ms: Some(12_345),
        p50_us: Some(96),
        p99_us: Some(1_500),
        max_us: 25_000,
        details: vec![("times_us".into(), format!("128:{} 2048:{}", calls / 2, calls / 64))],
    }
}

fn detail(id: u64) -> ObjectDetail {
    let methods =
        [("File/read", "File/read(offset: u64, len: u32) -> bytes"), ("File/stat", "File/stat() -> Stat")];
    let methods = methods.map(|(name, signature)| SignatureRow {
        name: name.into(),
        signature: signature.into(),
        docs: String::new(),
    });
    ObjectDetail {
        row: object(id),
        fields: vec![FieldRow { name: "path".into(), value: "\"doc/a\"".into(), cut: false }],
        no_fields: None,
        methods: methods.into(),
        holders: vec![HolderRow {
            connection: 2,
            peer: "tcp://127.0.0.1:50123".into(),
            export: 5,
            references: 1,
            age_ms: 75_000,
            given_by: Some("Dir/file".into()),
            calls: 9,
            failed: 0,
            idle_ms: Some(1_500),
            details: Vec::new(),
        }],
        details: Vec::new(),
    }
}

/// A screen that has seen a minute of a server.
struct Seen {
    app: App,
    now: Instant,
}

impl Seen {
    fn new() -> Seen {
        let now = Instant::now();
        let mut seen =
            Seen { app: App::new("unix:///run/files.inspect", false, Duration::from_secs(1), now), now };
        let mut calls = 0;
        for at in 0..60 {
            calls += 100 + (at % 20) * 10;
            seen.now += Duration::from_secs(1);
            seen.head(4711, calls);
        }
        seen
    }

    fn head(&mut self, process: u32, calls: u64) {
        let methods = vec![method("File/read", calls), method("Dir/file", calls / 10)];
        let head = Head { about: about(process), methods };
        self.app.hear(News::Head(Box::new(head), self.now), self.now);
    }

    fn body(&mut self, body: Body) {
        self.app.hear(News::Body(self.app.ask(), body), self.now);
    }

    fn objects(&mut self, total: u64) {
        let from = match self.app.ask() {
            Ask::List { query, .. } => query.offset,
            _ => 0,
        };
        let room = match self.app.ask() {
            Ask::List { query, .. } => u64::from(query.limit),
            _ => 0,
        };
        self.body(Body::Objects((from + 1..=total.min(from + room)).map(object).collect(), total));
    }

    fn press(&mut self, code: KeyCode) -> Next {
        self.app.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn typed(&mut self, text: &str) {
        text.chars().for_each(|char| assert_eq!(self.press(KeyCode::Char(char)), Next::On));
    }

    fn picture(&mut self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it is memory");
        terminal.draw(|frame| draw(frame, &mut self.app, self.now)).expect("it is memory");
        let buffer = terminal.backend().buffer();
        let line =
            |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n") + "\n"
    }

    /// The picture is as it was kept, at both sizes.
    fn looks(&mut self, name: &str) {
        for (width, height) in [(80, 24), (200, 50)] {
            let picture = self.picture(width, height);
            let path =
                format!("{}/src/top/snapshots/{name}_{width}x{height}.txt", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("PB_KEEP").is_some() {
                std::fs::create_dir_all(Path::new(&path).parent().expect("a folder")).expect("it is made");
                std::fs::write(&path, &picture).expect("it is written");
            }
            let kept = std::fs::read_to_string(&path).expect("it is there: PB_KEEP=1 writes it");
            assert!(picture == kept, "{path} is another one:\n{picture}");
        }
    }
}

#[test]
fn objects_look_as_they_did() {
    let mut seen = Seen::new();
    seen.picture(200, 50);
    seen.objects(100_000);
    seen.press(KeyCode::Down);
    seen.looks("objects");
}

#[test]
fn calls_look_as_they_did() {
    let mut seen = Seen::new();
    seen.press(KeyCode::Char('2'));
    seen.body(Body::Calls((5..9).map(call).collect(), 4));
    seen.looks("calls");
}

#[test]
fn connections_and_what_one_holds_look_as_they_did() {
    let mut seen = Seen::new();
    seen.press(KeyCode::Char('3'));
    seen.body(Body::Connections((1..4).map(connection).collect(), 3));
    seen.looks("connections");
    seen.press(KeyCode::Down);
    seen.press(KeyCode::Enter);
    assert_eq!(seen.app.ask(), Ask::Connection(2));
    let group = |type_name: &str, objects| Group {
        kind: "local".into(),
        type_name: type_name.into(),
        objects,
        example: 7,
        calls: 3,
        suspects: 0,
    };
    let groups = vec![group("files::served::ServedFile", 37), group("files::served::ServedDir", 1)];
    let holds = Some(Branch { connection: 2, peer: "tcp://127.0.0.1:50123".into(), groups });
    let visitor = Visitor { row: connection(2), holds, calls: vec![call(5), call(6)] };
    seen.body(Body::Connection(Box::new(visitor)));
    seen.looks("connection");
}

#[test]
fn methods_look_as_they_did_and_lead_to_their_calls() {
    let mut seen = Seen::new();
    seen.press(KeyCode::Char('4'));
    seen.body(Body::Methods(vec![method("File/read", 12_000), method("Dir/file", 1_200)], 2));
    seen.looks("methods");
    seen.press(KeyCode::Down);
    seen.press(KeyCode::Enter);
    let Ask::List { query, .. } = seen.app.ask() else { panic!("it is a list") };
    assert_eq!((seen.app.tab, query.filter), (1, vec!["method=Dir/file".to_owned()]));
}

#[test]
fn an_object_looks_as_it_did_and_escape_leads_back() {
    let mut seen = Seen::new();
    seen.picture(80, 24);
    seen.objects(9);
    seen.press(KeyCode::Down);
    seen.press(KeyCode::Enter);
    assert_eq!(seen.app.ask(), Ask::Object { id: 2, own: false });
    seen.looks("asking");
    seen.body(Body::Object(Box::new(detail(2))));
    seen.looks("object");
    // What goes on scrolling is stopped at the end.
    (0..100).for_each(|_| assert_eq!(seen.press(KeyCode::PageDown), Next::On));
    assert!(seen.picture(80, 10).contains("Dir/file"));
    seen.press(KeyCode::Esc);
    assert!(matches!(seen.app.ask(), Ask::List { .. }));
    assert_eq!(seen.app.list().chosen, 1);
}

#[test]
fn help_and_the_filter_look_as_they_did() {
    let mut seen = Seen::new();
    seen.objects(9);
    seen.press(KeyCode::Char('?'));
    seen.looks("help");
    seen.press(KeyCode::Enter);
    seen.typed("/File calls>5");
    seen.looks("filter");
    seen.press(KeyCode::Enter);
    let Ask::List { query, .. } = seen.app.ask() else { panic!("it is a list") };
    assert_eq!(query.filter, ["type_name~File", "calls>5"]);
    seen.press(KeyCode::Esc);
    assert_eq!(seen.app.list().filter, "");
}

#[test]
fn a_server_that_is_lost_is_said_to_be_until_it_answers() {
    let mut seen = Seen::new();
    seen.picture(200, 50);
    seen.objects(9);
    seen.app.hear(News::Lost("nobody listens there".into()), seen.now);
    seen.now += Duration::from_secs(65);
    seen.app.hear(News::Lost("nobody listens there".into()), seen.now);
    seen.looks("lost");
    seen.press(KeyCode::Enter);
    assert_eq!(seen.app.ask(), Ask::Object { id: 1, own: false });
    // It is another one, in which @1 is something else.
    seen.head(4712, 0);
    assert!(matches!(seen.app.ask(), Ask::List { .. }));
    let picture = seen.picture(80, 24);
    assert!(!picture.contains("LOST") && picture.contains("started anew"), "{picture}");
}

#[test]
fn a_server_that_does_not_answer_is_said_not_to() {
    let mut seen = Seen::new();
    seen.now += Duration::from_secs(7);
    assert!(seen.picture(80, 24).contains("no answer for 7s"));
}

#[test]
fn the_server_is_asked_for_no_more_than_is_seen() {
    let mut seen = Seen::new();
    seen.picture(80, 24);
    seen.objects(1_000_000);
    seen.press(KeyCode::End);
    let Ask::List { query, .. } = seen.app.ask() else { panic!("it is a list") };
    assert_eq!((query.offset, query.limit), (1_000_000 - 17, 17));
    seen.objects(1_000_000);
    // Some have gone: the last one is chosen.
    seen.objects(20);
    assert_eq!(seen.app.list().chosen, 19);
    let Ask::List { query, .. } = seen.app.ask() else { panic!("it is a list") };
    assert!(query.offset <= 19);
    seen.press(KeyCode::Home);
    let Ask::List { query, .. } = seen.app.ask() else { panic!("it is a list") };
    assert_eq!(query.offset, 0);
}

#[test]
fn every_key_to_sort_by_is_one_of_the_lists() {
    let mut seen = Seen::new();
    let mut sorts = Vec::new();
    for _ in 0..11 {
        let Ask::List { query, .. } = seen.app.ask() else { panic!("it is a list") };
        sorts.push(query.sort.expect("it is sorted"));
        seen.press(KeyCode::Char('s'));
    }
    assert_eq!(
        (sorts[0].as_str(), sorts[1].as_str(), sorts[10].as_str()),
        ("-calls", "-in_flight", "-calls")
    );
    seen.press(KeyCode::Char('r'));
    seen.press(KeyCode::Char('S'));
    let Ask::List { query, .. } = seen.app.ask() else { panic!("it is a list") };
    assert_eq!(query.sort.as_deref(), Some("calls"));
}

#[test]
fn a_refused_filter_is_told_and_the_rows_stay() {
    let mut seen = Seen::new();
    seen.objects(9);
    seen.body(Body::Refused("\"size>\" is no condition".into()));
    let picture = seen.picture(80, 24);
    assert!(picture.contains("is no condition") && picture.contains("ServedFile"), "{picture}");
}

#[test]
fn the_smallest_screens_are_drawn() {
    let mut seen = Seen::new();
    seen.objects(9);
    for (width, height) in [(1, 1), (5, 3), (20, 8), (80, 7)] {
        seen.picture(width, height);
        seen.press(KeyCode::Enter);
        seen.body(Body::Object(Box::new(detail(2))));
        seen.picture(width, height);
        seen.press(KeyCode::Esc);
    }
}

#[test]
fn q_and_control_c_end_it() {
    let mut seen = Seen::new();
    assert_eq!(seen.press(KeyCode::Char('q')), Next::Quit);
    seen.press(KeyCode::Char('/'));
    seen.typed("q");
    assert_eq!(seen.app.typed.as_deref(), Some("q"));
    assert_eq!(seen.app.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
}
