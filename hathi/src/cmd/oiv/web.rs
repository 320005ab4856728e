//! Read-only WebHDFS on an image (`WebImageViewer`, `FSImageLoader`).

use super::tree::{ROOT, for_each_directory, for_each_inode, owner, references, referred};
use anyhow::{Context, Result, bail};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::fsimage::{AclBits, Image, InodeKind, InodeRef, SerialKind, StringTable, XAttrNameBits};
use hathi_formats::proto::fsimage::i_node_section::{AclFeatureProto, XAttrFeatureProto};
use hathi_formats::proto::hdfs::{AclEntryProto, AclStatusProto, FsPermissionProto, XAttrProto};
use hathi_formats::webhdfs::{self, Encoding, Parameters};
use hathi_net::http::StatusCode;
use hathi_net::http::server::{HttpRequest, HttpResponse, HttpServer, Query, json as json_answer, text};
use prost::Message;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::net::ToSocketAddrs;
use std::sync::Arc;

/// Deepest directory that a summary goes down to. A deeper one is a circle in a damaged image.
const DEPTH_MAX: usize = 1 << 16;

/// An image in memory, as Hadoop's viewer has it: the encoded inodes and the children of directories.
struct Loaded {
    strings: StringTable,
    /// The encoded inodes, one behind another.
    bytes: Vec<u8>,
    /// Where the bytes of each inode are: start and length.
    inodes: HashMap<u64, (usize, usize)>,
    children: HashMap<u64, Vec<u64>>,
}

type Answer<T> = std::result::Result<T, RemoteException>;

/// Serves the image on this address until the process is ended.
pub(super) fn serve(image: &Image<'_, File>, address: &str) -> Result<()> {
    let loaded = Arc::new(Loaded::load(image)?);
    let address = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("-addr {address}: no host and port"))?;
    let server = HttpServer::bind(
        address,
        Arc::new(move |request: HttpRequest| {
            let loaded = Arc::clone(&loaded);
            async move { loaded.answer(&request) }
        }),
    )
    .with_context(|| format!("cannot listen on {address}"))?;
    println!(
        "WebImageViewer started. Listening on {}. Press Ctrl+C to stop the viewer.",
        server.local_addr()
    );
    crate::output::flush();
    loop {
        std::thread::park();
    }
}

impl Loaded {
    fn load(image: &Image<'_, File>) -> Result<Loaded> {
        let mut loaded = Loaded {
            strings: StringTable::load(image)?,
            bytes: Vec::new(),
            inodes: HashMap::new(),
            children: HashMap::new(),
        };
        let section = image
            .section(hathi_formats::fsimage::SectionName::Inode)
            .context("the image has no inodes")?;
        // Each inode is decoded once here, so that every later decoding is known to succeed.
        for_each_inode(image, |_| Ok(()))?;
        let mut messages = image.messages(section);
        messages.next_bytes()?;
        while let Some(bytes) = messages.next_bytes()? {
            let id = InodeRef::decode(bytes).context("section INODE: a damaged inode")?.id;
            loaded.inodes.insert(id, (loaded.bytes.len(), bytes.len()));
            loaded.bytes.extend_from_slice(bytes);
        }
        if !loaded.inodes.contains_key(&ROOT) {
            bail!("the image has no root");
        }
        let references = references(image)?;
        for_each_directory(image, |entry| {
            let mut children = entry.children.clone();
            for index in &entry.ref_children {
                children.push(referred(&references, *index)?);
            }
            loaded.children.insert(entry.parent(), children);
            Ok(())
        })?;
        Ok(loaded)
    }

