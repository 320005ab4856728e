//! `NamenodeProtocol`: what NameNodes and checkpointers ask each other (Hadoop's `NameNodeRpcServer`).

use crate::calls::decode;
use crate::context::{CallContext, Deferred, Reply, Verb};
use crate::role::OperationCategory;
use crate::{HaState, Namesystem, Role};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::{
    BlocksWithLocationsProto, CheckpointSignatureProto, NamespaceInfoProto, RemoteEditLogManifestProto,
    StorageInfoProto, StorageTypeProto, VersionResponseProto,
};
use hathi_formats::proto::namenode::{
    ErrorReportResponseProto, GetBlockKeysResponseProto, GetBlocksRequestProto, GetBlocksResponseProto,
    GetEditLogManifestRequestProto, GetEditLogManifestResponseProto, GetMostRecentCheckpointTxIdResponseProto,
    GetMostRecentNameNodeFileTxIdResponseProto, GetNextSpsPathResponseProto, GetTransactionIdResponseProto,
    IsRollingUpgradeResponseProto, IsUpgradeFinalizedResponseProto, RollEditLogResponseProto,
};
use hathi_formats::protocols::NamenodeMethod;

/// Which Hadoop this NameNode is compatible with: DataNodes and NameNodes compare it with their minimum.
pub const SOFTWARE_VERSION: &str = "3.5.0";
/// `DatanodeProtocol` block reports may use buffers (`NamespaceInfo.Capability.STORAGE_BLOCK_REPORT_BUFFERS`).
const CAPABILITIES: u64 = 1;

/// The handler of a method.
#[must_use]
pub(crate) fn verb(method: NamenodeMethod) -> Verb {
    match method {
        NamenodeMethod::VersionRequest => Verb::Read(version_request),
        NamenodeMethod::GetTransactionId => Verb::Read(|ns, ctx, _| {
            by_superuser(ns, ctx, || {
                Reply::message(&GetTransactionIdResponseProto {
                    tx_id: ns.edit_log.applied().0,
                })
                .after(ns.shown_everything())
            })
        }),
        NamenodeMethod::GetMostRecentCheckpointTxId => Verb::Read(|ns, ctx, _| {
            by_superuser(ns, ctx, || {
                Reply::message(&GetMostRecentCheckpointTxIdResponseProto {
                    tx_id: ns.most_recent_checkpoint.0,
                })
            })
        }),
        NamenodeMethod::GetMostRecentNameNodeFileTxId => Verb::Read(|ns, ctx, _| {
            by_superuser(ns, ctx, || {
                Reply::message(&GetMostRecentNameNodeFileTxIdResponseProto {
                    tx_id: ns.most_recent_checkpoint.0,
                })
            })
        }),
        NamenodeMethod::RollEditLog => Verb::Write(roll_edit_log),
        NamenodeMethod::GetEditLogManifest => Verb::Read(|ns, ctx, body| {
            by_superuser(ns, ctx, || match ns.check_operation(OperationCategory::Read) {
                Err(refused) => Reply::refuse(refused),
                Ok(()) if !ns.config.ha_enabled => match decode::<GetEditLogManifestRequestProto>(&body) {
                    Err(refused) => Reply::refuse(refused),
                    Ok(request) => Reply::defer(Deferred::EditLogManifest(TxId(request.since_tx_id))),
                },
                // The shared journal has the edits; what local directories hold is nobody's source here.
                Ok(()) => Reply::message(&GetEditLogManifestResponseProto {
                    manifest: RemoteEditLogManifestProto {
                        logs: Vec::new(),
                        committed_txn_id: None,
                    },
                }),
            })
        }),
        NamenodeMethod::IsUpgradeFinalized => Verb::Read(|ns, ctx, _| {
            by_superuser(ns, ctx, || {
                Reply::message(&IsUpgradeFinalizedResponseProto {
                    is_upgrade_finalized: ns.is_upgrade_finalized(),
                })
            })
        }),
        NamenodeMethod::IsRollingUpgrade => Verb::Read(|ns, ctx, _| {
            by_superuser(ns, ctx, || {
                Reply::message(&IsRollingUpgradeResponseProto {
                    is_rolling_upgrade: ns.namespace.rolling_upgrade_start_ms().is_some(),
                })
            })
        }),
        NamenodeMethod::ErrorReport => {
            Verb::Read(|ns, ctx, _| by_superuser(ns, ctx, || Reply::message(&ErrorReportResponseProto {})))
        }
        NamenodeMethod::GetBlockKeys => {
            Verb::Read(|ns, ctx, _| by_superuser(ns, ctx, || Reply::message(&GetBlockKeysResponseProto { keys: None })))
        }
        NamenodeMethod::GetBlocks => Verb::Write(get_blocks),
        NamenodeMethod::GetNextSpsPath => Verb::Read(|ns, ctx, _| {
            by_superuser(ns, ctx, || {
                Reply::message(&GetNextSpsPathResponseProto { sps_path: None })
            })
        }),
        NamenodeMethod::RegisterSubordinateNamenode
        | NamenodeMethod::StartCheckpoint
        | NamenodeMethod::EndCheckpoint => Verb::Read(|_, _, _| {
            Reply::refuse(RemoteException::new(
                exceptions::UNSUPPORTED_OPERATION,
                "Secondary, checkpoint and backup nodes are not supported by this NameNode",
            ))
        }),
    }
}

