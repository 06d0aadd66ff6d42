//! References that can be taken back, and promises of several connections, that lead in circles: live brokers.

use pb_server::{Failure, FailureKind};
use pb_tests::row::{NodeRef, Row, cause, soon};

fn is_circular(failure: &Failure) -> bool {
    let said = |failure: &Failure| &*failure.message == "the reference was resolved to itself";
    failure.kind == FailureKind::Broken && (said(failure) || failure.cause.is_some() && said(cause(failure)))
}

#[tokio::test]
async fn a_promise_that_resolves_to_what_was_lent_of_it_is_broken() {
    for (middlemen, piped) in [(0, false), (0, true), (1, false), (1, true)] {
        let row = Row::new(middlemen).await;
        let result = row.root.kept_late();
        let (lent, revoker) = result.promised().remote().revocable::<NodeRef>();
        soon(row.root.keep(lent.clone())).await.expect("kept");
        let waits = piped.then(|| lent.number());
        row.owner.open();
        if let Some(waits) = waits {
            assert!(is_circular(&soon(waits).await.expect_err("it leads nowhere")));
            // Until the echo comes nobody knows more.
            drop(soon(result).await.expect("a promise"));
        } else {
            assert!(is_circular(&soon(result).await.expect_err("it leads to itself")));
        }
        assert!(is_circular(&soon(lent.number()).await.expect_err("it leads nowhere")));
        assert!(is_circular(&soon(lent.remote().on_broken()).await));
        drop((lent, revoker));
        soon(row.root.forget()).await.expect("forgotten");
        row.is_idle().await;
    }
}

#[tokio::test]
async fn promises_of_two_connections_that_resolve_to_each_other_are_broken_and_leave_nothing() {
    for (lending, piped) in [(false, false), (false, true), (true, false), (true, true)] {
        let (one, other) = (Row::new(0).await, Row::new(0).await);
        let (ones, others) = (one.root.kept_late(), other.root.kept_late());
        let to_other = match lending {
            true => others.promised().remote().revocable::<NodeRef>().0,
            false => others.promised(),
        };
        soon(one.root.keep(to_other)).await.expect("kept");
        soon(other.root.keep(ones.promised())).await.expect("kept");
        one.owner.open();
        let first = soon(ones).await.expect("not known yet");
        let waits = piped.then(|| first.number());
        other.owner.open();
        if let Some(waits) = waits {
            assert!(is_circular(&soon(waits).await.expect_err("it leads nowhere")));
            drop(soon(others).await.expect("a promise"));
        } else {
            assert!(is_circular(&soon(others).await.expect_err("it leads to itself")));
        }
        assert!(is_circular(&soon(first.number()).await.expect_err("it leads nowhere")));
        drop(first);
        for row in [one, other] {
            soon(row.root.forget()).await.expect("forgotten");
            row.is_idle().await;
        }
    }
}

/// A call that waits for a promise, and is what that promise resolves to by way of something lent, would wait for ever.
#[tokio::test]
async fn a_call_that_waits_for_what_is_lent_of_its_own_result_fails() {
    let row = Row::new(0).await;
    let node = row.mine();
    let first = node.give_late();
    let second = first.next();
    let (lent, revoker) = second.promised().remote().revocable::<NodeRef>();
    row.ours.gives(lent);
    row.ours.open();
    assert!(is_circular(&soon(second).await.expect_err("it waits for itself")));
    drop((first, revoker, node));
    let given = row.ours.gives.lock().expect("nobody panics in it").take();
    drop(given);
    row.is_idle().await;
}
