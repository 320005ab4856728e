//! Policies of the cluster and of directories: what is planned, shown and kept.

use hathi_formats::editlog::EditOp;
use hathi_formats::exceptions::ExceptionClass;
use hathi_formats::proto::hdfs::{EcSchemaProto, ErasureCodingPolicyState as Wire};

use super::*;
use crate::config::NamespaceConfig;
use crate::ops::Unreadable as _;
use crate::tests::{ALICE, BS, Fixture, ROOT};
use crate::types::{CreateRequest, Plan, Refused};
use crate::view::View;
use crate::{AddedPolicy, Namespace};
use hathi_formats::exceptions as ex;
use hathi_formats::proto::hdfs::ErasureCodingPolicyProto;

const DEFAULT: &str = "RS-6-3-1024k";
const XOR: &str = "XOR-2-1-1024k";

fn with(config: PolicyConfig) -> Fixture {
    Fixture::with(NamespaceConfig {
        erasure_coding: config,
        ..NamespaceConfig::default()
    })
}

fn enabled(ns: &Namespace) -> Vec<&str> {
    ns.enabled_erasure_coding_policies()
        .map(|policy| &*policy.name)
        .collect()
}

fn listed(ns: &Namespace, id: u32) -> Wire {
    let mut all = ns.erasure_coding_policies();
    all.find(|policy| policy.id == id).map(|policy| policy.state()).unwrap()
}

/// A policy as a client sends it.
fn new_policy(codec: &str, data_units: u32, parity_units: u32, cell_size: u32) -> ErasureCodingPolicyProto {
    ErasureCodingPolicyProto {
        name: Some("whatever".to_owned()),
        schema: Some(EcSchemaProto {
            codec_name: codec.to_owned(),
            data_units,
            parity_units,
            options: Vec::new(),
        }),
        cell_size: Some(cell_size),
        // -1 of a byte.
        id: u32::MAX,
        state: None,
    }
}

impl Fixture {
    fn add(&mut self, policies: &[ErasureCodingPolicyProto]) -> Vec<AddedPolicy> {
        let plan = self.ns.plan_add_erasure_coding_policies(&self.ctx(ROOT), policies);
        self.commit(plan.unwrap())
    }

    fn enable(&mut self, name: &str) {
        let plan = self.ns.plan_enable_erasure_coding_policy(&self.ctx(ROOT), name);
        self.commit(plan.unwrap());
    }

    fn disable(&mut self, name: &str) {
        let plan = self.ns.plan_disable_erasure_coding_policy(&self.ctx(ROOT), name);
        self.commit(plan.unwrap());
    }

    fn set(&mut self, path: &str, name: &str) {
        let plan = self
            .ns
            .plan_set_erasure_coding_policy(&self.ctx(ROOT), path, Some(name));
        self.commit(plan.unwrap());
    }

    fn unset(&mut self, path: &str) {
        let plan = self.ns.plan_unset_erasure_coding_policy(&self.ctx(ROOT), path);
        self.commit(plan.unwrap());
    }

    fn policy_at(&self, path: &str) -> Option<&str> {
        let iip = self.ns.resolve(path).unwrap();
        let policy = self.ns.erasure_coding_policy_at(&ROOT, &iip, path).unwrap();
        policy.map(|policy| &*policy.name)
    }

    fn text_at(&self, path: &str) -> String {
        self.ns.erasure_coding_text(&self.ns.resolve(path).unwrap())
    }
}

#[track_caller]
fn refused<R: std::fmt::Debug>(plan: Result<Plan<R>, Refused>, class: ExceptionClass, message: &str) {
    let refused = plan.unwrap_err();
    assert!(refused.is(class), "{refused:?}");
    assert_eq!(refused.message, message);
}

