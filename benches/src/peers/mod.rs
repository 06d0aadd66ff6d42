//! The peers, one module each. A new one is named here twice and nowhere else.

#[cfg(feature = "peers")]
mod capnp;
pub mod counter;
mod floor;
mod floor_std;
#[cfg(feature = "ours")]
mod ours;
#[cfg(feature = "peers")]
mod remoc;
#[cfg(feature = "peers")]
mod tarpc;
#[cfg(feature = "peers")]
mod tonic;

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
    #[cfg(feature = "peers")]
    tarpc::Tarpc::NAME,
    #[cfg(feature = "peers")]
    tonic::Tonic::NAME,
    #[cfg(feature = "peers")]
    remoc::Remoc::NAME,
    #[cfg(feature = "peers")]
    capnp::CapnpRpc::NAME,
    #[cfg(feature = "ours")]
    ours::Ours::NAME,
];

/// Hands the peer called `name` to `visitor`.
pub fn visit<V: Visitor>(name: &str, visitor: V) -> Result<V::Output> {
    Ok(match name {
        floor::Floor::NAME => visitor.visit::<floor::Floor>(),
        floor_std::FloorStd::NAME => visitor.visit::<floor_std::FloorStd>(),
        #[cfg(feature = "peers")]
        tarpc::Tarpc::NAME => visitor.visit::<tarpc::Tarpc>(),
        #[cfg(feature = "peers")]
        tonic::Tonic::NAME => visitor.visit::<tonic::Tonic>(),
        #[cfg(feature = "peers")]
        remoc::Remoc::NAME => visitor.visit::<remoc::Remoc>(),
        #[cfg(feature = "peers")]
        capnp::CapnpRpc::NAME => visitor.visit::<capnp::CapnpRpc>(),
        #[cfg(feature = "ours")]
        ours::Ours::NAME => visitor.visit::<ours::Ours>(),
        _ => bail!(
            "no peer {name}; there are {}{}",
            NAMES.join(", "),
            if cfg!(feature = "peers") { "" } else { ", and more with --features peers" }
        ),
    })
}
