//! The floor's calling side.

use super::frame;
use anyhow::{Context, Result, bail, ensure};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// One connection. A call that was begun must be awaited to its end.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    batch: Mutex<Batch>,
    slots: Box<[Slot]>,
}

/// What the next write will carry, and the ids that nobody uses.
struct Batch {
    bytes: Vec<u8>,
    free: Vec<u32>,
    writer: Option<Waker>,
}

/// Where one call waits for its answer.
#[derive(Default)]
struct Slot {
    answered: AtomicBool,
    sum: AtomicI64,
    caller: AtomicWaker,
}

impl Client {
    /// Starts the two tasks of a connection, on which so many calls can be in flight at once.
    pub fn start(stream: TcpStream, slots: u32) -> Client {
        let batch = Batch { bytes: Vec::new(), free: (0..slots).rev().collect(), writer: None };
        let slots = (0..slots).map(|_| Slot::default()).collect();
        let shared = Arc::new(Shared { batch: Mutex::new(batch), slots });
        let (reader, writer) = stream.into_split();
        tokio::spawn(write(Arc::clone(&shared), writer));
        tokio::spawn(read(Arc::clone(&shared), reader));
        Client(shared)
    }
}

impl Client {
    /// The sum.
    pub async fn add(&self, a: i64, b: i64) -> Result<i64> {
        self.call(frame::ADD, a, b).await
    }

    /// Makes a counter.
    pub async fn make(&self, first: i64) -> Result<Held> {
        let number = self.call(frame::MAKE, first, 0).await?;
        Ok(Held { client: self.clone(), number: u32::try_from(number)? })
    }

    /// Adds to it.
    pub async fn poke(object: &Held, number: i64) -> Result<i64> {
        object.client.call(frame::POKE, object.number.into(), number).await
    }

    /// Counters alive on the server.
    pub async fn live(&self) -> Result<u64> {
        Ok(self.call(frame::LIVE, 0, 0).await?.cast_unsigned())
    }

    /// What this process's object answers the server.
    pub async fn callback(&self, number: i64) -> Result<i64> {
        self.call(frame::CALLBACK, number, 0).await
    }

    /// The value of the node so deep below the root.
    pub async fn chain(&self, depth: u64) -> Result<u64> {
        Ok(self.call(frame::VALUE, depth.cast_signed(), 0).await?.cast_unsigned())
    }

    async fn call(&self, method: u8, a: i64, b: i64) -> Result<i64> {
        let shared = &*self.0;
        let (id, writer) = {
            let mut batch = shared.batch.lock();
            let Some(id) = batch.free.pop() else {
                bail!("more than {} calls are in flight", shared.slots.len())
            };
            batch.bytes.extend_from_slice(&frame::request(id, method, a, b));
            (id, batch.writer.take())
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        let slot = &shared.slots[id as usize];
        let value = poll_fn(|cx| slot.poll(cx)).await;
        shared.batch.lock().free.push(id);
        Ok(value)
    }
}

/// A counter of the server's.
pub struct Held {
    client: Client,
    number: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.client.0.send(&frame::request(0, frame::RELEASE, self.number.into(), 0));
    }
}

impl Slot {
    fn poll(&self, cx: &mut TaskContext<'_>) -> Poll<i64> {
        if !self.answered.load(Ordering::Acquire) {
            self.caller.register(cx.waker());
            if !self.answered.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        self.answered.store(false, Ordering::Relaxed);
        Poll::Ready(self.sum.load(Ordering::Relaxed))
    }

    fn answer(&self, sum: i64) {
        self.sum.store(sum, Ordering::Relaxed);
        self.answered.store(true, Ordering::Release);
        self.caller.wake();
    }
}

impl Shared {
    /// Adds a frame to what the next write will carry.
    fn send(&self, frame: &[u8]) {
        let writer = {
            let mut batch = self.batch.lock();
            batch.bytes.extend_from_slice(frame);
            batch.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Waits until there is something to write.
    async fn filled(&self) {
        poll_fn(|cx| {
            let mut batch = self.batch.lock();
            if batch.bytes.is_empty() {
                batch.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

async fn write(shared: Arc<Shared>, mut stream: OwnedWriteHalf) {
    let mut bytes = Vec::new();
    loop {
        shared.filled().await;
        // Everyone who can run now adds its call first.
        tokio::task::yield_now().await;
        std::mem::swap(&mut bytes, &mut shared.batch.lock().bytes);
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
        bytes.clear();
    }
}

async fn read(shared: Arc<Shared>, mut stream: OwnedReadHalf) {
    if let Err(error) = answers(&shared, &mut stream).await {
        eprintln!("floor: {error:#}");
    }
}

async fn answers(shared: &Shared, stream: &mut OwnedReadHalf) -> Result<()> {
    let mut input = Vec::with_capacity(BUFFER_BYTES);
    while stream.read_buf(&mut input).await? > 0 {
        let mut rest = &input[..];
        while let Some(reply) = frame::next(&mut rest) {
            if let Some((id, value)) = frame::read_reply(reply) {
                shared.slots.get(id as usize).context("a reply to nobody")?.answer(value);
                continue;
            }
            // The client's object, a counter that begins at 1, is asked.
            let (id, method, number, _) = frame::read_request(reply).context("a frame was malformed")?;
            ensure!(method == frame::ASKED, "the client has no method {method}");
            shared.send(&frame::reply(id, number.wrapping_add(1)));
        }
        let read = input.len() - rest.len();
        input.drain(..read);
    }
    Ok(())
}

const BUFFER_BYTES: usize = 64 * 1024;
