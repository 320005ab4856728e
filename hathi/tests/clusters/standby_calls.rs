//! Calls that reach a NameNode that is not the active, as Hadoop's client sends them: the first attempt is sent away, and
//! who has been sent away before is served through it.

use anyhow::{Context, Result};
use hathi_conf::Configuration;
use hathi_formats::exceptions::{ACCESS_CONTROL, AUTHORIZATION, CALL_LATE, STANDBY};
use hathi_formats::proto::hdfs::{
    DeleteRequestProto, DeleteResponseProto, FsPermissionProto, MkdirsRequestProto, MkdirsResponseProto,
    SetPermissionRequestProto, SetPermissionResponseProto,
};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{CallIds, ClientId, ClientOptions, RpcClient, RpcError, UserInfo, connect_to};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const NAMENODES: u16 = 3;

/// A cluster with `/open`, where everybody may write.
fn start() -> Result<Cluster> {
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default())?;
    cluster.hathi_ok("dfs", &["-mkdir", "/open"])?;
    cluster.hathi_ok("dfs", &["-chmod", "777", "/open"])?;
    Ok(cluster)
}

/// Alice's connection to one NameNode.
async fn connect(cluster: &Cluster, index: u16) -> Result<RpcClient> {
    let conf = Configuration::load(&cluster.conf())?;
    let key = format!("dfs.namenode.rpc-address.hathi.nn{index}");
    let address = conf.get(&key).context(key)?;
    Ok(connect_to(&address, &CLIENT_PROTOCOL, &ClientOptions::new("alice")).await?)
}

/// A call's identity.
fn attempt(call_id: i32, retry_count: i32) -> CallIds {
    CallIds {
        client_id: ClientId::from([7; 16]),
        call_id,
        retry_count,
    }
}

async fn mkdirs(client: &RpcClient, path: &str, ids: CallIds) -> Result<bool, RpcError> {
    let request = MkdirsRequestProto {
        src: path.to_owned(),
        masked: FsPermissionProto { perm: 0o755 },
        create_parent: false,
        unmasked: None,
    };
    let made: MkdirsResponseProto = client.call_with("mkdirs", &request, Some(ids), None).await?;
    Ok(made.result)
}

async fn delete(client: &RpcClient, path: &str, ids: CallIds) -> Result<bool, RpcError> {
    let request = DeleteRequestProto {
        src: path.to_owned(),
        recursive: true,
    };
    let deleted: DeleteResponseProto = client.call_with("delete", &request, Some(ids), None).await?;
    Ok(deleted.result)
}

#[tokio::test]
async fn a_standby_passes_a_second_attempt_on_in_its_clients_name() -> Result<()> {
    let cluster = start()?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    let at_active = connect(&cluster, active).await?;
    for standby in (0..NAMENODES).filter(|index| *index != active) {
        let at_standby = connect(&cluster, standby).await?;
        let path = format!("/open/{standby}");
        let call = |number: i32| i32::from(standby) * 10 + number;
        let refused = mkdirs(&at_standby, &path, attempt(call(0), 0)).await;
        assert!(refused.is_err_and(|error| error.is_remote(STANDBY)));
        // It may not know yet who is active.
        let started = Instant::now();
        while let Err(error) = mkdirs(&at_standby, &path, attempt(call(0), 1)).await {
            assert!(error.is_remote(STANDBY), "{error}");
            assert!(started.elapsed() < PATIENCE, "it is never passed on");
        }
        let owner = cluster.hathi_ok("dfs", &["-stat", "%u", &path])?;
        assert_eq!(owner.trim(), "alice");
        let forbidden = mkdirs(&at_standby, "/forbidden", attempt(call(1), 1)).await;
        assert!(forbidden.is_err_and(|error| error.is_remote(ACCESS_CONTROL)));

        assert!(delete(&at_standby, &path, attempt(call(2), 1)).await?);
        assert!(
            delete(&at_active, &path, attempt(call(2), 2)).await?,
            "the same call, sent again to the active, gets the same answer"
        );
        assert!(!delete(&at_active, &path, attempt(call(3), 0)).await?);
    }
    Ok(())
}

