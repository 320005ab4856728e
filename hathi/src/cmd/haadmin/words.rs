//! Hosts and network errors in the words of Hadoop's tools (`NetUtils.wrapException`, `InetSocketAddress.toString`).
//! Scripts look for these words.

use hathi_conf::HostPort;
use hathi_net::ipc::RpcError;
use std::net::{IpAddr, ToSocketAddrs};
use std::process::{Command, Stdio};

/// An address as Java prints it. IPv6 has all of its eight groups.
fn java_ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

/// The first address of a name. Java prefers IPv4, so this does too.
fn resolve(host: &str) -> Option<IpAddr> {
    let found: Vec<IpAddr> = (host, 0).to_socket_addrs().ok()?.map(|found| found.ip()).collect();
    found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied()
}

/// The name of an address if it resolves back to the address, else the address (`InetAddress.getHostName`).
fn name_of(ip: IpAddr) -> String {
    let ran = Command::new("getent")
        .args(["hosts", &ip.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let printed = ran.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    printed
        .unwrap_or_default()
        .split_whitespace()
        .nth(1)
        .filter(|name| {
            (*name, 0)
                .to_socket_addrs()
                .is_ok_and(|mut found| found.any(|found| found.ip() == ip))
        })
        .map_or_else(|| java_ip(ip), str::to_owned)
}

/// The host by its name.
pub(in crate::cmd) fn host(address: &HostPort) -> String {
    match address.host.parse() {
        Ok(ip) => name_of(ip),
        Err(_) => address.host.clone(),
    }
}

/// `name/ip:port`. If a host is configured by its address, Java knows its name only after it has called it.
pub(in crate::cmd) fn endpoint(address: &HostPort, called: bool) -> String {
    let literal = address.host.parse::<IpAddr>().ok();
    let name = match literal {
        Some(_) if !called => String::new(),
        _ => host(address),
    };
    let port = address.port;
    match literal.or_else(|| resolve(&address.host)) {
        Some(ip @ IpAddr::V4(_)) => format!("{name}/{}:{port}", java_ip(ip)),
        Some(ip @ IpAddr::V6(_)) => format!("{name}/[{}]:{port}", java_ip(ip)),
        None => format!("{name}/<unresolved>:{port}"),
    }
}

/// `name/ip` of this machine.
fn local_host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match resolve(&name) {
        Some(ip) => format!("{name}/{}", java_ip(ip)),
        None => format!("{name}: {name}: Name or service not known"),
    }
}

/// Why a call has no result.
pub(super) fn error(error: &RpcError, to: &HostPort) -> String {
    let (from, port) = (local_host(), to.port);
    let details = |page: &str| format!("; For more details see:  http://wiki.apache.org/hadoop/{page}");
    match error {
        RpcError::Remote(exception) => exception.message.clone(),
        RpcError::Connect { .. } if to.host.parse::<IpAddr>().is_err() && resolve(&to.host).is_none() => {
            let hosts = format!(
                "Invalid host name: local host is: \"{from}\"; destination host is: \"{}\":{port}",
                to.host
            );
            let page = details("UnknownHost");
            format!("{hosts}; java.net.UnknownHostException: {hosts}; java.net.UnknownHostException{page}{page}")
        }
        RpcError::Connect { reason, .. } => {
            // Rust appends a number that Java does not have.
            let reason = reason.split(" (os error").next().unwrap_or_default();
            let host = host(to);
            match reason {
                "No route to host" => format!(
                    "No Route to Host from  {from} to {host}:{port} failed on socket timeout exception: \
                     java.net.NoRouteToHostException: {reason}{}",
                    details("NoRouteToHost")
                ),
                _ if reason.starts_with("no connection within") => format!(
                    "Call From {from} to {host}:{port} failed on socket timeout exception: \
                     org.apache.hadoop.net.ConnectTimeoutException: {reason}{}",
                    details("SocketTimeout")
                ),
                _ => format!(
                    "Call From {from} to {host}:{port} failed on connection exception: \
                     java.net.ConnectException: {reason}{}",
                    details("ConnectionRefused")
                ),
            }
        }
        RpcError::Timeout { timeout, .. } => format!(
            "Call From {from} to {}:{port} failed on socket timeout exception: java.net.SocketTimeoutException: \
             {} millis timeout while waiting for channel to be ready for read.{}",
            host(to),
            timeout.as_millis(),
            details("SocketTimeout")
        ),
        RpcError::Broken { .. } => format!(
            "End of File Exception between local host is: \"{from}\"; destination host is: \"{}\":{port}; : \
             java.io.EOFException{}",
            host(to),
            details("EOFException")
        ),
        RpcError::Decode(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> HostPort {
        HostPort {
            host: host.to_owned(),
            port: 8020,
        }
    }

    #[test]
    fn addresses_stand_as_java_prints_them() {
        assert_eq!(endpoint(&address("10.1.2.3"), false), "/10.1.2.3:8020");
        assert_eq!(endpoint(&address("2001:db8::1"), false), "/[2001:db8:0:0:0:0:0:1]:8020");
        assert_eq!(
            endpoint(&address("no.such.host.invalid"), true),
            "no.such.host.invalid/<unresolved>:8020"
        );
    }

    #[test]
    fn what_the_server_said_stands_alone() {
        let remote = RpcError::Remote(hathi_formats::exceptions::RemoteException::received(
            "a.B",
            "no".to_owned(),
        ));
        assert_eq!(error(&remote, &address("10.1.2.3")), "no");
    }
}
