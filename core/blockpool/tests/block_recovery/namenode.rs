//! An active NameNode whose edits are durable at once, and the calls to it.

use bytes::Bytes;
use hathi_blockmanager::{BlockManagerConfig, Now};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_formats::proto::datanode::DatanodeRegistrationProto;
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeStorageProto, StorageInfoProto};
use hathi_formats::protocols::{CLIENT_PROTOCOL, DATANODE_PROTOCOL, Protocol};
use hathi_namesystem::calls;
use hathi_namesystem::loader::{NamesystemParts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::{CallContext, Life, Namesystem, NamesystemConfig, monitor};
use prost::Message;

pub(crate) const POOL: &str = "BP-1-127.0.0.1-1";

pub(crate) struct NameNode {
    ns: Namesystem,
    pub(crate) now: Now,
}

fn info() -> NamespaceInfo {
    NamespaceInfo {
        block_pool_id: POOL.to_owned(),
        ..NamespaceInfo::default()
    }
}

impl NameNode {
    pub(crate) fn new() -> NameNode {
        let parts = NamesystemParts {
            config: NamesystemConfig {
                superuser: "hdfs".to_owned(),
                min_block_size: 1,
                ..NamesystemConfig::default()
            },
            blockmanager: BlockManagerConfig::default(),
            retry_cache: RetryCacheOptions::default(),
            info: info(),
        };
        let namespace = hathi_namespace::Namespace::new(hathi_namespace::NamespaceConfig::default());
        let mut ns = assemble(parts, namespace, TxId(0), Life::first());
        let now = Now {
            monotonic_ms: 50_000,
            wall_ms: 1_700_000_000_000,
        };
        ns.become_standby().expect("a new NameNode follows first");
        ns.begin_activation().expect("a standby becomes active");
        ns.start_active(now).expect("the namespace is whole");
        ns.leave_safe_mode(true, now);
        let mut namenode = NameNode { ns, now };
        namenode.sync();
        namenode
    }

    pub(crate) fn call<M: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<M, RemoteException> {
        self.serve(&CLIENT_PROTOCOL, method, request)
    }

    pub(crate) fn call_from_datanode<M: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<M, RemoteException> {
        self.serve(&DATANODE_PROTOCOL, method, request)
    }

    fn serve<M: Message + Default>(
        &mut self,
        protocol: &Protocol,
        method: &str,
        request: &impl Message,
    ) -> Result<M, RemoteException> {
        let context = CallContext {
            user: "hdfs".into(),
            groups: [].into(),
            superuser: true,
            client_ip: None,
            client_id: Default::default(),
            call_id: -2,
            retry_count: 0,
            passed_on: None,
            now_ms: self.now.wall_ms,
            mono_ms: self.now.monotonic_ms,
        };
        let handler = calls::lookup(protocol.name, method).expect("a method of the protocol");
        let body = Bytes::from(request.encode_to_vec());
        let reply = handler.run(&mut self.ns, &context, &body);
        self.sync();
        reply.result.map(|body| M::decode(body).expect("an answer can be read"))
    }

    fn sync(&mut self) {
        let _ = self.ns.take_logged();
        let applied = self.ns.edit_log().applied();
        self.ns.edit_log().on_synced(applied);
        self.ns.check();
    }

    /// Time passes, and the NameNode does what it does from time to time.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms;
        while self.ns.heartbeat_check(self.now, 100) {}
        monitor::check_leases(&mut self.ns, self.now);
        self.sync();
    }
}

pub(crate) fn identity(name: char) -> DatanodeIdProto {
    DatanodeIdProto {
        ip_addr: format!("10.0.0.{}", u32::from(name)),
        host_name: name.to_string(),
        datanode_uuid: name.to_string(),
        xfer_port: 9866,
        ..DatanodeIdProto::default()
    }
}

pub(crate) fn name_of(id: &DatanodeIdProto) -> char {
    id.host_name.chars().next().expect("a DataNode of this story")
}

pub(crate) fn storage(name: char) -> DatanodeStorageProto {
    DatanodeStorageProto {
        storage_uuid: format!("DS-{name}"),
        ..DatanodeStorageProto::default()
    }
}

pub(crate) fn registration(name: char) -> DatanodeRegistrationProto {
    let info = info();
    DatanodeRegistrationProto {
        datanode_id: identity(name),
        storage_info: StorageInfoProto {
            namespce_id: info.namespace_id,
            cluster_id: info.cluster_id,
            c_time: info.ctime.cast_unsigned(),
            ..StorageInfoProto::default()
        },
        software_version: "3.5.0".to_owned(),
        ..DatanodeRegistrationProto::default()
    }
}
