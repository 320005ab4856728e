//! Calls about erasure coding policies.

use super::*;
use hathi_formats::erasure_coding::whole;

const DEFAULT: &str = "RS-6-3-1024k";

fn add(codec: &str, data_units: u32, parity_units: u32) -> AddErasureCodingPoliciesRequestProto {
    let policy = ErasureCodingPolicyProto {
        name: Some("from a file".to_owned()),
        schema: Some(EcSchemaProto {
            codec_name: codec.to_owned(),
            data_units,
            parity_units,
            options: Vec::new(),
        }),
        cell_size: Some(64 << 10),
        id: u32::MAX,
        state: None,
    };
    AddErasureCodingPoliciesRequestProto {
        ec_policies: vec![policy],
    }
}

fn enable(name: &str) -> EnableErasureCodingPolicyRequestProto {
    EnableErasureCodingPolicyRequestProto {
        ec_policy_name: name.to_owned(),
    }
}

fn disable(name: &str) -> DisableErasureCodingPolicyRequestProto {
    DisableErasureCodingPolicyRequestProto {
        ec_policy_name: name.to_owned(),
    }
}

fn remove(name: &str) -> RemoveErasureCodingPolicyRequestProto {
    RemoveErasureCodingPolicyRequestProto {
        ec_policy_name: name.to_owned(),
    }
}

fn set(src: &str, name: Option<&str>) -> SetErasureCodingPolicyRequestProto {
    SetErasureCodingPolicyRequestProto {
        src: src.to_owned(),
        ec_policy_name: name.map(str::to_owned),
    }
}

fn unset(src: &str) -> UnsetErasureCodingPolicyRequestProto {
    UnsetErasureCodingPolicyRequestProto { src: src.to_owned() }
}

fn policy_of(ns: &mut Namesystem, src: &str) -> Option<ErasureCodingPolicyProto> {
    let request = GetErasureCodingPolicyRequestProto { src: src.to_owned() };
    call(ns, &hdfs(), &request).unwrap().ec_policy
}

fn with_dir() -> Namesystem {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d/in")).unwrap();
    ns
}

fn activated(mut standby: Namesystem) -> Namesystem {
    standby.begin_activation().unwrap();
    standby.start_active(NOW).unwrap();
    standby.leave_safe_mode(true, NOW);
    standby
}

#[test]
fn a_policy_of_users_is_added_enabled_set_and_shown() {
    let mut ns = with_dir();
    let added = call(&mut ns, &hdfs(), &add("xor", 4, 1)).unwrap().responses;
    assert!(added[0].succeed, "{added:?}");
    assert_eq!((added[0].policy.id, added[0].policy.name()), (64, "XOR-4-1-64k"));
    let refused = call(&mut ns, &hdfs(), &add("xor", 16, 1)).unwrap().responses;
    assert!(
        !refused[0].succeed && refused[0].error_msg().contains("maximum 16"),
        "{refused:?}"
    );
    call(&mut ns, &hdfs(), &enable("XOR-4-1-64k")).unwrap();
    call(&mut ns, &hdfs(), &set("/d", Some("XOR-4-1-64k"))).unwrap();

    let mut standby = standby();
    replay(&mut ns, &mut standby);
    assert_eq!(standby.namespace().digest(), ns.namespace().digest());
    for ns in [&mut ns, &mut activated(standby)] {
        let listed = call(ns, &hdfs(), &GetErasureCodingPoliciesRequestProto {}).unwrap();
        let told: Vec<_> = (listed.ec_policies.iter())
            .map(|policy| format!("{} {:?}", whole(policy).name(), policy.state()))
            .collect();
        assert_eq!(
            told,
            [
                "RS-10-4-1024k Disabled",
                "RS-3-2-1024k Disabled",
                "RS-6-3-1024k Enabled",
                "RS-LEGACY-6-3-1024k Disabled",
                "XOR-2-1-1024k Disabled",
                "XOR-4-1-64k Enabled"
            ]
        );
        let policy = policy_of(ns, "/d/in").unwrap();
        assert_eq!(
            (policy.id, policy.cell_size(), policy.name()),
            (64, 64 << 10, "XOR-4-1-64k")
        );
        let status = call(ns, &hdfs(), &file_info("/d/in")).unwrap().fs.unwrap();
        assert_eq!(status.ec_policy, Some(policy.clone()));
        assert_eq!(status.flags() & 4, 4, "HAS_EC");
        let root = GetListingRequestProto {
            src: "/".to_owned(),
            start_after: Bytes::new(),
            need_location: false,
        };
        let listed = call(ns, &hdfs(), &root).unwrap().dir_list.unwrap().partial_listing;
        assert_eq!(listed[0].ec_policy, Some(policy));
        let request = GetContentSummaryRequestProto {
            path: "/d/in".to_owned(),
        };
        let summary = call(ns, &hdfs(), &request).unwrap().summary;
        assert_eq!(summary.erasure_coding_policy(), "XOR-4-1-64k");
        let above = call(ns, &hdfs(), &file_info("/")).unwrap().fs.unwrap();
        assert_eq!((above.ec_policy, above.flags.unwrap_or(0) & 4), (None, 0));
    }
    call(&mut ns, &hdfs(), &unset("/d")).unwrap();
    assert_eq!(policy_of(&mut ns, "/d/in"), None);
    call(&mut ns, &hdfs(), &set("/d", None)).unwrap();
    // Of a policy that every cluster has, the message says only the id.
    let policy = policy_of(&mut ns, "/d").unwrap();
    assert_eq!((policy.id, policy.name), (1, None));
}

