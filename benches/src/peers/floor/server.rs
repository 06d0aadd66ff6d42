//! The floor's server: one task a connection, requests handled where they are read.

use super::frame;
use crate::peers::counter::{self, Counter};
use anyhow::{Context, Result, bail};
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
    let mut counters = Counters::default();
    while stream.read_buf(&mut input).await? > 0 {
        let mut rest = &input[..];
        while let Some(request) = frame::next(&mut rest) {
            match frame::read_request(request) {
                Some((id, frame::ADD, a, b)) => {
                    output.extend_from_slice(&frame::reply(id, a.wrapping_add(b)))
                }
                Some((id, method, a, b)) => counters.other(&mut output, id, method, a, b)?,
                None => {
                    // What the client's object answered; the call that it was asked in has the same id.
                    let (id, value) = frame::read_reply(request).context("a frame was malformed")?;
                    output.extend_from_slice(&frame::reply(id, value));
                }
            }
        }
        let read = input.len() - rest.len();
        input.drain(..read);
        stream.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

/// The objects of one connection: a slab.
#[derive(Default)]
struct Counters {
    open: Vec<Option<Box<Counter>>>,
    free: Vec<u32>,
}

impl Counters {
    fn other(&mut self, output: &mut Vec<u8>, id: u32, method: u8, a: i64, b: i64) -> Result<()> {
        let value = match method {
            frame::MAKE => self.make(a),
            frame::POKE => self.open(a)?.as_ref().context("a counter was released")?.add(b),
            frame::RELEASE => {
                *self.open(a)? = None;
                self.free.push(a as u32);
                return Ok(());
            }
            frame::LIVE => counter::live().cast_signed(),
            frame::CALLBACK => {
                output.extend_from_slice(&frame::request(id, frame::ASKED, a, 0));
                return Ok(());
            }
            frame::VALUE => a,
            _ => bail!("there is no method {method}"),
        };
        output.extend_from_slice(&frame::reply(id, value));
        Ok(())
    }

    fn make(&mut self, first: i64) -> i64 {
        let counter = Some(Box::new(Counter::new(first)));
        if let Some(number) = self.free.pop() {
            self.open[number as usize] = counter;
            return number.into();
        }
        self.open.push(counter);
        self.open.len() as i64 - 1
    }

    fn open(&mut self, number: i64) -> Result<&mut Option<Box<Counter>>> {
        self.open.get_mut(usize::try_from(number)?).context("there is no such counter")
    }
}

const BUFFER_BYTES: usize = 64 * 1024;
