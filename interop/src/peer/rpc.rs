//! Connections to RPC ports: preamble, user, and calls of every method that the port serves.

use super::facts::Facts;
use super::messages::Messages;
use super::{Stream, mutation};
use bytes::BytesMut;
use fastrand::Rng;
use hathi_formats::proto::common::{IpcConnectionContextProto, UserInformationProto};
use hathi_net::ipc::codec::{self, RequestIds};
use hathi_net::ipc::{ClientId, Protocol, protocols};

/// Most calls of one connection.
const CALLS: usize = 6;
/// Users without rights.
const STRANGERS: [&str; 4] = ["mallory", "nobody", "eve", ""];

/// Protocols of the NameNode.
pub(super) const NAMENODE: [&Protocol; 13] = [
    &protocols::CLIENT_PROTOCOL,
    &protocols::DATANODE_PROTOCOL,
    &protocols::DATANODE_LIFELINE_PROTOCOL,
    &protocols::NAMENODE_PROTOCOL,
    &protocols::HA_SERVICE_PROTOCOL,
    &protocols::SUPERVISOR_PROTOCOL,
    &protocols::REFRESH_USER_MAPPINGS_PROTOCOL,
    &protocols::REFRESH_AUTHORIZATION_POLICY_PROTOCOL,
    &protocols::REFRESH_CALL_QUEUE_PROTOCOL,
    &protocols::GENERIC_REFRESH_PROTOCOL,
    &protocols::GET_USER_MAPPINGS_PROTOCOL,
    &protocols::RECONFIGURATION_PROTOCOL,
    &protocols::PROTOCOL_META_INFO_PB,
];
/// Protocols of the JournalNode.
pub(super) const JOURNALNODE: [&Protocol; 4] = [
    &protocols::QJOURNAL_PROTOCOL,
    &protocols::INTER_QJOURNAL_PROTOCOL,
    &protocols::JOURNAL_EXTENSION_PROTOCOL,
    &protocols::PROTOCOL_META_INFO_PB,
];
/// Protocols of the failover controller.
pub(super) const ZKFC: [&Protocol; 2] = [&protocols::ZKFC_PROTOCOL, &protocols::PROTOCOL_META_INFO_PB];
/// Protocols of the DataNode.
pub(super) const DATANODE: [&Protocol; 3] = [
    &protocols::CLIENT_DATANODE_PROTOCOL,
    &protocols::INTER_DATANODE_PROTOCOL,
    &protocols::PROTOCOL_META_INFO_PB,
];

/// The full name of a method's request.
pub(super) fn request_of(protocol: &Protocol, method: &str) -> String {
    let (package, name) = match (protocol.name, method) {
        ("org.apache.hadoop.hdfs.protocol.ClientProtocol", "getDelegationToken") => ("common", "GetDelegationToken"),
        ("org.apache.hadoop.hdfs.protocol.ClientProtocol", "renewDelegationToken") => {
            ("common", "RenewDelegationToken")
        }
        ("org.apache.hadoop.hdfs.protocol.ClientProtocol", "cancelDelegationToken") => {
            ("common", "CancelDelegationToken")
        }
        (_, "getFsStats") => ("hdfs", "GetFsStatus"),
        (_, "getHAServiceState") => ("hdfs", "HAServiceState"),
        // These methods are not served and have no messages here, so they are called with a different message.
        (_, "getProtocolVersion" | "cancelDiskBalancerPlan" | "getDiskBalancerSetting" | "queryDiskBalancerPlan") => {
            ("hdfs", "GetFileInfo")
        }
        (_, "versionRequest") => ("hdfs", "Version"),
        (_, "sendHeartbeat" | "sendLifeline") => ("datanode", "Heartbeat"),
        (_, "registerSubordinateNamenode") => ("namenode", "Register"),
        (_, "getEditLogManifestFromJournal") => ("qjournal", "GetEditLogManifest"),
        ("org.apache.hadoop.hdfs.server.protocol.DatanodeProtocol", method) => ("datanode", method),
        ("org.apache.hadoop.hdfs.server.protocol.NamenodeProtocol", method) => ("namenode", method),
        ("org.apache.hadoop.ipc.GenericRefreshProtocol", _) => ("common", "GenericRefresh"),
        (
            "org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol"
            | "org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol",
            method,
        ) => ("qjournal", method),
        (name, method) if name.starts_with("hathi.") => ("ext", method),
        (
            "org.apache.hadoop.hdfs.protocol.ClientProtocol"
            | "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol"
            | "org.apache.hadoop.hdfs.protocol.ReconfigurationProtocol"
            | "org.apache.hadoop.hdfs.server.protocol.InterDatanodeProtocol",
            method,
        ) => ("hdfs", method),
        (_, method) => ("common", method),
    };
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!(
        "hathi.{package}.{}{}RequestProto",
        first.unwrap_or_default(),
        letters.as_str()
    )
}

/// Whether a method changes nothing. Only such methods are called with rights.
fn only_reads(method: &str) -> bool {
    let verbs = ["get", "list", "is", "monitorHealth", "versionRequest", "checkAccess"];
    // A token would be a change.
    verbs.iter().any(|verb| method.starts_with(verb)) && method != "getDelegationToken"
}