/// `getBlocks`: what a balancer may move away from a DataNode.
fn get_blocks(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    let found = ns
        .check_not_broken()
        .and_then(|()| ctx.check_superuser())
        .and_then(|()| ns.check_not_in_safe_mode("Cannot execute getBlocks"))
        .and_then(|()| decode::<GetBlocksRequestProto>(&body))
        .and_then(|request| {
            let uuid = &request.datanode.datanode_uuid;
            let datanode = ns.blockmanager.datanode_by_uuid(uuid).map_err(|_| {
                RemoteException::new(
                    exceptions::HADOOP_ILLEGAL_ARGUMENT,
                    format!("Datanode {uuid} not found."),
                )
            })?;
            let kind = request
                .storage_type
                .and_then(|kind| StorageTypeProto::try_from(kind).ok());
            Ok(ns
                .blockmanager
                .blocks_of_datanode(datanode, request.size, request.min_block_size(), kind))
        });
    match found {
        Err(refused) => Reply::refuse(refused),
        Ok(blocks) => Reply::message(&GetBlocksResponseProto {
            blocks: BlocksWithLocationsProto { blocks },
        })
        .after(ns.shown_everything()),
    }
}

fn by_superuser(ns: &Namesystem, ctx: &CallContext, answer: impl FnOnce() -> Reply) -> Reply {
    match ns.check_not_broken().and_then(|()| ctx.check_superuser()) {
        Ok(()) => answer(),
        Err(refused) => Reply::refuse(refused),
    }
}

/// A namespace's identity and state as DataNodes and NameNodes get it (`FSNamesystem.getNamespaceInfo`).
#[must_use]
pub fn namespace_info(info: &NamespaceInfo, state: HaState) -> NamespaceInfoProto {
    NamespaceInfoProto {
        build_version: "hathi".to_owned(),
        unused: 0,
        block_pool_id: info.block_pool_id.clone(),
        storage_info: storage_info(info),
        software_version: SOFTWARE_VERSION.to_owned(),
        capabilities: Some(CAPABILITIES),
        state: Some(crate::calls::heartbeat_state(state)),
    }
}

/// `StorageInfo` as it travels.
#[must_use]
pub fn storage_info(info: &NamespaceInfo) -> StorageInfoProto {
    StorageInfoProto {
        layout_version: info.layout_version.0.cast_unsigned(),
        namespce_id: info.namespace_id,
        cluster_id: info.cluster_id.clone(),
        c_time: info.ctime.cast_unsigned(),
    }
}

fn version_request(ns: &Namesystem, _: &CallContext, _: Bytes) -> Reply {
    Reply::message(&VersionResponseProto {
        info: namespace_info(&ns.info, ns.ha_state()),
    })
}

fn roll_edit_log(ns: &mut Namesystem, ctx: &CallContext, _: Bytes) -> Reply {
    let rolled = ctx
        .check_superuser()
        .and_then(|()| ns.check_operation(OperationCategory::Journal))
        .and_then(|()| ns.check_not_in_safe_mode("Log not rolled"))
        .and_then(|()| {
            ns.edit_log
                .roll(ctx.now_ms)
                .map_err(|error| RemoteException::new(exceptions::STANDBY, error.to_string()))
        });
    match rolled {
        Err(refused) => Reply::refuse(refused),
        Ok(segment) => Reply::message(&RollEditLogResponseProto {
            signature: CheckpointSignatureProto {
                block_pool_id: ns.info.block_pool_id.clone(),
                most_recent_checkpoint_tx_id: ns.most_recent_checkpoint.0,
                cur_segment_tx_id: segment.0,
                storage_info: storage_info(&ns.info),
            },
        })
        .after((ns.role == Role::Active).then_some(segment)),
    }
}
