//! Findings by rows that need no minute to come about.

use std::time::Duration;

use pb_server::inspect::{ConnectionRow, Group, ObjectRow};

use super::*;

fn tool() -> Tool {
    Tool { before: "pb ".into(), behind: " URL".into() }
}

/// Severity, text and command of each.
fn of(gathered: &Gathered) -> Vec<(Severity, String, String)> {
    let found = findings(gathered, &tool()).into_iter();
    found.map(|finding| (finding.severity, finding.text, finding.command)).collect()
}

fn group(objects: u64, calls: u64, suspects: u64) -> Group {
    let (kind, type_name) = ("local".into(), "files::OneFile".into());
    Group { kind, type_name, objects, example: 7, calls, suspects }
}

fn branch(connection: u64, groups: Vec<Group>) -> Branch {
    Branch { connection, peer: "tcp://1.2.3.4:5".into(), groups }
}

fn method(calls: u64, kinds: &[(&str, u64)]) -> MethodRow {
    let failures = kinds.iter().map(|(_, count)| count).sum();
    MethodRow {
        method: "Dir/open".into(),
        calls,
        errors: 50,
        failures,
        failures_by_kind: kinds.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        failed: failures + 50,
        in_flight: 0,
        oldest_ms: None,
        p50_us: None,
        p99_us: None,
        max_us: 0,
        details: Vec::new(),
    }
}

fn end(kind: &str, greeted: bool, ago_ms: u64, reason: &str) -> EndRow {
    EndRow {
        connection: ago_ms,
        peer: "tcp://1.2.3.4:5".into(),
        listener: "tcp://1.2.3.4:1".into(),
        greeted,
        time_us: 0,
        ago_ms,
        lasted_ms: 2000,
        objects: 3,
        kind: kind.into(),
        reason: reason.into(),
        details: Vec::new(),
    }
}

fn gone(id: u64, reason: &str, given_by: &str) -> ObjectRow {
    ObjectRow {
        id,
        kind: "broken".into(),
        type_name: String::new(),
        interfaces: Vec::new(),
        names: Vec::new(),
        holders: 1,
        references: 1,
        calls: 0,
        in_flight: 0,
        failed: 0,
        age_ms: 0,
        idle_ms: None,
        suspect: false,
        broken: Some(reason.into()),
        details: vec![("given_by".into(), given_by.into())],
    }
}

#[test]
fn what_is_held_for_a_minute_and_never_called_is_summed_by_connection() {
    let few = branch(1, vec![group(5_000, 1, 60), group(39, 0, 39)]);
    let leaks = branch(3, vec![group(30_000, 4, 29_999), group(20_001, 0, 20_001)]);
    let fresh = branch(4, vec![group(9_999, 0, 0), group(1, 0, 0)]);
    let found = of(&Gathered { branches: vec![few, fresh, leaks], ..Gathered::default() });
    assert_eq!(found.len(), 2, "{found:?}");
    let told = "connection 3 (tcp://1.2.3.4:5) holds 50,000 objects for a minute or longer and never called them, most of them OneFile, such as @7";
    assert_eq!(found[0], (Severity::Medium, told.to_owned(), "pb tree URL".to_owned()));
    assert_eq!(found[1].0, Severity::Low);
    assert!(
        found[1].1.starts_with("connection 4 (tcp://1.2.3.4:5) holds 10,000 objects and has called none")
    );
}

#[test]
fn a_methods_own_errors_and_calls_that_were_given_up_are_no_failures() {
    let cases = [
        (method(100, &[("Overloaded", 3), ("Cancelled", 90)]), None),
        (method(100, &[("Overloaded", 4), ("Cancelled", 90)]), Some(Severity::Medium)),
        (method(10_000, &[("Overloaded", 4)]), Some(Severity::Low)),
        (method(10_000, &[("Internal", 4)]), Some(Severity::High)),
        (method(20, &[("Incompatible", 20)]), Some(Severity::High)),
    ];
    for (row, severity) in cases {
        let found = of(&Gathered { methods: vec![row.clone()], ..Gathered::default() });
        assert_eq!(found.first().map(|found| found.0), severity, "{row:?}: {found:?}");
    }
    let row = method(100, &[("Overloaded", 4), ("Internal", 9), ("Cancelled", 1)]);
    let found = of(&Gathered { methods: vec![row], ..Gathered::default() });
    assert_eq!(
        found[0].1,
        "13 calls of Dir/open have failed, with none of the method's own errors: Internal 9, Overloaded 4"
    );
    assert_eq!(found[0].2, "pb stats URL -f method=Dir/open");
}

