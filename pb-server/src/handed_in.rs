use listenfd::ListenFd;
use pb_core::reactor::Listener;

use crate::server::{ServeError, Server};

impl Server {
    /// Listens on all sockets that a service manager has handed to this process by `LISTEN_FDS` and `LISTEN_PID`, as systemd does for
    /// a `.socket` unit, beside the addresses it has already: TCP and sockets in the file system. Nobody who connects while the service
    /// restarts is turned away, and it needs no right to bind. Needs the feature `systemd`.
    ///
    /// Call it once, early: descriptors from 3 on are taken for what the environment says of them.
    ///
    /// # Errors
    /// [`ServeError::NothingHandedIn`]; [`ServeError::HandedIn`] where one of them is no listening socket of these kinds. The server is gone
    /// with all its listeners.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn listen_handed_in(mut self) -> Result<Self, ServeError> {
        let mut handed = ListenFd::from_env();
        if handed.len() == 0 {
            return Err(ServeError::NothingHandedIn);
        }
        for at in 0..handed.len() {
            let listener = match handed.take_tcp_listener(at) {
                Ok(Some(tcp)) => Listener::from_tcp(tcp),
                Ok(None) => continue,
                Err(_) => match handed.take_unix_listener(at).map_err(ServeError::HandedIn)? {
                    Some(unix) => Listener::from_unix(unix),
                    None => continue,
                },
            };
            self = self.adopt(listener.map_err(ServeError::HandedIn)?)?;
        }
        Ok(self)
    }
}
