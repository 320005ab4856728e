//! A peer that means harm, on every port of a quickstart. `interop/src/peer` says what it does;
//! `cargo run --release -p hathi-interop --bin hostile-peer` sends 200,000 inputs and measures.

use anyhow::Result;
use hathi_interop::ClusterOptions;
use hathi_interop::peer::{self, PeerOptions};
use std::path::Path;

#[test]
fn a_hostile_peer_on_every_port_hurts_nobody() -> Result<()> {
    let cluster = ClusterOptions {
        namenodes: 2,
        journalnodes: 3,
        datanodes: 2,
    };
    let options = PeerOptions {
        seed: 20_261_129,
        inputs: 0..=1499,
        port_kinds: vec![],
        measured: false,
    };
    let report = peer::run(Path::new(env!("CARGO_BIN_EXE_hathi")), cluster, &options)?;
    assert!(report.broken.is_empty(), "{:#?}\n{}", report.broken, report.text);
    Ok(())
}
