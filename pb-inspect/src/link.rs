//! The connection to an inspector.

use std::fs;
use std::time::Duration;

use pb_client::{Broker, Connect, Failure, FailureKind};
use pb_server::inspect::{InspectorDoorRef, InspectorRef};

use crate::cli::Common;
use crate::error::Error;

/// Somebody to ask.
pub(crate) struct Link {
    pub(crate) broker: Broker,
    pub(crate) inspector: InspectorRef,
}

impl Link {
    /// # Errors
    /// Nobody is there, nobody who inspects, or the token is wrong.
    pub(crate) async fn open(common: &Common) -> Result<Link, Error> {
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
                "{} serves, but no inspector: name the address that its server was given for that (--inspect)",
                common.url
            )),
            _ => error.into(),
        })?;
        let inspector = inspector.within(PATIENCE);
        Ok(Link { broker, inspector })
    }
}

/// How long an answer of the inspector may take.
const PATIENCE: Duration = Duration::from_secs(30);
