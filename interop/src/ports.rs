//! Ports that no other test uses.

use anyhow::{Result, bail};
use std::net::TcpListener;

/// First port of all ranges. The ranges are below the ports in which `hathi quickstart` looks for free ones, and far
/// below those that the kernel hands out by itself.
const FIRST: u16 = 10_000;
const LAST: u16 = 17_900;
/// Ports in a range. The last one is the claim's.
const SIZE: u16 = 100;

/// A range of ports of 127.0.0.1 that belongs to this test until it is dropped.
///
/// The daemons of a test come and go, so their ports are free from time to time. A listener on the last port of the
/// range, which nothing else uses, keeps other tests out all the while, also in other processes.
#[derive(Debug)]
pub struct PortRange {
    base: u16,
    _claim: TcpListener,
}

impl PortRange {
    /// Number of ports that can be used.
    pub const LEN: u16 = SIZE - 1;

    /// Claims a range that no test uses.
    ///
    /// # Errors
    /// When none is found.
    pub fn claim() -> Result<PortRange> {
        let ranges = (LAST - FIRST) / SIZE + 1;
        let begin = fastrand::u16(..ranges);
        for range in 0..ranges {
            let base = FIRST + (begin + range) % ranges * SIZE;
            let Ok(claim) = TcpListener::bind(("127.0.0.1", base + Self::LEN)) else {
                continue;
            };
            if (base..base + Self::LEN).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
                return Ok(PortRange { base, _claim: claim });
            }
        }
        bail!("no range of {SIZE} free ports from {FIRST} to {}", LAST + SIZE - 1);
    }

    /// The first port.
    #[must_use]
    pub fn base(&self) -> u16 {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::PortRange;

    #[test]
    fn a_range_is_claimed_once() {
        let claims: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| PortRange::claim().unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut bases: Vec<_> = claims.iter().map(PortRange::base).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), claims.len());
    }
}
