//! What tests of the reactor share: every transport, a protocol that tells what it hears, and a peer that only has bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pb_core::reactor::{
    ClientFactory, Factory, Listener, Lost, Protocol, ReadHalf, Settings, Stream, Transport, WriteHalf,
};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::live::soon;

/// An address of each transport, to listen at, in a directory that must outlive it.
///
/// # Panics
/// Where the directory's path is no text.
pub fn addresses(directory: &std::path::Path) -> [String; 3] {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = directory.to_str().expect("a path that is text");
    ["tcp://127.0.0.1:0".to_owned(), format!("unix://{directory}/{n}"), format!("mem://protocols-{n}")]
}

/// Both ends of a connection over the transport of `address`.
///
/// # Panics
/// When there is none.
pub async fn connected(address: &str) -> (Stream, Stream) {
    let mut listener = Listener::bind(&address.parse().expect("an address")).await.expect("bind");
    let address = listener.address().expect("it listens");
    let (server, client) = soon(async { tokio::join!(listener.accept(), Stream::connect(&address)) }).await;
    (server.expect("accepted"), client.expect("connected"))
}

/// What a [`Teller`] has heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The connection is there.
    Made,
    /// Bytes.
    Data(Vec<u8>),
    /// The other side's last word.
    End,
    /// Reading goes on.
    Resumed,
    /// Too much waits.
    Full,
    /// And no longer.
    Drained,
    /// It is over, and why.
    Lost(String),
    /// It was dropped.
    Dropped,
}

/// What a [`Teller`] does when it has told something.
pub type React = Arc<dyn Fn(&Heard, &Transport) + Send + Sync>;

/// A factory of protocols that tell what they hear, and then do what they were made with.
pub struct Tellers {
    tell: mpsc::UnboundedSender<Heard>,
    react: React,
    /// How much may wait.
    pub settings: Settings,
}

/// A protocol of [`Tellers`].
pub struct Teller {
    tell: mpsc::UnboundedSender<Heard>,
    react: React,
}

/// What the protocols of [`Tellers`] have told.
pub struct Told(mpsc::UnboundedReceiver<Heard>);

impl Tellers {
    /// Tellers that do nothing but to keep the other side's last word from ending the connection.
    pub fn silent() -> (Tellers, Told) {
        Tellers::new(|_, _| {})
    }

    /// Tellers that do `react`, which may panic.
    pub fn new(react: impl Fn(&Heard, &Transport) + Send + Sync + 'static) -> (Tellers, Told) {
        let (tell, told) = mpsc::unbounded_channel();
        (Tellers { tell, react: Arc::new(react), settings: Settings::default() }, Told(told))
    }
}

impl Factory for Tellers {
    type Protocol = Teller;

    fn build_protocol(&self, _: &str) -> Option<Teller> {
        Some(Teller { tell: self.tell.clone(), react: Arc::clone(&self.react) })
    }

    fn settings(&self) -> Settings {
        self.settings
    }
}

impl ClientFactory for Tellers {}

impl Told {
    /// What was told next.
    ///
    /// # Panics
    /// After a minute.
    pub async fn next(&mut self) -> Heard {
        soon(self.0.recv()).await.expect("a teller is there, or has been dropped")
    }

    /// All that is told until every teller and its factory are gone, pieces of data put together.
    pub async fn all(mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        while let Some(heard) = soon(self.0.recv()).await {
            match (all.last_mut(), heard) {
                (Some(Heard::Data(before)), Heard::Data(more)) => before.extend(more),
                (_, heard) => all.push(heard),
            }
        }
        all
    }

    /// Waits for so many bytes.
    ///
    /// # Panics
    /// When something else comes, or more.
    pub async fn data(&mut self, count: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < count {
            match self.next().await {
                Heard::Data(more) => data.extend(more),
                heard => panic!("{heard:?} after {} of {count} bytes", data.len()),
            }
        }
        assert_eq!(data.len(), count);
        data
    }
}

impl Teller {
    fn tell(&self, heard: Heard, transport: &Transport) {
        let _ = self.tell.send(heard.clone());
        (self.react)(&heard, transport);
    }
}

impl Protocol for Teller {
    fn connection_made(&mut self, transport: &Transport) {
        self.tell(Heard::Made, transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.tell(Heard::Data(data.to_vec()), transport);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.tell(Heard::End, transport);
    }

    fn reading_resumed(&mut self, transport: &Transport) {
        self.tell(Heard::Resumed, transport);
    }

    fn pause_producing(&mut self, transport: &Transport) {
        self.tell(Heard::Full, transport);
    }

    fn resume_producing(&mut self, transport: &Transport) {
        self.tell(Heard::Drained, transport);
    }

    fn connection_lost(&mut self, reason: &Lost) {
        let _ = self.tell.send(Heard::Lost(reason.to_string()));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let _ = self.tell.send(Heard::Dropped);
    }
}

/// The other end of a connection, which only has bytes.
pub struct Wire {
    /// What comes.
    pub read: ReadHalf,
    write: Option<WriteHalf>,
}

impl Wire {
    /// Of a stream.
    pub fn new(stream: Stream) -> Wire {
        let (read, write) = stream.into_split();
        Wire { read, write: Some(write) }
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    /// When it can't, or not within a minute.
    pub async fn send(&mut self, mut bytes: &[u8]) {
        let write = self.write.as_mut().expect("it has not finished");
        while !bytes.is_empty() {
            let count = soon(write.write(bytes)).await.expect("the connection is there");
            bytes = &bytes[count..];
        }
    }

    /// Sends nothing more.
    ///
    /// # Panics
    /// When it has finished before.
    pub async fn finish(&mut self) {
        self.write.take().expect("it has not finished").finish().await;
    }

    /// Waits for so many bytes.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        soon(self.read.read_exact(&mut bytes)).await.expect("so many bytes come");
        bytes
    }

    /// All that comes until the end.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        soon(self.read.read_to_end(&mut bytes)).await?;
        Ok(bytes)
    }
}
