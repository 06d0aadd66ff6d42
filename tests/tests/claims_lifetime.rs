//! Claims about how long references live, on real brokers: a client with its server, and with middlemen between.
//! `tests/claims.md` says which claim is proved where.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use pb_server::{Broker, FailureKind, Limits, Referenceable, Stub, remote_interface};
use pb_tests::live::{Chain, MyNode, NodeRef, Over, soon, until};

/// A client with its server, with one middleman, and with two.
const LINKS: std::ops::RangeInclusive<usize> = 1..=3;

/// Waits until exactly these objects were dropped, in whatever order.
async fn freed(chain: &Chain, names: &[&str]) {
    let sorted = || {
        let mut freed = chain.world.freed();
        freed.sort();
        freed
    };
    until(|| sorted() == names, || format!("{:?} were freed, not {names:?}", sorted())).await;
}

#[tokio::test]
async fn dropping_the_last_handle_frees_the_object_and_any_handle_keeps_it() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let opened = chain.root.open("ada".into());
        let promised = opened.promised();
        let reference = soon(opened).await.expect("opened");
        drop(promised);
        assert_eq!(soon(reference.say(1)).await, Ok(1));
        let other = reference.clone();
        drop(reference);
        assert_eq!(soon(other.say(2)).await, Ok(2));
        // A response that nobody has looked at holds what is in it.
        let unread = chain.root.echo(other.clone());
        drop(other);
        assert_eq!(soon(chain.root.say(3)).await, Ok(3));
        assert!(chain.world.freed().is_empty());
        drop(unread);
        freed(&chain, &["ada"]).await;
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_held_reference_is_called_by_its_holder_sent_home_and_then_called_without_a_message() {
    for links in LINKS {
        let chain = Chain::over(Over::Tcp, links, Limits::default()).await;
        let ours = chain.world.node("ours");
        assert_eq!(soon(chain.root.tell(ours.clone(), 1)).await, Ok(1));
        soon(chain.root.keep(vec![ours.clone()])).await.expect("kept");
        let home = soon(chain.root.kept()).await.expect("sent home");
        let object = home.remote().local::<MyNode>().expect("it is ours");
        chain.hold_answers(); // Whatever needs an answer from outside does not end now.
        assert_eq!(soon(home.say(2)).await, Ok(2));
        assert_eq!(chain.world.started(), ["ours.say(1)", "ours.say(2)"]);
        chain.let_answers_go();
        soon(chain.root.forget()).await.expect("forgotten");
        drop((ours, home, object));
        freed(&chain, &["ours"]).await;
        chain.finish().await;
    }
}

#[tokio::test]
async fn dropping_the_clients_reference_frees_the_object_and_that_the_reference_pointing_back() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let ours = chain.world.node("ours");
        let ada = soon(chain.root.open("ada".into())).await.expect("opened");
        soon(ada.keep(vec![ours])).await.expect("kept");
        assert_eq!(soon(chain.root.say(1)).await, Ok(1));
        assert!(chain.world.freed().is_empty(), "the server's object holds ours");
        drop(ada);
        freed(&chain, &["ada", "ours"]).await;
        chain.finish().await;
    }
}

#[tokio::test]
async fn cancelling_a_call_that_never_returns_releases_its_arguments() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let hanging = chain.root.hang(vec![chain.world.node("one"), chain.world.node("two")]);
        until(|| chain.world.started() == ["root.hang()"], || format!("{:?}", chain.world.started())).await;
        assert!(chain.world.freed().is_empty());
        drop(hanging);
        freed(&chain, &["one", "two"]).await;
        assert_eq!(chain.world.stopped(), 1);
        chain.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_object_sent_often_and_at_once_has_one_id_and_is_freed_once() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let ours = chain.world.node("ours");
        let senders = (0..8).map(|_| {
            let (root, ours) = (chain.root.clone(), ours.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    soon(root.keep(vec![ours.clone(), ours.clone()])).await.expect("kept");
                    assert!(soon(root.echo(ours.clone())).await.expect("an echo").remote().same(&ours));
                }
            })
        });
        for sender in futures::future::join_all(senders).await {
            sender.expect("no sender fails");
        }
        for end in chain.ends.iter().skip(1).step_by(2) {
            assert_eq!(end.tables().exports, 1, "{links}: one object, one entry on each connection");
        }
        soon(chain.root.forget()).await.expect("forgotten");
        drop(ours);
        freed(&chain, &["ours"]).await;
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_reference_dropped_during_a_call_does_not_end_its_object() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let ada = soon(chain.root.open("ada".into())).await.expect("opened");
        let late = ada.open_late("late".into());
        drop(ada);
        until(|| chain.world.started().len() == 2, || format!("{:?}", chain.world.started())).await;
        assert_eq!(soon(chain.root.say(1)).await, Ok(1));
        assert!(chain.world.freed().is_empty(), "the call is running");
        chain.world.open_gate();
        let late = soon(late).await.expect("opened");
        freed(&chain, &["ada"]).await;
        drop(late);
        freed(&chain, &["ada", "late"]).await;
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_late_resolution_of_a_promise_that_was_let_go_frees_what_it_resolves_to() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        chain.root.open_late("detached".into()).detach();
        let promised = chain.root.open_late("released".into()).promised();
        promised.note(1); // So that the call is not cancelled with its promise.
        drop(promised);
        until(|| chain.world.started().len() == 2, || format!("{:?}", chain.world.started())).await;
        chain.world.open_gate();
        freed(&chain, &["detached", "released"]).await;
        assert!(chain.world.started().contains(&"released.note(1)".to_owned()));
        chain.finish().await;
    }
}

