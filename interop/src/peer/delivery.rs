//! How the bytes of an input are sent to a port: whole, in pieces, half of them, slowly, on several connections, or
//! with a reset.

use super::{PortKind, Stream, rpc, transfer, web};
use fastrand::Rng;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Most slow connections that are open at the same time. Beyond that the oldest one ends.
pub(super) const HELD_MAX: usize = 64;
/// Pause between the bytes of a slow connection.
const DRIBBLE_PAUSE: Duration = Duration::from_millis(50);
/// A connection that sends nothing for this long has answered.
const QUIET: Duration = Duration::from_millis(10);
/// Most bytes of an answer that are read.
const ANSWER_MAX: usize = 4 << 20;
/// A server that accepts no bytes for this long is given up.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// Result of an input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) connections: u64,
    /// Successful calls, and pages.
    pub(super) answers: u64,
    /// Exceptions, and error pages.
    pub(super) refusals: u64,
    /// Connections that the server closed without an answer.
    pub(super) cut: u64,
}

/// Connections that are held open and send a byte from time to time.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<VecDeque<JoinHandle<()>>>);

impl Held {
    fn keep(&self, slow: JoinHandle<()>) {
        let mut held = self.0.lock();
        held.push_back(slow);
        while held.len() > HELD_MAX {
            if let Some(oldest) = held.pop_front() {
                oldest.abort();
            }
        }
    }

    /// Ends all of them.
    pub(super) fn end(&self) {
        self.0.lock().drain(..).for_each(|slow| slow.abort());
    }
}

/// Sends the streams of one input, at the same time if there are several.
pub(super) async fn deliver(
    kind: PortKind,
    address: SocketAddr,
    streams: Vec<Stream>,
    held: &Held,
    rng: &mut Rng,
) -> Outcome {
    let mut outcome = Outcome::default();
    match rng.u8(..100) {
        0..50 => {
            for stream in streams {
                let bytes = stream.pieces.concat();
                outcome.add(whole(kind, address, &bytes, rng.u8(..4) == 0).await);
            }
        }
        50..65 => {
            for stream in streams {
                outcome.add(in_chunks(kind, address, &stream.pieces.concat(), rng).await);
            }
        }
        65..80 => outcome.add(side_by_side(kind, address, streams, rng).await),
        80..90 => {
            for stream in streams {
                let mut bytes = stream.pieces.concat();
                bytes.truncate(rng.usize(..=bytes.len()));
                outcome.connections += u64::from(reset(address, &bytes).await.is_ok());
            }
        }
        90..95 => {
            for stream in streams {
                // This sends half of it, and then closes in order.
                let mut bytes = stream.pieces.concat();
                bytes.truncate(rng.usize(..=bytes.len()));
                outcome.add(whole(kind, address, &bytes, true).await);
            }
        }
        _ => {
            for stream in streams {
                let bytes = stream.pieces.concat();
                let begun = rng.usize(..=bytes.len());
                outcome.connections += 1;
                held.keep(tokio::spawn(dribble(address, bytes, begun)));
            }
        }
    }
    outcome
}

impl Outcome {
    pub(super) fn add(&mut self, other: Outcome) {
        self.connections += other.connections;
        self.answers += other.answers;
        self.refusals += other.refusals;
        self.cut += other.cut;
    }

