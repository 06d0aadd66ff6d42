use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where to listen or to connect: `tcp://HOST:PORT`, `unix://PATH` or `mem://NAME` (inside one process, for tests).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// Host and port, resolved when used.
    Tcp(String),
    /// A socket in the file system, of at most 107 bytes; relative to the process' directory unless it begins with `/`, as in
    /// `unix:///run/bank.sock`.
    Unix(PathBuf),
    /// A name that is known in this process only.
    Mem(String),
}

/// Why a text is no address. `{:?}` is the sentence too, for that is what a `main` that returns it prints.
#[derive(Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No `scheme://`, or one that is not known.
    #[error("{0:?} is no address: write tcp://HOST:PORT, unix://PATH or mem://NAME")]
    Scheme(String),
    /// A TCP address without a port.
    #[error("{0:?} has no port from 0 to 65535: write tcp://HOST:PORT")]
    Port(String),
    /// An empty name or host.
    #[error(
        "{0:?} names no host: write tcp://HOST:PORT, with 0.0.0.0 for all of this machine, or mem://NAME"
    )]
    Empty(String),
    /// A path that no socket's file can have: none, one of a directory, or one with a NUL in it.
    #[error("{0:?} names no file: write unix://PATH, as in unix:///run/bank.sock")]
    Path(String),
    /// A path that is longer than the system lets a socket's be.
    #[error("{text:?} names a file by {bytes} bytes, and a socket's path has at most {MAX_PATH_BYTES}")]
    LongPath {
        /// The address.
        text: String,
        /// How long its path is.
        bytes: usize,
    },
}

impl fmt::Debug for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return unix(text, path);
        }
        let text = text.strip_suffix('/').filter(|text| !text.ends_with('/')).unwrap_or(text);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| AddressError::Scheme(text.to_owned()))?;
        match scheme {
            "tcp" => {
                let (host, port) =
                    rest.rsplit_once(':').ok_or_else(|| AddressError::Port(text.to_owned()))?;
                if port.parse::<u16>().is_err() {
                    return Err(AddressError::Port(text.to_owned()));
                }
                if host.is_empty() {
                    return Err(AddressError::Empty(text.to_owned()));
                }
                Ok(Address::Tcp(rest.to_owned()))
            }
            "mem" if rest.is_empty() => Err(AddressError::Empty(text.to_owned())),
            "mem" => Ok(Address::Mem(rest.to_owned())),
            _ => Err(AddressError::Scheme(text.to_owned())),
        }
    }
}

fn unix(text: &str, path: &str) -> Result<Address, AddressError> {
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(AddressError::Path(text.to_owned()));
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(AddressError::LongPath { text: text.to_owned(), bytes: path.len() });
    }
    Ok(Address::Unix(path.into()))
}

/// What `sun_path` holds beside its final NUL, on Linux and elsewhere.
const MAX_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(rest) => write!(f, "tcp://{rest}"),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Mem(name) => write!(f, "mem://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print_the_same() {
        for text in [
            "tcp://127.0.0.1:0",
            "tcp://[::1]:8787",
            "tcp://localhost:65535",
            "unix:///run/bank.sock",
            "unix://bank.sock",
            "unix://a b/@?:1",
            "mem://bank",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_what_to_write() {
        let bad = [
            "",
            "bank",
            "http://x:1",
            "tcp://localhost",
            "tcp://localhost:x",
            "tcp://:1",
            "mem://",
            "unix://",
            "unix:///",
            "unix:///run/",
            "unix:///a\0b",
            "unix:/run/bank",
        ];
        for text in bad {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.to_string().contains("://"), "{error}");
        }
    }

    #[test]
    fn a_path_of_a_socket_has_a_longest_length() {
        let longest = format!("unix:///{}", "s".repeat(MAX_PATH_BYTES - 1));
        assert!(longest.parse::<Address>().is_ok());
        let text = format!("{longest}s");
        assert_eq!(text.parse::<Address>(), Err(AddressError::LongPath { text, bytes: MAX_PATH_BYTES + 1 }));
    }
}
