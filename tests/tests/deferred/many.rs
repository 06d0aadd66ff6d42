//! Many as one: all, all results, the first.

use std::thread;

use futures::executor::block_on;
use pb_core::defer::{OnFailure, all_settled, first, gather};
use pb_core::{Deferred, DeferredExt, Failure, FailureKind, Ran, Resolver};

use crate::{kind, now, poll, refused};

fn several(count: usize) -> (Vec<Resolver<u32>>, Vec<Deferred<u32>>) {
    (0..count).map(|_| Deferred::new()).unzip()
}

fn failure(text: &str) -> Failure {
    Failure::new(FailureKind::Failed, Ran::No, text)
}

#[test]
fn all_values_come_in_the_order_in_which_they_were_asked_for() {
    let (resolvers, deferreds) = several(5);
    let mut all = gather(deferreds, OnFailure::CancelRest);
    for (value, resolver) in resolvers.into_iter().enumerate().rev() {
        assert!(poll(&mut all).is_pending());
        resolver.resolve(value as u32);
    }
    assert_eq!(now(all), Ok(vec![0, 1, 2, 3, 4]));
}

#[test]
fn all_of_none_is_an_empty_list_and_the_first_of_none_fails() {
    assert_eq!(now(gather(Vec::<Deferred<u32>>::new(), OnFailure::CancelRest)), Ok(vec![]));
    assert_eq!(now(gather(Vec::<Deferred<u32>>::new(), OnFailure::WaitForRest)), Ok(vec![]));
    assert_eq!(now(all_settled(Vec::<Deferred<u32>>::new())), Ok(vec![]));
    let failure = now(first(Vec::<Deferred<u32>>::new())).expect_err("there is none");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
}

#[test]
fn the_first_failure_of_all_is_told_at_once_and_cancels_the_rest() {
    let (mut resolvers, deferreds) = several(3);
    let all = gather(deferreds, OnFailure::CancelRest);
    resolvers.remove(1).reject(refused());
    assert_eq!(now(all), Err(refused()));
    assert!(resolvers.iter().all(Resolver::is_cancelled));
}

#[test]
fn the_first_failure_of_all_is_told_when_the_rest_has_ended_where_that_is_asked_for() {
    let (mut resolvers, deferreds) = several(3);
    let mut all = gather(deferreds, OnFailure::WaitForRest);
    resolvers.remove(2).reject(failure("first in time"));
    assert!(poll(&mut all).is_pending());
    assert!(!resolvers.iter().any(Resolver::is_cancelled));
    resolvers.remove(0).reject(failure("second in time"));
    assert!(poll(&mut all).is_pending());
    resolvers.remove(0).resolve(1);
    assert_eq!(now(all), Err(failure("first in time")));
}

#[test]
fn all_results_come_failures_among_them() {
    let (mut resolvers, deferreds) = several(3);
    let mut all = all_settled(deferreds);
    resolvers.remove(1).reject(refused());
    resolvers.remove(0).resolve(0);
    assert!(poll(&mut all).is_pending());
    drop(resolvers);
    let results = now(all).expect("it never fails");
    assert_eq!(results[..2], [Ok(0), Err(refused())]);
    assert_eq!(kind(results[2].clone()), FailureKind::Internal);
}

#[test]
fn the_first_value_wins_failures_before_it_do_not_count_and_the_rest_is_cancelled() {
    let (mut resolvers, deferreds) = several(4);
    let mut winner = first(deferreds);
    resolvers.remove(0).reject(refused());
    assert!(poll(&mut winner).is_pending());
    resolvers.remove(1).resolve(2);
    assert_eq!(now(winner), Ok(2));
    assert!(resolvers.iter().all(Resolver::is_cancelled));
}

#[test]
fn the_first_of_many_fails_when_all_have_with_what_failed_first() {
    let (mut resolvers, deferreds) = several(3);
    let mut winner = first(deferreds);
    resolvers.remove(1).reject(failure("first in time"));
    assert!(poll(&mut winner).is_pending());
    for resolver in resolvers {
        resolver.reject(refused());
    }
    assert_eq!(now(winner), Err(failure("first in time")));
}

#[test]
fn dropping_or_cancelling_many_cancels_each() {
    type Make = fn(Vec<Deferred<u32>>) -> Deferred<()>;
    let kinds: [Make; 4] = [
        |many| gather(many, OnFailure::CancelRest).add_callback(|_| Ok(())),
        |many| gather(many, OnFailure::WaitForRest).add_callback(|_| Ok(())),
        |many| first(many).add_callback(|_| Ok(())),
        |many| {
            all_settled(many).add_callback(|results| {
                assert!(results.into_iter().all(|result| kind(result) == FailureKind::Cancelled));
                Err(failure("all were cancelled"))
            })
        },
    ];
    for make in kinds {
        for polled in [false, true] {
            let (resolvers, deferreds) = several(3);
            let mut many = make(deferreds);
            if polled {
                assert!(poll(&mut many).is_pending());
            }
            Deferred::cancel(&many);
            assert!(resolvers.iter().all(Resolver::is_cancelled));
            assert!(now(many).is_err());

            let (resolvers, deferreds) = several(3);
            let mut many = make(deferreds);
            if polled {
                assert!(poll(&mut many).is_pending());
            }
            drop(many);
            assert!(resolvers.iter().all(Resolver::is_cancelled));
        }
    }
}

#[test]
fn many_may_be_gathered_of_gathered_ones_and_of_chains() {
    let rows = (0..10u32).map(|row| {
        let cells =
            (0..10).map(move |column| Deferred::<u32>::succeed(row).add_callback(move |n| Ok(n * column)));
        gather(cells, OnFailure::CancelRest).add_callback(|row| Ok(row.into_iter().sum::<u32>()))
    });
    let total = gather(rows, OnFailure::WaitForRest).add_callback(|sums| Ok(sums.into_iter().sum::<u32>()));
    assert_eq!(now(total), Ok(45 * 45));
}

#[test]
fn many_that_are_detached_run_to_their_end() {
    let (resolvers, deferreds) = several(3);
    let (told, sum) = Deferred::<u32>::new();
    gather(deferreds, OnFailure::CancelRest)
        .add_callback(move |values| {
            told.resolve(values.into_iter().sum());
            Ok(())
        })
        .detach();
    for resolver in resolvers {
        assert!(!resolver.is_cancelled());
        resolver.resolve(2);
    }
    assert_eq!(now(sum), Ok(6));
}

#[test]
fn ten_thousand_are_gathered_as_they_come_from_another_thread() {
    let (resolvers, deferreds) = several(10_000);
    let all = gather(deferreds, OnFailure::CancelRest);
    let other = thread::spawn(move || {
        for (value, resolver) in resolvers.into_iter().enumerate() {
            resolver.resolve(value as u32);
        }
    });
    let values = block_on(all).expect("all were resolved");
    assert!(values.iter().enumerate().all(|(place, value)| place as u32 == *value));
    assert_eq!(values.len(), 10_000);
    other.join().expect("resolving does not panic");
}