    fn of(kind: PortKind, answer: &[u8], ended: bool) -> Outcome {
        let (answers, refusals) = match kind {
            PortKind::NameNodeRpc | PortKind::JournalNodeRpc | PortKind::ZkfcRpc | PortKind::DataNodeRpc => {
                rpc::count(answer)
            }
            PortKind::DataTransfer => transfer::count(answer),
            PortKind::NameNodeHttp | PortKind::JournalNodeHttp | PortKind::DataNodeHttp => web::count(answer),
        };
        Outcome {
            connections: 1,
            answers,
            refusals,
            cut: u64::from(ended && answers + refusals == 0),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(SEND_PATIENCE, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads as long as something comes. Returns whether the server has closed the connection.
async fn listen(stream: &mut TcpStream, answer: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 << 10];
    while answer.len() < ANSWER_MAX {
        match timeout(QUIET, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(read)) => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(_) => return false,
        }
    }
    false
}

/// Writes while answers may come. If the server closes the connection, its answer is still read.
async fn send(stream: &mut TcpStream, bytes: &[u8], answer: &mut Vec<u8>) -> bool {
    let (mut reader, mut writer) = stream.split();
    let mut buffer = [0; 16 << 10];
    let writing = timeout(SEND_PATIENCE, writer.write_all(bytes));
    tokio::pin!(writing);
    loop {
        tokio::select! {
            sent = &mut writing => return sent.is_ok_and(|sent| sent.is_ok()),
            read = reader.read(&mut buffer), if answer.len() < ANSWER_MAX => match read {
                Ok(0) | Err(_) => return false,
                Ok(read) => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            },
        }
    }
}

async fn whole(kind: PortKind, address: SocketAddr, bytes: &[u8], ends_first: bool) -> Outcome {
    let Ok(mut stream) = connect(address).await else {
        return Outcome::default();
    };
    let mut answer = Vec::new();
    send(&mut stream, bytes, &mut answer).await;
    if ends_first {
        // The server may have closed it.
        let _ = stream.shutdown().await;
    }
    let ended = listen(&mut stream, &mut answer).await;
    Outcome::of(kind, &answer, ended)
}

async fn in_chunks(kind: PortKind, address: SocketAddr, bytes: &[u8], rng: &mut Rng) -> Outcome {
    let Ok(mut stream) = connect(address).await else {
        return Outcome::default();
    };
    let mut answer = Vec::new();
    let mut rest = bytes;
    for _ in 0..20 {
        let (chunk, after) = rest.split_at(rng.usize(..=rest.len()).min(rest.len()));
        rest = after;
        if !send(&mut stream, chunk, &mut answer).await {
            break;
        }
        tokio::task::yield_now().await;
    }
    let ended = listen(&mut stream, &mut answer).await;
    Outcome::of(kind, &answer, ended)
}

/// Sends pieces of two streams alternately.
async fn side_by_side(kind: PortKind, address: SocketAddr, streams: Vec<Stream>, rng: &mut Rng) -> Outcome {
    let mut open = Vec::new();
    for stream in streams {
        if let Ok(connection) = connect(address).await {
            open.push((connection, VecDeque::from(stream.pieces), Vec::new()));
        }
    }
    while open.iter().any(|(_, pieces, _)| !pieces.is_empty()) {
        rng.shuffle(&mut open);
        for (connection, pieces, answer) in &mut open {
            if let Some(piece) = pieces.pop_front()
                && !send(connection, &piece, answer).await
            {
                pieces.clear();
            }
        }
    }
    let mut outcome = Outcome::default();
    for (mut connection, _, mut answer) in open {
        let ended = listen(&mut connection, &mut answer).await;
        outcome.add(Outcome::of(kind, &answer, ended));
    }
    outcome
}

/// Ends with a reset, while answers may be on their way.
async fn reset(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = connect(address).await?;
    stream.set_zero_linger()?;
    timeout(SEND_PATIENCE, stream.write_all(bytes)).await?
}

/// Sends the beginning, then a byte from time to time, then nothing, until it is dropped.
async fn dribble(address: SocketAddr, bytes: Vec<u8>, begun: usize) {
    let Ok(mut stream) = connect(address).await else {
        return;
    };
    let (begin, rest) = bytes.split_at(begun.min(bytes.len()));
    if stream.write_all(begin).await.is_err() {
        return;
    }
    for byte in rest.chunks(1) {
        tokio::time::sleep(DRIBBLE_PAUSE).await;
        if stream.write_all(byte).await.is_err() {
            return;
        }
    }
    // It reads nothing, so that answers are stuck.
    std::future::pending::<()>().await;
}
