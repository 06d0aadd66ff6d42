//! `docs/guide/reconnecting.md`.

use std::time::Duration;

use pb_client::{Connect, Reconnect, Reconnecting, State, WhileDown};
use pb_server::{FailureKind, Ran, Referenceable, Running, Server, remote_interface};

#[remote_interface]
pub trait Stock {
    #[remote(idempotent)]
    async fn price(&self, what: String) -> u64;
    #[remote(idempotent)]
    async fn slow_price(&self) -> u64;
    async fn buy(&self, what: String) -> OrderRef;
    async fn slow(&self) -> u64;
    async fn watch(&self, watcher: WatcherRef);
}

#[remote_interface]
pub trait Watcher {
    async fn changed(&self, price: u64);
}

#[remote_interface]
pub trait Order {
    async fn cancel(&self) -> bool;
}

#[derive(Referenceable)]
struct MyStock;

impl Stock for MyStock {
    async fn price(&self, _what: String) -> u64 {
        7
    }

    async fn buy(&self, _what: String) -> OrderRef {
        OrderRef::new(MyOrder)
    }

    async fn slow_price(&self) -> u64 {
        self.slow().await
    }

    async fn slow(&self) -> u64 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        7
    }

    async fn watch(&self, watcher: WatcherRef) {
        watcher.changed(7).detach();
    }
}

#[derive(Referenceable)]
struct Hearing(tokio::sync::mpsc::UnboundedSender<u64>);

impl Watcher for Hearing {
    async fn changed(&self, price: u64) {
        let _ = self.0.send(price);
    }
}

#[derive(Referenceable)]
struct MyOrder;

impl Order for MyOrder {
    async fn cancel(&self) -> bool {
        true
    }
}

async fn serve(address: &str) -> Running {
    Server::new(StockRef::new(MyStock)).listen(address).await.unwrap().spawn().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_connects_again() {
    let server = serve("mem://stock").await;
    let stock = Connect::to("mem://stock").reconnecting(Reconnect::default()).unwrap();
    assert_eq!(stock.root::<StockRef>().price("tea".into()).await, Ok(7));
    server.shutdown().await;

    // While nobody serves, calls wait: bound them.
    let within = stock.root::<StockRef>().within(Duration::from_secs(2));
    assert_eq!(within.price("tea".into()).await.unwrap_err().kind, FailureKind::DeadlineExceeded);
    let waiting = stock.root::<StockRef>().price("tea".into());
    let _server = serve("mem://stock").await;
    assert_eq!(waiting.await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_fails_and_says_whether_it_has_run() {
    let server = serve("mem://in-flight").await;
    let stock = Connect::to("mem://in-flight").reconnecting(Reconnect::default()).unwrap();
    let order = stock.root::<StockRef>().buy("tea".into()).await.unwrap();
    let waiting = stock.root::<StockRef>().slow();
    server.shutdown().await;
    let failure = waiting.await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe));
    let _server = serve("mem://in-flight").await;
    assert_eq!(stock.root::<StockRef>().price("tea".into()).await, Ok(7));
    // The order was the old connection's.
    assert_eq!(order.cancel().await.unwrap_err().kind, FailureKind::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn what_is_idempotent_is_repeated_by_itself_and_the_rest_on_request() {
    let server = serve("mem://repeated").await;
    let stock = Connect::to("mem://repeated").reconnecting(Reconnect::default()).unwrap();
    let (safe, unsafe_) = (stock.root::<StockRef>().slow_price(), stock.root::<StockRef>().slow());
    assert_eq!(stock.root::<StockRef>().price("tea".into()).await, Ok(7));
    server.shutdown().await;
    let _server = serve("mem://repeated").await;
    assert_eq!(safe.await, Ok(7));
    assert_eq!(unsafe_.await.unwrap_err().ran, Ran::Maybe);
    assert_eq!(stock.counters().repeated, 1);

    let price = stock.retry(3, |stock: StockRef| stock.slow()).await;
    assert_eq!(price, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn calls_may_fail_instead_of_waiting() {
    let how = Reconnect { while_down: WhileDown::Fail, ..Reconnect::default() };
    let stock = Connect::to("mem://nobody").reconnecting(how).unwrap();
    let failure = stock.root::<StockRef>().price("tea".into()).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No));
    assert_eq!(
        failure.to_string(),
        "the reference that was called is broken: cannot connect to mem://nobody: nobody listens on mem://nobody"
    );
    assert!(!matches!(*stock.state().borrow(), State::Connected { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drains_finishes_what_runs() {
    let server = serve("mem://drained").await;
    let broker = pb_client::connect("mem://drained").await.unwrap();
    let stock: StockRef = broker.root();
    let slow = stock.slow();
    assert_eq!(stock.price("tea".into()).await, Ok(7));
    let drained = tokio::spawn(server.drain(Duration::from_secs(60)));
    let leaving = broker.leaving().await.unwrap();
    assert_eq!(&*leaving.reason, "the server is shutting down");
    let failure = stock.price("tea".into()).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No));
    assert_eq!(
        failure.to_string(),
        "the peer is leaving and runs no further calls: the server is shutting down"
    );
    assert_eq!(slow.await, Ok(7));
    drained.await.unwrap();
}

/// What a server's `main` ends with.
async fn until_told(server: Server) -> Result<(), pb_server::ServeError> {
    let stopped = server.run_until_signal(Duration::from_secs(30)).await?;
    println!("{stopped:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_listens_nowhere_does_not_wait_for_a_signal() {
    let error = until_told(Server::new(StockRef::new(MyStock))).await.unwrap_err();
    assert_eq!(error.to_string(), "the server listens nowhere: call listen() before run()");
}

/// Gives the watcher to each server that there is, as soon as there is one.
async fn keep_watching(stock: Reconnecting, watcher: WatcherRef) {
    let mut states = stock.state();
    loop {
        let connected = matches!(*states.borrow_and_update(), State::Connected { .. });
        if connected {
            let _ = stock.root::<StockRef>().watch(watcher.clone()).await;
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_is_given_to_each_server() {
    let server = serve("mem://watched").await;
    let how = Reconnect { eager: true, ..Reconnect::default() };
    let stock = Connect::to("mem://watched").reconnecting(how).unwrap();
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let watching = tokio::spawn(keep_watching(stock.clone(), WatcherRef::new(Hearing(sender))));
    assert_eq!(heard.recv().await, Some(7));
    server.shutdown().await;
    let _server = serve("mem://watched").await;
    assert_eq!(heard.recv().await, Some(7));
    watching.abort();
}
