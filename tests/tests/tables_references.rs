//! References: how they are counted, come home, break and go.

use std::rc::Rc;

use pb_core::message::{Cap, ExportId, FailureKind, Message, Payload, Resolve};
use pb_tests::net::{A, B, Ended, Handle, Net, Object};

fn proxy_id(handle: &Handle) -> i64 {
    match handle.end() {
        Handle::Proxy(proxy) => proxy.id().0,
        _ => panic!("no object of the peer's"),
    }
}

fn object(handle: &Handle) -> Rc<Object> {
    match handle.end() {
        Handle::Object(object) => object,
        _ => panic!("no object of our own"),
    }
}

#[test]
fn dropping_the_last_handle_frees_the_object_after_one_message() {
    let net = Net::new();
    let account = Object::new("ada");
    let call = net.call(A, &net.root(A), "keep", "", &[Handle::Object(Rc::clone(&account))]);
    net.run();
    let proxy = net.call(B, &net.root(B), "say", "", &[]); // Anything, so that B's tables move on.
    net.run();
    assert_eq!(Rc::strong_count(&account), 2, "the table of A holds it");
    let dropped = net.call(A, &net.root(A), "drop", "", &[]);
    net.run();
    assert_eq!(Rc::strong_count(&account), 1);
    assert_eq!(net.dialogue().iter().filter(|line| line.contains("release")).count(), 1);
    drop((call, proxy, dropped));
    net.finish();
}

#[test]
fn a_response_a_promise_or_another_handle_keeps_an_object_alive() {
    let net = Net::new();
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    let promised = opened.promised();
    net.run();
    let reference = opened.reference();
    let alive = |on: &Handle| {
        let call = net.call(A, on, "say", "1", &[]);
        net.run();
        call.value()
    };
    drop(opened);
    assert_eq!(alive(&promised), "1");
    drop(promised);
    assert_eq!(alive(&reference), "1");
    let second = reference.clone();
    drop(reference);
    assert_eq!(alive(&second), "1");
    assert_eq!(net.sizes(B).exports, 1);
    drop(second);
    net.run();
    assert_eq!(net.sizes(B).exports, 0);
    net.finish();
}

#[test]
fn a_reference_that_comes_home_is_the_object_and_is_called_without_a_message() {
    let net = Net::new();
    let watcher = Handle::object("watcher");
    let kept = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&watcher));
    net.run();
    let back = net.refer(A, &net.root(A), "kept", "", &[]);
    net.run();
    assert!(back.reference().is(&watcher));
    let before = net.dialogue().len();
    let call = net.call(A, &back.reference(), "say", "here", &[]);
    assert_eq!(call.value(), "here");
    assert_eq!(net.dialogue().len(), before);
    drop((kept, back, call));
    net.finish();
}

#[test]
fn a_held_reference_sent_home_gives_the_owner_its_own_object() {
    let net = Net::new();
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.run();
    let closed = net.call(A, &net.root(A), "hold", "", &[opened.reference()]);
    net.run();
    let started = net.side(B).take("hold");
    assert_eq!(object(&started.handles[0]).name, "ada");
    net.side(B).answer(started, Ended::Value(Vec::new(), Default::default()));
    net.run();
    drop((opened, closed));
    net.finish();
}

#[test]
fn dropping_the_holder_frees_the_reference_that_points_back() {
    let net = Net::new();
    // A's object holds B's root's argument, and B's root holds A's object.
    let ours = Object::new("ours");
    let kept = net.call(A, &net.root(A), "keep", "", &[Handle::Object(Rc::clone(&ours))]);
    let account = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.run();
    ours.kept.borrow_mut().push(account.reference());
    drop((kept, account));
    let weak = Rc::downgrade(&ours);
    drop(ours);
    net.run();
    assert_eq!((net.sizes(A).exports, net.sizes(B).exports), (1, 1));
    let dropped = net.call(A, &net.root(A), "drop", "", &[]);
    net.run();
    assert!(weak.upgrade().is_none());
    assert_eq!((net.sizes(A).exports, net.sizes(B).exports), (0, 0));
    drop(dropped);
    net.finish();
}

