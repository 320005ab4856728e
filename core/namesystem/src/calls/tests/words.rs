//! Class and words of refusals, row by row as Hadoop's NameNode gives them, and what the caller has to do.
//!
//! Clients act on the class, and users look for the words. The comments name the place in Hadoop 3.5 that throws.

use super::*;
use hathi_formats::exceptions::ExceptionClass;
use hathi_formats::exceptions::Remedy::{
    self, AskAgain, AskAnother, AskDifferently, GetRights, LookAnew, TellOperator,
};

/// A call, and the refusal that it gets.
struct Row {
    method: ClientMethod,
    caller: CallContext,
    body: Bytes,
    remedy: Remedy,
    class: ExceptionClass,
    words: String,
}

fn row(
    method: ClientMethod,
    request: &impl Message,
    remedy: Remedy,
    class: ExceptionClass,
    words: impl Into<String>,
) -> Row {
    Row {
        method,
        caller: hdfs(),
        body: body(request),
        remedy,
        class,
        words: words.into(),
    }
}

impl Row {
    fn by(self, user_name: &str) -> Row {
        Row {
            caller: user(user_name, false),
            ..self
        }
    }
}

fn check(ns: &mut Namesystem, rows: Vec<Row>) {
    for row in rows {
        let before = ns.edit_log().applied();
        let reply = raw(ns, &row.caller, row.method, row.body);
        let refused = reply.result.expect_err(&row.words);
        assert_eq!(
            (refused.class(), refused.message.as_str()),
            (Some(row.class), row.words.as_str()),
            "{:?}",
            row.method
        );
        assert_eq!(refused.remedy(), row.remedy, "{refused}");
        assert_eq!(
            ns.edit_log().applied(),
            before,
            "a refused call changes nothing: {refused}"
        );
    }
}

/// `/d/e`, the file `/f`, the open file `/open`, `/q` with room for no name, `/s` with room for no block, and `/t` as
/// `/tmp` is.
fn filled() -> Namesystem {
    let mut ns = active();
    // Active for long.
    ns.last_transition_ms = 0;
    make_file(&mut ns, "/f");
    call(&mut ns, &hdfs(), &create("/open")).unwrap();
    for dir in ["/d/e", "/q", "/s"] {
        call(&mut ns, &hdfs(), &mkdirs(dir)).unwrap();
    }
    let tmp = MkdirsRequestProto {
        masked: mode(0o1777),
        ..mkdirs("/t")
    };
    call(&mut ns, &hdfs(), &tmp).unwrap();
    make_file(&mut ns, "/t/f");
    for (path, names, space) in [("/q", 1, i64::MAX), ("/s", i64::MAX, 1 << 20)] {
        let quota = SetQuotaRequestProto {
            path: path.to_owned(),
            namespace_quota: names as u64,
            storagespace_quota: space as u64,
            storage_type: None,
        };
        call(&mut ns, &hdfs(), &quota).unwrap();
    }
    ns
}

fn locations(src: &str, offset: u64) -> GetBlockLocationsRequestProto {
    GetBlockLocationsRequestProto {
        src: src.to_owned(),
        offset,
        length: 1,
    }
}

fn rename2(src: &str, dst: &str) -> Rename2RequestProto {
    Rename2RequestProto {
        src: src.to_owned(),
        dst: dst.to_owned(),
        overwrite_dest: false,
        move_to_trash: None,
    }
}

fn set_permission(src: &str) -> SetPermissionRequestProto {
    SetPermissionRequestProto {
        src: src.to_owned(),
        permission: mode(0o700),
    }
}

