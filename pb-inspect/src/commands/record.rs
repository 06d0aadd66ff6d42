//! The frames of connections, into a file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use pb_server::inspect::recording::{Damaged, Reader};
use serde_json::json;

use crate::cli::Common;
use crate::error::Error;
use crate::link::{Link, PATIENCE};
use crate::out::{Out, bytes};

/// Records until it is told to end, or the server has gone. The file holds whole entries, however it ends.
pub(super) async fn record(
    common: &Common,
    file: &Path,
    connections: Vec<u64>,
    bodies: bool,
    seconds: Option<f64>,
) -> Result<(), Error> {
    let time = seconds.map(|written| super::seconds(written, "to record")).transpose()?;
    let link = Link::open(common).await?;
    let frames = link.inspector.record(connections, bodies).await?.within(PATIENCE);
    let mut recording = Recording::create(file)?;
    let stopped = super::ends_after(time);
    tokio::pin!(stopped);
    let ended = loop {
        let some = tokio::select! {
            some = frames.next() => some,
            () = &mut stopped => break Ok(()),
        };
        match some {
            Ok(some) => recording.add(&some, file)?,
            Err(failure) => break Err(failure.into()),
        }
    };
    if recording.is_file() {
        tell(&Out::of(common), file, recording.written)?;
    }
    ended
}

fn tell(out: &Out, file: &Path, written: u64) -> Result<(), Error> {
    let name = file.display().to_string();
    if out.json {
        return out.print_json(&json!({ "file": name, "bytes": written }));
    }
    out.print(&format!("{}: {}\n", crate::out::plain(&name), bytes(written)))
}

/// What is written, and what is not a whole entry yet.
struct Recording {
    out: Box<dyn Write>,
    is_file: bool,
    /// Its beginning was not written.
    is_new: bool,
    rest: Vec<u8>,
    written: u64,
}

impl Recording {
    /// # Errors
    /// The file is there already, or cannot be made.
    fn create(path: &Path) -> Result<Recording, Error> {
        let is_file = path != Path::new("-");
        let out: Box<dyn Write> = match is_file {
            false => Box::new(io::stdout()),
            true => {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                {
                    use std::os::unix::fs::OpenOptionsExt as _;
                    options.mode(0o600);
                }
                let wrong = |source| Error::File { path: path.to_owned(), source };
                Box::new(options.open(path).map_err(wrong)?)
            }
        };
        Ok(Recording { out, is_file, is_new: true, rest: Vec::new(), written: 0 })
    }

    fn is_file(&self) -> bool {
        self.is_file
    }

    /// # Errors
    /// The server sends no recording, or it cannot be written.
    fn add(&mut self, some: &[u8], file: &Path) -> Result<(), Error> {
        self.rest.extend_from_slice(some);
        let whole = whole(&self.rest, self.is_new);
        let whole = whole.map_err(|damaged| Error::Damaged {
            path: file.to_owned(),
            what: format!("the server sends no recording: {damaged}"),
        })?;
        self.out.write_all(&self.rest[..whole])?;
        self.out.flush()?;
        self.is_new &= whole == 0;
        self.written += whole as u64;
        self.rest.drain(..whole);
        Ok(())
    }
}

/// How many bytes are whole entries, the recording's beginning included where they begin with that.
fn whole(bytes: &[u8], is_new: bool) -> Result<usize, Damaged> {
    let mut reader = match is_new {
        false => Reader::within(bytes),
        true => match Reader::begin(bytes) {
            Ok(reader) => reader,
            Err(Damaged::Ends { .. }) => return Ok(0),
            Err(_) if bytes.is_empty() => return Ok(0),
            Err(damaged) => return Err(damaged),
        },
    };
    loop {
        match reader.entry() {
            Ok(Some(_)) => {}
            Ok(None) | Err(Damaged::Ends { .. }) => return Ok(reader.offset()),
            Err(damaged) => return Err(damaged),
        }
    }
}
