use std::sync::{Arc, Mutex};

use pb_client::{Connect, Reconnect, WhileDown};
use pb_examples::counter::{CounterError, CounterRef, Logging, Shared, WatcherRef};
use pb_server::{Broker, CallError, Running, Server, pair};

use crate::counter::Screen;
use crate::soon;

async fn serve(address: &str) -> Running {
    Server::new(CounterRef::new(Shared::default())).listen(address).await.unwrap().spawn().unwrap()
}

/// A client behind a proxy to `address`, and what the proxy logs.
async fn client(address: &str) -> (Broker, Broker, Arc<Mutex<Vec<String>>>) {
    let how = Reconnect { while_down: WhileDown::Fail, ..Reconnect::default() };
    let to = Connect::to(address).reconnecting(how).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let logging = Logging::new(to, "ada", move |line| lines.lock().unwrap().push(line));
    let (serving, client) = pair(CounterRef::new(logging)).await;
    (serving, client, log)
}

#[tokio::test]
async fn what_is_called_does_the_same_through_the_proxy_and_is_logged_both_ways() {
    let _server = serve("mem://counted").await;
    let (_serving, client, log) = client("mem://counted").await;
    let counter: CounterRef = client.root();
    let (screen, mut hears) = Screen::new(9);
    soon(counter.watch(WatcherRef::new(screen))).await.unwrap();
    assert_eq!(soon(hears.recv()).await, Some(0));
    assert_eq!(soon(counter.add(5)).await, Ok(5));
    assert_eq!(soon(hears.recv()).await, Some(5));
    let error = soon(counter.add(i64::MAX)).await.unwrap_err();
    assert_eq!(error, CallError::App(CounterError::TooLarge { value: 5, n: i64::MAX }));
    let mut log = log.lock().unwrap().clone();
    log.sort();
    let failed = format!("ada: add({}) failed: 5 and {0} are more than a counter holds", i64::MAX);
    assert_eq!(log, ["ada: add(5)", &*failed, "ada: told 0", "ada: told 5", "ada: watch(..)"]);
}

#[tokio::test]
async fn a_counter_that_is_away_is_an_error_of_the_methods_own_and_may_come_back() {
    let server = serve("mem://comes-and-goes").await;
    let (_serving, client, log) = client("mem://comes-and-goes").await;
    let counter: CounterRef = client.root();
    assert_eq!(soon(counter.add(1)).await, Ok(1));
    soon(server.shutdown()).await;
    let away = soon(counter.add(1)).await.unwrap_err();
    assert!(matches!(&away, CallError::App(CounterError::Away(_))), "{away:?}");
    assert!(
        log.lock().unwrap().iter().any(|line| line.starts_with("ada: add(1) failed: the counter is away: "))
    );
    let _server = serve("mem://comes-and-goes").await;
    // It rests between two attempts, and says so as long.
    let again = async {
        loop {
            match counter.add(1).await {
                Err(CallError::App(CounterError::Away(_))) => tokio::task::yield_now().await,
                done => return done,
            }
        }
    };
    assert_eq!(soon(again).await, Ok(1), "another counter, from the beginning");
}

#[tokio::test]
async fn a_watcher_that_leaves_the_proxy_leaves_the_counter() {
    let counter = CounterRef::new(Shared::default());
    let server = Server::new(counter).listen("mem://left").await.unwrap().spawn().unwrap();
    let (_serving, client, _log) = client("mem://left").await;
    let (screen, mut hears) = Screen::new(9);
    soon(client.root::<CounterRef>().watch(WatcherRef::new(screen))).await.unwrap();
    assert_eq!(soon(hears.recv()).await, Some(0));
    client.close();
    // The screen is dropped as nobody holds it any more.
    assert_eq!(soon(hears.recv()).await, None);
    drop(server);
}