#[test]
fn what_is_not_there_or_something_else_is_to_be_looked_at_anew() {
    use exceptions::*;
    let append = AppendRequestProto {
        src: "/none".to_owned(),
        client_name: CLIENT.to_owned(),
        flag: Some(4),
    };
    let check_access = CheckAccessRequestProto {
        path: "/none".to_owned(),
        mode: 1,
    };
    let orphan = MkdirsRequestProto {
        create_parent: false,
        ..mkdirs("/none/d")
    };
    let snapshot = CreateSnapshotRequestProto {
        snapshot_root: "/d".to_owned(),
        snapshot_name: None,
    };
    let rows = vec![
        // INodeFile.valueOf
        row(
            M::GetBlockLocations,
            &locations("/none", 0),
            LookAnew,
            FILE_NOT_FOUND,
            "File does not exist: /none",
        ),
        row(
            M::GetBlockLocations,
            &locations("/d", 0),
            LookAnew,
            FILE_NOT_FOUND,
            "Path is not a file: /d",
        ),
        // FSNamesystem.checkAccess
        row(
            M::CheckAccess,
            &check_access,
            LookAnew,
            FILE_NOT_FOUND,
            "Path not found: /none",
        ),
        // FSDirAppendOp.appendFile
        row(
            M::Append,
            &append,
            LookAnew,
            FILE_NOT_FOUND,
            "Failed to append to non-existent file /none for client 10.0.0.9",
        ),
        // FSDirRenameOp.validateRenameSource
        row(
            M::Rename2,
            &rename2("/none", "/x"),
            LookAnew,
            FILE_NOT_FOUND,
            "rename source /none is not found.",
        ),
        // FSDirectory.verifyParentDir
        row(
            M::Mkdirs,
            &orphan,
            LookAnew,
            FILE_NOT_FOUND,
            "Parent directory doesn't exist: /none",
        ),
        // FSDirMkdirOp.mkdirs
        row(
            M::Mkdirs,
            &mkdirs("/f"),
            LookAnew,
            FILE_ALREADY_EXISTS,
            "Path is not a directory: /f",
        ),
        // FSPermissionChecker.checkTraverse
        row(
            M::Mkdirs,
            &mkdirs("/f/x"),
            LookAnew,
            PARENT_NOT_DIRECTORY,
            "/f (is not a directory)",
        ),
        // FSDirWriteFileOp.startFile, FSNamesystem.startFileInt
        row(
            M::Create,
            &create("/f"),
            LookAnew,
            FILE_ALREADY_EXISTS,
            "/f for client 10.0.0.9 already exists",
        ),
        row(
            M::Create,
            &create("/d"),
            LookAnew,
            FILE_ALREADY_EXISTS,
            "/d already exists as a directory",
        ),
        // FSDirRenameOp.validateOverwrite
        row(
            M::Rename2,
            &rename2("/f", "/t/f"),
            LookAnew,
            FILE_ALREADY_EXISTS,
            "rename destination /t/f already exists",
        ),
        // FSDirDeleteOp.delete
        row(
            M::Delete,
            &delete("/d", false),
            LookAnew,
            PATH_IS_NOT_EMPTY_DIRECTORY,
            "`/d is non empty': Directory is not empty",
        ),
        // SnapshotManager.getSnapshottableRoot
        row(
            M::CreateSnapshot,
            &snapshot,
            LookAnew,
            SNAPSHOT,
            "Directory is not a snapshottable directory: /d",
        ),
    ];
    check(&mut filled(), rows);
}

#[test]
fn leases_say_who_writes() {
    use exceptions::*;
    let by_other = |src: &str| CreateRequestProto {
        client_name: "DFSClient_2".to_owned(),
        ..create(src)
    };
    let add = |src: &str, client_name: &str, file_id| AddBlockRequestProto {
        client_name: client_name.to_owned(),
        file_id: Some(file_id),
        ..add_block(src, None)
    };
    let rows = vec![
        // FSNamesystem.recoverLeaseInternal
        row(
            M::Create,
            &create("/open"),
            LookAnew,
            ALREADY_BEING_CREATED,
            "Failed to CREATE_FILE /open for DFSClient_1 on 10.0.0.9 because DFSClient_1 is already the current lease \
             holder.",
        ),
        row(
            M::Create,
            &by_other("/open"),
            LookAnew,
            ALREADY_BEING_CREATED,
            "Failed to CREATE_FILE /open for DFSClient_2 on 10.0.0.9 because this file lease is currently owned by \
             DFSClient_1 on 10.0.0.9",
        ),
        // FSNamesystem.checkLease, leaseExceptionString
        row(
            M::AddBlock,
            &add("/open", "DFSClient_2", 16_387),
            LookAnew,
            LEASE_EXPIRED,
            "Client (=DFSClient_2) is not the lease owner (=DFSClient_1: /open (inode 16387) Holder DFSClient_2 does \
             not have any open files.",
        ),
        row(
            M::AddBlock,
            &add("/f", CLIENT, 16_386),
            LookAnew,
            LEASE_EXPIRED,
            "File is not open for writing: /f (inode 16386) [Lease.  Holder: DFSClient_1, pending creates: 1]",
        ),
    ];
    check(&mut filled(), rows);
}

