//! Recordings of what passes on connections: what `pb record` writes and `pb decode` reads. The format stands in `docs/guide/inspecting.md`.

use thiserror::Error;

/// What a recording begins with: 0x89, "PBR".
pub const MAGIC: [u8; 4] = [0x89, b'P', b'B', b'R'];
/// The version of the format that is written and read here.
pub const VERSION: u8 = 1;

/// One entry of a recording. Times are microseconds since the recording began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A connection is recorded from here on.
    Connection {
        /// Its number at the server.
        connection: u64,
        /// When.
        at_us: u64,
        /// Where the peer comes from.
        peer: String,
        /// Where it has connected to.
        listener: String,
        /// Whether it begins here; else it had been there before, and the methods that follow are those that had been numbered.
        whole: bool,
        /// The methods that the peer calls, by their numbers.
        received: Vec<(u32, String)>,
        /// The methods that the server calls, by their numbers.
        sent: Vec<(u32, String)>,
    },
    /// A frame has passed.
    Frame {
        /// The connection's number.
        connection: u64,
        /// When.
        at_us: u64,
        /// Whether the server has sent it; else the peer has.
        sent: bool,
        /// Whether something was left out of it: its body, values of metadata, a method's error that is a failure's cause; of a type that is not known, all.
        cut: bool,
        /// The bytes of the whole frame, its length included.
        bytes: u64,
        /// The bytes of its body, there or left out.
        body_bytes: u64,
        /// The frame without its length, and without what was left out: a frame all the same.
        content: Vec<u8>,
    },
    /// A connection has ended.
    Ended {
        /// Its number.
        connection: u64,
        /// When.
        at_us: u64,
        /// Why, as far as the server knows.
        reason: String,
    },
    /// Entries are missing here: they came faster than they were taken.
    Lost {
        /// When the first of them came.
        at_us: u64,
        /// How many.
        entries: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Something that a later version writes.
    Unknown {
        /// Its kind.
        kind: u8,
    },
}

/// Why a recording cannot be read on. Offsets are in bytes from its beginning.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Damaged {
    /// It is none.
    #[error("it does not begin with 89 50 42 52, as recordings do")]
    NoRecording,
    /// It is of another version.
    #[error(
        "it is a recording of version {version}, and this program reads version {VERSION}: take a newer one"
    )]
    Version {
        /// Which.
        version: u8,
    },
    /// It ends too early.
    #[error("it ends within what begins at byte {at}: {have} of {of} bytes are there")]
    Ends {
        /// Where the entry begins.
        at: u64,
        /// How many of its bytes are there.
        have: u64,
        /// How many it has, as far as it says.
        of: u64,
    },
    /// An entry is not what it should be.
    #[error("the entry at byte {at} is damaged: {what}")]
    Entry {
        /// Where it begins.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// What a recording that begins at this time, in microseconds since 1970 began, begins with.
pub fn head(began_us: u64) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.push(VERSION);
    uint(&mut head, began_us);
    head
}

impl Entry {
    /// Appends it, its length in front.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut entry = Vec::new();
        self.fields(&mut entry);
        uint(out, entry.len() as u64);
        out.extend_from_slice(&entry);
    }

    fn fields(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Connection { connection, at_us, peer, listener, whole, received, sent } => {
                out.push(CONNECTION);
                uint(out, *connection);
                uint(out, *at_us);
                text(out, peer);
                text(out, listener);
                out.push(u8::from(*whole));
                for methods in [received, sent] {
                    uint(out, methods.len() as u64);
                    for (number, name) in methods {
                        uint(out, u64::from(*number));
                        text(out, name);
                    }
                }
            }
            Entry::Frame { connection, at_us, sent, cut, bytes, body_bytes, content } => {
                out.push(FRAME);
                uint(out, *connection);
                uint(out, *at_us);
                out.push(u8::from(*sent) * SENT + u8::from(*cut) * CUT);
                uint(out, *bytes);
                uint(out, *body_bytes);
                out.extend_from_slice(content);
            }
            Entry::Ended { connection, at_us, reason } => {
                out.push(ENDED);
                uint(out, *connection);
                uint(out, *at_us);
                text(out, reason);
            }
            Entry::Lost { at_us, entries, bytes } => {
                out.push(LOST);
                uint(out, *at_us);
                uint(out, *entries);
                uint(out, *bytes);
            }
            Entry::Unknown { kind } => out.push(*kind),
        }
    }
}

