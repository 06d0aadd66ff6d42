use std::path::PathBuf;

/// Where, and to whom, a server lets itself be looked into: [`Server::inspect`](crate::Server::inspect).
///
/// Looking changes nothing, and shows nothing of what programs say to each other. What else is allowed is granted here: to call objects, to cancel calls, to revoke references, to
/// record arguments and results.
///
/// ```no_run
/// # use pb_server::{Server, Stub};
/// # use pb_server::inspect::Inspect;
/// # async fn run(server: Server) -> Result<(), pb_server::ServeError> {
/// let server = server.inspect(Inspect::at("unix:///run/bank.inspect").allow_cancel()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a server is told of it by Server::inspect"]
pub struct Inspect {
    pub(crate) address: String,
    pub(crate) token: Option<PathBuf>,
    pub(crate) grants: Grants,
}

/// What is allowed beside looking.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Grants {
    pub(crate) call: bool,
    pub(crate) cancel: bool,
    pub(crate) revoke: bool,
    pub(crate) bodies: bool,
}

impl Grants {
    pub(crate) fn words(self) -> Vec<String> {
        let all =
            [(self.call, "call"), (self.cancel, "cancel"), (self.revoke, "revoke"), (self.bodies, "bodies")];
        all.into_iter().filter(|(granted, _)| *granted).map(|(_, word)| word.to_owned()).collect()
    }
}

impl Inspect {
    /// At `unix://PATH`, where only this user may connect (mode 600); or at `tcp://127.0.0.1:PORT`, `tcp://[::1]:PORT` or `tcp://localhost:PORT`, which wants a
    /// [token](Inspect::token_file). No other address is taken.
    pub fn at(address: impl Into<String>) -> Self {
        Inspect { address: address.into(), token: None, grants: Grants::default() }
    }

    /// Whoever connects must say what stands in this file: 16 to 1,024 bytes, space around them left out. Nobody but its owner may have any right to it. Where it is not
    /// there it is made, with mode 600 and 64 random digits.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(path.into());
        self
    }

    /// Allows to call any object that is seen.
    pub fn allow_call(mut self) -> Self {
        self.grants.call = true;
        self
    }

    /// Allows to stop calls.
    pub fn allow_cancel(mut self) -> Self {
        self.grants.cancel = true;
        self
    }

    /// Allows to take objects away from those who hold them.
    pub fn allow_revoke(mut self) -> Self {
        self.grants.revoke = true;
        self
    }

    /// Allows to record what programs say to each other: arguments, results, errors, values of metadata. Without it a recording has the rest of each frame.
    pub fn allow_bodies(mut self) -> Self {
        self.grants.bodies = true;
        self
    }
}
