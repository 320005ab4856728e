//! Sockets for Hadoop's protocols: RPC server and client ([`ipc`]), HTTP ([`http`]) and plain connections ([`tcp`]).
//! And parts of the machine that all daemons need: clocks ([`clock`]), processes ([`process`]), the user of a process
//! ([`users`]), its log ([`logging`]), systemd ([`systemd`]), the rights of callers ([`auth`]), the keys of encryption
//! zones ([`kms`]), and metrics ([`metrics`]).
//! Knows nothing of HDFS but the names of its protocols.

pub mod auth;
pub mod clock;
pub mod histogram;
pub mod http;
pub mod ipc;
pub mod kms;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod systemd;
pub mod tcp;
pub mod users;

/// An address whose port is taken, and where nobody listens while the socket lives.
#[cfg(test)]
fn refusing_address() -> (socket2::Socket, std::net::SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}
