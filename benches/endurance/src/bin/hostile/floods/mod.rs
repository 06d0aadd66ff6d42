//! The floods, a file for each part of the protocol that they lean on.

mod answers;
mod calls;
mod frames;
mod objects;

use crate::flood::Flood;
use crate::peer::Peer;
use anyhow::{Context, Result};

/// Every flood, in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Flood> {
    [frames::ALL, calls::ALL, answers::ALL, objects::ALL].into_iter().flatten()
}

/// The flood called `name`.
pub fn find(name: &str) -> Result<&'static Flood> {
    let known = || all().map(|flood| flood.name).collect::<Vec<_>>().join(", ");
    all().find(|flood| flood.name == name).with_context(|| format!("no flood {name}; there are {}", known()))
}

/// The arguments of a method that takes one byte string: so many bytes of it.
fn bytes(count: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(count + 9);
    match u32::try_from(count) {
        Ok(small) if small < 251 => body.push(small as u8),
        Ok(small) if small < 1 << 16 => {
            body.push(251);
            body.extend_from_slice(&(small as u16).to_le_bytes());
        }
        _ => {
            body.push(253);
            body.extend_from_slice(&(count as u64).to_le_bytes());
        }
    }
    body.resize(body.len() + count, b'x');
    body
}

/// The arguments of a method that takes one `u32`.
fn number(value: usize) -> Vec<u8> {
    match value {
        0..251 => vec![value as u8],
        251..65_536 => [&[251][..], &(value as u16).to_le_bytes()].concat(),
        _ => [&[252][..], &(value as u32).to_le_bytes()].concat(),
    }
}

/// The largest byte string that a frame of the server's holds beside its envelope.
fn largest(peer: &Peer) -> usize {
    peer.grants.frame_bytes as usize - 1024
}

/// Arguments that are the first capability of the message.
const FIRST: &[u8] = &[0];