/// A connection to a port that serves these protocols.
pub(super) fn stream(served: &[&'static Protocol], messages: &Messages, facts: &Facts, rng: &mut Rng) -> Stream {
    // For a caller with rights a JournalNode opens a journal of any name. And for a stranger it serves all reads.
    let is_journal = |protocol: &Protocol| *protocol == protocols::QJOURNAL_PROTOCOL;
    let with_rights = rng.u8(..5) == 0 && !served.iter().any(|protocol| is_journal(protocol));
    let user = if with_rights {
        facts.superuser.clone()
    } else {
        rng.choice(STRANGERS).unwrap_or_default().to_owned()
    };
    let mut client_id = [0; 16];
    rng.fill(&mut client_id);
    let mut pieces = Vec::new();
    let mut out = BytesMut::new();
    codec::put_preamble(&mut out);
    pieces.push(out.split().to_vec());
    let first = rng.choice(served).expect("a port serves something");
    let mut ids = RequestIds {
        call_id: codec::CALL_ID_CONNECTION_CONTEXT,
        retry_count: codec::RETRY_COUNT_NONE,
        client_id: ClientId::from(client_id),
        state_id: None,
        caller_context: None,
    };
    let context = IpcConnectionContextProto {
        user_info: Some(UserInformationProto {
            effective_user: Some(user),
            // No user may act as another.
            real_user: (rng.u8(..20) == 0).then(|| "eve".to_owned()),
        }),
        protocol: Some(first.name.to_owned()),
    };
    codec::put_control(&mut out, &ids, Some(&context));
    pieces.push(out.split().to_vec());
    ids.retry_count = 0;
    for call_id in 0..rng.usize(1..=CALLS) {
        let protocol = rng.choice(served).unwrap_or(first);
        let methods = protocol.methods.iter().map(|(method, _)| *method);
        let methods: Vec<&str> = methods.filter(|method| !with_rights || only_reads(method)).collect();
        let Some(method) = rng.choice(methods) else {
            continue;
        };
        let mut message = messages.sample(&request_of(protocol, method), facts, rng);
        // The frame's lengths stay right, so that the mutation reaches the method's own decoder.
        if rng.u8(..3) == 0 {
            mutation::bytes(&mut message, rng);
        }
        ids.call_id = i32::try_from(call_id).unwrap_or(0);
        ids.state_id = (rng.u8(..10) == 0).then(|| rng.i64(..));
        ids.caller_context = (rng.u8(..10) == 0).then_some("mallory was here");
        codec::put_call_encoded(&mut out, &ids, method, protocol.name, protocol.version, &message);
        pieces.push(out.split().to_vec());
    }
    if rng.u8(..10) == 0 {
        ids.call_id = codec::CALL_ID_PING;
        codec::put_control::<IpcConnectionContextProto>(&mut out, &ids, None);
        pieces.push(out.split().to_vec());
    }
    Stream { pieces }
}

/// Number of answers and of refusals in the received bytes.
pub(super) fn count(mut answer: &[u8]) -> (u64, u64) {
    let (mut answers, mut refusals) = (0, 0);
    while let Ok(Some(len)) = codec::frame_bytes(answer, usize::MAX)
        && let Some(frame) = answer.get(4..len)
        && let Ok((header, _)) = codec::response_header(frame)
    {
        if header.status == 0 {
            answers += 1;
        } else {
            refusals += 1;
        }
        answer = answer.get(len..).unwrap_or_default();
    }
    if answers + refusals == 0 && !answer.is_empty() {
        // This answers bytes that were no RPC.
        refusals = 1;
    }
    (answers, refusals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_every_protocol_has_its_message() {
        let messages = Messages::load().unwrap();
        for protocol in protocols::ALL {
            for (method, _) in protocol.methods {
                let request = request_of(protocol, method);
                assert!(
                    messages.get(&request).is_some(),
                    "{} {method}: {request}",
                    protocol.name
                );
            }
        }
    }

    #[test]
    fn samples_are_what_the_servers_decode() {
        use hathi_formats::proto::{datanode, hdfs, qjournal};
        use protox::prost::Message;
        let (messages, facts) = (Messages::load().unwrap(), Facts::default());
        for seed in 0..100 {
            let mut rng = Rng::with_seed(seed);
            let sample = |name: &str, rng: &mut Rng| messages.sample(name, &facts, rng);
            let create = sample("hathi.hdfs.CreateRequestProto", &mut rng);
            assert!(hdfs::CreateRequestProto::decode(create.as_slice()).is_ok());
            let report = sample("hathi.datanode.BlockReportRequestProto", &mut rng);
            assert!(datanode::BlockReportRequestProto::decode(report.as_slice()).is_ok());
            let journal = sample("hathi.qjournal.JournalRequestProto", &mut rng);
            assert!(qjournal::JournalRequestProto::decode(journal.as_slice()).is_ok());
        }
    }

    #[test]
    fn somebody_with_rights_is_made_to_read_only() {
        for method in [
            "format",
            "newEpoch",
            "delete",
            "cedeActive",
            "shutdownDatanode",
            "getDelegationToken",
        ] {
            assert!(!only_reads(method), "{method}");
        }
        assert!(only_reads("getFileInfo"));
    }
}