#[test]
fn what_is_broken_is_told_once_for_each_reason_and_method_that_gave_it() {
    let broken = vec![gone(4, "lost", "Dir/a"), gone(5, "lost", "Dir/a"), gone(6, "taken", "Dir/b")];
    let group = Group { kind: "broken".into(), ..group(1, 0, 0) };
    let branches = vec![branch(1, vec![group.clone()]), branch(2, vec![group]), branch(3, Vec::new())];
    let found = of(&Gathered { broken, broken_count: 3, branches, ..Gathered::default() });
    let texts: Vec<&str> = found.iter().map(|found| &*found.1).collect();
    assert_eq!(
        texts,
        [
            "2 references are broken and still held by at most 2 connections, given by Dir/a: lost",
            "1 reference is broken and still held by 1 connection, given by Dir/b: taken"
        ]
    );
}

#[test]
fn an_end_that_nobody_meant_is_told_within_the_hour_and_strangers_apart() {
    let ended = vec![
        end("Disconnected", true, 10, "the peer closed the connection"),
        end("Disconnected", true, 11, "the peer ended the connection: closing"),
        end("Disconnected", true, 12, "this side has left: a new version comes"),
        end("Disconnected", true, 20, "the connection was lost: reset"),
        end("Disconnected", true, 21, "the connection is dead: nothing came"),
        end("Protocol", true, 22, "the peer broke the protocol: it did"),
        end("Disconnected", true, 23, "the peer ended the connection: the peer broke the protocol: so"),
        end("Disconnected", true, LATELY_MS + 1, "the connection was lost: reset"),
        end("Protocol", false, 30, "the peer sent no hello within 10 s"),
    ];
    let found = of(&Gathered { ended, ..Gathered::default() });
    let told = "4 connections have ended within the hour without a goodbye; the last was 20 from tcp://1.2.3.4:5, 20ms ago, after 2.0s, holding 3 objects: the connection was lost: reset";
    assert_eq!(
        found[0],
        (Severity::Medium, told.to_owned(), "pb conns URL --ended -f greeted=true".to_owned())
    );
    assert!(
        found[1].1.starts_with("1 stranger has ended within the hour without a goodbye; it was 30 from ")
    );
    assert_eq!((found.len(), found[1].0), (2, Severity::Low));
}

#[test]
fn of_a_kind_ten_are_told_and_how_many_more_there_are() {
    let row = |connection| ConnectionRow {
        connection,
        peer: "tcp://1.2.3.4:5".into(),
        listener: String::new(),
        age_ms: 0,
        objects: 0,
        imports: 0,
        in_flight: 0,
        casts_in_flight: 0,
        calls: 0,
        errors: 0,
        failures: 0,
        failed: 0,
        owes: connection,
        bytes_in: 0,
        bytes_out: 0,
        unread_bytes: 20 << 10,
        halted: true,
        held_up: 0,
        details: Vec::new(),
    };
    let rows: Vec<ConnectionRow> = (1..=14).map(row).collect();
    let (owing, unread) = (rows.clone(), rows);
    let over = Duration::from_secs(1);
    let found = of(&Gathered { owing, unread, unread_count: 5000, over, ..Gathered::default() });
    assert_eq!(found.len(), 20);
    assert_eq!((found[9].0, found[10].0), (Severity::High, Severity::Medium), "the worst come first");
    assert!(found[9].1.ends_with(", and there are 4990 more like this"), "{}", found[9].1);
    assert_eq!(found[9].2, "pb conns URL -f halted=true");
    assert!(
        found[10].1.starts_with("connection 14 (tcp://1.2.3.4:5) owes this server 14 answers, and has said")
    );
    assert!(found[19].1.ends_with(", and there are 4 more like this"), "{}", found[19].1);
}