#[test]
fn the_default_policy_is_enabled_when_a_namenode_starts_and_its_images_do_not_say_so() {
    let mut fix = Fixture::new();
    assert_eq!(enabled(&fix.ns), [DEFAULT]);
    assert_eq!(listed(&fix.ns, 1), Wire::Enabled);
    assert_eq!(
        fix.ns.erasure_coding_policy(ErasureCodingPolicyId(1)).unwrap().state,
        PolicyState::Disabled
    );
    assert_eq!(listed(&fix.ns, 4), Wire::Disabled);

    fix.disable(DEFAULT);
    assert!(enabled(&fix.ns).is_empty());
    assert!(enabled(&fix.replayed()).is_empty(), "a standby knows");
    assert_eq!(enabled(&fix.loaded()), [DEFAULT]);
    fix.enable(DEFAULT);
    assert_eq!(enabled(&fix.ns), [DEFAULT]);
    assert_eq!(
        fix.ns.erasure_coding_policy(ErasureCodingPolicyId(1)).unwrap().state,
        PolicyState::Enabled
    );
    fix.check();

    let none = PolicyConfig {
        default_policy: String::new(),
        ..PolicyConfig::default()
    };
    assert!(none.check().is_ok());
    assert!(enabled(&with(none).ns).is_empty());
    let unknown = PolicyConfig {
        default_policy: "RS-9-9-1k".to_owned(),
        ..PolicyConfig::default()
    };
    let problem = unknown.check().unwrap_err();
    assert!(problem.starts_with("EC policy 'RS-9-9-1k' specified at dfs.namenode.ec.system.default.policy"));
}

#[test]
fn policies_of_users_get_ids_that_no_other_policy_ever_has() {
    let mut fix = Fixture::new();
    let added = fix.add(&[
        new_policy("rs", 4, 2, 64 << 10),
        new_policy("xor", 3, 1, 128 << 10),
        new_policy("rs", 4, 2, 64 << 10),
        new_policy("rs", 6, 3, 1 << 20),
    ]);
    let told: Vec<_> = added
        .iter()
        .map(|added| (added.policy.id, added.policy.name()))
        .collect();
    assert_eq!(
        told,
        [(64, "RS-4-2-64k"), (65, "XOR-3-1-128k"), (64, "RS-4-2-64k"), (1, "")]
    );
    assert!(added.iter().all(|added| added.refused.is_none()));
    assert_eq!(listed(&fix.ns, 64), Wire::Disabled);

    let plan = fix.ns.plan_remove_erasure_coding_policy(&fix.ctx(ROOT), "XOR-3-1-128k");
    fix.commit(plan.unwrap());
    assert_eq!(listed(&fix.ns, 65), Wire::Removed);
    let added = fix.add(&[new_policy("rs", 5, 1, 1024), new_policy("xor", 3, 1, 128 << 10)]);
    assert_eq!((added[0].policy.id, added[1].policy.id), (66, 65));
    assert_eq!(listed(&fix.ns, 65), Wire::Removed);
    fix.check();
}

#[test]
fn a_policy_that_can_not_be_added_is_refused_for_itself() {
    let mut fix = Fixture::new();
    let added = fix.add(&[
        new_policy("lrc", 6, 3, 1024),
        new_policy("rs", 14, 3, 1024),
        new_policy("rs", 6, 3, 8 << 20),
        new_policy("rs", 0, 3, 1024),
        new_policy("rs", 3, 3, 1024),
    ]);
    let why: Vec<_> = added.iter().map(|added| added.refused.as_deref()).collect();
    assert_eq!(
        why,
        [
            Some("Codec name lrc is not supported"),
            Some("Number of data and parity blocks in an EC group 17 should not exceed maximum 16"),
            Some("Cell size 8388608 should not exceed maximum 4194304 bytes"),
            Some("the number of data units must be 1 to 255"),
            None
        ]
    );
    let ctx = fix.ctx(ROOT);
    let nameless = ErasureCodingPolicyProto {
        name: None,
        ..new_policy("rs", 6, 3, 1024)
    };
    for (policy, why) in [
        (nameless, "Missing name field in ErasureCodingPolicy proto"),
        (new_policy("rs", 6, 3, 0), "cellSize must be positive"),
        (new_policy("rs", 6, 3, u32::MAX), "cellSize must be positive"),
        (new_policy("rs", 6, 3, 1000), "cellSize must be 1024 aligned"),
    ] {
        let plan = fix
            .ns
            .plan_add_erasure_coding_policies(&ctx, &[new_policy("rs", 9, 3, 1024), policy]);
        refused(plan, ex::ILLEGAL_ARGUMENT, why);
    }
    let closed = with(PolicyConfig {
        user_defined_allowed: false,
        ..PolicyConfig::default()
    });
    let plan = closed
        .ns
        .plan_add_erasure_coding_policies(&ctx, &[new_policy("rs", 3, 3, 1024)])
        .unwrap();
    let why = "Addition of user defined erasure coding policy is disabled.";
    assert_eq!(plan.reply[0].refused.as_deref(), Some(why));
}

