//! Metrics of an RPC server.

use std::time::Duration;

use super::Exposition;
use crate::ipc::RpcMeter;

/// Windows of Hadoop's `nntop`, in minutes.
pub const TOP_WINDOWS_MINUTES: [u64; 3] = [1, 5, 25];
/// Users that are shown for each window (`dfs.namenode.top.num.users`).
pub const TOP_USERS: usize = 10;

crate::families! {
    /// Families of an RPC server.
    FAMILIES {
        CALLS: Counter "hathi_rpc_calls_total" [] "Calls received.";
        EXCEPTIONS: Counter "hathi_rpc_exceptions_total" [] "Calls answered with an exception.";
        REFUSED: Counter "hathi_rpc_calls_refused_total" [] "Calls refused because too many others waited for their replies.";
        OUTSTANDING: Gauge "hathi_rpc_calls_outstanding" [] "Calls that wait for their replies.";
        CONNECTIONS: Gauge "hathi_rpc_connections" [] "Open connections.";
        RECEIVED: Counter "hathi_rpc_received_bytes_total" [] "Bytes received.";
        SENT: Counter "hathi_rpc_sent_bytes_total" [] "Bytes sent.";
        UNSENT: Gauge "hathi_rpc_unsent_bytes" [] "Bytes of replies that are not written to their sockets yet.";
        QUEUE: Histogram "hathi_rpc_queue_seconds" ["port", "method"] "Time from the read of a call until its handler began.";
        PROCESSING: Histogram "hathi_rpc_processing_seconds" ["port", "method"] "Time from the begin of a call's handler until its reply. For a change of the namespace the wait for the JournalNodes is in it.";
    }
}

crate::families! {
    /// Families of a NameNode's RPC server, beside [`FAMILIES`].
    NAMENODE_FAMILIES {
        SLOW: Counter "hathi_rpc_slow_calls_total" [] "Calls of clients and DataNodes that took longer than ipc.server.log.slow.rpc.threshold.ms from their read until their reply.";
        USER_CALLS: Gauge "hathi_rpc_user_calls" ["window", "user"] "Calls in the last 1, 5 and 25 minutes of the ten users with the most.";
    }
}

/// Puts [`FAMILIES`].
pub fn put(meter: &RpcMeter, into: &mut Exposition) {
    let metrics = meter.metrics();
    into.put(&CALLS, &[], metrics.calls);
    into.put(&EXCEPTIONS, &[], metrics.exceptions);
    into.put(&REFUSED, &[], metrics.too_busy);
    into.put(&OUTSTANDING, &[], metrics.outstanding);
    into.put(&CONNECTIONS, &[], metrics.connections);
    into.put(&RECEIVED, &[], metrics.received_bytes);
    into.put(&SENT, &[], metrics.sent_bytes);
    into.put(&UNSENT, &[], metrics.outbox_bytes);
    for (port, methods) in meter.methods() {
        let port = port.to_string();
        for times in methods {
            // Two protocols have methods of one name.
            let name = times.qualified_name();
            into.put_histogram(&QUEUE, &[&port, &name], times.queue);
            into.put_histogram(&PROCESSING, &[&port, &name], times.processing);
        }
    }
}

/// Puts [`NAMENODE_FAMILIES`].
pub fn put_slow_and_users(meter: &RpcMeter, into: &mut Exposition) {
    into.put(&SLOW, &[], meter.slow_calls().0);
    for minutes in TOP_WINDOWS_MINUTES {
        let window = format!("{minutes}m");
        for (user, calls) in meter.top_users(Duration::from_secs(60 * minutes), TOP_USERS) {
            into.put(&USER_CALLS, &[&window, &user], calls);
        }
    }
}
