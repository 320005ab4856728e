//! Makes each reactor prove that it serves calls; [`hathi_nameserver::serving`] says what that is good for.

use crate::clock::Clock;
use hathi_nameserver::serving::{PROOF_PERIOD_MS, Serving};
use hathi_namesystem::Namesystem;
use hathi_net::ipc::RpcServer;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// Makes the reactors of a server prove that they serve, until the process ends.
pub fn prove(serving: &Arc<Serving>, ns: &Arc<RwLock<Namesystem>>, clock: &Clock, server: &RpcServer) {
    for (index, reactor) in server.reactors().iter().enumerate() {
        let (serving, ns, clock) = (serving.clone(), ns.clone(), clock.clone());
        reactor.spawn(async move {
            loop {
                // The lock as a call would take it: if it is never released, this reactor hangs.
                drop(ns.read());
                serving.proven(index, clock.ms());
                tokio::time::sleep(Duration::from_millis(PROOF_PERIOD_MS)).await;
            }
        });
    }
}