#[test]
fn all_ids_can_be_used_and_no_more() {
    let mut fix = Fixture::new();
    let policies: Vec<_> = (1..=65).map(|cells| new_policy("rs", 2, 1, cells << 10)).collect();
    let added = fix.add(&policies);
    assert_eq!(added[63].policy.id, 127);
    let why = added[64].refused.as_deref().unwrap();
    assert!(why.ends_with("reached the threshold, which is 127"), "{why}");
    fix.check();
}

#[test]
fn refusals_have_the_words_of_hadoop() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    fix.file("/f", &[1]).unwrap();
    let (ns, ctx) = (&fix.ns, fix.ctx(ROOT));
    let illegal = ex::HADOOP_ILLEGAL_ARGUMENT;
    refused(
        ns.plan_enable_erasure_coding_policy(&ctx, "RS-1"),
        illegal,
        "The policy name RS-1 does not exist",
    );
    refused(
        ns.plan_remove_erasure_coding_policy(&ctx, XOR),
        illegal,
        "System erasure coding policy XOR-2-1-1024k cannot be removed",
    );
    refused(
        ns.plan_set_erasure_coding_policy(&ctx, "/d", Some(XOR)),
        illegal,
        "Policy 'XOR-2-1-1024k' does not match any enabled erasure coding policies: [RS-6-3-1024k]. \
         An erasure coding policy can be enabled by enableErasureCodingPolicy API.",
    );
    refused(
        ns.plan_set_erasure_coding_policy(&ctx, "/f", None),
        ex::IO,
        "Attempt to set an erasure coding policy for a file /f",
    );
    refused(
        ns.plan_set_erasure_coding_policy(&ctx, "/x", None),
        ex::FILE_NOT_FOUND,
        "Path not found: /x",
    );
    refused(
        ns.plan_unset_erasure_coding_policy(&ctx, "/f"),
        ex::IO,
        "Cannot unset an erasure coding policy on a file /f",
    );
    refused(
        ns.plan_unset_erasure_coding_policy(&ctx, "/d"),
        ex::NO_EC_POLICY_SET,
        "No erasure coding policy explicitly set on /d",
    );
    for plan in [
        ns.plan_set_erasure_coding_policy(&fix.ctx(ALICE), "/d", None),
        ns.plan_unset_erasure_coding_policy(&fix.ctx(ALICE), "/d"),
    ] {
        assert!(plan.unwrap_err().is(ex::ACCESS_CONTROL));
    }
    let xattr = policy_xattr(DEFAULT);
    let plan = ns.plan_set_xattr(&ctx, "/d", &xattr, true, true);
    assert!(plan.unwrap_err().is(ex::ACCESS_CONTROL), "no user sets the attribute");
    assert!(ns.check_unreadable_by_superuser(&ROOT, ns.root()).is_ok());
}

