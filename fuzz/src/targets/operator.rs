//! What comes by HTTP, in caller contexts, and from the files of hosts and racks.

use hathi_namenode::hosts::parse_hosts;
use hathi_namenode::storage::{hex, parse_md5};
use hathi_namenode::topology::parse_table;
use hathi_net::http::server::percent_decode;
use hathi_net::http::{Query, jmx};

use super::{PLAIN, samples_of, text};
use crate::{Memory, Target};

/// Words of a line, each with its place.
const WORDS: Memory = Memory {
    fixed: 64 << 10,
    per_byte: 200,
};

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("http_request", request_samples, request, WORDS),
        target(
            "md5_header",
            || samples_of(&["d41d8cd98f00b204e9800998ecf8427e"]),
            md5,
            PLAIN,
        ),
        target(
            "hosts_file",
            || samples_of(&["dn1 dn2:9866 # why\n#\n10.0.0.1\n"]),
            hosts,
            WORDS,
        ),
        target(
            "topology_table",
            || samples_of(&["dn1 /rack1\n# c\n10.0.0.2\t/dc/rack2/\n"]),
            table,
            WORDS,
        ),
    ]
}

fn request_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        "/imagetransfer?getimage=1&txid=7&storageInfo=-67:7:0:CID-7",
        "/imagetransfer?getedit=1&startTxId=1&endTxId=9",
        "/getJournal?jid=ns1&segmentTxId=1&storageInfo=-67%3A7%3A0%3ACID-7",
        "/jmx?qry=Hadoop:service=NameNode,name=*",
        "/jmx?get=Hadoop:service=NameNode,name=NameNodeStatus::State",
        "/fsck?path=%2Fa+b&files=1",
    ])
}

fn request(input: &[u8]) {
    let given = text(input);
    let (path, query) = given.split_once('?').unwrap_or((&given, ""));
    let decoded = percent_decode(path, false);
    // What is not UTF-8 is replaced by something of three bytes.
    assert!(decoded.len() <= 3 * path.len());
    let query = Query::parse(query);
    for name in ["txid", "startTxId", "endTxId", "segmentTxId", "qry", "get"] {
        let (_, _) = (query.get(name), query.number(name));
    }
    let bean = jmx::Bean::new("NameNode", "NameNodeStatus", "m", Default::default());
    let _ = jmx::respond(&query, [bean]);
}

fn md5(input: &[u8]) {
    let digits = text(input);
    if let Some(md5) = parse_md5(&digits) {
        assert_eq!(parse_md5(&hex(&md5)), Some(md5));
    }
}

fn hosts(input: &[u8]) {
    for host in parse_hosts(&text(input)) {
        assert!(!host.is_empty() && !host.contains(char::is_whitespace) && !host.contains('#'));
    }
}

fn table(input: &[u8]) {
    for (host, rack) in parse_table(&text(input)).unwrap_or_default() {
        assert!(!host.is_empty() && rack.starts_with('/') && !rack.ends_with('/'));
    }
}