/// Reads a recording, entry by entry.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    began_us: u64,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// [`Damaged::NoRecording`], [`Damaged::Version`], or it ends there already.
    pub fn begin(bytes: &'a [u8]) -> Result<Reader<'a>, Damaged> {
        if bytes.get(..MAGIC.len()).is_none_or(|magic| magic != MAGIC) {
            return Err(Damaged::NoRecording);
        }
        let ends = Damaged::Ends { at: 0, have: bytes.len() as u64, of: bytes.len() as u64 + 1 };
        let mut fields = Fields { bytes: &bytes[MAGIC.len()..] };
        match fields.byte() {
            Some(VERSION) => {}
            Some(version) => return Err(Damaged::Version { version }),
            None => return Err(ends),
        }
        let began_us = fields.uint().ok_or(ends)?;
        Ok(Reader { bytes, at: bytes.len() - fields.bytes.len(), began_us })
    }

    /// Reads entries that follow others.
    pub fn within(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, began_us: 0 }
    }

    /// When the recording began, in microseconds since 1970 began.
    pub fn began_us(&self) -> u64 {
        self.began_us
    }

    /// Where the next entry begins: all before it is whole.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The next entry, where there is one.
    ///
    /// # Errors
    /// It is damaged, or not all there; nothing behind it can be read then.
    pub fn entry(&mut self) -> Result<Option<Entry>, Damaged> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let (at, have) = (self.at as u64, rest.len() as u64);
        let mut fields = Fields { bytes: rest };
        let Some(length) = fields.uint() else {
            // Ten bytes hold any number.
            return Err(match rest.len() < 10 {
                true => Damaged::Ends { at, have, of: have + 1 },
                false => Damaged::Entry { at, what: "its length is no number" },
            });
        };
        if length == 0 || length > MOST_ENTRY {
            return Err(Damaged::Entry { at, what: "it has no bytes, or more than there can be" });
        }
        let head = have - fields.bytes.len() as u64;
        let Some(entry) = fields.take(length as usize) else {
            return Err(Damaged::Ends { at, have, of: head + length });
        };
        let entry = Fields { bytes: entry }.entry();
        let entry = entry.ok_or(Damaged::Entry { at, what: "its fields are not those of its kind" })?;
        self.at += (head + length) as usize;
        Ok(Some(entry))
    }
}

/// What is left of an entry.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn entry(mut self) -> Option<Entry> {
        let entry = match self.byte()? {
            CONNECTION => Entry::Connection {
                connection: self.uint()?,
                at_us: self.uint()?,
                peer: self.text()?,
                listener: self.text()?,
                whole: self.byte()? & 1 != 0,
                received: self.methods()?,
                sent: self.methods()?,
            },
            FRAME => {
                let (connection, at_us, flags) = (self.uint()?, self.uint()?, self.byte()?);
                let (bytes, body_bytes) = (self.uint()?, self.uint()?);
                let content = std::mem::take(&mut self.bytes).to_vec();
                let (sent, cut) = (flags & SENT != 0, flags & CUT != 0);
                Entry::Frame { connection, at_us, sent, cut, bytes, body_bytes, content }
            }
            ENDED => Entry::Ended { connection: self.uint()?, at_us: self.uint()?, reason: self.text()? },
            LOST => Entry::Lost { at_us: self.uint()?, entries: self.uint()?, bytes: self.uint()? },
            kind => Entry::Unknown { kind },
        };
        // Later versions may write more behind.
        Some(entry)
    }

    fn methods(&mut self) -> Option<Vec<(u32, String)>> {
        let count = self.uint()?;
        let mut methods = Vec::new();
        for _ in 0..count {
            methods.push((u32::try_from(self.uint()?).ok()?, self.text()?));
        }
        Some(methods)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes.split_off_first().copied()
    }

    fn uint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.bytes.split_off(..count)
    }

    fn text(&mut self) -> Option<String> {
        let count = usize::try_from(self.uint()?).ok()?;
        String::from_utf8(self.take(count)?.to_vec()).ok()
    }
}