#[test]
fn the_nearest_directory_with_a_policy_counts_and_replication_is_one() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/ec/sub/replicated/below").unwrap();
    fix.file("/ec/old", &[1]).unwrap();
    fix.enable(XOR);
    fix.set("/ec", DEFAULT);
    fix.set("/ec/sub", XOR);
    fix.set("/ec/sub/replicated", "Replication");
    for (path, policy, text) in [
        ("/", None, ""),
        ("/ec", Some(DEFAULT), DEFAULT),
        ("/ec/sub", Some(XOR), XOR),
        ("/ec/sub/replicated", None, "replication"),
        ("/ec/sub/replicated/below", None, "replication"),
        ("/ec/old", None, "Replicated"),
    ] {
        assert_eq!(fix.policy_at(path), policy, "{path}");
        assert_eq!(fix.text_at(path), text, "{path}");
        let status = fix.stat(path).unwrap();
        assert_eq!(status.erasure_coding.map(|policy| &*policy.name), policy, "{path}");
    }
    let mut shown = Vec::new();
    let iip = fix.ns.resolve("/ec").unwrap();
    let mut visit = |status: crate::types::FileStatus<'_>| {
        shown.push(status.erasure_coding.map(|policy| policy.name.clone()));
        std::ops::ControlFlow::Continue(())
    };
    fix.ns.list(&ROOT, &iip, b"", 10, &mut visit).unwrap();
    assert_eq!(shown, [None, Some(XOR.to_owned())]);
    fix.check();

    fix.unset("/ec/sub");
    assert_eq!(fix.policy_at("/ec/sub"), Some(DEFAULT));
    fix.disable(DEFAULT);
    assert_eq!(
        fix.policy_at("/ec/sub"),
        Some(DEFAULT),
        "directories keep what is disabled"
    );
    // Hadoop's NameNode takes a name that it does not know for no policy.
    let op = EditOp::SetXAttr {
        src: "/ec/sub".to_owned(),
        xattrs: vec![policy_xattr("RS-77-1-1k")],
        rpc_ids: hathi_formats::editlog::RpcIds::NONE,
    };
    fix.op(&op);
    assert_eq!((fix.policy_at("/ec/sub"), &*fix.text_at("/ec/sub")), (None, ""));
    fix.check();
}

#[test]
fn a_snapshot_shows_the_policy_of_its_time() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/s/d").unwrap();
    fix.set("/s", DEFAULT);
    let plan = fix.ns.plan_allow_snapshot(&ROOT, "/s").unwrap();
    fix.commit(plan);
    let plan = fix
        .ns
        .plan_create_snapshot(&fix.ctx(ROOT), "/s", "then", &|| String::new())
        .unwrap();
    fix.commit(plan);
    fix.set("/s", "replication");
    for path in ["/s/.snapshot/then", "/s/.snapshot/then/d"] {
        assert_eq!(fix.policy_at(path), Some(DEFAULT), "{path}");
        assert_eq!(fix.text_at(path), DEFAULT, "{path}");
        let shown = fix.stat(path).unwrap().erasure_coding.map(|policy| policy.id);
        assert_eq!(shown, Some(ErasureCodingPolicyId(1)), "{path}");
    }
    assert_eq!(fix.policy_at("/s/d"), None);
    assert_eq!(fix.policy_at("/s/.snapshot"), None);
    fix.check();
}

