//! Calls at a later time, and the end of a reactor: triggers in order, connections that finish, and nothing that stays.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pb_core::reactor::{
    ClientFactory, ConnectFailed, Connector, Factory, ListenError, Lost, Phase, Protocol, Reactor, Stopped,
    Stream, Transport, Written, for_protocol,
};
use pb_tests::live::soon;
use pb_tests::protocols::{Heard, Tellers, Wire, addresses};
use tokio::time::{Instant, sleep};

/// What happened, in its order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().push(text.into());
    }

    /// Notes this when it is called.
    fn later(&self, text: &str) -> impl FnOnce() + Send + 'static + use<> {
        let (log, text) = (self.clone(), text.to_owned());
        move || log.note(text)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn calls_come_in_the_order_of_their_times() {
    let (reactor, log) = (Reactor::new(), Log::default());
    let began = Instant::now();
    let timed = log.clone();
    reactor.call_later(3 * SECOND, move || timed.note(format!("three at {} s", began.elapsed().as_secs())));
    reactor.call_later(SECOND, log.later("one"));
    reactor.call_later(2 * SECOND, log.later("two"));
    reactor.call_later(2 * SECOND, log.later("two, too"));
    reactor.call_later(Duration::ZERO, log.later("now"));
    assert!(log.all().is_empty(), "never from within");
    sleep(4 * SECOND).await;
    assert_eq!(log.all(), ["now", "one", "two", "two, too", "three at 3 s"]);
    // After all have come, another can.
    reactor.call_later(SECOND, log.later("last"));
    sleep(2 * SECOND).await;
    assert_eq!(log.all().last().map(String::as_str), Some("last"));
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_taken_back_and_put_off() {
    let (reactor, log) = (Reactor::new(), Log::default());
    let held = Arc::new(());
    let kept = Arc::clone(&held);
    let cancelled = reactor.call_later(SECOND, move || drop(kept));
    assert!(cancelled.is_active() && cancelled.cancel());
    assert_eq!(Arc::strong_count(&held), 1, "what it would have used is gone");
    assert!(
        !cancelled.is_active() && !cancelled.cancel() && !cancelled.reset(SECOND) && !cancelled.delay(SECOND)
    );

    let (reset, delayed) =
        (reactor.call_later(SECOND, log.later("reset")), reactor.call_later(SECOND, log.later("delayed")));
    sleep(SECOND / 2).await;
    assert!(reset.reset(SECOND) && delayed.delay(SECOND));
    sleep(SECOND / 2).await;
    assert!(log.all().is_empty());
    sleep(SECOND * 3 / 4).await;
    assert_eq!(log.all(), ["reset"]);
    assert!(!reset.is_active() && !reset.cancel());
    // Sooner than it was.
    assert!(delayed.reset(Duration::ZERO));
    sleep(SECOND / 8).await;
    assert_eq!(log.all(), ["reset", "delayed"]);
    let never = reactor.call_later(Duration::MAX, log.later("never"));
    assert!(never.delay(Duration::MAX) && never.cancel());
}

#[tokio::test(start_paused = true)]
async fn a_call_may_put_off_others_and_a_panic_ends_it_alone() {
    let (reactor, log) = (Reactor::new(), Log::default());
    let (again, noted) = (reactor.clone(), log.clone());
    let taken = reactor.call_later(2 * SECOND, log.later("taken back"));
    reactor.call_later(SECOND, move || {
        assert!(taken.cancel());
        again.call_later(SECOND, noted.later("again"));
        again.call_later(Duration::ZERO, || panic!("planted"));
        noted.note("once");
    });
    sleep(5 * SECOND).await;
    assert_eq!(log.all(), ["once", "again"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_from_many_threads_all_come() {
    let (reactor, log) = (Reactor::new(), Log::default());
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (reactor, log) = (reactor.clone(), log.clone());
            tokio::spawn(async move {
                for n in 0..100 {
                    let call = reactor.call_later(Duration::from_micros(n % 7), log.later("x"));
                    if n % 10 == 0 && call.cancel() {
                        reactor.call_later(Duration::ZERO, log.later("x"));
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    pb_tests::live::until(|| log.all().len() == 800, || format!("{} came", log.all().len())).await;
}

#[tokio::test(start_paused = true)]
async fn triggers_run_in_their_phases_in_order() {
    let (reactor, log) = (Reactor::new(), Log::default());
    let add = |phase, text: &'static str, seconds| {
        let log = log.clone();
        reactor.add_shutdown_trigger(phase, move || async move {
            log.note(format!("{text} begins"));
            sleep(seconds * SECOND).await;
            log.note(format!("{text} ends"));
        })
    };
    add(Phase::After, "after", 0);
    add(Phase::During, "during", 1);
    let removed = add(Phase::Before, "removed", 1);
    // The first takes longer, and the second waits for it.
    add(Phase::Before, "before one", 2);
    reactor.add_shutdown_trigger(Phase::Before, || async { panic!("planted") });
    reactor.add_shutdown_trigger(Phase::Before, || {
        if true {
            panic!("planted")
        }
        async {}
    });
    add(Phase::Before, "before two", 1);
    assert!(reactor.remove_shutdown_trigger(removed) && !reactor.remove_shutdown_trigger(removed));
    reactor.stop();
    reactor.stop();
    assert_eq!(reactor.run().await, Stopped::Asked);
    let expected = ["before one", "before two", "during", "after"]
        .map(|text| [format!("{text} begins"), format!("{text} ends")])
        .concat();
    assert_eq!(log.all(), expected);
}

#[tokio::test]
async fn connections_finish_as_the_reactor_stops() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let (reactor, log) = (Reactor::new(), Log::default());
        let (tellers, told) = Tellers::silent();
        let port = reactor.listen(&address, tellers).await.expect("it listens");
        let mut told = told;
        let mut wire = Wire::new(Stream::connect(port.address()).await.expect("connected"));
        assert_eq!(told.next().await, Heard::Made);
        let transport = reactor_transport(&reactor, &mut wire, &mut told).await;
        let (before, still) = (log.clone(), port.address().clone());
        reactor.add_shutdown_trigger(Phase::Before, move || async move {
            // All works still.
            before.note(if Stream::connect(&still).await.is_ok() { "it accepts" } else { "it does not" });
        });
        let (during, closed) = (log.clone(), transport.clone());
        reactor.add_shutdown_trigger(Phase::During, move || async move {
            assert_eq!(closed.write(b"x"), Written::Closed);
            during.note("during");
        });
        let (after, over) = (log.clone(), transport.clone());
        let empty = reactor.clone();
        reactor.add_shutdown_trigger(Phase::After, move || async move {
            assert_eq!(empty.connections(), 0);
            after.note(over.lost().map_or("open".to_owned(), |lost| lost.to_string()));
        });
        transport.write(&vec![b'y'; 3 << 20]);
        let reading = tokio::spawn(async move { wire.rest().await.expect("closed in good order").len() });
        reactor.stop();
        soon(reactor.run_without_signals()).await;
        assert_eq!(soon(reading).await.expect("no panic"), 3 << 20);
        assert_eq!(log.all(), ["it accepts", "during", "this side is shutting down"]);
        assert!(Stream::connect(port.address()).await.is_err());
        let again = reactor.listen(&port.address().to_string(), for_protocol(|| Echo)).await;
        assert!(matches!(again, Err(ListenError::Stopped)));
    }
}

/// The transport of the one connection, which the protocol hands out as it is spoken to.
async fn reactor_transport(
    reactor: &Reactor,
    wire: &mut Wire,
    told: &mut pb_tests::protocols::Told,
) -> Transport {
    wire.send(b"t").await;
    assert_eq!(told.data(1).await, b"t");
    assert_eq!(reactor.connections(), 1);
    reactor.transports().pop().expect("it has one")
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_cannot_hold_up_the_end() {
    let reactor = Reactor::new();
    let (tellers, mut told) = Tellers::silent();
    let (server, _client) = Stream::pair();
    let transport = reactor.adopt(server, &tellers).expect("not refused");
    assert_eq!(told.next().await, Heard::Made);
    transport.write(&vec![0; 1 << 20]);
    let began = Instant::now();
    reactor.stop();
    assert_eq!(reactor.run().await, Stopped::Asked);
    assert!(began.elapsed() <= 11 * SECOND, "{:?}", began.elapsed());
    assert!(transport.lost().is_some());
    assert_eq!(reactor.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_after_the_end() {
    let (reactor, log) = (Reactor::new(), Log::default());
    let waiting = reactor.call_later(3600 * SECOND, log.later("waiting"));
    reactor.stop();
    reactor.run_without_signals().await;
    assert!(!waiting.is_active());
    let late = reactor.call_later(Duration::ZERO, log.later("late"));
    assert!(!late.is_active() && !late.cancel());
    let (server, client) = Stream::pair();
    let transport = reactor.adopt(server, &for_protocol(|| Echo)).expect("not refused");
    drop(client);
    assert!(matches!(transport.closed().await, Lost::Shutdown));
    sleep(7200 * SECOND).await;
    assert!(log.all().is_empty());
}

#[tokio::test]
async fn an_attempt_to_connect_fails_as_the_reactor_stops() {
    struct Caller(Log);
    impl Factory for Caller {
        type Protocol = Echo;

        fn build_protocol(&self, _: &str) -> Option<Echo> {
            Some(Echo)
        }
    }
    impl ClientFactory for Caller {
        fn connection_failed(&self, connector: &Connector, reason: &ConnectFailed) {
            self.0.note(reason.to_string());
            if self.0.all().len() < 3 {
                connector.connect();
            }
        }
    }
    let (reactor, log) = (Reactor::new(), Log::default());
    reactor.stop();
    reactor.run_without_signals().await;
    let _connector = reactor.connect("mem://never-there", Caller(log.clone())).expect("an address");
    pb_tests::live::until(|| log.all().len() == 3, || format!("{:?}", log.all())).await;
    assert_eq!(log.all(), ["this side is shutting down"; 3]);
}

#[tokio::test]
async fn a_stop_that_comes_while_it_runs_ends_it() {
    let reactor = Reactor::new();
    let running = tokio::spawn({
        let reactor = reactor.clone();
        async move { reactor.run().await }
    });
    tokio::task::yield_now().await;
    assert!(!running.is_finished());
    reactor.call_later(Duration::ZERO, {
        let reactor = reactor.clone();
        move || reactor.stop()
    });
    assert_eq!(soon(running).await.expect("no panic"), Stopped::Asked);
}
