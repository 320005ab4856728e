//! The files of hosts and of racks.

use hathi_namenode::hosts::parse_hosts;
use hathi_nameserver::racks::Table;

use super::{samples_of, text};
use crate::{Memory, Target};

/// The memory holds the words of a line, each with its position.
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

fn hosts(input: &[u8]) {
    for host in parse_hosts(&text(input)) {
        assert!(!host.is_empty() && !host.contains(char::is_whitespace) && !host.contains('#'));
    }
}

fn table(input: &[u8]) {
    let text = text(input);
    let table = Table::parse(&text).unwrap_or_default();
    let hosts: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for (host, rack) in table.of(&hosts) {
        assert!(!host.is_empty() && rack.starts_with('/') && !rack.ends_with('/'));
    }
}