#[test]
fn rights_and_quotas_are_to_be_got() {
    use exceptions::*;
    let datanodes = GetDatanodeReportRequestProto { r#type: 1 };
    let owner = SetOwnerRequestProto {
        src: "/f".to_owned(),
        username: Some("alice".to_owned()),
        groupname: None,
    };
    let rows = vec![
        // FSPermissionChecker.toAccessControlString
        row(
            M::Mkdirs,
            &mkdirs("/a"),
            GetRights,
            ACCESS_CONTROL,
            "Permission denied: user=alice, access=WRITE, inode=\"/\":hdfs:supergroup:drwxr-xr-x",
        )
        .by("alice"),
        // FSPermissionChecker.checkOwner
        row(
            M::SetPermission,
            &set_permission("/f"),
            GetRights,
            ACCESS_CONTROL,
            "Permission denied. user=alice is not the owner of inode=/f",
        )
        .by("alice"),
        // FSPermissionChecker.checkStickyBit
        row(
            M::Delete,
            &delete("/t/f", false),
            GetRights,
            ACCESS_CONTROL,
            "Permission denied by sticky bit: user=alice, path=\"/t/f\":hdfs:supergroup:-rw-r--r--, \
             parent=\"/t\":hdfs:supergroup:drwxrwxrwt",
        )
        .by("alice"),
        // FSDirAttrOp.setOwner
        row(
            M::SetOwner,
            &owner,
            GetRights,
            ACCESS_CONTROL,
            "Permission denied. user=alice is not the owner of inode=/f",
        )
        .by("alice"),
        // FSNamesystem.checkSuperuserPrivilege
        row(
            M::GetDatanodeReport,
            &datanodes,
            GetRights,
            ACCESS_CONTROL,
            "Access denied for user alice. Superuser privilege is required for operation datanodeReport",
        )
        .by("alice"),
        // NSQuotaExceededException.getMessage
        row(
            M::Mkdirs,
            &mkdirs("/q/d"),
            GetRights,
            NS_QUOTA_EXCEEDED,
            "The NameSpace quota (directories and files) of directory /q is exceeded: quota=1 file count=2",
        ),
    ];
    check(&mut filled(), rows);
}

#[test]
fn a_block_needs_room_in_the_quota_and_datanodes() {
    use exceptions::*;
    let mut ns = filled();
    let no_datanode = row(
        M::AddBlock,
        &add_block("/open", None),
        TellOperator,
        IO,
        // BlockManager.chooseTarget4NewBlock
        "File /open could only be written to 0 of the 1 minReplication nodes. There are 0 datanode(s) running and 0 \
         node(s) are excluded in this operation.",
    );
    check(&mut ns, vec![no_datanode]);
    call(&mut ns, &hdfs(), &create("/s/f")).unwrap();
    datanodes(&mut ns, 3);
    let no_room = row(
        M::AddBlock,
        &add_block("/s/f", None),
        GetRights,
        DS_QUOTA_EXCEEDED,
        // DSQuotaExceededException.getMessage
        "The DiskSpace quota of /s is exceeded: quota = 1048576 B = 1 MB but diskspace consumed = 402653184 B = 384 MB",
    );
    check(&mut ns, vec![no_room]);
}

#[test]
fn what_can_never_be_served_is_to_be_asked_differently() {
    use exceptions::*;
    let with = |change: fn(&mut CreateRequestProto)| {
        let mut request = create("/x");
        change(&mut request);
        request
    };
    let name = "x".repeat(256);
    let long_name =
        format!("The maximum path component name limit of {name} in directory / is exceeded: limit=255 length=256");
    let long_path = format!("/{}", "x".repeat(8000));
    let other_pool = ExtendedBlockProto {
        pool_id: "BP-other".to_owned(),
        ..Default::default()
    };
    let namespaces = RenewLeaseRequestProto {
        client_name: CLIENT.to_owned(),
        namespaces: vec!["a".to_owned()],
    };
    let zone = CreateEncryptionZoneRequestProto {
        src: "/d".to_owned(),
        key_name: None,
    };
    let rows = vec![
        // FSDirectory.verifyMaxComponentLength
        row(
            M::Mkdirs,
            &mkdirs(&format!("/{name}")),
            AskDifferently,
            PATH_COMPONENT_TOO_LONG,
            long_name,
        ),
        // NameNodeRpcServer.create, checkPathLength
        row(
            M::Create,
            &create(&long_path),
            TellOperator,
            IO,
            "create: Pathname too long.  Limit 8000 characters, 1000 levels.",
        ),
        // BlockManager.verifyReplication
        row(
            M::Create,
            &with(|create| create.replication = 600),
            TellOperator,
            IO,
            "Requested replication factor of 600 exceeds maximum of 512 for /x, clientName=10.0.0.9",
        ),
        // FSNamesystem.startFileInt
        row(
            M::Create,
            &with(|create| create.block_size = 1),
            TellOperator,
            IO,
            "Specified block size 1 is less than configured minimum value dfs.namenode.fs-limits.min-block-size=1048576",
        ),
        // FSDirAttrOp.unprotectedSetStoragePolicy
        row(
            M::Create,
            &with(|create| create.storage_policy = Some("LUKEWARM".to_owned())),
            AskDifferently,
            HADOOP_ILLEGAL_ARGUMENT,
            "Cannot find a block policy with the name LUKEWARM",
        ),
        // FSDirectory.resolvePath, InvalidPathException
        row(
            M::Mkdirs,
            &mkdirs("/a/../b"),
            AskDifferently,
            INVALID_PATH,
            "Invalid path name Invalid file name: /a/../b",
        ),
        // FSNamesystem.getBlockLocations
        row(
            M::GetBlockLocations,
            &locations("/f", u64::MAX),
            AskDifferently,
            ILLEGAL_ARGUMENT,
            "Negative offset is not supported. File: /f",
        ),
        // FSDirWriteFileOp.checkBlock
        row(
            M::Complete,
            &complete("/open", Some(other_pool)),
            TellOperator,
            IO,
            "Unexpected BlockPoolId BP-other - expected BP-1-127.0.0.1-1",
        ),
        // NameNodeRpcServer.renewLease
        row(
            M::RenewLease,
            &namespaces,
            TellOperator,
            IO,
            "namespaces([a]) should be null or empty",
        ),
        // FSNamesystem.createEncryptionZoneInt
        row(
            M::CreateEncryptionZone,
            &zone,
            TellOperator,
            IO,
            "Can't create an encryption zone for /d since no key provider is available.",
        ),
        // FSNamesystem.saveNamespace
        row(
            M::SaveNamespace,
            &SaveNamespaceRequestProto::default(),
            TellOperator,
            IO,
            "Safe mode should be turned ON in order to create namespace image.",
        ),
    ];
    check(&mut filled(), rows);
}

#[test]
fn a_standby_and_safe_mode_pass() {
    use exceptions::*;
    let on_standby = row(
        M::Mkdirs,
        &mkdirs("/a"),
        AskAnother,
        STANDBY,
        // StandbyState.checkOperation
        "Operation category WRITE is not supported in state standby. Visit https://s.apache.org/sbnn-error",
    );
    check(&mut new_namesystem(), vec![on_standby]);
    let mut ns = filled();
    ns.enter_safe_mode();
    let in_safe_mode = row(
        M::Mkdirs,
        &mkdirs("/a"),
        AskAgain,
        SAFE_MODE,
        // FSNamesystem.newSafemodeException
        "Cannot create directory /a. Name node is in safe mode.\nIt was turned on manually. Use \"hdfs dfsadmin -safemode \
         leave\" to turn safe mode off. NamenodeHostName:nn1.example",
    );
    check(&mut ns, vec![in_safe_mode]);
}
