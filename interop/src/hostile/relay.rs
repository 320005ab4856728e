//! A connection that can be cut while both ends live, and on which a message can be delayed.

use anyhow::Result;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Passes connections on to one address until it is cut.
#[derive(Debug)]
pub(super) struct CallRelay {
    address: String,
    /// The streams of both sides; `None` once it is cut.
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
    gate: Arc<Gate>,
}

/// Holds messages to the target back.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    /// A message with this word is held back, and so is everything behind it.
    word: Option<Vec<u8>>,
    held: bool,
}

impl CallRelay {
    pub(super) fn start(target: &str) -> Result<CallRelay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let gate = Arc::new(Gate::default());
        let (target, kept, passed) = (target.to_owned(), streams.clone(), gate.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // If the target can't be reached, the caller's connection is closed.
                let _ = connect(stream, &target, &kept, &passed);
            }
        });
        Ok(CallRelay { address, streams, gate })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections, present and future.
    pub(super) fn cut(&self) {
        let streams = self.streams.lock().ok().and_then(|mut streams| streams.take());
        for stream in streams.into_iter().flatten() {
            // Its owner may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on, messages to the target with this word (usually the name of a method) are held back.
    pub(super) fn hold(&self, word: &str) {
        self.gate.set(Some(word.as_bytes().to_vec()));
    }

    /// Whether such a message is held back.
    pub(super) fn holds(&self) -> bool {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).held
    }

    /// Passes on the messages that were held back.
    pub(super) fn release(&self) {
        self.gate.set(None);
    }
}

impl Gate {
    fn set(&self, word: Option<Vec<u8>>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).word = word;
        self.released.notify_all();
    }

    fn pass(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(word) = &state.word
            && bytes.windows(word.len()).any(|part| part == word)
        {
            state.held = true;
            state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn connect(near: TcpStream, target: &str, kept: &Mutex<Option<Vec<TcpStream>>>, gate: &Arc<Gate>) -> io::Result<()> {
    let far = TcpStream::connect(target)?;
    let there = (near.try_clone()?, far.try_clone()?, Some(gate.clone()));
    let back = (far.try_clone()?, near.try_clone()?, None);
    let Ok(mut kept) = kept.lock() else { return Ok(()) };
    let Some(kept) = kept.as_mut() else { return Ok(()) };
    kept.extend([near, far]);
    for (from, to, gate) in [there, back] {
        std::thread::spawn(move || {
            // When one direction ends, both ends are closed.
            let _ = copy(from, &to, gate.as_deref());
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: &TcpStream, gate: Option<&Gate>) -> io::Result<()> {
    // A call is smaller than this, and is sent in one piece.
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let bytes = &buffer[..count];
        if let Some(gate) = gate {
            gate.pass(bytes);
        }
        to.write_all(bytes)?;
    }
}
