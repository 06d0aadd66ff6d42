//! The floor's server: one task a connection, requests handled where they are read.

use super::frame;
use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Accepts until the process ends.
pub async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Err(error) = serve(stream).await {
                eprintln!("floor: {error:#}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(BUFFER_BYTES);
    let mut output = Vec::with_capacity(BUFFER_BYTES);
    while stream.read_buf(&mut input).await? > 0 {
        let mut rest = &input[..];
        while let Some(request) = frame::next(&mut rest) {
            let (id, a, b) = frame::read_request(request).context("a request was malformed")?;
            output.extend_from_slice(&frame::reply(id, a.wrapping_add(b)));
        }
        let read = input.len() - rest.len();
        input.drain(..read);
        stream.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

const BUFFER_BYTES: usize = 64 * 1024;
