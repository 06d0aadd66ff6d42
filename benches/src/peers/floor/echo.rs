//! The floor under large bodies: `u32 length, u32 id, body` there and back. A body is read into room of just its length, is never
//! copied on either side, and leaves with its head in one vectored write. The server reads and writes in turn: a task of its own for each
//! direction took more processor time, as each body woke one.

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::io::IoSlice;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// One connection that bodies are echoed over.
#[derive(Clone)]
pub struct Client {
    waiting: Arc<Mutex<Waiting>>,
    outgoing: mpsc::UnboundedSender<(u32, Bytes)>,
}

/// Who waits for which body.
#[derive(Default)]
struct Waiting {
    open: Vec<Option<oneshot::Sender<Bytes>>>,
    free: Vec<u32>,
}

impl Client {
    /// Starts the two tasks of a connection.
    pub fn start(stream: TcpStream) -> Client {
        let (mut reader, writer) = stream.into_split();
        let (outgoing, incoming) = mpsc::unbounded_channel();
        let waiting = Arc::<Mutex<Waiting>>::default();
        tokio::spawn(write_all(incoming, writer));
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some((id, body))) = read(&mut reader).await {
                let caller = {
                    let mut waiting = answered.lock();
                    waiting.free.push(id);
                    waiting.open.get_mut(id as usize).and_then(Option::take)
                };
                // A caller that is gone needs no answer.
                let _ = caller.map(|caller| caller.send(body));
            }
        });
        Client { waiting, outgoing }
    }

    /// The same bytes again.
    pub async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock();
            let next = waiting.open.len() as u32;
            let id = waiting.free.pop().unwrap_or(next);
            if id == next {
                waiting.open.push(None);
            }
            waiting.open[id as usize] = Some(sender);
            id
        };
        self.outgoing.send((id, body)).ok().context("the connection is gone")?;
        receiver.await.context("the connection is gone")
    }
}

/// Serves one connection: what is read is written, by the one task.
pub async fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    while let Some((id, body)) = read(&mut reader).await? {
        write(&mut writer, id, &body).await?;
    }
    Ok(())
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<(u32, Bytes)>> {
    let mut head = [0; HEAD_BYTES];
    if stream.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..]).await?;
    let [a, b, c, d, id @ ..] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let mut body = BytesMut::with_capacity(length).limit(length);
    while body.has_remaining_mut() {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((u32::from_le_bytes(id), body.into_inner().freeze())))
}

async fn write_all(mut frames: mpsc::UnboundedReceiver<(u32, Bytes)>, mut stream: impl AsyncWrite + Unpin) {
    while let Some((id, body)) = frames.recv().await {
        if write(&mut stream, id, &body).await.is_err() {
            return;
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), id: u32, body: &[u8]) -> Result<()> {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&id.to_le_bytes());
    let written = stream.write_vectored(&[IoSlice::new(&head), IoSlice::new(body)]).await?;
    stream.write_all(head.get(written..).unwrap_or_default()).await?;
    stream.write_all(&body[written.saturating_sub(HEAD_BYTES)..]).await?;
    Ok(())
}

const HEAD_BYTES: usize = 8;
