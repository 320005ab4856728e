//! Images that an active saves.

use super::*;
use crate::save_namespace::{Canceler, ImagePurpose};

#[test]
fn an_image_of_the_active_ends_where_a_segment_ends() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/a")).unwrap();
    sync(&mut ns);
    assert!(!ns.edit_log().changes_nothing_behind(TxId(1)), "a directory was made");
    let (_, image) = ns
        .begin_image(ImagePurpose::SaveNamespace, Canceler::default(), NOW.wall_ms)
        .unwrap();
    let begun: Vec<TxId> = sync(&mut ns)
        .into_iter()
        .filter_map(|item| match item {
            LogItem::StartSegment(first) => Some(first),
            _ => None,
        })
        .collect();
    assert_eq!(begun, [image.txid().next()]);
    assert!(ns.edit_log().changes_nothing_behind(image.txid()));
    call(&mut ns, &hdfs(), &mkdirs("/b")).unwrap();
    assert!(!ns.edit_log().changes_nothing_behind(image.txid()));
}