#[tokio::test]
async fn as_many_mentions_are_released_as_were_received_and_the_destructor_runs_once() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let ours = chain.world.node("ours");
        for mentions in 1..=5 {
            soon(chain.root.keep(vec![ours.clone(); mentions])).await.expect("kept");
            soon(chain.root.forget()).await.expect("forgotten");
            until(|| chain.client().tables().exports == 0, || format!("{:?}", chain.client().tables())).await;
            assert!(chain.world.freed().is_empty(), "we hold it ourselves");
        }
        // Some of the mentions are released while others are on their way.
        let calls: Vec<_> = (0..50).map(|_| chain.root.echo(ours.clone())).collect();
        for call in calls {
            assert!(soon(call).await.expect("an echo").remote().same(&ours));
        }
        drop(ours);
        freed(&chain, &["ours"]).await;
        chain.finish().await;
    }
}

#[remote_interface]
trait Last {
    async fn nothing(&self);
}

/// Uses its broker as it is dropped, which it could not under any lock of the tables.
#[derive(Referenceable)]
struct Touches(Broker, NodeRef, Arc<AtomicUsize>);

impl Last for Touches {
    async fn nothing(&self) {}
}

impl Drop for Touches {
    fn drop(&mut self) {
        let _ = self.0.tables();
        self.1.note(1);
        self.1.say(2).detach();
        drop(self.1.open("never".into()).promised());
        self.2.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn everything_is_released_on_disconnect_and_destructors_run_outside_of_every_lock() {
    for links in LINKS {
        for cut in 0..2 * links {
            let chain = Chain::of(links).await;
            let dropped = Arc::new(AtomicUsize::new(0));
            let ours = chain.world.node("ours");
            let ada = soon(chain.root.open("ada".into())).await.expect("opened");
            soon(ada.keep(vec![ours.clone()])).await.expect("kept");
            let broker = &chain.ends[cut];
            let touches = LastRef::new(Touches(broker.clone(), chain.root.clone(), Arc::clone(&dropped)));
            soon(ada.keep(vec![touches.remote().cast()])).await.expect("kept");
            drop((ours, touches));
            let hanging = chain.root.hang(vec![ada.clone(), chain.world.node("argument")]);
            let promised = chain.root.open_late("late".into()).promised();
            let queued = promised.say(1);
            until(|| chain.world.started().len() == 3, || format!("{:?}", chain.world.started())).await;
            chain.ends[cut].close();
            assert!(soon(hanging).await.is_err() && soon(queued).await.is_err());
            drop((ada, promised));
            until(|| dropped.load(SeqCst) == 1, || format!("{links} {cut}: not dropped")).await;
            // The first connection's end frees the root itself.
            let left = usize::from(cut >= 2);
            until(|| chain.world.alive() == left, || format!("{links} {cut}: {:?}", chain.world.freed()))
                .await;
            assert_eq!(chain.world.stopped(), 2, "{links} {cut}: both methods are stopped");
            chain.finish_cut().await;
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_references_dropped_at_once_are_released() {
    let limits = Limits { imports: 200_000, exports: 200_000, budget: 64 << 20, ..Limits::default() };
    let chain = Chain::over(Over::Mem, 1, limits).await;
    let mut nodes: Vec<NodeRef> = Vec::new();
    for _ in 0..100 {
        nodes.extend(soon(chain.root.many(1000)).await.expect("many"));
    }
    assert_eq!(chain.client().tables().imports, 100_000);
    assert_eq!(chain.world.alive(), 100_001);
    drop(nodes);
    chain.finish().await;
}

#[tokio::test]
async fn a_client_that_is_dropped_frees_what_it_held_and_what_that_held() {
    let chain = Chain::over(Over::Tcp, 2, Limits::default()).await;
    let ours = chain.world.node("ours");
    let ada = soon(chain.root.open("ada".into())).await.expect("opened");
    soon(ada.keep(vec![ours])).await.expect("kept");
    chain.client().close();
    freed(&chain, &["ada", "ours"]).await;
    assert_eq!(soon(ada.remote().on_broken()).await.kind, FailureKind::Disconnected);
    // The connection behind the middleman lives on, and holds nothing.
    let far: NodeRef = chain.ends[1].root();
    assert_eq!(soon(far.say(1)).await, Ok(1));
    assert!(far.as_reference().key() != chain.root.as_reference().key());
    drop((ada, far));
    until(|| chain.server().tables() == Default::default(), || format!("{:?}", chain.server().tables()))
        .await;
    chain.finish_cut().await;
}
