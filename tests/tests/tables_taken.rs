//! What the reading task takes out of the tables whole: it is what one by one would be, and what is not done goes back in front.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use pb_core::message::*;
use pb_core::proto::{Connection, Garbage, Host, Key, Notice, Outbox, Place, Task};
use pb_server::Limits;
use pb_tests::raw;

/// An owner whose only handle is its root's.
struct Rooted;

impl Host for Rooted {
    type Handle = &'static str;
    type Waiter = ();
    type Canceller = ();
    type Proxy = ();
    type Watch = ();
    type Memo = ();

    fn settled(&self, _: &&'static str) -> Option<&'static str> {
        None
    }
    fn place(&self, root: &&'static str) -> Place {
        Place::Ours(self.key(root))
    }
    fn key(&self, _: &&'static str) -> Key {
        Key { object: 1, facet: 0 }
    }
    fn mention(&self, _: ImportId, proxy: &mut Option<()>) -> (&'static str, bool) {
        ("theirs", proxy.replace(()).is_none())
    }
    fn promise(&self) -> &'static str {
        "promise"
    }
    fn broken(&self, _: Failure) -> &'static str {
        "broken"
    }
}

/// The results that were rejected.
#[derive(Default)]
struct Rejected(Vec<i64>);

impl Outbox for Rejected {
    fn send(&mut self, message: Message<Body<'_>>) {
        if let Message::Reject(reject) = message {
            self.0.push(reject.export.0);
        }
    }
    fn unread(&self) -> u64 {
        0
    }
    fn prompted(&self) -> u64 {
        0
    }
}

type Notices = VecDeque<Notice<Rooted>>;
type Tasks = VecDeque<Task<Rooted>>;

/// A side that has been called so often.
fn called(times: i64) -> (Connection<Rooted>, Rejected) {
    let (mut connection, mut out) =
        (Connection::new(Rooted, Some("root"), Limits::default()), Rejected::default());
    handle(&mut connection, raw::hello(), &mut out);
    (1..=times).for_each(|result| call(&mut connection, result, &mut out));
    (connection, out)
}

fn call(connection: &mut Connection<Rooted>, result: i64, out: &mut Rejected) {
    let call = raw::bytes_call(result, "say", Bytes::from_static(b"a body"));
    handle(connection, Message::Call(call), out);
}

fn handle(connection: &mut Connection<Rooted>, message: Message, out: &mut Rejected) {
    connection.handle(message, Instant::now(), out).expect("it is allowed");
}

fn results(tasks: impl IntoIterator<Item = Task<Rooted>>) -> Vec<i64> {
    let result = |task| match task {
        Task::Start(start) => start.request.answer.map_or(0, |(id, _)| id.0),
        Task::Settle(..) | Task::Echo(_) => 0,
    };
    tasks.into_iter().map(result).collect()
}

#[test]
fn what_is_taken_out_and_not_done_goes_back_in_front_of_what_came_since() {
    let (mut connection, mut out) = called(3);
    let (mut notices, mut tasks) = (Notices::new(), Tasks::new());
    connection.take_tasks(&mut tasks, &mut out);
    assert!(!connection.has_tasks());
    assert_eq!(results(tasks.pop_front()), [1]);
    call(&mut connection, 4, &mut out);
    connection.put_back(&mut notices, &mut tasks);
    assert!(tasks.is_empty());
    connection.take_tasks(&mut tasks, &mut out);
    assert_eq!(results(tasks), [2, 3, 4]);
}

/// It may wait for long, and the buffer that it was read into has other calls' bytes as well.
#[test]
fn what_goes_back_holds_a_body_of_its_own() {
    let (mut connection, mut out) = called(0);
    let read = Bytes::from(vec![7; 4096]);
    handle(&mut connection, Message::Call(raw::bytes_call(1, "say", read.slice(..10))), &mut out);
    let (mut notices, mut tasks) = (Notices::new(), Tasks::new());
    connection.take_tasks(&mut tasks, &mut out);
    assert!(!read.is_unique());
    connection.put_back(&mut notices, &mut tasks);
    assert!(read.is_unique());
    assert_eq!(results(connection.poll_task(&mut out)), [1]);
}

#[test]
fn nothing_that_goes_back_after_the_end_starts_and_its_target_is_let_go() {
    let (mut connection, mut out) = called(2);
    let (mut notices, mut tasks) = (Notices::new(), Tasks::new());
    connection.take_tasks(&mut tasks, &mut out);
    connection.end(Failure::new(FailureKind::Disconnected, Ran::Maybe, "the link is gone"));
    connection.take_garbage();
    connection.put_back(&mut notices, &mut tasks);
    assert!(connection.poll_task(&mut out).is_none());
    let targets = connection.take_garbage();
    let targets = targets.iter().filter(|one| matches!(one, Garbage::Handle("root"))).count();
    assert_eq!(targets, 2);
}

#[test]
fn calls_that_are_cancelled_before_they_start_are_not_taken_out_but_answered() {
    let (mut connection, mut out) = called(3);
    handle(&mut connection, Message::Cancel(Cancel { result: ImportId(2) }), &mut out);
    let mut tasks = Tasks::new();
    connection.take_tasks(&mut tasks, &mut out);
    assert_eq!((results(tasks), out.0), (vec![1, 3], vec![2]));
}
