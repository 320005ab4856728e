//! Connections and listeners without a protocol.

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
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&address.into())
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
