//! What a daemon tells systemd (`sd_notify(3)`). Without systemd nothing is sent.
//!
//! Nothing here waits: a daemon must not stand still because systemd does. The crate `sd-notify` sends on a socket that
//! blocks.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Tells that this daemon listens, so that units which come after it are started. `status` stands in
/// `systemctl status`.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// Tells that this daemon has begun to stop.
pub fn stopping() {
    tell("STOPPING=1");
}

/// Keeps systemd's watchdog (`WatchdogSec=`) from killing this process, as long as the runtime that polls this future
/// turns. It ends at once if no watchdog is set.
pub async fn watchdog() {
    let limit = std::env::var("WATCHDOG_USEC").ok().and_then(|limit| limit.parse().ok());
    let Some(limit) = limit.filter(|limit| *limit > 0) else {
        return;
    };
    let mut turns = tokio::time::interval(Duration::from_micros(limit) / 3);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        tell("WATCHDOG=1");
    }
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::debug!(%error, "systemd could not be told {state}");
    }
}

/// Sends to a socket of this path, or of this abstract name behind `@`.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stands_still_does_not_hold_up_a_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let reader = UnixDatagram::bind(&path).unwrap();
        // More than any queue of the kernel holds.
        let sent = (0..10_000)
            .take_while(|_| send(path.as_os_str(), "WATCHDOG=1").is_ok())
            .count();
        assert!(sent < 10_000, "nothing was full");
        let mut buffer = [0; 32];
        let length = reader.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
        send(path.as_os_str(), "STOPPING=1").unwrap();
    }

    #[test]
    fn an_abstract_name_is_a_socket_too() {
        let name = format!("hathi-test-{}", uuid::Uuid::new_v4());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let reader = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1").unwrap();
        let mut buffer = [0; 32];
        assert_eq!(reader.recv(&mut buffer).unwrap(), 7);
    }
}
