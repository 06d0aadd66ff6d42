//! A link between client and server that fails as links do: a small proxy, which cuts, stalls and slows connections as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a connection.
#[derive(Clone, Copy)]
pub enum Fate {
    /// Both ways end when so many bytes have come from the server.
    CutAfter(u64),
    /// Behind so many bytes from the server none come any more.
    StallsAfter(u64),
    /// So many bytes come from the server in a second, about.
    Slow(u64),
}

/// The link. It is down when this is dropped.
pub struct Link {
    pub url: String,
    line: Arc<Line>,
}

struct Line {
    to: Mutex<String>,
    fates: Mutex<Vec<Fate>>,
    bytes: AtomicU64,
    connections: AtomicU64,
    cuts: AtomicU64,
    down: AtomicBool,
}

impl Link {
    /// A link to the server at `to`. Its connections have these fates in turn, and those behind them none.
    pub fn start(to: &str, fates: &[Fate]) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let line = Arc::new(Line {
            to: Mutex::new(address(to)),
            fates: Mutex::new(fates.iter().rev().copied().collect()),
            bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            down: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&line);
        thread::spawn(move || accepting.accept(&listener));
        Link { url, line }
    }

    /// From now on it leads to the server at `to`.
    pub fn lead_to(&self, to: &str) {
        *self.line.to.lock().unwrap() = address(to);
    }

    /// Cuts the connections that there are.
    pub fn cut(&self) {
        self.line.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that have come from servers.
    pub fn bytes(&self) -> u64 {
        self.line.bytes.load(Ordering::Relaxed)
    }

    /// Connections that there were.
    pub fn connections(&self) -> u64 {
        self.line.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.line.down.store(true, Ordering::Relaxed);
        // So that the accepting thread looks.
        let _ = TcpStream::connect(address(&self.url));
    }
}

impl Line {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            if self.down.load(Ordering::Relaxed) {
                return;
            }
            let to = self.to.lock().unwrap().clone();
            let Ok(server) = TcpStream::connect(to) else { continue };
            self.connections.fetch_add(1, Ordering::Relaxed);
            let fate = self.fates.lock().unwrap().pop();
            let (from, back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || pass(from, back, |_| true));
            let line = Arc::clone(&self);
            thread::spawn(move || {
                let (mut passed, cuts) = (0, line.cuts.load(Ordering::Relaxed));
                pass(server, client, |len| {
                    passed += len;
                    line.bytes.fetch_add(len, Ordering::Relaxed);
                    match fate {
                        Some(Fate::CutAfter(bytes)) => passed < bytes,
                        Some(Fate::StallsAfter(bytes)) if passed >= bytes => {
                            while !line.down.load(Ordering::Relaxed)
                                && cuts == line.cuts.load(Ordering::Relaxed)
                            {
                                thread::sleep(Duration::from_millis(5));
                            }
                            false
                        }
                        Some(Fate::Slow(rate)) => {
                            thread::sleep(Duration::from_secs_f64(len as f64 / rate as f64));
                            true
                        }
                        _ => true,
                    }
                });
            });
        }
    }
}

/// Hands on what comes, as long as it may.
fn pass(mut from: TcpStream, mut to: TcpStream, mut may_go_on: impl FnMut(u64) -> bool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..len]).is_err() || !may_go_on(len as u64) {
            break;
        }
    }
    for stream in [from, to] {
        // One that has ended already is no matter.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn address(url: &str) -> String {
    url.strip_prefix("tcp://").expect("a TCP address").to_owned()
}
