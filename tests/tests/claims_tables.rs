//! Claims proved on two sets of tables without a wire, beside those of `tables_*.rs`. `tests/claims.md` says which claim
//! is proved where.

use pb_core::message::{FailureKind, Reply};
use pb_core::proto::Limits;
use pb_tests::net::{A, B, Call, Ended, Handle, Net};

/// How often each form of an end came: value, error, cancelled, disconnected.
fn ends(calls: &[Call]) -> [usize; 4] {
    let mut ends = [0; 4];
    for call in calls {
        match call.ended() {
            Some(Ended::Value(..) | Ended::Reference(_)) => ends[0] += 1,
            Some(Ended::App(..)) => ends[1] += 1,
            Some(Ended::Failed(failure)) if failure.kind == FailureKind::Cancelled => ends[2] += 1,
            Some(Ended::Failed(failure)) if failure.kind == FailureKind::Disconnected => ends[3] += 1,
            other => panic!("a call ended otherwise: {:?}", other.map(|_| call)),
        }
    }
    ends
}

/// The harness panics where a call ends twice.
#[test]
fn every_call_ends_exactly_once_by_value_error_or_disconnect() {
    let net = Net::new();
    let root = net.root(A);
    let methods = ["say", "fail", "hold"];
    let calls: Vec<_> = (0..30).map(|n| net.call(A, &root, methods[n % 3], &n.to_string(), &[])).collect();
    net.run();
    assert_eq!(calls.iter().filter(|call| !call.has_ended()).count(), 10);
    // Answers are on their way as the connection ends, on one side first.
    while net.side(B).waiting_count() > 5 {
        let started = net.side(B).take("hold");
        net.side(B).answer(started, Ended::Value(Vec::new(), Default::default()));
    }
    assert!(net.deliver(B) && net.deliver(B));
    net.cut(A);
    net.run();
    net.cut(B);
    assert_eq!(ends(&calls), [12, 10, 0, 8]);
    drop((calls, root));
    net.finish();
}

/// A cancel takes away who is told, so it is the answer on the wire that is counted: one for each call.
#[test]
fn a_cancelled_call_is_answered_exactly_once_wherever_the_cancel_meets_it() {
    for delivered in 0..4 {
        for reply in [Reply::Value, Reply::Reference] {
            let net = Net::new();
            let call = match reply {
                Reply::Value => net.call(A, &net.root(A), "open", "ada", &[]),
                Reply::Reference => net.refer(A, &net.root(A), "open", "ada", &[]),
            };
            for from in [A, B, A].into_iter().take(delivered) {
                net.deliver(from);
            }
            drop(call);
            net.run();
            let answers = net.dialogue().iter().filter(|line| line.starts_with("B: re")).count();
            assert_eq!(answers, 1, "{delivered} {reply:?}\n{}", net.dialogue().join("\n"));
            net.finish();
        }
    }
}

#[test]
fn a_call_for_its_pipeline_only_gets_one_reference_that_goes_at_once() {
    let net = Net::new();
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    let said = net.call(A, &opened.promised(), "say", "1", &[]);
    drop(opened);
    net.run();
    assert_eq!(said.value(), "1");
    drop(said);
    net.run();
    let dialogue = net.dialogue();
    let (calls, releases) = dialogue.split_at(4);
    let expected = [
        "A: call 0 → 1, reference, \"open\", (ada)",
        "A: call 1 → 2, value, \"say\", (1)",
        "B: resolve 1 [mine -1]",
        "B: resolve 2 (1)",
    ];
    assert_eq!(calls, expected);
    // The promise and the account, in one message or two.
    let entries = releases.iter().filter_map(|line| line.strip_prefix("A: release "));
    assert_eq!(entries.collect::<Vec<_>>().join(", "), "(1, 1), (-1, 1)", "{releases:?}");
    net.finish();
}

#[test]
fn a_hundred_thousand_references_dropped_at_once_go_out_as_a_few_releases() {
    let limits = Limits { imports: 200_000, exports: 200_000, budget: 64 << 20, ..Limits::default() };
    let net = Net::with_limits(limits, limits);
    for first in (0..100_000).step_by(1000) {
        let handles: Vec<_> = (first..first + 1000).map(|n| Handle::object(&n.to_string())).collect();
        let kept = net.call(A, &net.root(A), "keep", "", &handles);
        net.run();
        assert!(kept.has_ended());
    }
    assert_eq!(net.sizes(A).exports, 100_000);
    let dropped = net.call(A, &net.root(A), "drop", "", &[]);
    net.run();
    assert_eq!(net.sizes(A).exports, 0);
    let releases = net.dialogue().iter().filter(|line| line.starts_with("B: release")).count();
    assert_eq!(releases, 98, "100,000 entries, 1,024 in a message");
    drop(dropped);
    net.finish();
}
