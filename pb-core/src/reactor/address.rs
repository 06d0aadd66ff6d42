use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Where to listen or to connect: `tcp://HOST:PORT` or `mem://NAME` (inside one process, for tests).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// Host and port, resolved when used.
    Tcp(String),
    /// A name that is known in this process only.
    Mem(String),
}

/// Why a text is no address.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressError {
    /// No `scheme://`, or one that is not known.
    #[error("{0:?} is no address: write tcp://HOST:PORT or mem://NAME")]
    Scheme(String),
    /// A TCP address without a port.
    #[error("{0:?} has no port from 0 to 65535: write tcp://HOST:PORT")]
    Port(String),
    /// An empty name or host.
    #[error(
        "{0:?} names no host: write tcp://HOST:PORT, with 0.0.0.0 for all of this machine, or mem://NAME"
    )]
    Empty(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
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

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(rest) => write!(f, "tcp://{rest}"),
            Address::Mem(name) => write!(f, "mem://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print_the_same() {
        for text in ["tcp://127.0.0.1:0", "tcp://[::1]:8787", "tcp://localhost:65535", "mem://bank"] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_what_to_write() {
        for text in ["", "bank", "http://x:1", "tcp://localhost", "tcp://localhost:x", "tcp://:1", "mem://"] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.to_string().contains("://"), "{error}");
        }
    }
}