fn uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    uint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

const CONNECTION: u8 = 1;
const FRAME: u8 = 2;
const ENDED: u8 = 3;
const LOST: u8 = 4;
/// Flags of a frame.
const SENT: u8 = 1;
const CUT: u8 = 2;
/// Bytes of an entry: a frame and what is said of it.
const MOST_ENTRY: u64 = 1 << 27;

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Entry> {
        vec![
            Entry::Connection {
                connection: 7,
                at_us: 0,
                peer: "tcp://127.0.0.1:1".into(),
                listener: "mem://bank".into(),
                whole: false,
                received: vec![(1, "Bank/open".into()), (2, "Bank/close".into())],
                sent: vec![(300, "Watcher/changed".into())],
            },
            Entry::Frame {
                connection: 7,
                at_us: u64::MAX,
                sent: true,
                cut: true,
                bytes: 70_000,
                body_bytes: 69_000,
                content: vec![11, 0, 7],
            },
            Entry::Lost { at_us: 3, entries: 5, bytes: 1 << 40 },
            Entry::Ended { connection: 7, at_us: 9, reason: String::new() },
        ]
    }

    fn file() -> Vec<u8> {
        let mut bytes = head(1_700_000_000_000_000);
        all().iter().for_each(|entry| entry.encode(&mut bytes));
        bytes
    }

    /// What can be read, and why no more.
    fn read(bytes: &[u8]) -> (Vec<Entry>, Option<Damaged>) {
        let mut reader = match Reader::begin(bytes) {
            Ok(reader) => reader,
            Err(damaged) => return (Vec::new(), Some(damaged)),
        };
        let mut entries = Vec::new();
        loop {
            match reader.entry() {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => return (entries, None),
                Err(damaged) => return (entries, Some(damaged)),
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = file();
        assert_eq!(Reader::begin(&bytes).expect("it is one").began_us(), 1_700_000_000_000_000);
        assert_eq!(read(&bytes), (all(), None));
    }

    #[test]
    fn the_bytes_of_a_recording_stay_as_they_are() {
        let mut bytes = head(300);
        Entry::Ended { connection: 2, at_us: 5, reason: "gone".into() }.encode(&mut bytes);
        assert_eq!(bytes, b"\x89PBR\x01\xac\x02\x08\x03\x02\x05\x04gone");
    }

    #[test]
    fn where_it_ends_too_early_all_before_is_read_and_the_place_is_told() {
        let bytes = file();
        for end in 0..bytes.len() {
            let (entries, damaged) = read(&bytes[..end]);
            assert_eq!(entries, all()[..entries.len()]);
            if let Some(Damaged::Ends { at, have, of }) = damaged {
                assert!(at + have == end as u64 && of > have, "{end}: {at} {have} {of}");
            } else {
                assert!(end < 4 || damaged.is_none(), "{end}: {damaged:?}");
            }
        }
    }

    #[test]
    fn no_byte_that_is_another_one_ends_the_reader() {
        let bytes = file();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut wrong = bytes.clone();
                wrong[at] = value;
                // It says what it can, and stops; it neither panics nor takes what a length claims.
                let (entries, _) = read(&wrong);
                assert!(entries.len() <= bytes.len());
            }
        }
        let claims_much = [&head(1)[..], &[0xff, 0xff, 0xff, 0x1f, 1]].concat();
        assert!(matches!(read(&claims_much).1, Some(Damaged::Ends { .. })));
        let claims_more = [&head(1)[..], &[0xff; 9], &[1, 1]].concat();
        assert!(matches!(read(&claims_more).1, Some(Damaged::Entry { .. })));
    }

    #[test]
    fn what_a_later_version_writes_is_passed_over() {
        let mut bytes = head(1);
        bytes.extend([3, 99, 1, 2]);
        // A known kind with more behind its fields.
        bytes.extend([6, LOST, 1, 2, 3, 7, 7]);
        let lost = Entry::Lost { at_us: 1, entries: 2, bytes: 3 };
        assert_eq!(read(&bytes), (vec![Entry::Unknown { kind: 99 }, lost], None));
        bytes[4] = 2;
        assert_eq!(read(&bytes), (vec![], Some(Damaged::Version { version: 2 })));
    }
}
