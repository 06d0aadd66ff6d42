//! One connection of a server's, from when it is accepted until it is gone.

use std::sync::Arc;
use std::time::Duration;

use pb_core::broker::{refuse, refuse_briefly};
use pb_core::reactor::Stream;
use pb_core::{Broker, Failure, FailureKind, Ran};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::capacity::Place;
use crate::hooks::Guest;
use crate::house::House;
use crate::peer::Peer;
use crate::stop::{Stop, told_to_hurry, told_to_stop};

/// What connections that end with their server are told.
const REASON: &str = "the server is shutting down";
/// What those are told that have not greeted, when there are too many of them.
const NO_HELLO: &str = "the server has no room for connections without a hello";
/// How long somebody who did not greet may take to read why he is sent away.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Lets one in who has connected, or tells him that there is no room, in a task of its own.
pub(crate) fn begin(
    stream: Stream,
    url: &Arc<str>,
    house: &Arc<House>,
    stopped: &watch::Receiver<Stop>,
    connections: &mut JoinSet<()>,
) {
    let peer = Peer::new(house.counters.accepted.count(), stream.peer(), url);
    match house.crowd.let_in(&peer) {
        Ok(place) => {
            connections.spawn(serve(Box::new(stream), peer, place, Arc::clone(house), stopped.clone()));
        }
        Err(refusal) => {
            house.counters.refused.count();
            tracing::debug!(peer = peer.address(), %refusal, "refused");
            turn_off(stream, refusal.to_string(), house, stopped.clone(), connections);
        }
    }
}

/// Tells somebody why he is not let in. Some are waited for until they have read it; to others of a crowd it is said in passing.
fn turn_off(
    stream: Stream,
    why: String,
    house: &House,
    mut stopped: watch::Receiver<Stop>,
    connections: &mut JoinSet<()>,
) {
    if let Ok(at_the_door) = Arc::clone(&house.door).try_acquire_owned() {
        connections.spawn(async move {
            tokio::select! {
                () = refuse(stream, &why) => {}
                _ = told_to_stop(&mut stopped) => {}
            }
            drop(at_the_door);
        });
    } else if let Ok(passing) = Arc::clone(&house.passing).try_acquire_owned() {
        connections.spawn(async move {
            refuse_briefly(stream, &why).await;
            drop(passing);
        });
    }
}

/// Serves one connection until it ends or the server does.
#[expect(
    clippy::manual_async_fn,
    reason = "it would have room for each argument twice, as long as the connection lives"
)]
fn serve(
    stream: Box<Stream>,
    peer: Peer,
    mut place: Place,
    house: Arc<House>,
    mut stopped: watch::Receiver<Stop>,
) -> impl Future<Output = ()> + Send {
    async move {
        let mut arrival = house.guests.arrive(&peer);
        let Some(config) = house.config(&peer, arrival.onlookers.clone()) else {
            house.counters.failed.count();
            tracing::error!(peer = peer.address(), "making a root for a peer panicked");
            let why = "the server cannot serve you: it failed to make your root object";
            arrival.reason = Some(Box::new(Failure::new(FailureKind::Internal, Ran::No, why)));
            return Box::pin(refuse(*stream, why)).await;
        };
        let broker = Closing(Broker::start(*stream, config));
        // What comes once, at the beginning or the end, is on the heap: a connection has room for it as long as it lives, else.
        if let Err(failure) = Box::pin(greeted(&broker.0, &mut place, &mut stopped)).await {
            house.counters.failed.count();
            tracing::debug!(peer = peer.address(), %failure, "no connection");
            arrival.reason = Some(Box::new(failure));
            return;
        }
        place.greeted();
        let mut guest = Guest::new(&house, &peer, &arrival, &broker.0);
        arrival.greeted = true;
        arrival.onlookers = Vec::new();
        let reason = tokio::select! {
            reason = broker.0.closed() => reason,
            until = told_to_stop(&mut stopped) => Box::pin(leave(&broker.0, until, &mut stopped)).await,
        };
        tracing::debug!(peer = peer.address(), %reason, "connection ended");
        arrival.reason = Some(Box::new(reason.clone()));
        guest.reason = Some(Box::new(reason));
    }
}

/// Waits for the peer's hello.
///
/// # Errors
/// The connection has ended without one, also where others need its room or the server stops: nothing has run that it called.
async fn greeted(
    broker: &Broker,
    place: &mut Place,
    stopped: &mut watch::Receiver<Stop>,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        greeted = broker.greeted() => return greeted,
        () = place.sent_away() => broker.turn_away(NO_HELLO),
        _ = told_to_stop(stopped) => broker.close_saying(REASON),
    }
    let _ = timeout(LAST_WORDS, broker.finished()).await;
    Err(broker.closed().await)
}

/// Ends a connection with its server: in good order up to `until`, unless it is told to hurry. Why it has ended.
async fn leave(broker: &Broker, until: Option<Instant>, stopped: &mut watch::Receiver<Stop>) -> Failure {
    if let Some(until) = until {
        tokio::select! {
            () = broker.leave(until.saturating_duration_since(Instant::now()), REASON) => {}
            () = told_to_hurry(stopped) => {}
        }
    }
    broker.close_saying(REASON);
    broker.finished().await;
    broker.closed().await
}

/// Closes the connection when its task goes, also when the server is dropped in the middle.
struct Closing(Broker);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
