//! How a server of these examples is told to let itself be looked into, by the tool `pb`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pb_server::inspect::Inspect;
use pb_server::{ServeError, Server};

/// What the command line says of it.
#[derive(Args, Clone, Debug, Default)]
pub struct Inspecting {
    /// Lets `pb` look into this server at unix://PATH, or at tcp://127.0.0.1:PORT with a token
    #[arg(long, value_name = "URL")]
    pub inspect: Option<String>,
    /// The file with the token that `pb` must have; it is made where it is not there
    #[arg(long, value_name = "FILE", requires = "inspect")]
    pub inspect_token: Option<PathBuf>,
    /// What `pb` may do beside looking
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',', requires = "inspect")]
    pub inspect_allow: Vec<Right>,
}

/// What may be allowed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// To call any object.
    Call,
    /// To stop calls.
    Cancel,
    /// To take objects away from those who hold them.
    Revoke,
    /// To record arguments and results.
    Bodies,
}

impl Inspecting {
    /// Tells the server.
    ///
    /// # Errors
    /// The server's, where that is no place to look into it.
    ///
    /// # Cancel safety
    /// Dropping the future drops the server.
    pub async fn tell(&self, server: Server) -> Result<Server, ServeError> {
        let Some(url) = &self.inspect else { return Ok(server) };
        let mut at = Inspect::at(url);
        if let Some(path) = &self.inspect_token {
            at = at.token_file(path);
        }
        let at = self.inspect_allow.iter().fold(at, |at, right| match right {
            Right::Call => at.allow_call(),
            Right::Cancel => at.allow_cancel(),
            Right::Revoke => at.allow_revoke(),
            Right::Bodies => at.allow_bodies(),
        });
        server.inspect(at).await
    }
}
