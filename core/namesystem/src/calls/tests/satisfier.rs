//! Marks for the storage policy satisfier: who sets one, and what a satisfier is told.

use super::*;
use crate::satisfier::SatisfierConfig;
use hathi_formats::proto::namenode::{GetNextSpsPathRequestProto, GetNextSpsPathResponseProto};
use hathi_formats::protocols::NamenodeMethod;

impl Request for SatisfyStoragePolicyRequestProto {
    const METHOD: ClientMethod = M::SatisfyStoragePolicy;
    type Response = SatisfyStoragePolicyResponseProto;
}

fn external() -> Namesystem {
    let mut ns = active();
    ns.config.satisfier = SatisfierConfig {
        external: true,
        paths_max: 2,
    };
    ns
}

fn satisfy(ns: &mut Namesystem, ctx: &CallContext, src: &str) -> Result<(), RemoteException> {
    let src = src.to_owned();
    call(ns, ctx, &SatisfyStoragePolicyRequestProto { src }).map(drop)
}

fn next(ns: &mut Namesystem) -> Result<Option<u64>, RemoteException> {
    let request = GetNextSpsPathRequestProto {};
    let answer: GetNextSpsPathResponseProto = serve(ns, &hdfs(), NamenodeMethod::GetNextSpsPath, &request)?;
    Ok(answer.sps_path)
}

fn id(ns: &mut Namesystem, path: &str) -> u64 {
    call(ns, &hdfs(), &file_info(path)).unwrap().fs.unwrap().file_id()
}

#[test]
fn without_a_satisfier_nothing_is_marked() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap();
    let refused = satisfy(&mut ns, &hdfs(), "/d").unwrap_err();
    assert!(refused.is(exceptions::UNSUPPORTED_OPERATION), "{refused}");
    assert!(
        next(&mut ns)
            .unwrap_err()
            .message
            .starts_with("SPS service mode is NONE")
    );
}

#[test]
fn a_satisfier_is_told_of_each_mark_once_and_a_new_active_of_all_that_stay() {
    let mut ns = external();
    for path in ["/a", "/b", "/c"] {
        call(&mut ns, &hdfs(), &mkdirs(path)).unwrap();
    }
    make_file(&mut ns, "/empty");
    let (a, b) = (id(&mut ns, "/a"), id(&mut ns, "/b"));
    let refused = satisfy(&mut ns, &user("somebody", false), "/a").unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
    assert!(
        satisfy(&mut ns, &hdfs(), "/none")
            .unwrap_err()
            .is(exceptions::FILE_NOT_FOUND)
    );
    let before = ns.edit_log().applied();
    satisfy(&mut ns, &hdfs(), "/empty").unwrap();
    assert_eq!(ns.edit_log().applied(), before, "it has no blocks");
    satisfy(&mut ns, &hdfs(), "/a").unwrap();
    satisfy(&mut ns, &hdfs(), "/a").unwrap();
    assert_eq!(ns.edit_log().applied(), before.next(), "it is marked already");
    satisfy(&mut ns, &hdfs(), "/b").unwrap();
    let refused = satisfy(&mut ns, &hdfs(), "/c").unwrap_err();
    assert_eq!(
        refused.message,
        "Outstanding satisfier queue limit: 2 exceeded, try later!"
    );
    let listed = ListXAttrsRequestProto { src: "/a".to_owned() };
    let listed = call(&mut ns, &hdfs(), &listed).unwrap().x_attrs;
    assert_eq!(
        listed.iter().map(|xattr| xattr.name.as_str()).collect::<Vec<_>>(),
        ["hdfs.sps"]
    );
    assert_eq!(next(&mut ns), Ok(Some(a)));

    let mut other = standby();
    other.config.satisfier = ns.config.satisfier;
    replay(&mut ns, &mut other);
    let refused = next(&mut other).unwrap_err();
    assert!(refused.is(exceptions::STANDBY), "{refused}");
    other.begin_activation().unwrap();
    other.start_active(NOW).unwrap();
    assert_eq!(
        [next(&mut other), next(&mut other), next(&mut other)],
        [Ok(Some(a)), Ok(Some(b)), Ok(None)]
    );
    assert_eq!([next(&mut ns), next(&mut ns)], [Ok(Some(b)), Ok(None)]);
}
