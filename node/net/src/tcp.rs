//! Connections and listeners without a protocol.

mod holder;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Connects to the first of the addresses of `to` that answers, and blocks meanwhile. The error is that of the last address.
///
/// Each address gets the whole `timeout`. Zero waits as long as the system does.
pub fn connect(to: impl ToSocketAddrs, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in to.to_socket_addrs()? {
        let connected = if timeout.is_zero() {
            TcpStream::connect(address)
        } else {
            TcpStream::connect_timeout(&address, timeout)
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Listens at an address, without blocking. Connections of an earlier process in TIME_WAIT do not matter.
///
/// # Errors
/// As [`cannot_listen`] tells them.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&address.into())
        .and_then(|()| socket.listen(backlog))
        .map_err(|error| cannot_listen(address, &error))?;
    Ok(socket.into())
}

/// The error of a listener with its address, and with the process of this machine that listens there already, where
/// `/proc` tells it to this user.
#[must_use]
pub fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    let taken = error.kind() == io::ErrorKind::AddrInUse;
    let holder = taken.then(|| holder::of(address)).flatten();
    let holder = holder.map_or_else(String::new, |holder| format!("; {holder} listens there"));
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{holder}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_port_that_is_taken_hears_of_its_holder() {
        for any in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let held = TcpListener::bind(any).unwrap();
            let port = held.local_addr().unwrap().port();
            let wanted = SocketAddr::new(held.local_addr().unwrap().ip(), port);
            let error = listen(wanted, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let told = error.to_string();
            assert!(
                told.starts_with(&format!("cannot listen on {wanted}: Address already in use")),
                "{told}"
            );
            let holder = format!("; process {} (hathi_net-", std::process::id());
            assert!(told.contains(&holder) && told.ends_with(") listens there"), "{told}");
            assert_eq!(told.matches(&wanted.to_string()).count(), 1, "{told}");
        }
    }

    #[test]
    fn an_address_that_refuses_does_not_hide_the_next() {
        // The port is held, so that no other process listens there.
        let (_held, refusing) = crate::refusing_address();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addresses = [refusing, listener.local_addr().unwrap()];
        for timeout in [Duration::ZERO, Duration::from_secs(10)] {
            let stream = connect(&addresses[..], timeout).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
            let refused = connect(&addresses[..1], timeout).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
        let nowhere: &[SocketAddr] = &[];
        let error = connect(nowhere, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
