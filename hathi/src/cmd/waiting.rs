//! What a command says when a call takes long, and when no NameNode can be called at all.

use hathi_client::{ClientError, unknown_host};
use hathi_conf::Configuration;
use hathi_net::ipc::{RpcError, Waiting, tell_waiting};

/// From now on this process says on stderr what it waits for.
pub fn say_what_is_waited_for() {
    tell_waiting(|waiting| eprintln!("{}", text(waiting)));
}

/// Why a NameNode does not serve, in few words.
fn reason(error: &str) -> String {
    let error = error.lines().next().unwrap_or_default();
    let has = |part: &str| error.contains(part);
    if has("not supported in state standby") {
        "is standby".to_owned()
    } else if has("not supported in state observer") {
        "is an observer".to_owned()
    } else if has("Connection refused") {
        "refuses connections (it does not run?)".to_owned()
    } else if has("lookup address") {
        "is an unknown host".to_owned()
    } else {
        // The class of an exception, which is Java's, says nothing to the reader.
        let message = error.split_once("Exception: ").map_or(error, |(_, message)| message);
        format!("said: {message}")
    }
}

fn text(waiting: &Waiting<'_>) -> String {
    let reasons: Vec<String> = waiting
        .targets
        .iter()
        .map(|(address, error)| match error {
            Some(error) => format!("{address} {}", reason(error)),
            None => format!("{address} has not answered"),
        })
        .collect();
    let (made, most) = waiting.attempts;
    format!(
        "waiting for {} since {} s: {} (attempt {} of {})",
        waiting.method,
        waiting.waited.as_secs_f32().round(),
        reasons.join(", "),
        made + 1,
        most + 1
    )
}

/// An error of a client, with what an operator can mend: a name that nobody has.
pub fn explained(conf: &Configuration, error: &anyhow::Error) -> String {
    let rpc = match error.downcast_ref() {
        Some(ClientError::Rpc(error)) => Some(error),
        _ => error.downcast_ref::<RpcError>(),
    };
    match rpc {
        Some(RpcError::Connect { address, reason }) if reason.contains("lookup address") => unknown_host(conf, address),
        _ => format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wait_names_each_namenode_and_its_reason() {
        let standby =
            "org.apache.hadoop.ipc.StandbyException: Operation category READ is not supported in state standby";
        let refused = "cannot connect to b:1: Connection refused (os error 111)";
        let safe = "org.apache.hadoop.ipc.RetriableException: Cannot create /x. Name node is in safe mode.\nmore";
        let waiting = Waiting {
            method: "create",
            waited: Duration::from_millis(1510),
            targets: vec![
                ("a:1", Some(standby.to_owned())),
                ("b:1", Some(refused.to_owned())),
                ("c:1", Some(safe.to_owned())),
                ("d:1", None),
            ],
            attempts: (2, 15),
        };
        assert_eq!(
            text(&waiting),
            "waiting for create since 2 s: a:1 is standby, b:1 refuses connections (it does not run?), c:1 said: Cannot \
             create /x. Name node is in safe mode., d:1 has not answered (attempt 3 of 16)"
        );
    }
}
