//! The `VERSION` file that a NameNode of Apache Hadoop 3.5.0 wrote when it was formatted.

use hathi_formats::ids::LayoutVersion;
use hathi_storage::VersionFile;
use std::path::Path;

const VERSION: &str = include_str!("data/VERSION");

#[test]
fn hadoops_file_is_read_and_written_the_same() {
    let version = VersionFile::parse(VERSION);
    let info = version.namespace_info(Path::new("VERSION")).unwrap();
    assert_eq!(info.layout_version, LayoutVersion(-67));
    assert_eq!(info.namespace_id, 545_312_715);
    assert_eq!(info.cluster_id, "CID-2548712f-988c-4479-b4d6-40c754af1333");
    assert_eq!(info.block_pool_id, "BP-971918652-127.0.0.1-1795232435198");
    // Java keeps no order, and dates its comment.
    let properties = |text: &str| {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(properties(&version.to_text()), properties(VERSION));
}
