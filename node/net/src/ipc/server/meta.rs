//! `ProtocolMetaInfoPB`, which Java clients ask whether a server knows an optional method.

use hathi_formats::exceptions::{CLASS_NOT_FOUND, RemoteException};
use hathi_formats::proto::common::{
    GetProtocolSignatureRequestProto, GetProtocolSignatureResponseProto, GetProtocolVersionsRequestProto,
    GetProtocolVersionsResponseProto, ProtocolSignatureProto, ProtocolVersionProto,
};

use super::table::ProtocolTable;
use super::{Responder, RpcCall};
use crate::ipc::protocols::ProtocolMetaInfoMethod;
use crate::ipc::{Protocol, protocols};

const PROTOBUF_KIND: &str = "RPC_PROTOCOL_BUFFER";
const OTHER_KINDS: [&str; 2] = ["RPC_BUILTIN", "RPC_WRITABLE"];

pub(super) fn call(table: &ProtocolTable, method: ProtocolMetaInfoMethod, call: &RpcCall, reply: Responder) {
    match method {
        ProtocolMetaInfoMethod::GetProtocolVersions => reply.send(versions(table, call)),
        ProtocolMetaInfoMethod::GetProtocolSignature => reply.send(signature(table, call)),
    }
}

/// A known class, and whether this server serves it.
fn find(table: &ProtocolTable, class: &str) -> Result<Option<&'static Protocol>, RemoteException> {
    let is = |protocol: &&Protocol| protocol.pb_interface == class || protocol.name == class;
    if let Some(protocol) = table.protocols().find(is) {
        return Ok(Some(protocol));
    }
    if protocols::ALL.iter().any(is) {
        return Ok(None);
    }
    Err(RemoteException::new(CLASS_NOT_FOUND, class))
}

fn versions(table: &ProtocolTable, call: &RpcCall) -> Result<GetProtocolVersionsResponseProto, RemoteException> {
    let request: GetProtocolVersionsRequestProto = call.decode()?;
    let found = find(table, &request.protocol)?;
    let mut protocol_versions: Vec<_> = OTHER_KINDS
        .iter()
        .map(|kind| ProtocolVersionProto {
            rpc_kind: (*kind).to_owned(),
            versions: Vec::new(),
        })
        .collect();
    protocol_versions.push(ProtocolVersionProto {
        rpc_kind: PROTOBUF_KIND.to_owned(),
        versions: found.map(|protocol| protocol.version).into_iter().collect(),
    });
    Ok(GetProtocolVersionsResponseProto { protocol_versions })
}

fn signature(table: &ProtocolTable, call: &RpcCall) -> Result<GetProtocolSignatureResponseProto, RemoteException> {
    let request: GetProtocolSignatureRequestProto = call.decode()?;
    let found = find(table, &request.protocol)?;
    let protocol_signature = found
        .filter(|_| request.rpc_kind == PROTOBUF_KIND)
        .map(|protocol| ProtocolSignatureProto {
            version: protocol.version,
            methods: protocol
                .methods
                .iter()
                .map(|(_, fingerprint)| fingerprint.cast_unsigned())
                .collect(),
        })
        .into_iter()
        .collect();
    Ok(GetProtocolSignatureResponseProto { protocol_signature })
}
