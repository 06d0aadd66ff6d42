//! Connecting again: when, what becomes of calls, and what is told, in tokio's paused time over connections in memory.

use std::sync::Arc;
use std::time::Duration;

use pb_client::{
    CallError, Cause, Connect, Failure, FailureKind, Ran, Reconnect, Reconnecting, State, WhileDown,
};
use pb_server::{Running, Server};
use pb_tests::desk::{DeskRef, Office};
use pb_tests::live::soon;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

async fn serve(office: &Arc<Office>, number: u64, url: &str) -> Running {
    let server = Server::new(office.desk(number)).listen(url).await.expect("the name is free");
    server.spawn().expect("it listens")
}

fn reconnecting(url: &str, how: Reconnect) -> Reconnecting {
    let how = Reconnect { seed: how.seed.or(Some(1)), ..how };
    Connect::to(url).reconnecting(how).expect("an address")
}

/// Waits until `holds` does, while time passes.
async fn until(holds: impl Fn() -> bool, describe: impl Fn() -> String) {
    let until = Instant::now() + Duration::from_secs(600);
    while !holds() {
        assert!(Instant::now() < until, "not within 600 s: {}", describe());
        sleep(Duration::from_millis(1)).await;
    }
}

async fn until_state(states: &mut watch::Receiver<State>, wanted: impl FnMut(&State) -> bool) -> State {
    soon(states.wait_for(wanted)).await.expect("it lives").clone()
}

