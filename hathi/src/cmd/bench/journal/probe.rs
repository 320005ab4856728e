//! Measures the least time that this machine needs for a commit.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{micros, percentile};

/// Repetitions of a probe of the disk or the loopback interface.
const PROBES: usize = 2000;
/// Bytes of an edit, and of a message.
const BYTES: usize = 200;

/// Measures and prints.
pub(super) fn run(dir: &Path, journalnodes: usize) -> Result<()> {
    let at = || format!("--probe {}", dir.display());
    let (sync, round_trip) = (probe_disk(dir).with_context(at)?, probe_loopback()?);
    let commit = probe_commit(dir, journalnodes).with_context(at)?;
    let (p50, p99) = (|of: &[u32]| percentile(of, 0.5), |of: &[u32]| percentile(of, 0.99));
    println!(
        "probe fdatasync p50 {:.3} ms p99 {:.3} ms loopback round trip p50 {:.3} ms p99 {:.3} ms sum of p50 {:.3} ms",
        p50(&sync),
        p99(&sync),
        p50(&round_trip),
        p99(&round_trip),
        p50(&sync) + p50(&round_trip)
    );
    println!(
        "probe of {journalnodes} at once, a majority waited for, p50 {:.3} ms p99 {:.3} ms",
        p50(&commit),
        p99(&commit)
    );
    Ok(())
}

/// A file that is overwritten from then on, as an open segment is. It is removed, and disappears with the last handle.
fn file_in(dir: &Path, number: usize) -> std::io::Result<std::fs::File> {
    let path = dir.join(format!("probe-{}-{number}", std::process::id()));
    let file = std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    Ok(file)
}

fn probe_disk(dir: &Path) -> std::io::Result<Vec<u32>> {
    let file = file_in(dir, 0)?;
    let mut times = Vec::with_capacity(PROBES);
    for index in 0..PROBES {
        let begun = Instant::now();
        file.write_all_at(&[1; BYTES], (index * BYTES) as u64)?;
        file.sync_data()?;
        times.push(micros(begun));
    }
    times.sort_unstable();
    Ok(times)
}

/// Starts one thread for each JournalNode, which receives a message, writes and syncs it, and answers. Measures the
/// time until a majority has answered.
fn probe_commit(dir: &Path, journalnodes: usize) -> std::io::Result<Vec<u32>> {
    let here = UdpSocket::bind(("127.0.0.1", 0))?;
    let to = here.local_addr()?;
    let mut all = Vec::new();
    for number in 0..journalnodes {
        let there = UdpSocket::bind(("127.0.0.1", 0))?;
        all.push(there.local_addr()?);
        let file = file_in(dir, number)?;
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut message = [0; BYTES];
            loop {
                // An empty message is the last one.
                if there.recv(&mut message)? == 0 {
                    return Ok(());
                }
                let index = usize::from(u16::from_be_bytes([message[0], message[1]]));
                file.write_all_at(&message, (index * BYTES) as u64)?;
                file.sync_data()?;
                there.send_to(&message[..2], to)?;
            }
        });
    }
    let mut times = Vec::with_capacity(PROBES);
    for index in 0..PROBES as u16 {
        let mut message = [1; BYTES];
        message[..2].copy_from_slice(&index.to_be_bytes());
        let begun = Instant::now();
        for to in &all {
            here.send_to(&message, to)?;
        }
        let mut have = 0;
        let mut answer = [0; 2];
        while have < journalnodes / 2 + 1 {
            here.recv(&mut answer)?;
            have += usize::from(answer == index.to_be_bytes());
        }
        times.push(micros(begun));
    }
    for to in &all {
        here.send_to(&[], to)?;
    }
    times.sort_unstable();
    Ok(times)
}

/// Measures the time to send a small message to another thread over loopback and to get it back.
fn probe_loopback() -> Result<Vec<u32>> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let mut here = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; BYTES];
        while there.read_exact(&mut buffer).is_ok() && there.write_all(&buffer).is_ok() {}
    });
    let mut times = Vec::with_capacity(PROBES);
    let mut buffer = [0; BYTES];
    for _ in 0..PROBES {
        let begun = Instant::now();
        here.write_all(&buffer)?;
        here.read_exact(&mut buffer)?;
        times.push(micros(begun));
    }
    drop(here);
    // The thread ends with the connection.
    let _ = echo.join();
    times.sort_unstable();
    Ok(times)
}
