//! What a connection counts, by both of its ends.

use pb_core::broker::{Counters, Failures};
use pb_core::{Broker, CallError, FailureKind, TableSizes};
use pb_tests::live::{Chain, Over, soon, until};

fn zero(failures: &Failures, but: &[FailureKind]) -> bool {
    failures.iter().all(|(kind, count)| count == 0 || but.contains(&kind))
}

/// Waits until what either end has sent was read by the other.
async fn even(server: &Broker, client: &Broker) -> (Counters, Counters) {
    let read = || (server.counters(), client.counters());
    let is_even = || {
        let (server, client) = read();
        (server.sent, client.sent) == (client.received, server.received)
    };
    until(is_even, || format!("{:#?}", read())).await;
    read()
}

#[tokio::test]
async fn both_ends_count_calls_answers_failures_and_bytes_alike() {
    for over in [Over::Mem, Over::Tcp] {
        let chain = Chain::over(over, 1, pb_core::Limits::default()).await;
        let (_, before) = even(chain.server(), chain.client()).await;
        for n in 0..7 {
            assert_eq!(soon(chain.root.say(n)).await, Ok(n));
        }
        assert!(matches!(soon(chain.root.fail("no".into())).await, Err(CallError::App(_))));
        chain.root.note(1);
        let wrong: pb_core_other::OtherRef = chain.root.remote().cast();
        assert_eq!(soon(wrong.other()).await.expect_err("it has none").kind, FailureKind::Unimplemented);
        drop(wrong);
        let (server, client) = even(chain.server(), chain.client()).await;

        let sent = client.sent;
        assert_eq!((sent.calls - before.sent.calls, sent.casts, sent.values), (9, 1, 0));
        let got = client.received;
        assert_eq!((got.values - before.received.values, got.errors, got.calls), (7, 1, 0));
        assert_eq!((got.failures.of(FailureKind::Unimplemented), got.failures.total()), (1, 1));
        assert!(zero(&got.failures, &[FailureKind::Unimplemented]));
        assert!(zero(&sent.failures, &[]));
        assert_eq!(server.sent.bytes, got.bytes);
        // A frame has at least its length, its type and a count.
        assert!(sent.bytes >= 3 * sent.messages, "{sent:?}");
        assert!(sent.messages > sent.calls + sent.casts, "the hello is one");
        chain.finish().await;
    }
}

mod pb_core_other {
    /// An interface that nobody serves.
    #[pb_core::remote_interface]
    pub trait Other {
        /// Nobody answers it.
        async fn other(&self) -> u64;
        /// Nor hears this.
        #[remote(oneway)]
        async fn unheard(&self);
    }
}

#[tokio::test]
async fn a_cancelled_call_counts_as_the_failure_that_its_peer_answers() {
    let chain = Chain::of(1).await;
    let call = chain.root.hang(vec![]);
    until(|| !chain.world.started().is_empty(), || "it starts".into()).await;
    drop(call);
    let failures = || chain.client().counters().received.failures;
    until(|| failures().of(FailureKind::Cancelled) == 1, || format!("{:?}", failures())).await;
    assert_eq!(failures().total(), 1);
    chain.finish().await;
}

#[tokio::test]
async fn what_has_failed_before_it_was_sent_is_not_counted() {
    let chain = Chain::of(1).await;
    assert_eq!(soon(chain.root.say(1)).await, Ok(1));
    chain.client().close();
    soon(chain.client().closed()).await;
    let before = chain.client().counters();
    assert_eq!(soon(chain.root.say(2)).await.expect_err("it is closed").kind, FailureKind::Disconnected);
    // It can be asked after the end, and says what was.
    let after = chain.client().counters();
    assert_eq!((after.sent.calls, after.sent, after.received), (1, before.sent, before.received));
    assert_eq!(after.tables, TableSizes::default());
    chain.finish_cut().await;
}

#[tokio::test]
async fn the_tables_in_it_are_those_of_the_moment() {
    let chain = Chain::of(1).await;
    let node = soon(chain.root.open("a".into())).await.expect("it opens");
    assert_eq!(chain.client().counters().tables, chain.client().tables());
    assert_ne!(chain.client().counters().tables, TableSizes::default());
    drop(node);
    chain.finish().await;
}

#[tokio::test]
async fn one_way_calls_that_no_method_takes_are_counted_where_they_are_lost() {
    let chain = Chain::of(1).await;
    let wrong: pb_core_other::OtherRef = chain.root.remote().cast();
    (0..3).for_each(|_| wrong.unheard());
    chain.root.note(1);
    assert_eq!(soon(chain.root.say(1)).await, Ok(1), "what came before it was looked at");
    assert_eq!((chain.server().counters().lost_casts, chain.client().counters().lost_casts), (3, 0));
    drop(wrong);
    chain.finish().await;
}
