//! A network between two daemons that a test can cut.

use anyhow::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Listens at one address and passes everything on to another, in both directions. While it is cut, bytes are lost:
/// connections stay open without any answer, as when a network fails.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    from: SocketAddr,
}

#[derive(Debug, Default)]
struct Shared {
    is_cut: AtomicBool,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Starts to listen. The process behind `to` need not be there yet.
    ///
    /// # Errors
    /// When `from` is taken.
    pub fn start(from: SocketAddr, to: SocketAddr) -> Result<Relay> {
        let listener = TcpListener::bind(from)?;
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        std::thread::spawn(move || {
            for inbound in listener.incoming().map_while(Result::ok) {
                if own.ended.load(Ordering::Acquire) {
                    return;
                }
                // Otherwise the caller's connection is closed.
                if let Ok(outbound) = TcpStream::connect(to) {
                    pass(&own, &inbound, &outbound);
                    pass(&own, &outbound, &inbound);
                }
            }
        });
        Ok(Relay { shared, from })
    }

    /// From now on nothing is passed on.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::Release);
    }

    /// New connections are passed on again. Older ones have lost bytes, and are ended.
    pub fn mend(&self) {
        for stream in self.shared.open().drain(..) {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.is_cut.store(false, Ordering::Release);
    }
}

/// Copies in a thread of its own, until one side ends.
fn pass(shared: &Arc<Shared>, from: &TcpStream, to: &TcpStream) {
    let (Ok(mut from), Ok(mut to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone()) else {
        return;
    };
    shared.open().push(kept);
    let shared = shared.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(len) = from.read(&mut buffer)
            && len > 0
        {
            let is_lost = shared.is_cut.load(Ordering::Acquire);
            if !is_lost && to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        // The end of a connection is not passed on either. It may have ended already.
        if !shared.is_cut.load(Ordering::Acquire) {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.mend();
        // This wakes the listening thread. Otherwise that thread would wait until the test's process ends.
        let _ = TcpStream::connect(self.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn nothing_comes_through_while_it_is_cut() -> Result<()> {
        let server = TcpListener::bind("127.0.0.1:0")?;
        let to = server.local_addr()?;
        std::thread::spawn(move || {
            for mut stream in server.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut buffer = [0; 16];
                    while let Ok(len) = stream.read(&mut buffer)
                        && len > 0
                        && stream.write_all(&buffer[..len]).is_ok()
                    {}
                });
            }
        });
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let relay = Relay::start(free, to)?;
        let echo = |stream: &mut TcpStream| -> bool {
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let mut buffer = [0; 4];
            stream.write_all(b"text").is_ok() && stream.read_exact(&mut buffer).is_ok()
        };
        let mut before = TcpStream::connect(free)?;
        assert!(echo(&mut before));
        relay.cut();
        assert!(!echo(&mut before));
        assert!(!echo(&mut TcpStream::connect(free)?));
        relay.mend();
        assert!(!echo(&mut before), "it has ended");
        assert!(echo(&mut TcpStream::connect(free)?));
        Ok(())
    }
}
