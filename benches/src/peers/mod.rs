//! The peers, one module each. A new one is named here twice and nowhere else.

mod floor;
mod floor_std;
#[cfg(feature = "ours")]
mod ours;
mod tarpc;

use crate::peer::Peer;
use anyhow::{Result, bail};

/// Something to do with a peer whose type is chosen by name.
pub trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<P: Peer>(self) -> Self::Output;
}

/// Every peer's name, in the order of the report.
pub const NAMES: &[&str] = &[
    floor::Floor::NAME,
    floor_std::FloorStd::NAME,
    tarpc::Tarpc::NAME,
    #[cfg(feature = "ours")]
    ours::Ours::NAME,
];

/// Hands the peer called `name` to `visitor`.
pub fn visit<V: Visitor>(name: &str, visitor: V) -> Result<V::Output> {
    Ok(match name {
        floor::Floor::NAME => visitor.visit::<floor::Floor>(),
        floor_std::FloorStd::NAME => visitor.visit::<floor_std::FloorStd>(),
        tarpc::Tarpc::NAME => visitor.visit::<tarpc::Tarpc>(),
        #[cfg(feature = "ours")]
        ours::Ours::NAME => visitor.visit::<ours::Ours>(),
        _ => bail!("no peer {name}; there are {}", NAMES.join(", ")),
    })
}
