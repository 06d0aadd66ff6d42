use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::message::{Abort, AbortCode, Message};
use crate::reactor::Stream;
use crate::wire::frame::{self, MAGIC};

/// Tells a peer that there is no room for its connection, in the place of a hello, and closes: its `connect` fails with `reason`, which
/// is for people, at most 1,024 bytes; the rest is cut. Takes no more than a second, and keeps nothing of what the peer sends meanwhile.
///
/// # Cancel safety
/// Dropping the future closes the connection; the peer may then not learn why.
pub async fn refuse(stream: Stream, reason: &str) {
    let _ = timeout(LONGEST, tell(stream, reason, LONGEST)).await;
}

/// The same, in a few milliseconds mostly and a tenth of a second at the most: for a crowd of which nobody may be waited for. The socket closes as soon as it has taken the reason, so a peer that has
/// sent something meanwhile, as its hello, may be told by its system that the connection was reset before it has read why; Linux lets it read first.
///
/// # Cancel safety
/// As that of [`refuse`].
pub async fn refuse_briefly(stream: Stream, reason: &str) {
    let _ = timeout(BRIEF, tell(stream, reason, Duration::ZERO)).await;
}

/// Waits for the peer's last byte for so long: with no time at all, it takes what is there.
async fn tell(stream: Stream, reason: &str, patience: Duration) {
    let mut bytes = MAGIC.to_vec();
    let abort: Message = Message::Abort(Abort { code: AbortCode::Limit, reason: reason.into() });
    frame::encode(&abort, &mut bytes);
    let (mut read, mut write) = stream.into_split();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match write.write(rest).await {
            Ok(written) if written > 0 => rest = &rest[written..],
            _ => return,
        }
    }
    write.finish().await;
    // A socket that is closed over bytes that were not read may lose what it sent.
    let listening = async {
        let mut buffer = BytesMut::with_capacity(LOOK_BYTES);
        let mut left = MOST_BYTES;
        while left > 0 {
            buffer.clear();
            match read.read_buf(&mut buffer).await {
                Ok(read) if read > 0 => left = left.saturating_sub(read),
                _ => return,
            }
        }
    };
    let _ = timeout(patience, listening).await;
}

/// How long a peer may take to read why, and how much of what it sends meanwhile is thrown away, in such pieces.
const LONGEST: Duration = Duration::from_secs(1);
const MOST_BYTES: usize = 1 << 20;
const LOOK_BYTES: usize = 4096;
/// How long a new socket may take to take the reason, where nobody is waited for: it has room for it.
const BRIEF: Duration = Duration::from_millis(100);