#[test]
fn a_new_file_is_striped_by_the_policy_of_its_directory_unless_its_writer_asks_otherwise() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/ec").unwrap();
    fix.set("/ec", DEFAULT);
    let request = |should_replicate, ec_policy, block_size| CreateRequest {
        src: "/ec/new/file",
        mode: 0o644,
        unmasked: None,
        client_name: "client",
        create: true,
        overwrite: false,
        create_parent: true,
        replication: 3,
        block_size,
        lazy_persist: false,
        storage_policy: "",
        ec_policy,
        should_replicate,
    };
    let plan = |request: &CreateRequest<'_>| fix.ns.plan_create(&fix.ctx(ROOT), request, &fix.view);
    for request in [request(true, "", BS), request(false, "REPLICATION", BS)] {
        assert!(plan(&request).is_ok(), "{request:?}");
    }
    for asked in ["", DEFAULT] {
        let plan = plan(&request(false, asked, BS)).unwrap();
        let add = plan.ops.iter().find_map(|op| match op {
            EditOp::Add(add) => Some((add.replication, add.erasure_coding_policy_id)),
            _ => None,
        });
        assert_eq!(add, Some((1, 1)));
    }
    let refused = plan(&request(false, XOR, BS)).unwrap_err();
    assert!(
        refused
            .message
            .starts_with("Policy 'XOR-2-1-1024k' does not match any enabled")
    );
    let slot = fix.ns.resolve("/ec").unwrap().last_slot().unwrap();
    let policy = fix.ns.erasure_coding_policy_for_new_file(slot, false, "").unwrap();
    assert_eq!(policy.map(|policy| policy.id), Some(ErasureCodingPolicyId(1)));

    let mut small = Fixture::with(NamespaceConfig {
        min_block_size_bytes: 1,
        ..NamespaceConfig::default()
    });
    small.mkdirs(ROOT, "/ec").unwrap();
    small.set("/ec", DEFAULT);
    let plan = small
        .ns
        .plan_create(&small.ctx(ROOT), &request(false, "", 1024), &small.view);
    assert_eq!(
        plan.unwrap_err().message,
        "Specified block size (1024) is less than the cell size (1048576) of the erasure coding policy \
         (ErasureCodingPolicy=[Name=RS-6-3-1024k, Schema=[ECSchema=[Codec=rs, numDataUnits=6, numParityUnits=3]], \
         CellSize=1048576, Id=1])."
    );
}

#[test]
fn a_topology_is_judged_by_the_most_demanding_policy() {
    let mut fix = Fixture::new();
    let verify = |ns: &Namespace, datanodes, racks, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        ns.verify_erasure_coding_topology(datanodes, racks, &names)
    };
    assert_eq!(
        verify(&fix.ns, 3, 1, &[]).unwrap(),
        (
            false,
            "9 DataNodes are required for the erasure coding policies: RS-6-3-1024k. The number of DataNodes is only 3."
                .to_owned()
        )
    );
    assert_eq!(
        verify(&fix.ns, 14, 3, &["RS-10-4-1024k", XOR]).unwrap(),
        (
            false,
            "4 racks are required for the erasure coding policies: RS-10-4-1024k, XOR-2-1-1024k. \
             The number of racks is only 3."
                .to_owned()
        )
    );
    assert_eq!(
        verify(&fix.ns, 3, 3, &[XOR, "replication"]).unwrap(),
        (
            true,
            "The cluster setup can support EC policies: XOR-2-1-1024k, replication".to_owned()
        )
    );
    let unknown = verify(&fix.ns, 3, 3, &["RS-1"]).unwrap_err();
    assert_eq!(unknown.message, "The given erasure coding policy RS-1 does not exist.");
    fix.disable(DEFAULT);
    let none = (true, "No erasure coding policy is given.".to_owned());
    assert_eq!(verify(&fix.ns, 0, 0, &[]).unwrap(), none);
}

#[test]
fn what_a_bug_may_break_of_policies_is_found() {
    use crate::tests::checked::{DIGEST, check_finds};
    check_finds(&[
        (DIGEST, |ns| {
            let policies = &mut ns.carried.erasure_coding_mut().policies;
            policies.get_mut(&ErasureCodingPolicyId(2)).unwrap().state = PolicyState::Enabled;
        }),
        ("is found by its id", |ns| {
            let policies = &mut ns.carried.erasure_coding_mut().policies;
            policies.get_mut(&ErasureCodingPolicyId(2)).unwrap().id = ErasureCodingPolicyId(3);
        }),
        ("have the same name", |ns| {
            let policies = &mut ns.carried.erasure_coding_mut().policies;
            policies.get_mut(&ErasureCodingPolicyId(2)).unwrap().name = DEFAULT.to_owned();
        }),
        ("is missing", |ns| {
            drop(
                ns.carried
                    .erasure_coding_mut()
                    .policies
                    .remove(&ErasureCodingPolicyId(2)),
            );
        }),
    ]);
}
