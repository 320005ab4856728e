//! POST and DELETE: changes.

use super::put::empty;
use super::{Asked, Failed, redirect, said};
use hathi_formats::proto::hdfs::*;
use hathi_formats::webhdfs::{self, Op};
use hathi_net::http::HttpResponse;
use hathi_net::ipc::protocols::ClientMethod as M;

pub(super) async fn post(asked: &Asked) -> Result<HttpResponse, Failed> {
    let src = asked.path.clone();
    match asked.op {
        Op::Append => redirect::to_replica(asked).await,
        Op::Concat => {
            let request = ConcatRequestProto {
                trg: src,
                srcs: asked.parameters.paths(asked.op.name(), "sources")?,
            };
            empty::<ConcatResponseProto>(asked, M::Concat, &request).await
        }
        Op::Truncate => {
            asked.required("newlength")?;
            let request = TruncateRequestProto {
                src,
                new_length: asked.parameters.unsigned("newlength")?.unwrap_or_default(),
                client_name: format!("DFSClient_{}", uuid::Uuid::new_v4()),
            };
            let answer: TruncateResponseProto = asked.call(M::Truncate, &request).await?;
            Ok(said(&webhdfs::boolean(answer.result)))
        }
        Op::UnsetStoragePolicy => {
            let request = UnsetStoragePolicyRequestProto { src };
            empty::<UnsetStoragePolicyResponseProto>(asked, M::UnsetStoragePolicy, &request).await
        }
        Op::UnsetEcPolicy => {
            let request = UnsetErasureCodingPolicyRequestProto { src };
            empty::<UnsetErasureCodingPolicyResponseProto>(asked, M::UnsetErasureCodingPolicy, &request).await
        }
        other => Err(redirect::unsupported(other).into()),
    }
}

pub(super) async fn delete(asked: &Asked) -> Result<HttpResponse, Failed> {
    let src = asked.path.clone();
    match asked.op {
        Op::Delete => {
            let recursive = asked.parameters.boolean("recursive", false)?;
            let answer: DeleteResponseProto = asked.call(M::Delete, &DeleteRequestProto { src, recursive }).await?;
            Ok(said(&webhdfs::boolean(answer.result)))
        }
        Op::DeleteSnapshot => {
            let request = DeleteSnapshotRequestProto {
                snapshot_root: src,
                snapshot_name: asked.required("snapshotname")?.to_owned(),
            };
            empty::<DeleteSnapshotResponseProto>(asked, M::DeleteSnapshot, &request).await
        }
        other => Err(redirect::unsupported(other).into()),
    }
}
