//! Ops as the XML of Hadoop's offline edits viewer (`XmlEditsVisitor`, `FSEditLogOp.toXml`).

use std::fmt::{self, Display, Write};

use super::op::{
    AclEntry, AddOp, CacheDirectiveInfo, CachePoolInfo, CloseOp, DelegationKey, DelegationTokenIdentifier, EditOp,
    PermissionStatus, RpcIds, XAttr, fs_action_symbol,
};
use crate::ids::{Block, LayoutVersion, TxId};

/// Spaces per level.
const INDENT: usize = 2;

/// Writes an XML document of edits, op by op.
#[derive(Debug)]
pub struct XmlWriter<W> {
    out: W,
    depth: usize,
}

impl<W: Write> XmlWriter<W> {
    /// Starts the document.
    pub fn new(mut out: W, layout: LayoutVersion) -> Result<XmlWriter<W>, fmt::Error> {
        out.write_str("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<EDITS>\n")?;
        let mut writer = XmlWriter { out, depth: 1 };
        writer.leaf("EDITS_VERSION", layout)?;
        Ok(writer)
    }

    /// Writes one op.
    pub fn op(&mut self, txid: TxId, op: &EditOp) -> fmt::Result {
        self.open("RECORD")?;
        self.leaf("OPCODE", op.code().name().unwrap_or("OP_INVALID"))?;
        self.open("DATA")?;
        self.leaf("TXID", txid)?;
        self.body(op)?;
        self.close("DATA")?;
        self.close("RECORD")
    }

    /// Ends the document and hands the output back.
    pub fn finish(mut self) -> Result<W, fmt::Error> {
        self.close("EDITS")?;
        Ok(self.out)
    }

    fn indent(&mut self) -> fmt::Result {
        write!(self.out, "{:1$}", "", self.depth.saturating_mul(INDENT))
    }

    fn open(&mut self, name: &str) -> fmt::Result {
        self.indent()?;
        self.depth = self.depth.saturating_add(1);
        writeln!(self.out, "<{name}>")
    }

    fn close(&mut self, name: &str) -> fmt::Result {
        self.depth = self.depth.saturating_sub(1);
        self.indent()?;
        writeln!(self.out, "</{name}>")
    }

    /// An element that holds a number or another value without special characters.
    fn leaf(&mut self, name: &str, value: impl Display) -> fmt::Result {
        self.indent()?;
        writeln!(self.out, "<{name}>{value}</{name}>")
    }

    /// An element that holds text.
    fn text(&mut self, name: &str, value: &str) -> fmt::Result {
        self.indent()?;
        if value.is_empty() {
            return writeln!(self.out, "<{name}/>");
        }
        write!(self.out, "<{name}>")?;
        put_mangled(&mut self.out, value)?;
        writeln!(self.out, "</{name}>")
    }