async fn chmod(client: &RpcClient, perm: u32, ids: CallIds) -> Result<(), RpcError> {
    let request = SetPermissionRequestProto {
        src: "/open/mine".to_owned(),
        permission: FsPermissionProto { perm },
    };
    let _: SetPermissionResponseProto = client.call_with("setPermission", &request, Some(ids), None).await?;
    Ok(())
}

fn permissions(cluster: &Cluster) -> Result<String> {
    let permissions = cluster.hathi_ok("dfs", &["-stat", "%a", "/open/mine"])?;
    Ok(permissions.trim().to_owned())
}

#[tokio::test]
async fn safety_11_a_frozen_standby_keeps_no_call_that_its_client_has_given_up() -> Result<()> {
    let cluster = start()?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    let at_active = connect(&cluster, active).await?;
    mkdirs(&at_active, "/open/mine", attempt(0, 0)).await?;
    let standby = (active + 1) % NAMENODES;
    // It knows whom to pass calls on to.
    let at_standby = connect(&cluster, standby).await?;
    let started = Instant::now();
    while chmod(&at_standby, 0o711, attempt(1, 1)).await.is_err() {
        assert!(started.elapsed() < PATIENCE, "it is never passed on");
    }
    assert_eq!(permissions(&cluster)?, "711");

    cluster.signal(Role::NameNode, standby, Signal::STOP)?;
    let given_up = tokio::spawn({
        let at_standby = at_standby.clone();
        async move { chmod(&at_standby, 0o700, attempt(2, 1)).await }
    });
    // So long the client waits before it gives up. The connection stays open all the same, as it does when a thread of
    // Hadoop's client is interrupted.
    tokio::time::sleep(Duration::from_millis(300)).await;
    chmod(&at_active, 0o700, attempt(2, 2)).await?;
    chmod(&at_active, 0o755, attempt(3, 0)).await?;
    cluster.signal(Role::NameNode, standby, Signal::CONT)?;
    let late = given_up.await?;
    assert_eq!(permissions(&cluster)?, "755", "{late:?}");
    assert!(late.as_ref().is_err_and(|error| error.is_remote(STANDBY)), "{late:?}");
    Ok(())
}

#[tokio::test]
async fn safety_11_a_call_that_was_on_its_way_between_two_namenodes_for_too_long_is_refused() -> Result<()> {
    let cluster = start()?;
    let process = cluster.hathi_ok("dfs", &["-stat", "%u", "/open"])?.trim().to_owned();
    trust_own_user(&cluster, &process)?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    let at_active = connect(&cluster, active).await?;
    mkdirs(&at_active, "/open/mine", attempt(0, 0)).await?;
    chmod(&at_active, 0o700, attempt(2, 2)).await?;
    chmod(&at_active, 0o755, attempt(3, 0)).await?;
    // What a standby sent long ago, to the process that served then: the network, or that process, held it up.
    let between = connect_to(&address_of(&cluster, active)?, &CLIENT_PROTOCOL, &for_alice(&process)).await?;
    let late = chmod(&between, 0o700, attempt(2, 0)).await;
    assert_eq!(permissions(&cluster)?, "755", "{late:?}");
    assert!(late.as_ref().is_err_and(|error| error.is_remote(CALL_LATE)), "{late:?}");
    Ok(())
}

fn address_of(cluster: &Cluster, index: u16) -> Result<String> {
    let conf = Configuration::load(&cluster.conf())?;
    conf.get(&format!("dfs.namenode.rpc-address.hathi.nn{index}"))
        .context("address")
}