/// The failure of a call that never went out, since there was no connection.
#[track_caller]
fn assert_not_sent(failure: &Failure) -> String {
    assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No), "{failure}");
    let Some(Cause::Broker(cause)) = failure.cause.as_deref() else { panic!("no cause: {failure}") };
    assert_eq!((cause.kind, cause.ran), (FailureKind::Disconnected, Ran::No), "{cause}");
    cause.to_string()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_connected_before_something_is_asked_for_nor_after_it_was_lost() {
    let (office, url) = (Office::new(), "mem://lazy");
    let running = serve(&office, 1, url).await;
    let client = reconnecting(url, Reconnect::default());
    let mut states = client.state();
    sleep(Duration::from_secs(100)).await;
    assert_eq!((running.statistics().accepted, states.borrow().clone()), (0, State::Idle));
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(1));
    assert_eq!(*states.borrow_and_update(), State::Connected { peer: url.into() });
    running.shutdown().await;
    let running = serve(&office, 2, url).await;
    until_state(&mut states, |state| *state == State::Idle).await;
    sleep(Duration::from_secs(100)).await;
    assert_eq!(running.statistics().accepted, 0);
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(2), "the next call connects again");
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_eager_one_connects_at_once_and_again_though_nothing_is_asked_for() {
    let (office, url) = (Office::new(), "mem://eager");
    let client = reconnecting(url, Reconnect { eager: true, ..Reconnect::default() });
    let mut states = client.state();
    until_state(&mut states, |state| matches!(state, State::Waiting { .. })).await;
    for number in 1..4 {
        let running = serve(&office, number, url).await;
        until_state(&mut states, |state| matches!(state, State::Connected { .. })).await;
        assert_eq!(running.statistics().accepted, 1);
        running.shutdown().await;
        until_state(&mut states, |state| matches!(state, State::Waiting { .. })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_made_while_the_server_is_away_wait_and_arrive_in_their_order() {
    let (office, url) = (Office::new(), "mem://away");
    let client = reconnecting(url, Reconnect::default());
    let root: DeskRef = client.root();
    let counts: Vec<_> = (0..5).map(|_| root.count()).collect();
    // Also on what is not known yet.
    let number = root.open(7).number();
    let late = client.root::<DeskRef>().within(Duration::from_secs(3)).count();
    sleep(Duration::from_secs(20)).await;
    let running = serve(&office, 1, url).await;
    for (count, expected) in counts.into_iter().zip(1..) {
        assert_eq!(soon(count).await, Ok(expected));
    }
    assert_eq!(soon(number).await, Ok(7));
    let failure = soon(late).await.expect_err("its time was over before there was a connection");
    assert_eq!((failure.kind, failure.ran), (FailureKind::DeadlineExceeded, Ran::No));
    assert_eq!(office.counted(), 5, "that one never ran");
    assert_eq!(running.statistics().accepted, 1, "all over one connection");
    // What waited is a stub like any from here on, and settled to the root.
    assert_eq!(soon(root.count()).await, Ok(6));
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn where_calls_shall_not_wait_they_fail_with_the_reason_until_the_next_attempt() {
    let (office, url) = (Office::new(), "mem://not-waiting");
    let how =
        Reconnect { while_down: WhileDown::Fail, first: Duration::from_secs(10), ..Reconnect::default() };
    let client = reconnecting(url, how);
    // The first call is an attempt's, and learns how that ends.
    let failure = soon(client.root::<DeskRef>().count()).await.expect_err("nobody listens");
    assert_eq!(
        assert_not_sent(&failure),
        "cannot connect to mem://not-waiting: nobody listens on mem://not-waiting"
    );
    let running = serve(&office, 1, url).await;
    let began = Instant::now();
    let failure = soon(client.root::<DeskRef>().count()).await.expect_err("it rests");
    assert_not_sent(&failure);
    assert_eq!((began.elapsed(), running.statistics().accepted), (Duration::ZERO, 0), "it fails at once");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(soon(client.root::<DeskRef>().count()).await, Ok(1), "the pause is over");
    running.shutdown().await;
    assert_eq!(office.counted(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_fails_with_whether_it_ran_and_is_not_sent_again() {
    let (office, url) = (Office::new(), "mem://in-flight");
    let running = serve(&office, 1, url).await;
    let client = reconnecting(url, Reconnect::default());
    let root: DeskRef = client.root();
    assert_eq!(soon(root.count()).await, Ok(1));
    let held: Vec<_> = (0..3).map(|_| root.hold()).collect();
    until(|| office.holding() == 3, || format!("{} hold", office.holding())).await;
    running.shutdown().await;
    let running = serve(&office, 2, url).await;
    for call in held {
        let failure = soon(call).await.expect_err("its connection is lost");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe), "{failure}");
    }
    // A reference of the lost connection stays broken, on a call that is made later too.
    let failure = soon(root.count()).await.expect_err("it came over the lost one");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No), "{failure}");
    assert_eq!(soon(root.remote().on_broken()).await.kind, FailureKind::Disconnected);
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(2), "a new root is the new server's");
    assert_eq!(soon(client.root::<DeskRef>().count()).await, Ok(2));
    assert_eq!((office.holding(), office.counted()), (3, 2), "nothing has run twice");
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_anew_on_each_connection() {
    let (office, url) = (Office::new(), "mem://named-anew");
    let client = reconnecting(url, Reconnect::default());
    // Before there is a server: the question waits, and what is called on its answer.
    let early = client.named::<DeskRef>("ten").number();
    for number in [10, 11] {
        let server = Server::new(office.desk(1)).publish("ten", &office.desk(number)).expect("a name");
        let running = server.listen(url).await.expect("it is free").spawn().expect("it listens");
        assert_eq!(soon(client.named::<DeskRef>("ten").number()).await, Ok(number));
        let failure = soon(client.named::<DeskRef>("eleven")).await.expect_err("nothing of that name");
        assert_eq!(failure.kind, FailureKind::Unimplemented);
        running.shutdown().await;
    }
    assert_eq!(soon(early).await, Ok(10));
}

/// The next so many pauses that `states` tells of.
async fn pauses(states: &mut watch::Receiver<State>, count: usize) -> Vec<Duration> {
    let mut pauses = Vec::new();
    let mut last = None;
    while pauses.len() < count {
        let next = |state: &State| matches!(state, State::Waiting { until, .. } if Some(*until) > last);
        let State::Waiting { until, .. } = until_state(states, next).await else {
            unreachable!("it was waited for")
        };
        pauses.push(until - Instant::now().into_std());
        last = Some(until);
    }
    pauses
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_with_each_failure_and_are_the_same_for_the_same_seed() {
    let mut all = Vec::new();
    for seed in [1, 1, 2] {
        let how = Reconnect {
            eager: true,
            seed: Some(seed),
            longest: Duration::from_secs(5),
            ..Reconnect::default()
        };
        let client = reconnecting("mem://nobody-for-long", how);
        all.push(pauses(&mut client.state(), 12).await);
    }
    assert_eq!(all[0], all[1]);
    assert_ne!(all[0], all[2]);
    for (failures, pause) in all[0].iter().enumerate() {
        let whole = Duration::from_millis(100 << failures).min(Duration::from_secs(5));
        assert!((whole / 2..=whole).contains(pause), "{pause:?} of {whole:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lasted_starts_the_pauses_anew_and_one_that_did_not_is_a_failure() {
    let (office, url) = (Office::new(), "mem://lasting");
    let how = Reconnect { eager: true, first: Duration::from_secs(1), ..Reconnect::default() };
    let client = reconnecting(url, how);
    let mut states = client.state();
    let mut behind = Vec::new();
    for lasts in [1, 1, 1, 1, 10, 1] {
        let running = serve(&office, 1, url).await;
        until_state(&mut states, |state| matches!(state, State::Connected { .. })).await;
        sleep(Duration::from_secs(lasts)).await;
        running.shutdown().await;
        let state = until_state(&mut states, |state| matches!(state, State::Waiting { .. })).await;
        let State::Waiting { until, reason } = state else { unreachable!("it was waited for") };
        assert!(reason.message.contains("the server is shutting down"), "{reason}");
        behind.push((until - Instant::now().into_std()).as_secs_f64());
    }
    for (pause, (least, most)) in
        behind.iter().zip([(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (0.0, 1.0), (0.5, 1.0)])
    {
        assert!((least..=most).contains(pause), "{behind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_after_as_many_failures_as_it_may_have_and_says_why() {
    let how = Reconnect { attempts: Some(4), ..Reconnect::default() };
    let connect = Connect::to("mem://nobody-a").or("mem://nobody-b");
    let client = connect.reconnecting(Reconnect { seed: Some(1), ..how }).expect("addresses");
    let root: DeskRef = client.root();
    let call = root.number();
    let mut states = client.state();
    let State::Closed { reason } =
        until_state(&mut states, |state| matches!(state, State::Closed { .. })).await
    else {
        unreachable!("it was waited for")
    };
    let text = reason.to_string();
    assert!(text.starts_with("given up after 4 attempts: none of 2 addresses"), "{text}");
    assert!(text.contains("nobody-a") && text.contains("nobody-b"), "{text}");
    assert_eq!(assert_not_sent(&soon(call).await.expect_err("nobody listens")), text);
    let failure = soon(client.root::<DeskRef>().number()).await.expect_err("it is closed");
    assert_eq!(assert_not_sent(&failure), text);
    assert_eq!(soon(client.broker()).await.expect_err("it is closed"), reason);
}

#[tokio::test(start_paused = true)]
async fn its_state_tells_what_it_does() {
    let (office, url) = (Office::new(), "mem://states");
    let client = reconnecting(url, Reconnect::default());
    let mut states = client.state();
    assert_eq!(*states.borrow_and_update(), State::Idle);
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while states.changed().await.is_ok() {
            seen.push(states.borrow_and_update().clone());
            if matches!(seen.last(), Some(State::Closed { .. })) {
                break;
            }
        }
        seen
    });
    let call = client.root::<DeskRef>().number();
    sleep(Duration::from_millis(1)).await;
    let running = serve(&office, 1, url).await;
    assert_eq!(soon(call).await, Ok(1));
    client.close();
    let seen = soon(seen).await.expect("no panic");
    let names: Vec<_> = seen
        .iter()
        .map(|state| match state {
            State::Idle => "idle".to_owned(),
            State::Connecting { attempt } => format!("connecting {attempt}"),
            State::Connected { peer } => format!("connected to {peer}"),
            State::Waiting { reason, .. } => format!("waiting: {reason}"),
            State::Closed { reason } => format!("closed: {reason}"),
            other => panic!("an unknown state: {other:?}"),
        })
        .collect();
    let waiting = "waiting: cannot connect to mem://states: nobody listens on mem://states";
    // A state that lasts no time may be missed by who looks on.
    let expected = [waiting, "connected to mem://states", "closed: this side closed the connection"];
    let told: Vec<_> = names.iter().filter(|name| !name.starts_with("connecting")).collect();
    assert_eq!(told, expected.iter().collect::<Vec<_>>(), "{names:?}");
    let attempts: Vec<_> = names.iter().filter(|name| name.starts_with("connecting")).collect();
    assert!(attempts.iter().all(|name| ["connecting 1", "connecting 2"].contains(&name.as_str())));
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drains_gets_no_new_work_and_finishes_the_old() {
    let (office, url) = (Office::new(), "mem://draining");
    let old = serve(&office, 1, url).await;
    let client = reconnecting(url, Reconnect::default());
    let root: DeskRef = client.root();
    let held = soon(root.open(5)).await.expect("a desk");
    let call = held.hold();
    until(|| office.holding() == 1, || "it has not started".to_owned()).await;
    let mut states = client.state();
    let drain = tokio::spawn(old.drain(Duration::from_secs(3600)));
    until_state(&mut states, |state| !matches!(state, State::Connected { .. })).await;
    let new = serve(&office, 2, url).await;
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(2), "new work goes to the new server");
    assert_eq!(soon(held.number()).await, Ok(5), "what is held is served by the old one");
    office.open();
    assert_eq!(soon(call).await, Ok(5));
    drop((held, root));
    soon(drain).await.expect("no panic");
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(2));
    new.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn closing_it_fails_what_is_in_flight_and_what_waits_and_all_that_comes_later() {
    let (office, url) = (Office::new(), "mem://closed-by-hand");
    let waiting = reconnecting(url, Reconnect::default());
    let (queued, patient) = (waiting.root::<DeskRef>().number(), waiting.clone());
    let patient = tokio::spawn(async move { patient.broker().await.map(drop) });
    sleep(Duration::from_secs(1)).await;
    waiting.close();
    let why = "this side closed the connection";
    assert_eq!(assert_not_sent(&soon(queued).await.expect_err("there was no connection")), why);
    assert_eq!(&*soon(patient).await.expect("no panic").expect_err("it is closed").message, why);
    let running = serve(&office, 1, url).await;
    let client = reconnecting(url, Reconnect::default());
    let call = client.root::<DeskRef>().hold();
    until(|| office.holding() == 1, || "it has not started".to_owned()).await;
    client.close();
    client.close();
    let failure = soon(call).await.expect_err("its connection was closed");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe));
    for closed in [client, waiting] {
        let failure = soon(closed.root::<DeskRef>().number()).await.expect_err("it is closed");
        assert_eq!(assert_not_sent(&failure), why);
    }
    assert_eq!(running.statistics().accepted, 1);
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_lives_as_long_as_a_handle_or_a_stub_that_waits_and_its_connection_as_long_as_a_stub() {
    let (office, url) = (Office::new(), "mem://last-handle");
    // The handle is gone before there is a server; the stub waits on.
    let stub: DeskRef = reconnecting(url, Reconnect::default()).root();
    let call = stub.number();
    sleep(Duration::from_secs(5)).await;
    let running = serve(&office, 1, url).await;
    assert_eq!(soon(call).await, Ok(1));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(soon(stub.number()).await, Ok(1), "the stub holds its connection");
    drop(stub);
    until(|| running.statistics().open == 0, || format!("{:?}", running.statistics())).await;
    // Whose last stub goes while it waits is not connected any more.
    running.shutdown().await;
    let client = reconnecting(url, Reconnect::default());
    let mut states = client.state();
    drop(client.root::<DeskRef>().number());
    until_state(&mut states, |state| *state == State::Idle).await;
    drop(client);
    let state = until_state(&mut states, |state| matches!(state, State::Closed { .. })).await;
    let State::Closed { reason } = state else { unreachable!("it was waited for") };
    assert!(reason.message.contains("last handle"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_done_twice_is_done_again_on_the_next_connection_as_often_as_was_said() {
    let (office, url) = (Office::new(), "mem://retried");
    for while_down in [WhileDown::Wait, WhileDown::Fail] {
        let client = reconnecting(url, Reconnect { while_down, ..Reconnect::default() });
        let (retrying, before) = (client.clone(), office.holding());
        let result = tokio::spawn(async move { retrying.retry(2, |desk: DeskRef| desk.hold()).await });
        // It begins without a server; then two of them go away in the middle of the call.
        sleep(Duration::from_secs(3)).await;
        let tries = if while_down == WhileDown::Wait { 2 } else { 1 };
        for number in 1..=tries {
            let running = serve(&office, number, url).await;
            until(|| office.holding() == before + number, || format!("{} hold", office.holding())).await;
            running.shutdown().await;
        }
        let last = serve(&office, 9, url).await;
        until(|| office.holding() > before + tries, || "not again".to_owned()).await;
        office.open();
        assert_eq!(soon(result).await.expect("no panic"), Ok(9), "{while_down:?}");
        last.shutdown().await;
        office.shut();
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_too_often_or_for_another_reason_is_not_done_again() {
    let (office, url) = (Office::new(), "mem://not-retried");
    let running = serve(&office, 1, url).await;
    let client = reconnecting(url, Reconnect::default());
    let (retrying, mut done) = (client.clone(), 0);
    let result = tokio::spawn(async move {
        let result = retrying.retry(1, |desk: DeskRef| {
            done += 1;
            desk.hold()
        });
        (result.await, done)
    });
    until(|| office.holding() == 1, || "it has not started".to_owned()).await;
    running.shutdown().await;
    let running = serve(&office, 1, url).await;
    until(|| office.holding() == 2, || "it was not done again".to_owned()).await;
    running.shutdown().await;
    let running = serve(&office, 1, url).await;
    let (result, done) = soon(result).await.expect("no panic");
    let failure = result.expect_err("it was lost twice");
    assert_eq!((failure.kind, failure.ran, done), (FailureKind::Disconnected, Ran::Maybe, 2));
    // Errors of the program's own, and failures that another connection does not mend.
    let mut tries = 0;
    let result = client.retry(5, |desk: DeskRef| {
        tries += 1;
        async move {
            desk.count().await.map_err(CallError::Broker)?;
            Err::<(), _>(CallError::App("no"))
        }
    });
    assert_eq!(soon(result).await, Err(CallError::App("no")));
    let mut more = 0;
    let result = client.retry(5, |desk: DeskRef| {
        more += 1;
        desk.within(Duration::from_millis(1)).hold()
    });
    assert_eq!(soon(result).await.expect_err("it is late").kind, FailureKind::DeadlineExceeded);
    assert_eq!((tries, more, office.counted()), (1, 1, 1));
    client.close();
    let result = client.retry(5, |desk: DeskRef| desk.number());
    assert_not_sent(&soon(result).await.expect_err("it is closed"));
    running.shutdown().await;
}

#[test]
fn a_runtime_dropped_in_the_middle_fails_what_waits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = reconnecting("mem://no-runtime", Reconnect::default());
    let (call, state) = runtime.block_on(async {
        let call = client.root::<DeskRef>().number();
        sleep(Duration::from_millis(1)).await;
        (call, client.state())
    });
    drop(runtime);
    let why = assert_not_sent(&futures::executor::block_on(call).expect_err("nobody connects any more"));
    assert!(why.contains("ended with their runtime"), "{why}");
    assert!(matches!(&*state.borrow(), State::Closed { .. }));
    let later = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let failure = later.block_on(async { client.root::<DeskRef>().number().await });
    assert_not_sent(&failure.expect_err("it stays closed"));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_hundreds_of_clients_are_back_in_seconds_and_not_all_at_once() {
    let (office, url) = (Office::new(), "mem://storm");
    let running = serve(&office, 1, url).await;
    let how = |seed| Reconnect { eager: true, seed: Some(seed), ..Reconnect::default() };
    let clients: Vec<_> = (0..500).map(|seed| reconnecting(url, how(seed))).collect();
    for client in &clients {
        soon(client.broker()).await.expect("it listens");
    }
    sleep(Duration::from_secs(20)).await;
    running.shutdown().await;
    sleep(Duration::from_secs(2)).await;
    let back = Instant::now();
    let running = serve(&office, 2, url).await;
    let mut times = Vec::new();
    let meter = running.meter();
    while meter.read().open < 500 {
        sleep(Duration::from_millis(20)).await;
        times.push(meter.read().accepted);
        assert!(back.elapsed() < Duration::from_secs(10), "{:?}", meter.read());
    }
    let most = times.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it took a while");
    assert!(most <= 100, "{most} came within 20 ms");
    assert_eq!(meter.read().accepted, 500, "each once");
    running.shutdown().await;
}
