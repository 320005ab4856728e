//! A connection that can be cut while both ends live.

use anyhow::Result;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Passes connections on to one address until it is cut.
#[derive(Debug)]
pub(super) struct Relay {
    address: String,
    /// The streams of both sides; `None` once it is cut.
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Relay {
    pub(super) fn start(target: &str) -> Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let (target, kept) = (target.to_owned(), streams.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Who can't be connected sees its connection closed.
                let _ = connect(stream, &target, &kept);
            }
        });
        Ok(Relay { address, streams })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections, and all that are made from now on.
    pub(super) fn cut(&self) {
        let streams = self.streams.lock().ok().and_then(|mut streams| streams.take());
        for stream in streams.into_iter().flatten() {
            // It may have been closed by its owner.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn connect(near: TcpStream, target: &str, kept: &Mutex<Option<Vec<TcpStream>>>) -> io::Result<()> {
    let far = TcpStream::connect(target)?;
    let ends = [
        (near.try_clone()?, far.try_clone()?),
        (far.try_clone()?, near.try_clone()?),
    ];
    let Ok(mut kept) = kept.lock() else { return Ok(()) };
    let Some(kept) = kept.as_mut() else { return Ok(()) };
    kept.extend([near, far]);
    for (mut from, mut to) in ends {
        std::thread::spawn(move || {
            // Whatever ends one direction ends it for both sides.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
