//! The frames of chosen connections, for those who record.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pb_core::broker::{Numbered, Onlooker, Passed, Recorder};
use pb_core::message::MethodText;
use pb_core::{Bytes, Failure, Referenceable};

use super::api::Frames;
use super::recording::{Entry, head};
use super::rows::plain;
use super::view::{Clock, View};
use crate::guests::Viewer;
use crate::peer::Peer;

/// What one who records wants, and what has passed of it that he has not asked for.
pub(super) struct Recording {
    /// Connections by their numbers; none stands for all.
    chosen: BTreeSet<u64>,
    bodies: bool,
    clock: Clock,
    began_us: u64,
    buffer: Mutex<Buffer>,
}

/// A part of a recording that was not taken yet, in blocks.
#[derive(Default)]
struct Buffer {
    blocks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// What found no room since it was full: when the first of it came, how many entries, their bytes.
    lost: Option<(u64, u64, u64)>,
}

impl Recording {
    pub(super) fn of(connections: Vec<u64>, bodies: bool) -> Recording {
        let clock = Clock::start();
        let began_us = clock.now_us();
        let mut buffer = Buffer::default();
        buffer.append(&head(began_us));
        Recording {
            chosen: connections.into_iter().collect(),
            bodies,
            clock,
            began_us,
            buffer: Mutex::new(buffer),
        }
    }

    fn wants(&self, peer: &Peer) -> bool {
        self.chosen.is_empty() || self.chosen.contains(&peer.number())
    }

    fn at_us(&self) -> u64 {
        self.clock.now_us().saturating_sub(self.began_us)
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, entry: &Entry) {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        self.lock().push(&bytes, self.at_us());
    }

    /// A connection is recorded from here on.
    fn begin(&self, peer: &Peer, before: Option<&Numbered>) {
        let name = |(number, text): &(u32, Arc<MethodText>)| (*number, plain(&text.name));
        let names = |methods: &[(u32, Arc<MethodText>)]| methods.iter().map(name).collect();
        self.keep(&Entry::Connection {
            connection: peer.number(),
            at_us: self.at_us(),
            peer: plain(peer.address()),
            listener: plain(peer.listener()),
            whole: before.is_none(),
            received: before.map_or(Vec::new(), |before| names(&before.received)),
            sent: before.map_or(Vec::new(), |before| names(&before.sent)),
        });
    }

    fn drain(&self) -> Option<Bytes> {
        self.lock().take().map(Bytes::from)
    }
}

impl Buffer {
    fn append(&mut self, entry: &[u8]) {
        self.bytes += entry.len();
        match self.blocks.back_mut() {
            Some(block) if block.len() + entry.len() <= BLOCK_BYTES => block.extend_from_slice(entry),
            _ => self.blocks.push_back(entry.to_vec()),
        }
    }

    /// Keeps an entry if there is room; where there was none, only when half of it is free again.
    fn push(&mut self, entry: &[u8], at_us: u64) {
        let room = if self.lost.is_some() { MOST_BYTES / 2 } else { MOST_BYTES };
        if self.bytes + entry.len() > room {
            let (_, entries, bytes) = self.lost.get_or_insert((at_us, 0, 0));
            *entries += 1;
            *bytes += entry.len() as u64;
            return;
        }
        self.tell_lost();
        self.append(entry);
    }

    fn tell_lost(&mut self) {
        if let Some((at_us, entries, bytes)) = self.lost.take() {
            let mut entry = Vec::new();
            Entry::Lost { at_us, entries, bytes }.encode(&mut entry);
            self.append(&entry);
        }
    }

    /// Some of it, from its beginning on: an entry may be cut.
    fn take(&mut self) -> Option<Vec<u8>> {
        if self.blocks.is_empty() {
            self.tell_lost();
        }
        let mut block = self.blocks.pop_front()?;
        if block.len() > MOST_ANSWER {
            self.blocks.push_front(block.split_off(MOST_ANSWER));
        }
        self.bytes -= block.len();
        Some(block)
    }
}

impl Viewer for Recording {
    fn seat(self: Arc<Self>, peer: &Peer) -> Option<Onlooker> {
        let wanted = self.wants(peer);
        wanted.then(|| Onlooker::Recorder(Arc::new(Seat { peer: peer.clone(), recording: self })))
    }

