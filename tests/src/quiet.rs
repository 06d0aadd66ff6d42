//! A peer in memory that does what a test says and nothing else, for tests in tokio's paused time.

use std::time::Duration;

use bytes::BytesMut;
use pb_core::broker::Config;
use pb_core::message::{Failure, Message};
use pb_core::objects::Reference;
use pb_core::reactor::{ReadHalf, Stream, WriteHalf};
use pb_core::wire::frame::{self, Decoded, MAGIC};
use pb_core::{Broker, Limits};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::raw::hello;

/// The test's end of a connection in memory.
pub struct Quiet {
    read: ReadHalf,
    /// Gone once it said that nothing more comes.
    write: Option<WriteHalf>,
    buffer: BytesMut,
    greeted: bool,
}

impl Quiet {
    /// A broker's end that serves `root`, and the test's, which has sent nothing.
    pub fn connect(
        root: Option<Reference>,
        limits: Limits,
    ) -> (impl Future<Output = Result<Broker, Failure>>, Quiet) {
        Quiet::connect_to(Config { root, limits, stays: true, ..Config::default() })
    }

    fn connect_to(config: Config) -> (impl Future<Output = Result<Broker, Failure>>, Quiet) {
        let (ours, theirs) = Stream::pair();
        let (read, write) = theirs.into_split();
        let quiet = Quiet { read, write: Some(write), buffer: BytesMut::new(), greeted: false };
        (Broker::open(ours, config), quiet)
    }

    /// The same, greeted.
    ///
    /// # Panics
    /// When the broker does not take the hello.
    pub async fn greeted(root: Option<Reference>, limits: Limits) -> (Broker, Quiet) {
        Quiet::greeted_by(Config { root, limits, stays: true, ..Config::default() }).await
    }

    /// The same, by a broker that is set up like this.
    ///
    /// # Panics
    /// When the broker does not take the hello.
    pub async fn greeted_by(config: Config) -> (Broker, Quiet) {
        let (opening, mut quiet) = Quiet::connect_to(config);
        let (broker, ()) = tokio::join!(opening, async {
            quiet.send(&MAGIC).await;
            quiet.message(&hello()).await;
        });
        (broker.expect("a hello as it should be"), quiet)
    }

    /// Sends bytes; a broker that has closed is none of the test's business here.
    pub async fn send(&mut self, mut bytes: &[u8]) {
        let Some(write) = &mut self.write else { return };
        while !bytes.is_empty() {
            match write.write(bytes).await {
                Ok(written) if written > 0 => bytes = &bytes[written..],
                _ => return,
            }
        }
    }

    /// Sends `bytes` again and again until the broker has taken nothing for a second, or `most` of them. Says how many it took.
    pub async fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            let rest = &bytes[sent % bytes.len()..];
            let Some(write) = &mut self.write else { break };
            match timeout(Duration::from_secs(1), write.write(rest)).await {
                Ok(Ok(written)) if written > 0 => sent += written,
                _ => break,
            }
        }
        sent
    }

    /// Sends one message.
    pub async fn message(&mut self, message: &Message) {
        let mut out = Vec::new();
        frame::encode(message, &mut out);
        self.send(&out).await;
    }

    /// Ends its own direction of the stream; it can still read.
    pub async fn end(&mut self) {
        if let Some(write) = self.write.take() {
            write.finish().await;
        }
    }

    /// All that comes to the end of the stream, without the hello.
    pub async fn rest(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.read().await {
            messages.push(message);
        }
        messages.retain(|message| !matches!(message, Message::Hello(_)));
        messages
    }

    /// The broker's next message, hello first; `None` at the end of the stream.
    ///
    /// # Panics
    /// When bytes come that are no messages.
    pub async fn read(&mut self) -> Option<Message> {
        loop {
            if self.greeted {
                if let Some(frame) = frame::split(&mut self.buffer, u64::MAX).expect("a good length") {
                    match frame::decode(frame).expect("a good frame") {
                        Decoded::Message(message) => return Some(message),
                        Decoded::Unknown { message_type, .. } => panic!("type {message_type} came"),
                    }
                }
            } else if self.buffer.len() >= MAGIC.len() {
                assert_eq!(&self.buffer.split_to(MAGIC.len())[..], MAGIC);
                self.greeted = true;
                continue;
            }
            if self.read.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Takes up to `most` bytes off the stream without looking at them. Says how many.
    pub async fn skip(&mut self, most: usize) -> usize {
        let mut bytes = vec![0; most];
        self.read.read(&mut bytes).await.unwrap_or(0)
    }
}
