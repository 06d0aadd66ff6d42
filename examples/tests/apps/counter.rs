use std::sync::Arc;

use pb_examples::counter::{CounterError, CounterRef, MOST_WATCHERS, Shared, Watcher, WatcherRef};
use pb_server::defer::{OnFailure, gather};
use pb_server::{CallError, Referenceable, pair};
use tokio::sync::{Semaphore, mpsc};

use crate::soon;

/// Hands on what it is told, one value for each permit that it is given.
#[derive(Referenceable)]
pub struct Screen {
    told: mpsc::UnboundedSender<i64>,
    pub may_go_on: Arc<Semaphore>,
}

impl Screen {
    pub fn new(permits: usize) -> (Screen, mpsc::UnboundedReceiver<i64>) {
        let (told, hears) = mpsc::unbounded_channel();
        (Screen { told, may_go_on: Arc::new(Semaphore::new(permits)) }, hears)
    }
}

impl Watcher for Screen {
    async fn changed(&self, value: i64) {
        let _ = self.told.send(value);
        self.may_go_on.acquire().await.expect("it is not closed").forget();
    }
}

const FAST: usize = Semaphore::MAX_PERMITS;

#[tokio::test]
async fn three_clients_add_at_once_and_all_of_them_hear_what_it_is_at_last() {
    let counter = CounterRef::new(Shared::default());
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (_serving, broker) = pair(counter.clone()).await;
        clients.push(tokio::spawn(async move {
            let counter: CounterRef = broker.root();
            let (screen, mut hears) = Screen::new(FAST);
            soon(counter.watch(WatcherRef::new(screen))).await.unwrap();
            for _ in 0..10 {
                // A hundred calls in one write, and their answers in another.
                let sums =
                    soon(gather((0..100).map(|_| counter.add(1)), OnFailure::CancelRest)).await.unwrap();
                assert!(sums.is_sorted(), "they start in the order in which they are made");
            }
            let (mut last, mut values) = (-1, 0);
            while last < 3000 {
                let value = soon(hears.recv()).await.expect("the counter tells");
                assert!(value > last, "{value} behind {last}");
                (last, values) = (value, values + 1);
            }
            values
        }));
    }
    for client in clients {
        let values: u64 = client.await.unwrap();
        assert!((1..=3001).contains(&values));
    }
    assert_eq!(soon(counter.value()).await, Ok(3000));
}

#[tokio::test]
async fn a_slow_watcher_misses_what_was_meanwhile_and_not_the_last() {
    let (_serving, client) = pair(CounterRef::new(Shared::default())).await;
    let counter: CounterRef = client.root();
    let (screen, mut hears) = Screen::new(0);
    let may_go_on = Arc::clone(&screen.may_go_on);
    soon(counter.watch(WatcherRef::new(screen))).await.unwrap();
    assert_eq!(soon(hears.recv()).await, Some(0), "what it is now");
    for n in 1..=5 {
        assert_eq!(soon(counter.add(1)).await, Ok(n));
    }
    may_go_on.add_permits(1);
    assert_eq!(soon(hears.recv()).await, Some(5));
}

#[tokio::test]
async fn what_is_too_large_is_an_error_of_its_own_and_changes_nothing() {
    let (_serving, client) = pair(CounterRef::new(Shared::default())).await;
    let counter: CounterRef = client.root();
    assert_eq!(soon(counter.add(-7)).await, Ok(-7));
    let error = soon(counter.add(i64::MIN)).await.unwrap_err();
    assert_eq!(error, CallError::App(CounterError::TooLarge { value: -7, n: i64::MIN }));
    assert_eq!(soon(counter.value()).await, Ok(-7));
}

#[tokio::test]
async fn watchers_over_the_bound_are_refused_until_one_has_left() {
    let counter = CounterRef::new(Shared::default());
    let (_serving, leaving) = pair(counter.clone()).await;
    let screens: Vec<_> = (0..=MOST_WATCHERS).map(|_| WatcherRef::new(Screen::new(FAST).0)).collect();
    soon(leaving.root::<CounterRef>().watch(screens[0].clone())).await.unwrap();
    for screen in &screens[1..MOST_WATCHERS] {
        soon(counter.watch(screen.clone())).await.unwrap();
    }
    let last = &screens[MOST_WATCHERS];
    assert_eq!(soon(counter.watch(last.clone())).await, Err(CallError::App(CounterError::Crowded)));
    leaving.close();
    // Nothing changes meanwhile: that one is gone is learned all the same.
    while soon(counter.watch(last.clone())).await.is_err() {
        tokio::task::yield_now().await;
    }
}