#[test]
fn a_repeated_call_about_policies_gets_its_first_answer_here_and_on_a_standby() {
    let mut ns = with_dir();
    let calls = [
        (M::AddErasureCodingPolicies, body(&add("rs", 4, 2))),
        (M::EnableErasureCodingPolicy, body(&enable("RS-4-2-64k"))),
        (M::SetErasureCodingPolicy, body(&set("/d", Some("RS-4-2-64k")))),
        (M::UnsetErasureCodingPolicy, body(&unset("/d"))),
        (M::DisableErasureCodingPolicy, body(&disable("RS-4-2-64k"))),
        (M::RemoveErasureCodingPolicy, body(&remove("RS-4-2-64k"))),
    ];
    let first: Vec<Bytes> = (1..)
        .zip(&calls)
        .map(|(id, (method, body))| raw(&mut ns, &numbered(id), *method, body.clone()).result.unwrap())
        .collect();
    let mut standby = standby();
    replay(&mut ns, &mut standby);
    assert_eq!(standby.namespace().digest(), ns.namespace().digest());
    for ns in [&mut ns, &mut activated(standby)] {
        let before = ns.edit_log().applied();
        for (id, ((method, body), first)) in (1..).zip(calls.iter().zip(&first)) {
            let again = raw(ns, &numbered(id), *method, body.clone()).result.unwrap();
            assert_eq!(&again, first, "{method:?}");
        }
        assert_eq!(ns.edit_log().applied(), before);
    }
}

#[test]
fn the_policies_of_the_cluster_are_for_superusers() {
    let mut ns = with_dir();
    let alice = user("alice", false);
    let before = ns.edit_log().applied();
    let topology = GetEcTopologyResultForPoliciesRequestProto::default();
    for (method, request, operation) in [
        (
            M::AddErasureCodingPolicies,
            body(&add("rs", 4, 2)),
            "addErasureCodingPolicies",
        ),
        (
            M::EnableErasureCodingPolicy,
            body(&enable(DEFAULT)),
            "enableErasureCodingPolicy",
        ),
        (
            M::DisableErasureCodingPolicy,
            body(&disable(DEFAULT)),
            "disableErasureCodingPolicy",
        ),
        (
            M::RemoveErasureCodingPolicy,
            body(&remove(DEFAULT)),
            "removeErasureCodingPolicy",
        ),
        (
            M::GetEcTopologyResultForPolicies,
            body(&topology),
            "getECTopologyResultForPolicies",
        ),
    ] {
        let reply = raw(&mut ns, &alice, method, request.clone());
        let refused = reply.result.as_ref().unwrap_err();
        assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
        assert!(
            refused.message.ends_with(&format!(" for operation {operation}")),
            "{refused}"
        );
        assert_eq!(audit(&ns, &alice, method, &request, &reply), None, "as in Hadoop");
    }
    let reply = raw(&mut ns, &alice, M::SetErasureCodingPolicy, body(&set("/d", None)));
    let line = audit(&ns, &alice, M::SetErasureCodingPolicy, &body(&set("/d", None)), &reply).unwrap();
    assert_eq!((line.allowed, &*line.command), (false, "setErasureCodingPolicy"));
    assert_eq!(ns.edit_log().applied(), before);
}

