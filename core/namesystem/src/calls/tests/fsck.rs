//! Reports of `fsck`, page by page.

use super::*;
use crate::fsck::{Fsck, FsckCaller, FsckRequest};

pub(super) fn report(ns: &Namesystem, path: &str, user: &CallContext, options: &[&str]) -> (Fsck, usize) {
    let asker = FsckCaller {
        user: user.user.clone(),
        groups: user.groups.clone(),
        superuser: user.superuser,
    };
    let asked = FsckRequest::new(path, 0, |option| options.contains(&option));
    let mut fsck = Fsck::new(ns, asked, asker, 3);
    let mut steps = 1;
    while fsck.step(ns).expect("it may be read") {
        steps += 1;
    }
    (fsck, steps)
}

fn mkdir(ns: &mut Namesystem, path: &str) {
    call(ns, &hdfs(), &mkdirs(path)).expect("it is made");
}

#[test]
fn a_large_directory_is_read_in_pages_and_each_child_is_told_of_once() {
    let mut ns = active();
    for number in 0..1201 {
        mkdir(&mut ns, &format!("/large/{number:04}"));
    }
    mkdir(&mut ns, "/large/0007/below");
    let (mut fsck, steps) = report(&ns, "/", &hdfs(), &["files"]);
    // The root, three pages of the large directory, and one of each directory in it and below.
    assert_eq!(steps, 1 + 1 + 3 + 1201 + 1);
    let text = fsck.take_text();
    let mut told: Vec<&str> = text.lines().filter(|line| line.ends_with(" <dir>")).collect();
    assert_eq!(told.len(), 1204);
    assert_eq!(
        told[told.len() - 1],
        "/large/1200 <dir>",
        "children come in the order of their names"
    );
    told.dedup();
    assert_eq!(told.len(), 1204);
    assert!(text.contains(" Total dirs:\t\t\t1204\n"), "{text}");
    assert_eq!(fsck.last_line(), Some("\n\nThe filesystem under path '/' is HEALTHY"));
}

#[test]
fn what_is_below_a_directory_that_goes_meanwhile_is_left_out() {
    let mut ns = active();
    mkdir(&mut ns, "/gone/below");
    let asker = FsckCaller {
        user: "hdfs".into(),
        groups: [].into(),
        superuser: true,
    };
    let mut fsck = Fsck::new(&ns, FsckRequest::new("/", 0, |_| false), asker, 3);
    assert!(fsck.step(&ns).expect("the root"));
    assert!(fsck.step(&ns).expect("its children"));
    let delete = DeleteRequestProto {
        src: "/gone".to_owned(),
        recursive: true,
    };
    call(&mut ns, &hdfs(), &delete).expect("it goes");
    while fsck.step(&ns).expect("what is left") {}
    assert!(fsck.take_text().contains(" Total dirs:\t\t\t2\n"));
}

#[test]
fn a_report_is_refused_to_those_who_may_not_read_and_without_what_is_not_examined() {
    let mut ns = active();
    mkdir(&mut ns, "/private/below");
    let request = SetPermissionRequestProto {
        src: "/private".to_owned(),
        permission: mode(0o700),
    };
    call(&mut ns, &hdfs(), &request).expect("it is set");
    let asker = FsckCaller {
        user: "eve".into(),
        groups: [].into(),
        superuser: false,
    };
    let refusal = |path: &str, options: &[&str]| {
        let asked = FsckRequest::new(path, 0, |option| options.contains(&option));
        let mut fsck = Fsck::new(&ns, asked, asker.clone(), 3);
        loop {
            match fsck.step(&ns) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(refused) => break refused.class(),
            }
        }
    };
    assert_eq!(refusal("/", &[]), Some(exceptions::ACCESS_CONTROL));
    assert_eq!(
        refusal("/", &["listcorruptfileblocks"]),
        Some(exceptions::ACCESS_CONTROL)
    );
    assert_eq!(refusal("/", &["delete"]), Some(exceptions::UNSUPPORTED_OPERATION));
    let (mut fsck, steps) = report(&ns, "/missing", &hdfs(), &[]);
    assert_eq!((steps, fsck.last_line()), (1, None));
    assert_eq!(fsck.take_text(), "\n\nPath '/missing' does not exist");
}
