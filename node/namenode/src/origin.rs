//! The real caller of a call that another process passes on.

use foldhash::fast::FixedState;
use hathi_namesystem::passed_on::PassedOn;
use hathi_net::ipc::{ClientId, RpcCall};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

/// Key in the caller context of a call that a NameNode passes on. Its value describes the client as `<instance of the
/// active>.<clock of the active in ms>.<age of the call in ms>`.
pub const WAITING: &str = "hathiWaiting";

/// Origin of a call: the caller itself, or the client that a trusted caller names (`NameNode.getClientMachine`,
/// `getClientIdAndCallId`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub ip: IpAddr,
    /// The client.
    pub client_id: ClientId,
    /// The client's number of the call.
    pub call_id: i32,
    /// Set when a NameNode passed the call on.
    pub passed_on: Option<PassedOn>,
}

/// Number of a client's connection to another NameNode, for [`PassedOn`].
#[must_use]
pub fn connection_number(peer: SocketAddr) -> u32 {
    FixedState::with_seed(0x6861_7468).hash_one(peer) as u32 | 1
}

impl Origin {
    /// Trusted are the users in `dfs.namenode.ip-proxy-users` (routers), and another NameNode that calls in its
    /// client's name and has proven that it is one ([`crate::passes`]). `instance` names this process.
    #[must_use]
    pub fn of(call: &RpcCall, ip_proxy_users: &[String], instance: &str) -> Origin {
        let mut origin = Origin {
            ip: call.peer.ip(),
            client_id: call.client_id,
            call_id: call.call_id,
            passed_on: None,
        };
        let Some(context) = &call.caller_context else {
            return origin;
        };
        let real_user = call.user.real_user.as_deref();
        let caller = real_user.unwrap_or(&call.user.user);
        if !call.user.vouched && !ip_proxy_users.iter().any(|user| user == caller) {
            return origin;
        }
        let Ok(context) = std::str::from_utf8(&context.context) else {
            return origin;
        };
        let mut port = 0;
        for (key, value) in context.split(',').filter_map(|item| item.split_once(':')) {
            match key {
                "clientPort" => port = value.parse().unwrap_or(port),
                WAITING => origin.passed_on = Some(waiting(value, instance)),
                "clientIp" => origin.ip = value.parse().unwrap_or(origin.ip),
                "clientId" => origin.client_id = client_id(value).unwrap_or(origin.client_id),
                "clientCallId" => origin.call_id = value.parse().unwrap_or(origin.call_id),
                _ => {}
            }
        }
        if let Some(passed_on) = &mut origin.passed_on {
            passed_on.connection = connection_number((origin.ip, port).into());
        }
        origin
    }
}

/// A value that is unreadable, or that names the clock of another process, gives no time here. Such a call is late.
fn waiting(value: &str, instance: &str) -> PassedOn {
    let parse = || {
        let mut parts = value.split('.');
        let of_this_process = parts.next()? == instance;
        let (at, age) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        of_this_process.then_some((at, age))
    };
    let (waiting_at_ms, age_ms) = parse().unwrap_or((0, u64::MAX));
    PassedOn {
        waiting_at_ms,
        age_ms,
        connection: 0,
    }
}

/// Parses 32 hexadecimal digits.
fn client_id(hex: &str) -> Option<ClientId> {
    let number = u128::from_str_radix(hex, 16).ok()?;
    (hex.len() == 32).then(|| ClientId::from(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_net::ipc::protocols::ClientMethod;
    use hathi_net::ipc::{CallerContext, UserInfo};

    /// "a NameNode" stands for a caller that has proven to be one.
    fn call(user: &str, real_user: Option<&str>, context: &str) -> RpcCall {
        RpcCall {
            method: ClientMethod::Create.into(),
            body: bytes::Bytes::new(),
            client_id: ClientId::from([1; 16]),
            call_id: 7,
            retry_count: 0,
            user: std::sync::Arc::new(UserInfo {
                user: user.to_owned(),
                real_user: real_user.map(str::to_owned),
                vouched: real_user == Some("a NameNode"),
            }),
            peer: ([10, 0, 0, 1], 50000).into(),
            caller_context: Some(CallerContext {
                context: context.to_owned().into(),
                signature: None,
            }),
            state_id: None,
            transport: RpcCall::RPC,
        }
    }

    const CONTEXT: &str =
        "job_1,clientIp:fe80::7,clientPort:1,clientId:0123456789abcdef0123456789abcdef,clientCallId:42";

    fn of(call: &RpcCall) -> Origin {
        Origin::of(call, &["router".to_owned()], "me")
    }

    #[test]
    fn whom_a_trusted_caller_calls_for() {
        let origin = Origin {
            ip: "fe80::7".parse().unwrap(),
            client_id: ClientId::from(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes()),
            call_id: 42,
            passed_on: None,
        };
        assert_eq!(of(&call("alice", Some("a NameNode"), CONTEXT)), origin);
        assert_eq!(of(&call("alice", Some("router"), CONTEXT)), origin);
        assert_eq!(of(&call("router", None, CONTEXT)), origin);
    }

    #[test]
    fn nobody_else_is_believed() {
        let own = Origin {
            ip: [10, 0, 0, 1].into(),
            client_id: ClientId::from([1; 16]),
            call_id: 7,
            passed_on: None,
        };
        for (user, real_user) in [
            ("alice", None),
            ("alice", Some("hdfs")),
            ("hdfs", None),
            ("router", Some("alice")),
        ] {
            assert_eq!(of(&call(user, real_user, CONTEXT)), own);
        }
        let broken = "clientIp:nowhere,clientId:12,clientCallId:x,clientIp";
        assert_eq!(of(&call("router", None, broken)), own);
    }

    #[test]
    fn safety_11_only_a_namenode_that_knows_this_process_says_who_waits() {
        let passed_on = |context: &str| of(&call("alice", Some("a NameNode"), context)).passed_on;
        let known = passed_on("hathiWaiting:me.5000.20,clientIp:10.0.0.7,clientPort:4000").unwrap();
        assert_eq!((known.waiting_at_ms, known.age_ms), (5000, 20));
        assert_eq!(known.connection, connection_number(([10, 0, 0, 7], 4000).into()));
        for unknown in ["other.5000.20", "me.5000", "me.x.1", ""] {
            let late = passed_on(&format!("hathiWaiting:{unknown}")).unwrap();
            assert_eq!((late.waiting_at_ms, late.age_ms), (0, u64::MAX));
        }
        assert_eq!(passed_on("clientIp:10.0.0.7"), None);
        assert_eq!(of(&call("alice", None, "hathiWaiting:me.5000.20")).passed_on, None);
    }
}
