//! docs/metrics.md is made of the tables of metrics. `UPDATE_DOCS=1` writes it.

use hathi_net::metrics::{Family, log, process, rpc};
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = include_str!("metrics_head.md");

fn document() -> String {
    let mut text = HEAD.to_owned();
    let tables: [(&str, &[&[&Family]]); 6] = [
        ("Every daemon", &[process::FAMILIES, log::FAMILIES]),
        ("RPC servers, of every daemon", &[rpc::FAMILIES]),
        (
            "NameNode",
            &[hathi_namenode_http::metrics::FAMILIES, rpc::NAMENODE_FAMILIES],
        ),
        ("JournalNode", &[hathi_journalnode::exposition::FAMILIES]),
        ("DataNode", &[hathi_datanode::metrics::FAMILIES]),
        ("Failover controller", &[hathi_zkfc::status::FAMILIES]),
    ];
    for (title, families) in tables {
        let _ = write!(
            text,
            "\n### {title}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n"
        );
        for family in families.iter().flat_map(|families| families.iter()) {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                family.name,
                family.kind.name(),
                labels.join(", "),
                family.help
            );
        }
    }
    text
}

#[test]
fn the_document_has_the_metrics_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, document()).unwrap();
    } else {
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == document(),
            "docs/metrics.md is older than the tables: run this test with UPDATE_DOCS=1"
        );
    }
}
