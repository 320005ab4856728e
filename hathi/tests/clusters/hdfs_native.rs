//! The Rust crate hdfs-native as a client: written by others, for Hadoop.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use hdfs_native::{Client, ClientBuilder, WriteOptions};
use rustix::process::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn files_are_written_read_changed_and_found_again_after_a_failover() -> Result<()> {
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default())?;
    let client = ClientBuilder::new()
        .with_url("hdfs://hathi")
        .with_config_dir(cluster.conf().display().to_string())
        .build()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let data = Bytes::from((0..20_000_000_u32).map(|i| (i * 7 % 251) as u8).collect::<Vec<u8>>());
    runtime.block_on(use_files(&client, &data))?;

    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    runtime.block_on(find_files(&client, &data))
}

async fn use_files(client: &Client, data: &Bytes) -> Result<()> {
    client.mkdirs("/native/a", 0o755, true).await?;
    let mut writer = client.create("/native/a/f", WriteOptions::default()).await?;
    writer.write_bytes(data.clone()).await?;
    writer.close().await?;
    let mut reader = client.read("/native/a/f").await?;
    ensure!(reader.read_bytes(data.len()).await? == *data, "it came back changed");

    let mut writer = client.append("/native/a/f").await?;
    writer.write_bytes(Bytes::from_static(b"tail")).await?;
    writer.close().await?;
    client.rename("/native/a/f", "/native/g", false).await?;
    client.set_permission("/native/g", 0o640).await?;
    client.set_owner("/native/g", Some("alice"), Some("staff")).await?;
    client.set_replication("/native/g", 2).await?;
    client.set_times("/native/g", 1000, 2000).await?;
    client.mkdirs("/native/gone", 0o755, false).await?;
    ensure!(client.delete("/native/gone", false).await?, "nothing was deleted");
    Ok(())
}

async fn find_files(client: &Client, data: &Bytes) -> Result<()> {
    let listed = client.list_status("/native", true).await?;
    let paths: Vec<&str> = listed.iter().map(|status| status.path.as_str()).collect();
    ensure!(paths == ["/native/a", "/native/g"], "{paths:?}");
    let file = listed.last().context("no file")?;
    ensure!(file.length == data.len() + 4 && file.permission == 0o640, "{file:?}");
    ensure!(
        (file.owner.as_str(), file.group.as_str()) == ("alice", "staff"),
        "{file:?}"
    );
    ensure!(
        file.modification_time == 1000 && file.replication == Some(2),
        "{file:?}"
    );
    let reader = client.read("/native/g").await?;
    ensure!(
        reader.read_range(data.len(), 4).await? == "tail",
        "the appended bytes are others"
    );
    let summary = client.get_content_summary("/native").await?;
    ensure!((summary.file_count, summary.directory_count) == (1, 2), "{summary:?}");
    Ok(())
}