    fn arrived(&self, peer: &Peer) {
        if self.wants(peer) {
            self.begin(peer, None);
        }
    }

    fn left(&self, peer: &Peer, reason: Option<&Failure>) {
        if self.wants(peer) {
            let reason = reason.map_or(String::new(), |failure| plain(&failure.message));
            self.keep(&Entry::Ended { connection: peer.number(), at_us: self.at_us(), reason });
        }
    }
}

/// What looks at one connection for one who records.
struct Seat {
    peer: Peer,
    recording: Arc<Recording>,
}

impl Recorder for Seat {
    fn joined(&self, numbered: &Numbered) {
        self.recording.begin(&self.peer, Some(numbered));
    }

    fn passed(&self, frame: &Passed<'_>) {
        let recording = &self.recording;
        let bodies = recording.bodies && frame.bytes() <= MOST_FRAME;
        let content = frame.content(bodies);
        recording.keep(&Entry::Frame {
            connection: self.peer.number(),
            at_us: recording.at_us(),
            sent: frame.is_sent(),
            cut: content.cut,
            bytes: frame.bytes() as u64,
            body_bytes: content.body_bytes as u64,
            content: content.bytes,
        });
    }
}

/// What his client holds.
#[derive(Referenceable)]
#[referenceable(crate = pb_core)]
pub(super) struct Recorded {
    view: View<Recording>,
}

impl Recorded {
    pub(super) fn new(view: View<Recording>) -> Recorded {
        Recorded { view }
    }
}

impl Frames for Recorded {
    async fn next(&self) -> Bytes {
        self.view.wait(Recording::drain).await.unwrap_or_default()
    }
}

/// Bytes that are kept for one who does not ask.
const MOST_BYTES: usize = 4 << 20;
/// Frames of more bytes are recorded without their bodies.
const MOST_FRAME: usize = 2 << 20;
/// Entries are kept together up to so many bytes.
const BLOCK_BYTES: usize = 256 << 10;
/// Bytes of one answer.
const MOST_ANSWER: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::recording::Reader;

    fn frame(bytes: usize) -> Vec<u8> {
        let (connection, at_us, sent, cut, body_bytes) = (1, 0, true, false, 0);
        let mut entry = Vec::new();
        Entry::Frame { connection, at_us, sent, cut, bytes: 9, body_bytes, content: vec![0; bytes] }
            .encode(&mut entry);
        entry
    }

    fn taken(buffer: &mut Buffer) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(some) = buffer.take() {
            assert!(some.len() <= MOST_ANSWER);
            all.extend(some);
        }
        all
    }

    /// Frames, and for each loss how many entries it was.
    fn read(bytes: &[u8]) -> Vec<u64> {
        let mut reader = Reader::begin(bytes).expect("it is one");
        let mut seen = Vec::new();
        while let Some(entry) = reader.entry().expect("it is whole") {
            match entry {
                Entry::Lost { entries, .. } => seen.push(entries),
                _ => seen.push(0),
            }
        }
        seen
    }

    #[test]
    fn what_finds_no_room_is_counted_where_it_is_missing() {
        let mut buffer = Buffer::default();
        buffer.append(&head(1));
        let large = frame(1 << 20);
        for at in 0..6 {
            buffer.push(&large, at);
        }
        assert!(buffer.bytes <= MOST_BYTES);
        assert_eq!(read(&taken(&mut buffer)), [0, 0, 0, 3]);
        assert_eq!((buffer.bytes, buffer.blocks.len()), (0, 0));
    }

    #[test]
    fn where_something_is_missing_nothing_is_kept_until_there_is_room_for_much() {
        let mut buffer = Buffer::default();
        buffer.append(&head(1));
        let large = frame(1 << 20);
        (0..4).for_each(|at| buffer.push(&large, at));
        let mut all = Vec::new();
        while buffer.bytes > MOST_BYTES / 2 {
            buffer.push(&frame(1), 4);
            all.extend(buffer.take().expect("there is something"));
        }
        buffer.push(&frame(1), 5);
        all.extend(taken(&mut buffer));
        let seen = read(&all);
        assert_eq!(seen.iter().filter(|lost| **lost > 0).count(), 1, "{seen:?}");
        assert_eq!(seen.last(), Some(&0), "what comes then is kept behind");
    }
}
