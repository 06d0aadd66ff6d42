//! The token that an inspector wants: it stands in a file, and nowhere else.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// A secret of one server's. It has no `Debug`, and is never sent.
pub(crate) struct Token(Vec<u8>);

/// Why there is no token.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read, or made.
    #[error("the inspector's token cannot be read from {path}: {source}", path = path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read it.
    #[error("others may look into {path}, whose mode is {mode:o}: chmod 600 it, and take another token", path = path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("user {owner} owns {path}, and this server is user {own}'s: chown it, and take another token", path = path.display())]
    Owner {
        /// Its path.
        path: PathBuf,
        /// The user who owns it.
        owner: u32,
        /// The user who serves.
        own: u32,
    },
    /// It is none.
    #[error("the token in {path} has {bytes} bytes: it has {FEWEST} to {MOST}", path = path.display())]
    Length {
        /// Its path.
        path: PathBuf,
        /// How many it has.
        bytes: usize,
    },
}

impl Token {
    /// Reads the token; makes one where there is no file.
    pub(crate) fn read(path: &Path) -> Result<Token, TokenError> {
        let wrong = |source| TokenError::File { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => Token::of(path, file),
            Err(error) if error.kind() == ErrorKind::NotFound => Token::make(path).map_err(wrong),
            Err(error) => Err(wrong(error)),
        }
    }

    fn of(path: &Path, file: File) -> Result<Token, TokenError> {
        let wrong = |source| TokenError::File { path: path.to_owned(), source };
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let metadata = file.metadata().map_err(wrong)?;
            let mode = metadata.mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(TokenError::Open { path: path.to_owned(), mode });
            }
            // Its owner could read it whatever its mode, and knows it.
            let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
            if owner != own && owner != 0 {
                return Err(TokenError::Owner { path: path.to_owned(), owner, own });
            }
        }
        let mut bytes = Vec::new();
        file.take(MOST as u64 + 64).read_to_end(&mut bytes).map_err(wrong)?;
        let token = bytes.trim_ascii();
        if !(FEWEST..=MOST).contains(&token.len()) {
            return Err(TokenError::Length { path: path.to_owned(), bytes: token.len() });
        }
        Ok(Token(token.to_owned()))
    }

    fn make(path: &Path) -> io::Result<Token> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(path)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        Ok(Token(token.into_bytes()))
    }

    /// Whether that is the token. How long it takes does not depend on how much of it is right.
    pub(crate) fn is(&self, said: &str) -> bool {
        self.0.ct_eq(said.trim().as_bytes()).into()
    }
}

const FEWEST: usize = 16;
const MOST: usize = 1024;