#[test]
fn the_audit_log_names_policies_and_paths() {
    let mut ns = with_dir();
    let mut line = |method, request: Bytes| {
        let reply = raw(&mut ns, &hdfs(), method, request.clone());
        let line = audit(&ns, &hdfs(), method, &request, &reply).unwrap();
        format!(
            "{} {:?} {:?}",
            line.command,
            line.src.unwrap_or_default(),
            line.permission.unwrap_or_default()
        )
    };
    for (method, request, expected) in [
        (
            M::AddErasureCodingPolicies,
            body(&add("rs", 4, 2)),
            r#"addErasureCodingPolicies "[RS-4-2-64k]" """#,
        ),
        (
            M::EnableErasureCodingPolicy,
            body(&enable("RS-4-2-64k")),
            r#"enableErasureCodingPolicy "RS-4-2-64k" """#,
        ),
        (
            M::SetErasureCodingPolicy,
            body(&set("/d", None)),
            r#"setErasureCodingPolicy "/d" "hdfs:supergroup:rwxr-xr-x""#,
        ),
        (
            M::UnsetErasureCodingPolicy,
            body(&unset("/d")),
            r#"unsetErasureCodingPolicy "/d" "hdfs:supergroup:rwxr-xr-x""#,
        ),
        (
            M::GetErasureCodingPolicies,
            Bytes::new(),
            r#"getErasureCodingPolicies "" """#,
        ),
    ] {
        assert_eq!(line(method, request), expected);
    }
}

#[test]
fn changes_of_policies_are_refused_in_safe_mode() {
    let mut ns = with_dir();
    let enter = SetSafeModeRequestProto {
        action: SafeModeActionProto::SafemodeEnter as i32,
        checked: None,
    };
    call(&mut ns, &hdfs(), &enter).unwrap();
    for (method, request, what) in [
        (
            M::AddErasureCodingPolicies,
            body(&add("rs", 4, 2)),
            "Cannot add erasure coding policy.",
        ),
        (
            M::EnableErasureCodingPolicy,
            body(&enable("x")),
            "Cannot enable erasure coding policy x.",
        ),
        (
            M::DisableErasureCodingPolicy,
            body(&disable("x")),
            "Cannot disable erasure coding policy x.",
        ),
        (
            M::RemoveErasureCodingPolicy,
            body(&remove("x")),
            "Cannot remove erasure coding policy x.",
        ),
        (
            M::SetErasureCodingPolicy,
            body(&set("/d", None)),
            "Cannot set erasure coding policy on /d.",
        ),
        (
            M::UnsetErasureCodingPolicy,
            body(&unset("/d")),
            "Cannot unset erasure coding policy on /d.",
        ),
    ] {
        let refused = raw(&mut ns, &hdfs(), method, request).result.unwrap_err();
        assert!(refused.message.starts_with(what), "{refused}");
    }
}

#[test]
fn too_few_datanodes_are_told() {
    let mut ns = with_dir();
    let ask = |ns: &mut Namesystem, policies: &[&str]| {
        let policies = policies.iter().map(|name| (*name).to_owned()).collect();
        call(ns, &hdfs(), &GetEcTopologyResultForPoliciesRequestProto { policies })
    };
    let told = ask(&mut ns, &[]).unwrap().response;
    assert!(!told.is_supported);
    assert_eq!(
        told.result_message,
        "9 DataNodes are required for the erasure coding policies: RS-6-3-1024k. The number of DataNodes is only 0."
    );
    let refused = ask(&mut ns, &["RS-1"]).unwrap_err();
    assert!(refused.is(exceptions::HADOOP_ILLEGAL_ARGUMENT), "{refused}");
    call(&mut ns, &hdfs(), &disable(DEFAULT)).unwrap();
    assert!(ask(&mut ns, &[]).unwrap().response.is_supported);
}

#[test]
fn a_file_has_the_policy_of_its_directory_unless_it_is_to_be_replicated() {
    let mut ns = with_dir();
    call(&mut ns, &hdfs(), &set("/d", None)).unwrap();
    let made = call(&mut ns, &hdfs(), &create("/d/striped")).unwrap().fs.unwrap();
    assert_eq!(made.ec_policy.map(|policy| policy.id), Some(1));
    let replicated = CreateRequestProto {
        // CREATE and SHOULD_REPLICATE.
        create_flag: 1 | 128,
        ..create("/d/f")
    };
    let made = call(&mut ns, &hdfs(), &replicated).unwrap().fs.unwrap();
    assert_eq!(made.ec_policy, None, "a file has the policy with which it is written");
}