#[test]
fn one_object_has_one_id_however_often_it_is_sent() {
    let net = Net::new();
    let watcher = Handle::object("watcher");
    let both = [watcher.clone(), watcher.clone()];
    let calls: Vec<_> = (0..3).map(|_| net.call(A, &net.root(A), "keep", "", &both)).collect();
    net.run();
    assert!(net.dialogue()[2].contains("[mine -1, mine -1]"), "{:?}", net.dialogue());
    assert_eq!((net.sizes(A).exports, net.sizes(B).imports), (1, 1));
    let dropped = net.call(A, &net.root(A), "drop", "", &[]);
    net.run();
    let dialogue = net.dialogue();
    assert!(dialogue.contains(&"B: release (-1, 6)".to_owned()), "{dialogue:?}");
    drop((calls, dropped));
    net.finish();
}

#[test]
fn an_object_that_was_released_gets_a_new_id() {
    let net = Net::new();
    let watcher = Handle::object("watcher");
    for id in [-1, -2, -3] {
        let call = net.call(A, &net.root(A), "say", "", std::slice::from_ref(&watcher));
        net.run();
        assert!(net.dialogue().iter().any(|line| line.contains(&format!("[mine {id}]"))));
        assert_eq!(net.sizes(A).exports, 0);
        drop(call);
    }
    net.finish();
}

#[test]
fn one_promise_sent_twice_is_one_id_and_another_promise_another() {
    let net = Net::new();
    let (one, other) =
        (net.refer(A, &net.root(A), "hold", "1", &[]), net.refer(A, &net.root(A), "hold", "2", &[]));
    let handles = [one.promised(), one.promised(), other.promised()];
    let call = net.call(A, &net.root(A), "wait", "", &handles);
    net.run();
    let started = net.side(B).take("wait");
    let is = |n: usize, m: usize| started.handles[n].is(&started.handles[m]);
    assert!(is(0, 1) && !is(0, 2));
    net.side(B).answer(started, Ended::Value(Vec::new(), Default::default()));
    net.run();
    drop((handles, one, other, call));
    net.finish();
}

#[test]
fn an_object_released_during_a_call_lives_until_the_call_ends() {
    let net = Net::new();
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.run();
    let call = net.call(A, &opened.reference(), "hold", "", &[]);
    drop(opened);
    net.run();
    let started = net.side(B).take("hold");
    let ada = Rc::downgrade(&started.object);
    assert!(ada.upgrade().is_some());
    net.side(B).answer(started, Ended::Value(Vec::new(), Default::default()));
    net.run();
    drop(call);
    net.run();
    assert!(ada.upgrade().is_none());
    net.finish();
}

#[test]
fn releases_in_flight_while_the_object_is_sent_again_count_only_what_was_received() {
    let net = Net::new();
    let watcher = Handle::object("watcher");
    let first = net.call(A, &net.root(A), "say", "", std::slice::from_ref(&watcher));
    net.deliver(A); // B has dropped it; its release is not sent yet.
    let second = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&watcher));
    net.deliver(A);
    net.run();
    assert_eq!(net.sizes(A).exports, 1, "the second mention is held");
    let call = net.refer(A, &net.root(A), "kept", "", &[]);
    net.run();
    assert!(call.reference().is(&watcher));
    drop((first, second, call));
    net.finish();
}