    fn inode(&self, id: u64) -> Answer<InodeRef<'_>> {
        let missing = || {
            let problem = format!("inode {id} is not in the image");
            RemoteException::new(exceptions::FILE_NOT_FOUND, problem)
        };
        let (start, len) = self.inodes.get(&id).ok_or_else(missing)?;
        let bytes = self.bytes.get(*start..start + len).unwrap_or_default();
        InodeRef::decode(bytes).map_err(|_| missing())
    }

    fn children(&self, id: u64) -> &[u64] {
        self.children.get(&id).map_or(&[], Vec::as_slice)
    }

    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let head = &request.head;
        if head.method.as_str() != "GET" {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return text(status, "");
        }
        match self.content(&head.path, &head.raw_query) {
            Ok(content) => json_answer(StatusCode::OK, content),
            Err(refused) => {
                let status = StatusCode::from_u16(webhdfs::status(&refused));
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                json_answer(status, webhdfs::remote_exception(&refused).to_string())
            }
        }
    }

    fn content(&self, path: &str, query: &str) -> Answer<String> {
        let Some(path) = webhdfs::path_of(path) else {
            let problem = format!("Path: {path} should start with {}", webhdfs::PATH_PREFIX);
            return Err(RemoteException::new(exceptions::FILE_NOT_FOUND, problem));
        };
        let parameters = Parameters::new(Query::pairs(query))?;
        let illegal = |problem: &str| RemoteException::new(exceptions::ILLEGAL_ARGUMENT, problem);
        let op = parameters
            .text("op")
            .ok_or_else(|| illegal("Param op must be specified."))?;
        let inode = || self.lookup(path).and_then(|id| self.inode(id));
        Ok(match op.to_ascii_uppercase().as_str() {
            "GETFILESTATUS" => format!("{{\"FileStatus\":\n{}\n}}\n", self.status(&inode()?, false)),
            "LISTSTATUS" => self.list(&inode()?)?,
            "GETACLSTATUS" => webhdfs::acl_status(&self.acl_status(&inode()?)).to_string(),
            "GETXATTRS" => self.xattrs(&inode()?, &parameters)?.to_string(),
            "LISTXATTRS" => webhdfs::xattr_names(&self.all_xattrs(&inode()?)).to_string(),
            "GETCONTENTSUMMARY" => format!("{{\"ContentSummary\":\n{}\n}}\n", self.summary(&inode()?)?),
            _ => return Err(illegal("Invalid value for webhdfs parameter \"op\"")),
        })
    }

    /// The inode of a path.
    fn lookup(&self, path: &str) -> Answer<u64> {
        let missing = || RemoteException::new(exceptions::FILE_NOT_FOUND, path);
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.children(at).iter().find(|child| {
                self.inode(**child)
                    .is_ok_and(|inode| String::from_utf8_lossy(inode.name) == name)
            });
            at = *found.ok_or_else(missing)?;
        }
        Ok(at)
    }

    fn status(&self, inode: &InodeRef<'_>, with_suffix: bool) -> Value {
        let (user, group, mode) = owner(&self.strings, inode.permission);
        let suffix = if with_suffix { inode.name } else { &[] };
        let mut members = json!({
            "accessTime": inode.access_time.cast_signed(),
            "blockSize": inode.preferred_block_size.cast_signed(),
            "group": group,
            "length": super::delimited::size(inode).cast_signed(),
            "modificationTime": inode.modification_time.cast_signed(),
            "owner": user,
            "pathSuffix": String::from_utf8_lossy(suffix),
            "permission": format!("{:o}", mode & 0o1777),
            // `INodeFile.DEFAULT_REPL_FOR_STRIPED_BLOCKS`
            "replication": if inode.striped { 1 } else { inode.replication },
            "type": match inode.kind {
                InodeKind::File => "FILE",
                InodeKind::Directory => "DIRECTORY",
                InodeKind::Symlink => "SYMLINK",
            },
            "fileId": inode.id.cast_signed(),
            "childrenNum": self.children(inode.id).len(),
        });
        if inode.kind == InodeKind::Symlink
            && let Value::Object(members) = &mut members
        {
            members.insert("symlink".into(), String::from_utf8_lossy(inode.target).into());
        }
        members
    }

    fn list(&self, inode: &InodeRef<'_>) -> Answer<String> {
        let listed: Vec<String> = if inode.kind == InodeKind::Directory {
            let children = self.children(inode.id).iter();
            children
                .map(|child| Ok(self.status(&self.inode(*child)?, true).to_string()))
                .collect::<Answer<_>>()?
        } else {
            vec![self.status(inode, false).to_string()]
        };
        Ok(format!(
            "{{\"FileStatuses\":{{\"FileStatus\":[\n{}\n]}}}}\n",
            listed.join(",")
        ))
    }

    fn acl_status(&self, inode: &InodeRef<'_>) -> AclStatusProto {
        let (user, group, mode) = owner(&self.strings, inode.permission);
        let acl = inode
            .acl
            .and_then(|acl| AclFeatureProto::decode(acl).ok())
            .unwrap_or_default();
        let entry = |packed: &u32| {
            let bits = AclBits::unpack(*packed);
            let name = match bits.entry_type.name() {
                "USER" => self.strings.get(SerialKind::User, bits.name),
                "GROUP" => self.strings.get(SerialKind::Group, bits.name),
                _ => None,
            };
            AclEntryProto {
                r#type: bits.entry_type as i32,
                scope: bits.scope as i32,
                permissions: i32::from(bits.permission),
                name: name.map(str::to_owned),
            }
        };
        AclStatusProto {
            owner: user.to_owned(),
            group: group.to_owned(),
            sticky: mode & 0o1000 != 0,
            entries: acl.entries.iter().map(entry).collect(),
            permission: Some(FsPermissionProto { perm: u32::from(mode) }),
        }
    }

    fn all_xattrs(&self, inode: &InodeRef<'_>) -> Vec<XAttrProto> {
        let feature = inode.xattrs.and_then(|xattrs| XAttrFeatureProto::decode(xattrs).ok());
        let xattrs = feature.unwrap_or_default().x_attrs;
        xattrs
            .iter()
            .filter_map(|xattr| {
                let bits = XAttrNameBits::unpack(xattr.name)?;
                Some(XAttrProto {
                    namespace: bits.namespace as i32,
                    name: self
                        .strings
                        .get(SerialKind::XAttr, bits.name)
                        .unwrap_or_default()
                        .to_owned(),
                    value: Some(xattr.value.clone().unwrap_or_default()),
                })
            })
            .collect()
    }

    /// All attributes, or those that are named.
    fn xattrs(&self, inode: &InodeRef<'_>, parameters: &Parameters) -> Answer<Value> {
        let encoding = parameters.words("encoding", "org.apache.hadoop.fs.XAttrCodec", Encoding::NAMES)?;
        let encoding = Encoding::of(encoding.first().copied().unwrap_or_default());
        let all = self.all_xattrs(inode);
        let names = parameters.all("xattr.name");
        if names.is_empty() {
            return Ok(webhdfs::xattrs(&all, encoding));
        }
        let mut wanted = Vec::new();
        for name in names {
            let asked = webhdfs::xattr(name, None)?;
            let found = all
                .iter()
                .find(|xattr| xattr.namespace == asked.namespace && xattr.name == asked.name);
            let missing = || {
                let problem = "At least one of the attributes provided was not found.";
                RemoteException::new(exceptions::XATTR_NOT_FOUND, problem)
            };
            wanted.push(found.ok_or_else(missing)?.clone());
        }
        Ok(webhdfs::xattrs(&wanted, encoding))
    }

    /// What is in an inode and below. A symlink counts as a file without bytes.
    fn summary(&self, inode: &InodeRef<'_>) -> Answer<Value> {
        let (mut directories, mut files, mut length, mut space) = (0_u64, 0_u64, 0_u64, 0_u64);
        let mut open = vec![(inode.id, 0)];
        while let Some((id, depth)) = open.pop() {
            let inode = self.inode(id)?;
            match inode.kind {
                InodeKind::Directory => {
                    directories += 1;
                    if depth > DEPTH_MAX || directories > self.inodes.len() as u64 {
                        let problem = format!("inode {id} is below itself");
                        return Err(RemoteException::new(exceptions::FILE_NOT_FOUND, problem));
                    }
                    open.extend(self.children(id).iter().map(|child| (*child, depth + 1)));
                }
                InodeKind::Symlink => files += 1,
                InodeKind::File => {
                    files += 1;
                    let size = super::delimited::size(&inode);
                    length = length.wrapping_add(size);
                    space = space.wrapping_add(size.wrapping_mul(u64::from(inode.replication)));
                }
            }
        }
        let quota = |quota: u64| {
            if inode.kind == InodeKind::Directory {
                quota.cast_signed()
            } else {
                -1
            }
        };
        Ok(json!({
            "directoryCount": directories,
            "fileCount": files,
            "length": length.cast_signed(),
            "quota": quota(inode.ns_quota),
            "spaceConsumed": space.cast_signed(),
            "spaceQuota": quota(inode.ds_quota),
        }))
    }
}