    fn body(&mut self, op: &EditOp) -> fmt::Result {
        match op {
            EditOp::Add(add) => self.add(add),
            EditOp::Close(close) => self.close_op(close),
            EditOp::RenameOld {
                src,
                dst,
                time,
                rpc_ids,
            } => {
                self.leaf("LENGTH", 0)?;
                self.text("SRC", src)?;
                self.text("DST", dst)?;
                self.leaf("TIMESTAMP", time)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::Delete { path, time, rpc_ids } => {
                self.leaf("LENGTH", 0)?;
                self.text("PATH", path)?;
                self.leaf("TIMESTAMP", time)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::Mkdir {
                inode_id,
                path,
                time,
                permissions,
                acl_entries,
                xattrs,
            } => {
                self.leaf("LENGTH", 0)?;
                self.leaf("INODEID", inode_id)?;
                self.text("PATH", path)?;
                self.leaf("TIMESTAMP", time)?;
                self.permissions(permissions)?;
                self.acl(acl_entries)?;
                self.xattrs(xattrs)
            }
            EditOp::SetReplication { path, replication } => {
                self.text("PATH", path)?;
                self.leaf("REPLICATION", replication)
            }
            EditOp::SetPermissions { src, mode } => {
                self.text("SRC", src)?;
                self.leaf("MODE", mode)
            }
            EditOp::SetOwner { src, user, group } => {
                self.text("SRC", src)?;
                self.optional("USERNAME", user.as_deref())?;
                self.optional("GROUPNAME", group.as_deref())
            }
            EditOp::SetGenstampV1 { genstamp } => self.leaf("GENSTAMP", genstamp),
            EditOp::SetNsQuota { src, ns_quota } => {
                self.text("SRC", src)?;
                self.leaf("NSQUOTA", ns_quota)
            }
            EditOp::ClearNsQuota { src } => self.text("SRC", src),
            EditOp::Times { path, mtime, atime } => {
                self.leaf("LENGTH", 0)?;
                self.text("PATH", path)?;
                self.leaf("MTIME", mtime)?;
                self.leaf("ATIME", atime)
            }
            EditOp::SetQuota {
                src,
                ns_quota,
                ds_quota,
            } => {
                self.text("SRC", src)?;
                self.leaf("NSQUOTA", ns_quota)?;
                self.leaf("DSQUOTA", ds_quota)
            }
            EditOp::Rename {
                src,
                dst,
                time,
                options,
                rpc_ids,
            } => {
                self.leaf("LENGTH", 0)?;
                self.text("SRC", src)?;
                self.text("DST", dst)?;
                self.leaf("TIMESTAMP", time)?;
                let names: Vec<&str> = options.iter().map(|option| option.name()).collect();
                self.text("OPTIONS", &names.join("|"))?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::ConcatDelete {
                target,
                sources,
                time,
                rpc_ids,
            } => {
                self.leaf("LENGTH", 0)?;
                self.text("TRG", target)?;
                self.leaf("TIMESTAMP", time)?;
                self.sources(sources)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::Symlink {
                inode_id,
                path,
                target,
                mtime,
                atime,
                permissions,
                rpc_ids,
            } => {
                self.leaf("LENGTH", 0)?;
                self.leaf("INODEID", inode_id)?;
                self.text("PATH", path)?;
                self.text("VALUE", target)?;
                self.leaf("MTIME", mtime)?;
                self.leaf("ATIME", atime)?;
                self.permissions(permissions)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::GetDelegationToken { token, expiry_time } | EditOp::RenewDelegationToken { token, expiry_time } => {
                self.token(token)?;
                self.leaf("EXPIRY_TIME", expiry_time)
            }
            EditOp::CancelDelegationToken { token } => self.token(token),
            EditOp::UpdateMasterKey { key } => self.key(key),
            EditOp::ReassignLease {
                lease_holder,
                path,
                new_holder,
            } => {
                self.text("LEASEHOLDER", lease_holder)?;
                self.text("PATH", path)?;
                self.text("NEWHOLDER", new_holder)
            }
            EditOp::EndLogSegment | EditOp::StartLogSegment => Ok(()),
            EditOp::UpdateBlocks { path, blocks, rpc_ids } => {
                self.text("PATH", path)?;
                self.blocks(blocks)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::CreateSnapshot {
                snapshot_root,
                snapshot_name,
                mtime,
                rpc_ids,
            }
            | EditOp::DeleteSnapshot {
                snapshot_root,
                snapshot_name,
                mtime,
                rpc_ids,
            } => {
                self.text("SNAPSHOTROOT", snapshot_root)?;
                self.text("SNAPSHOTNAME", snapshot_name)?;
                self.leaf("MTIME", mtime)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::RenameSnapshot {
                snapshot_root,
                snapshot_old_name,
                snapshot_new_name,
                mtime,
                rpc_ids,
            } => {
                self.text("SNAPSHOTROOT", snapshot_root)?;
                self.text("SNAPSHOTOLDNAME", snapshot_old_name)?;
                self.text("SNAPSHOTNEWNAME", snapshot_new_name)?;
                self.leaf("MTIME", mtime)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::AllowSnapshot { snapshot_root } | EditOp::DisallowSnapshot { snapshot_root } => {
                self.text("SNAPSHOTROOT", snapshot_root)
            }
            EditOp::SetGenstampV2 { genstamp } => self.leaf("GENSTAMPV2", genstamp),
            EditOp::AllocateBlockId { block_id } => self.leaf("BLOCK_ID", block_id),
            EditOp::AddBlock {
                path,
                penultimate,
                last,
                rpc_ids,
            } => {
                self.text("PATH", path)?;
                self.blocks(penultimate.as_slice())?;
                self.blocks(std::slice::from_ref(last))?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::AddCacheDirective { directive, rpc_ids } | EditOp::ModifyCacheDirective { directive, rpc_ids } => {
                self.cache_directive(directive)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::RemoveCacheDirective { id, rpc_ids } => {
                self.leaf("ID", id)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::AddCachePool { pool, rpc_ids } | EditOp::ModifyCachePool { pool, rpc_ids } => {
                self.cache_pool(pool)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::RemoveCachePool { pool_name, rpc_ids } => {
                self.text("POOLNAME", pool_name)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::SetAcl { src, entries } => {
                self.text("SRC", src)?;
                self.acl(entries)
            }
            EditOp::RollingUpgradeStart { time } => self.leaf("STARTTIME", time),
            EditOp::RollingUpgradeFinalize { time } => self.leaf("FINALIZETIME", time),
            EditOp::SetXAttr { src, xattrs, rpc_ids } | EditOp::RemoveXAttr { src, xattrs, rpc_ids } => {
                self.text("SRC", src)?;
                self.xattrs(xattrs)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::SetStoragePolicy { path, policy_id } => {
                self.text("PATH", path)?;
                self.leaf("POLICYID", *policy_id as i8)
            }
            EditOp::Truncate {
                src,
                client_name,
                client_machine,
                new_length,
                time,
                truncate_block,
            } => {
                self.text("SRC", src)?;
                self.text("CLIENTNAME", client_name)?;
                self.text("CLIENTMACHINE", client_machine)?;
                self.leaf("NEWLENGTH", new_length)?;
                self.leaf("TIMESTAMP", time)?;
                self.blocks(truncate_block.as_slice())
            }
            EditOp::Append {
                path,
                client_name,
                client_machine,
                new_block,
                rpc_ids,
            } => {
                self.text("PATH", path)?;
                self.text("CLIENT_NAME", client_name)?;
                self.text("CLIENT_MACHINE", client_machine)?;
                self.leaf("NEWBLOCK", new_block)?;
                self.rpc_ids(rpc_ids)
            }
            EditOp::SetQuotaByStorageType {
                src,
                storage_type,
                ds_quota,
            } => {
                self.text("SRC", src)?;
                self.leaf("STORAGETYPE", storage_type)?;
                self.leaf("DSQUOTA", ds_quota)
            }
            EditOp::AddErasureCodingPolicy {
                codec,
                data_units,
                parity_units,
                cell_size,
                extra_options,
                rpc_ids,
            } => {
                self.text("CODEC", codec)?;
                self.leaf("DATAUNITS", data_units)?;
                self.leaf("PARITYUNITS", parity_units)?;
                self.leaf("CELLSIZE", cell_size)?;
                self.leaf("EXTRAOPTIONS", extra_options.len())?;
                for (key, value) in extra_options {
                    self.open("EXTRAOPTION")?;
                    self.text("KEY", key)?;
                    self.text("VALUE", value)?;
                    self.close("EXTRAOPTION")?;
                }
                self.rpc_ids(rpc_ids)
            }
            EditOp::EnableErasureCodingPolicy { policy_name, rpc_ids }
            | EditOp::DisableErasureCodingPolicy { policy_name, rpc_ids }
            | EditOp::RemoveErasureCodingPolicy { policy_name, rpc_ids } => {
                self.text("POLICYNAME", policy_name)?;
                self.rpc_ids(rpc_ids)
            }
        }
    }

    fn optional(&mut self, name: &str, value: Option<&str>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.text(name, value))
    }

    fn optional_leaf(&mut self, name: &str, value: Option<impl Display>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.leaf(name, value))
    }

    fn add(&mut self, add: &AddOp) -> fmt::Result {
        self.leaf("LENGTH", 0)?;
        self.leaf("INODEID", add.inode_id)?;
        self.text("PATH", &add.path)?;
        self.leaf("REPLICATION", add.replication)?;
        self.leaf("MTIME", add.mtime)?;
        self.leaf("ATIME", add.atime)?;
        self.leaf("BLOCKSIZE", add.block_size)?;
        self.text("CLIENT_NAME", &add.client_name)?;
        self.text("CLIENT_MACHINE", &add.client_machine)?;
        self.leaf("OVERWRITE", add.overwrite)?;
        self.blocks(&add.blocks)?;
        self.permissions(&add.permissions)?;
        self.acl(&add.acl_entries)?;
        self.leaf("ERASURE_CODING_POLICY_ID", add.erasure_coding_policy_id as i8)?;
        self.rpc_ids(&add.rpc_ids)
    }

    fn close_op(&mut self, close: &CloseOp) -> fmt::Result {
        self.leaf("LENGTH", 0)?;
        self.leaf("INODEID", close.inode_id)?;
        self.text("PATH", &close.path)?;
        self.leaf("REPLICATION", close.replication)?;
        self.leaf("MTIME", close.mtime)?;
        self.leaf("ATIME", close.atime)?;
        self.leaf("BLOCKSIZE", close.block_size)?;
        // Java has one class for both ops, and also prints the fields that only the other op has.
        self.text("CLIENT_NAME", "")?;
        self.text("CLIENT_MACHINE", "")?;
        self.leaf("OVERWRITE", false)?;
        self.blocks(&close.blocks)?;
        self.permissions(&close.permissions)
    }

    fn sources(&mut self, sources: &[String]) -> fmt::Result {
        if sources.is_empty() {
            return self.text("SOURCES", "");
        }
        self.open("SOURCES")?;
        for (number, source) in (1_u64..).zip(sources) {
            self.text(&format!("SOURCE{number}"), source)?;
        }
        self.close("SOURCES")
    }

    fn blocks(&mut self, blocks: &[Block]) -> fmt::Result {
        for block in blocks {
            self.open("BLOCK")?;
            self.leaf("BLOCK_ID", block.id)?;
            self.leaf("NUM_BYTES", block.num_bytes)?;
            self.leaf("GENSTAMP", block.generation_stamp)?;
            self.close("BLOCK")?;
        }
        Ok(())
    }

    fn permissions(&mut self, permissions: &PermissionStatus) -> fmt::Result {
        self.open("PERMISSION_STATUS")?;
        self.text("USERNAME", &permissions.user)?;
        self.text("GROUPNAME", &permissions.group)?;
        self.leaf("MODE", permissions.mode)?;
        self.close("PERMISSION_STATUS")
    }

    fn acl(&mut self, entries: &[AclEntry]) -> fmt::Result {
        for entry in entries {
            self.open("ENTRY")?;
            self.leaf("SCOPE", entry.scope.name())?;
            self.leaf("TYPE", entry.entry_type.name())?;
            self.optional("NAME", entry.name.as_deref())?;
            self.leaf("PERM", fs_action_symbol(entry.permission))?;
            self.close("ENTRY")?;
        }
        Ok(())
    }

    fn xattrs(&mut self, xattrs: &[XAttr]) -> fmt::Result {
        for xattr in xattrs {
            self.open("XATTR")?;
            self.leaf("NAMESPACE", xattr.namespace.name())?;
            self.text("NAME", &xattr.name)?;
            if let Some(value) = &xattr.value {
                self.leaf("VALUE", format_args!("0x{}", Hex(value)))?;
            }
            self.close("XATTR")?;
        }
        Ok(())
    }

    fn rpc_ids(&mut self, ids: &RpcIds) -> fmt::Result {
        match &ids.client_id {
            Some(id) => self.leaf("RPC_CLIENTID", Uuid(id))?,
            None => self.text("RPC_CLIENTID", "")?,
        }
        self.leaf("RPC_CALLID", ids.call_id)
    }

    fn cache_directive(&mut self, directive: &CacheDirectiveInfo) -> fmt::Result {
        self.leaf("ID", directive.id)?;
        self.optional("PATH", directive.path.as_deref())?;
        self.optional_leaf("REPLICATION", directive.replication)?;
        self.optional("POOL", directive.pool.as_deref())?;
        self.optional_leaf("EXPIRATION", directive.expiration)
    }

    fn cache_pool(&mut self, pool: &CachePoolInfo) -> fmt::Result {
        self.text("POOLNAME", &pool.pool_name)?;
        self.optional("OWNERNAME", pool.owner_name.as_deref())?;
        self.optional("GROUPNAME", pool.group_name.as_deref())?;
        self.optional_leaf("MODE", pool.mode)?;
        self.optional_leaf("LIMIT", pool.limit)?;
        self.optional_leaf("MAXRELATIVEEXPIRY", pool.max_relative_expiry)?;
        self.optional_leaf("DEFAULTREPLICATION", pool.default_replication)
    }

    fn token(&mut self, token: &DelegationTokenIdentifier) -> fmt::Result {
        self.open("DELEGATION_TOKEN_IDENTIFIER")?;
        self.leaf("KIND", "HDFS_DELEGATION_TOKEN")?;
        self.leaf("SEQUENCE_NUMBER", token.sequence_number)?;
        self.text("OWNER", &token.owner)?;
        self.text("RENEWER", &token.renewer)?;
        self.text("REALUSER", &token.real_user)?;
        self.leaf("ISSUE_DATE", token.issue_date)?;
        self.leaf("MAX_DATE", token.max_date)?;
        self.leaf("MASTER_KEY_ID", token.master_key_id)?;
        self.close("DELEGATION_TOKEN_IDENTIFIER")
    }

    fn key(&mut self, key: &DelegationKey) -> fmt::Result {
        self.open("DELEGATION_KEY")?;
        self.leaf("KEY_ID", key.key_id)?;
        self.leaf("EXPIRY_DATE", key.expiry_date)?;
        self.optional_leaf("KEY", key.key.as_deref().map(Hex))?;
        self.close("DELEGATION_KEY")
    }
}

/// Bytes as hex digits.
struct Hex<'a>(&'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A client id as a UUID (`ClientId.toString`).
struct Uuid<'a>(&'a [u8; 16]);

impl Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// Text as Hadoop puts it into XML (`XMLUtils.mangleXmlString`). Characters that XML can't hold, and the backslash,
/// become `\ABCD;`. The rest is escaped.
fn put_mangled(out: &mut impl Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\t' | '\n' => out.write_char(c)?,
            // Java's serializer writes these as references, because its own readers would change them.
            '\r' | '\x7F'..='\u{9F}' | '\u{2028}' | '\u{10000}'.. => write!(out, "&#{};", u32::from(c))?,
            '\0'..='\x1F' | '\\' | '\u{FFFE}' | '\u{FFFF}' => write!(out, "\\{:04x};", u32::from(c))?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '&' => out.write_str("&amp;")?,
            _ => out.write_char(c)?,
        }
    }
    Ok(())
}