/// Says that it passes on what Alice has sent to a standby.
fn for_alice(real_user: &str) -> ClientOptions {
    ClientOptions {
        user: UserInfo {
            real_user: Some(real_user.to_owned()),
            ..ClientOptions::new("alice").user
        },
        caller_context: Some("hathiWaiting:earlier.1.1,clientIp:127.0.0.1,clientPort:4000".to_owned()),
        ..ClientOptions::new("alice")
    }
}

/// Lets the NameNodes take their own user for a router's, which is believed as a NameNode is.
fn trust_own_user(cluster: &Cluster, process: &str) -> Result<()> {
    let trusted = [
        ("core-site.xml", format!("hadoop.proxyuser.{process}.users"), "*"),
        ("core-site.xml", format!("hadoop.proxyuser.{process}.hosts"), "*"),
        ("hdfs-site.xml", "dfs.namenode.ip-proxy-users".to_owned(), process),
    ];
    for index in 0..NAMENODES {
        for (file, key, value) in &trusted {
            let path = cluster.conf().join(format!("namenode-{index}")).join(file);
            let text = std::fs::read_to_string(&path)?;
            let property = format!("<property><name>{key}</name><value>{value}</value></property></configuration>");
            std::fs::write(&path, text.replace("</configuration>", &property))?;
        }
        cluster.signal(Role::NameNode, index, Signal::KILL)?;
    }
    Ok(())
}

#[tokio::test]
async fn who_only_says_that_he_is_a_namenode_is_not_believed() -> Result<()> {
    let cluster = start()?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    let at_active = connect(&cluster, active).await?;
    mkdirs(&at_active, "/open/mine", attempt(0, 0)).await?;
    let process = cluster.hathi_ok("dfs", &["-stat", "%u", "/open"])?;
    let invented = "hathi-namenode/0123456789abcdef0123456789abcdef";
    for real_user in [process.trim(), "mallory", invented] {
        let options = for_alice(real_user);
        let said = connect_to(&address_of(&cluster, active)?, &CLIENT_PROTOCOL, &options).await?;
        let refused = chmod(&said, 0o700, attempt(1, 0)).await.unwrap_err();
        assert!(refused.is_remote(AUTHORIZATION), "{real_user}: {refused}");
    }
    assert_eq!(permissions(&cluster)?, "755");
    Ok(())
}

#[tokio::test]
async fn every_standby_serves_second_attempts_while_the_active_is_replaced() -> Result<()> {
    let cluster = start()?;
    for round in 0..3 {
        let active = wait_for("one active", PATIENCE, || cluster.active());
        let standbys: Vec<_> = (0..NAMENODES).filter(|index| *index != active).collect();
        for standby in &standbys {
            let state = ["-getServiceState", &format!("nn{standby}")];
            wait_for("the standbys", PATIENCE, || {
                let state = cluster.hathi_ok("haadmin", &state).ok()?;
                (state.trim() == "standby").then_some(())
            });
        }
        let first = connect(&cluster, standbys[0]).await?;
        let second = connect(&cluster, standbys[1]).await?;
        // A standby that has just started sends everybody away until it has heard of the lease.
        for (index, standby) in (0..).zip([&first, &second]) {
            let (path, started) = (format!("/open/known-{round}-{index}"), Instant::now());
            while let Err(error) = mkdirs(standby, &path, attempt(100 + round * 2 + index, 1)).await {
                assert!(error.is_remote(STANDBY), "{error}");
                assert!(started.elapsed() < PATIENCE, "it never hears of the lease");
            }
        }
        cluster.signal(Role::NameNode, active, Signal::KILL)?;
        let paths = [standbys[0], standbys[1]].map(|standby| format!("/open/{round}-{standby}"));
        let (first, second) = tokio::join!(
            mkdirs(&first, &paths[0], attempt(round * 2, 1)),
            mkdirs(&second, &paths[1], attempt(round * 2 + 1, 1)),
        );
        assert!(first? && second?);
    }
    Ok(())
}