#[test]
fn everything_is_released_when_the_connection_ends() {
    let net = Net::new();
    let ours = Object::new("ours");
    let kept = net.call(A, &net.root(A), "keep", "", &[Handle::Object(Rc::clone(&ours))]);
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.run();
    let (held, waits) = (opened.reference(), net.call(A, &net.root(A), "hold", "", &[opened.reference()]));
    let on_promise = net.refer(A, &net.root(A), "hold", "", &[]);
    let queued = net.call(A, &on_promise.promised(), "say", "", &[Handle::object("queued")]);
    let with_promise = net.call(A, &net.root(A), "keep", "", &[on_promise.promised()]);
    net.run();
    net.cut(A);
    net.cut(B);
    for who in [A, B] {
        assert_eq!(net.sizes(who), Default::default());
    }
    assert_eq!(Rc::strong_count(&ours), 1);
    assert_eq!(net.side(B).waiting_count(), 0, "running methods are stopped");
    for call in [&waits, &queued, &on_promise] {
        assert_eq!(call.failure().kind, FailureKind::Disconnected);
    }
    let Handle::Proxy(proxy) = &held else { panic!("an object of the peer's") };
    assert_eq!(proxy.broken().len(), 1, "a reference breaks once");
    drop((kept, opened, held, waits, on_promise, queued, with_promise));
    net.finish();
}

#[test]
fn a_promise_given_to_a_method_is_settled_by_the_end_of_the_connection() {
    let net = Net::new();
    let promise = net.refer(A, &net.root(A), "hold", "", &[]);
    let given = net.call(A, &net.root(A), "keep", "", &[promise.promised()]);
    net.run();
    let root = net.side(B).take("hold").object;
    let held = root.kept.borrow()[0].clone();
    let waiting = net.call(B, &held, "say", "", &[]);
    assert!(!waiting.has_ended());
    net.cut(B);
    net.cut(A);
    assert_eq!(waiting.failure().kind, FailureKind::Disconnected);
    drop((promise, given, waiting, held, root));
    net.finish();
}

#[test]
fn an_answer_to_a_call_that_was_given_up_frees_what_it_carries() {
    let net = Net::new();
    let (opened, listed) =
        (net.refer(A, &net.root(A), "open", "ada", &[]), net.call(A, &net.root(A), "open", "bob", &[]));
    net.deliver(A);
    net.deliver(A);
    assert_eq!(net.sizes(B).exports, 2);
    opened.detach();
    drop(listed);
    net.run();
    assert_eq!((net.sizes(B).exports, net.sizes(B).answers), (0, 0));
    net.finish();
}

#[test]
fn many_references_dropped_at_once_go_out_as_few_releases() {
    let roomy = pb_core::proto::Limits { budget: 16 << 20, ..Default::default() };
    let net = Net::with_limits(Default::default(), roomy);
    let handles: Vec<_> = (0..1000).map(|n| Handle::object(&n.to_string())).collect();
    let calls: Vec<_> = (0..100).map(|_| net.call(A, &net.root(A), "keep", "", &handles)).collect();
    let more: Vec<_> = (0..5)
        .map(|_| {
            let handles: Vec<_> = (0..1000).map(|n| Handle::object(&n.to_string())).collect();
            net.call(A, &net.root(A), "keep", "", &handles)
        })
        .collect();
    net.run();
    assert_eq!(net.sizes(A).exports, 6000);
    let dropped = net.call(A, &net.root(A), "drop", "", &[]);
    net.run();
    assert_eq!(net.sizes(A).exports, 0);
    let releases = net.dialogue().iter().filter(|line| line.starts_with("B: release")).count();
    assert_eq!(releases, 6, "6,000 entries, 1,024 in a message");
    drop((calls, more, dropped, handles));
    net.finish();
}

#[test]
fn releases_fit_into_the_frames_that_the_peer_takes() {
    let small = pb_core::proto::Limits { frame_bytes: 4096, ..Default::default() };
    let net = Net::with_limits(small, Default::default());
    let handles: Vec<_> = (0..200).map(|n| Handle::object(&n.to_string())).collect();
    for _ in 0..100 {
        // New objects each time, so that the ids grow long.
        let calls: Vec<_> =
            handles.chunks(100).map(|some| net.call(A, &net.root(A), "keep", "", some)).collect();
        net.run();
        let dropped = net.call(A, &net.root(A), "drop", "", &[]);
        net.run();
        drop((calls, dropped));
    }
    assert!(net.side(B).longest_frame() <= 4096, "{}", net.side(B).longest_frame());
    assert!(net.ended(A).is_none());
    net.finish();
}

