//! What the models share: how a model is run, and two connected brokers.

use pb_core::broker::Config;
use pb_core::reactor::{Address, Listener, Stream};
use pb_core::{Broker, FailureKind, Limits, Stub, TableSizes};
use shuttle::future::yield_now;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config as Shuttle, Runner};

/// Runs a model under random schedules and under schedules that switch seldom (PCT, three switches), half each. How many stands in
/// `PB_SCHEDULES`; default 1,000.
pub fn schedules(model: impl Fn() + Send + Sync + Copy + 'static) {
    let count = std::env::var("PB_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000);
    let half = usize::div_ceil(count, 2);
    run(RandomScheduler::new(half), model);
    run(PctScheduler::new(3, half), model);
}

/// Runs a small model under every schedule there is, and says how many that were.
pub fn every_schedule(model: impl Fn() + Send + Sync + 'static) -> usize {
    let count = run(DfsScheduler::new(None, false), model);
    println!("{count} schedules, which are all");
    count
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Shuttle::new();
    config.stack_size = 256 << 10;
    Runner::new(scheduler, config).run(model)
}

/// A serving and a calling broker, connected by sockets of a few bytes. `name` is the model's.
pub async fn connected(name: &str, root: impl Stub) -> (Broker, Broker) {
    let address = Address::Tcp(name.to_owned());
    let mut listener = Listener::bind(&address).await.expect("a model's name is free");
    let theirs = Stream::connect(&address).await.expect("somebody listens");
    let ours = listener.accept().await.expect("somebody has connected");
    let limits = Limits::default();
    let serving =
        Config { root: Some(root.as_reference().clone()), limits, stays: true, ..Config::default() };
    let calling = Config { root: None, limits, stays: false, ..Config::default() };
    let (server, client) = futures::join!(Broker::open(ours, serving), Broker::open(theirs, calling));
    (server.expect("the server is greeted"), client.expect("the client is greeted"))
}

/// Ends the connection from the caller's side, and asserts that nothing is left.
pub async fn end(server: Broker, client: Broker) {
    client.close();
    gone(server, client).await;
}

/// Waits for the end of a connection that somebody has closed, and asserts that both have heard so, whole, and that nothing is left.
pub async fn gone(server: Broker, client: Broker) {
    let (ours, theirs) = futures::join!(server.closed(), client.closed());
    for reason in [ours, theirs] {
        assert_eq!(reason.kind, FailureKind::Disconnected, "{reason}");
    }
    futures::join!(server.finished(), client.finished());
    while tokio::task::running() > 0 {
        yield_now().await;
    }
    assert_idle(&[&server, &client]);
}

/// Waits until no side holds anything of the other's, though the connection lives.
pub async fn idle(server: &Broker, client: &Broker) {
    while [server, client].iter().any(|broker| broker.tables() != TableSizes::default()) {
        assert!(!is_over(server).await && !is_over(client).await, "the connection has ended by itself");
        yield_now().await;
    }
}

async fn is_over(broker: &Broker) -> bool {
    futures::poll!(std::pin::pin!(broker.closed())).is_ready()
}

fn assert_idle(brokers: &[&Broker]) {
    for broker in brokers {
        assert_eq!(broker.tables(), TableSizes::default());
    }
}
