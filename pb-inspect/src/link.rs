//! The connection to an inspector.

use std::fs;
use std::time::Duration;

use pb_client::{AnyRef, Broker, Connect, Failure, FailureKind};
use pb_server::inspect::{InspectorDoorRef, InspectorRef};

use crate::cli::Common;
use crate::error::Error;
use crate::shell::session;

/// Somebody to ask.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) broker: Broker,
    pub(crate) inspector: InspectorRef,
}

impl Link {
    /// The connection of the session that this is a line of, or one of its own.
    ///
    /// # Errors
    /// Nobody is there, nobody who inspects, or the token is wrong.
    pub(crate) async fn open(common: &Common) -> Result<Link, Error> {
        match session::current() {
            Some(session) => session.link().await,
            None => Link::connect(common).await,
        }
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// Those of [`Link::open`].
    pub(crate) async fn connect(common: &Common) -> Result<Link, Error> {
        let token = match &common.token_file {
            None => String::new(),
            Some(path) => {
                let wrong = |source| Error::Token { path: path.clone(), source };
                fs::read_to_string(path).map_err(wrong)?.trim().to_owned()
            }
        };
        let wrong = |source| Error::Connect { url: common.url.clone(), source };
        let broker = Connect::to(&common.url).open().await.map_err(wrong)?;
        let door: InspectorDoorRef = broker.root();
        let entered = door.within(PATIENCE).enter(token).await;
        let inspector = entered.map_err(|error| match error.failure() {
            Some(Failure { kind: FailureKind::Unimplemented, .. }) => Error::Usage(format!(
                "{} serves, but no inspector: name the address that its server was given for that, with `Server::inspect` (--inspect of the examples)",
                common.url
            )),
            _ => error.into(),
        })?;
        let inspector = inspector.within(PATIENCE);
        Ok(Link { broker, inspector })
    }

    /// The object of that number, to be called. In a session it stays from now on.
    ///
    /// # Errors
    /// It is not there, or the server does not let it be called.
    pub(crate) async fn reference(&self, id: u64) -> Result<AnyRef, Error> {
        match session::current() {
            Some(session) => session.reference(self, id).await,
            None => Ok(self.inspector.reference(id).await?),
        }
    }

    /// The number of an object that was answered. In a session it stays from now on.
    ///
    /// # Errors
    /// The inspector does not say it.
    pub(crate) async fn number(&self, reference: &AnyRef) -> Result<u64, Error> {
        let id = self.inspector.number(reference.clone()).await?;
        if let Some(session) = session::current() {
            session.hold(id, reference.clone());
        }
        Ok(id)
    }
}

/// How long an answer of the inspector may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