#[test]
fn an_echo_of_a_released_reference_is_broken_and_its_message_arrives() {
    let net = Net::new();
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.run();
    let id = proxy_id(&opened.reference());
    drop(opened);
    net.run();
    // A peer that names what it gave back.
    net.inject(
        A,
        Message::Call(pb_core::message::Call {
            payload: Payload { caps: vec![Cap::Yours(pb_core::message::ImportId(id))], body: "0".into() },
            result: pb_core::message::ImportId(2),
            ..pb_tests::golden::plain_call()
        }),
    );
    net.deliver(A);
    assert!(net.ended(B).is_none(), "{:?}", net.ended(B));
    let answer = net.dialogue().pop();
    assert!(answer.as_deref().is_some_and(|line| line.starts_with("B: resolve 2")), "{answer:?}");
    net.cut(A);
    net.cut(B);
    net.finish();
}

#[test]
fn a_reference_that_its_owner_breaks_is_broken_and_its_calls_fail() {
    let net = Net::new();
    let opened = net.refer(A, &net.root(A), "open", "ada", &[]);
    net.run();
    let reject = |text: &str| {
        Message::Reject(pb_core::message::Reject {
            export: ExportId(-1),
            rejection: pb_core::message::Rejection::Broker(pb_core::message::Failure::new(
                FailureKind::Refused,
                pb_core::message::Ran::No,
                text,
            )),
        })
    };
    net.inject(B, reject("revoked"));
    net.run();
    let reference = opened.reference();
    let Handle::Proxy(proxy) = &reference else { panic!("an object of the peer's") };
    assert_eq!(proxy.broken().len(), 1);
    let call = net.call(A, &reference, "say", "", &[]);
    assert_eq!(call.failure().kind, FailureKind::Broken);
    drop((opened, reference, call));
    net.finish();
}

#[test]
fn an_unknown_message_is_answered_and_its_references_are_released() {
    let net = Net::new();
    let watcher = Handle::object("watcher");
    let held = net.call(A, &net.root(A), "keep", "", std::slice::from_ref(&watcher));
    net.run();
    net.side(A).put_on_the_wire(&pb_tests::hostile::framed(&[99, 1, 12, 1, 2, 3])); // mine -2, which A's tables do not know.
    net.deliver(A);
    net.side(B).flush();
    let dialogue = net.dialogue();
    assert_eq!(dialogue[dialogue.len() - 2..], ["B: unimplemented 99", "B: release (-2, 1)"]);
    drop(held);
    net.cut(A);
    net.cut(B);
    net.finish();
}

#[test]
fn what_comes_behind_an_abort_enters_no_table() {
    let net = Net::new();
    let abort = pb_core::message::Abort { code: pb_core::message::AbortCode::Closing, reason: "bye".into() };
    net.inject(A, Message::Abort(abort));
    net.side(A).put_on_the_wire(&pb_tests::hostile::framed(&[99, 1, 4, 1, 2, 3]));
    net.inject(A, Message::Resolve(Resolve { export: ExportId(9), payload: Payload::default() }));
    net.run();
    assert_eq!(net.sizes(B), Default::default());
    assert_eq!(net.ended(B).map(|failure| failure.kind), Some(FailureKind::Disconnected));
    net.cut(A);
    net.finish();
}

#[test]
fn a_connection_is_idle_exactly_when_nothing_is_held_or_asked() {
    let net = Net::new();
    let idle = |who| net.sizes(who) == Default::default();
    assert!(idle(A) && idle(B));
    let call = net.call(A, &net.root(A), "hold", "", &[]);
    assert!(!idle(A) && idle(B));
    net.run();
    assert!(!idle(A) && !idle(B));
    let started = net.side(B).take("hold");
    net.side(B).answer(started, Ended::Value(vec![Handle::object("ada")], Default::default()));
    assert!(!idle(A) && !idle(B), "the object is exported");
    net.run();
    assert!(!idle(A) && !idle(B), "the answer holds the object");
    drop(call);
    assert!(idle(A) && !idle(B), "the release is on its way");
    net.run();
    assert!(idle(A) && idle(B));
    net.finish();
}
