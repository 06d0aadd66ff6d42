//! What the screen asks the server for, and what it is answered.

use std::time::Duration;

use pb_server::inspect::{About, Branch, CallRow, ConnectionRow, MethodRow, ObjectDetail, ObjectRow, Query};

use super::tab::Tab;
use crate::error::Error;
use crate::link::Link;
use crate::out::plain;

/// What is on the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// Rows of a list: no more than are seen.
    List {
        tab: Tab,
        query: Query,
    },
    Object {
        id: u64,
        own: bool,
    },
    Connection(u64),
}

/// What was asked for, as it is now.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Objects(Vec<ObjectRow>, u64),
    Calls(Vec<CallRow>, u64),
    Connections(Vec<ConnectionRow>, u64),
    Methods(Vec<MethodRow>, u64),
    Object(Box<ObjectDetail>),
    Connection(Box<Visitor>),
    /// It is not there, or was asked for wrongly.
    Refused(String),
}

/// A connection with what it holds and waits for.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) row: ConnectionRow,
    pub(super) holds: Option<Branch>,
    pub(super) calls: Vec<CallRow>,
}

/// What stands above every list.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) about: About,
    /// Those that were called most; rates and times are made of them.
    pub(super) methods: Vec<MethodRow>,
}

pub(super) async fn head(link: &Link) -> Result<Head, Error> {
    let query = Query { limit: MOST_METHODS, ..Query::default() };
    let about = link.inspector.about();
    let methods = link.inspector.methods(query);
    Ok(Head { about: about.await?, methods: methods.await?.rows })
}

/// Takes what is asked for from the server.
///
/// # Errors
/// The server does not answer. What it refuses is a [`Body`].
///
/// # Cancel safety
/// Dropped, it changes nothing.
pub(super) async fn body(link: &Link, ask: &Ask) -> Result<Body, Error> {
    let taken = match ask {
        Ask::List { tab, query } => list(link, *tab, query.clone()).await,
        Ask::Object { id, own } => match link.inspector.object(*id, *own).await {
            Ok(detail) => Ok(Body::Object(Box::new(detail))),
            Err(error) => Err(error.into()),
        },
        Ask::Connection(number) => visitor(link, *number).await,
    };
    match taken {
        Err(Error::Answer(refused)) => Ok(Body::Refused(plain(&refused.to_string()))),
        taken => taken,
    }
}

async fn list(link: &Link, tab: Tab, query: Query) -> Result<Body, Error> {
    let inspector = &link.inspector;
    Ok(match tab {
        Tab::Objects => {
            let page = inspector.objects(query).await?;
            Body::Objects(page.rows, page.total)
        }
        Tab::Calls => {
            let page = inspector.calls(query).await?;
            Body::Calls(page.rows, page.total)
        }
        Tab::Connections => {
            let page = inspector.connections(query).await?;
            Body::Connections(page.rows, page.total)
        }
        Tab::Methods => {
            let page = inspector.methods(query).await?;
            Body::Methods(page.rows, page.total)
        }
    })
}

async fn visitor(link: &Link, number: u64) -> Result<Body, Error> {
    let its =
        |limit| Query { filter: vec![format!("connection={number}")], own: true, limit, ..Query::default() };
    let found = link.inspector.connections(its(1)).await?;
    let Some(row) = found.rows.into_iter().next() else {
        return Ok(Body::Refused(format!("there is no connection {number} any more, or there never was")));
    };
    let calls = link.inspector.calls(its(MOST_CALLS)).await?.rows;
    let (mut holds, mut from) = (None, Some(0));
    while let (None, Some(offset)) = (&holds, from) {
        let tree = link.inspector.tree(true, offset).await?;
        holds = tree.branches.into_iter().find(|branch| branch.connection == number);
        from = tree.next.filter(|next| *next > offset);
    }
    Ok(Body::Connection(Box::new(Visitor { row, holds, calls })))
}

/// How long to wait for the next one, where taking this one took so long: the server is to work on it for a small part of the time only.
pub(super) fn pause(took: Duration, nothing_took: Duration, interval: Duration) -> Duration {
    (took.saturating_sub(nothing_took) * SHARE).max(interval)
}

/// Methods that rates and times are made of.
const MOST_METHODS: u32 = 200;
/// Calls of a connection that are shown.
const MOST_CALLS: u32 = 50;
/// What is asked for takes the server no more than one in so many seconds.
const SHARE: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_asked_for_rarely() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(2), ms(1), ms(100)), ms(100));
        assert_eq!(pause(ms(101), ms(1), ms(100)), ms(2_000));
        assert_eq!(pause(ms(1), ms(5), ms(100)), ms(100));
    }
}
