//! Cache pools and directives of Hadoop's tool and NameNode, and ours.

use anyhow::{Result, ensure};
use hathi_interop::{Hadoop, Kind, Single};

const CACHE_ADMIN: &str = "org.apache.hadoop.hdfs.tools.CacheAdmin";

/// What both tools print of the same NameNode.
fn listed(single: &Single, hadoop: &Hadoop) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for args in [
        &["-listPools", "-stats"][..],
        &["-listDirectives", "-stats"],
        &["-listDirectives", "-pool", "theirs"],
        &["-listPools", "ours"],
    ] {
        let java = hadoop.run_ok(&single.conf(), CACHE_ADMIN, args)?;
        let ours = single.tool("cacheadmin", args)?;
        ensure!(java == ours, "{args:?}: Java's tool prints\n{java}\nand ours\n{ours}");
        all.push(java);
    }
    Ok(all)
}

#[test]
fn both_tools_say_the_same_of_both_namenodes_and_images_carry_it() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut single = Single::new(env!("CARGO_BIN_EXE_hathi"), Some(hadoop.clone()), 1, &[])?;
    single.run_to_end(Kind::Hadoops, "namenode", &["-format", "-nonInteractive"])?;
    single.start_namenode(Kind::Hadoops)?;
    let pool = [
        "-addPool", "theirs", "-owner", "alice", "-mode", "0750", "-limit", "1000",
    ];
    hadoop.run_ok(&single.conf(), CACHE_ADMIN, &pool)?;
    single.tool("cacheadmin", &["-addPool", "ours", "-maxTtl", "4h"])?;
    single.tool("cacheadmin", &["-addDirective", "-path", "/a", "-pool", "theirs"])?;
    let wanted = listed(&single, &hadoop)?;
    single.tool("dfsadmin", &["-safemode", "enter"])?;
    single.tool("dfsadmin", &["-saveNamespace"])?;
    single.kill_namenode()?;

    single.start_namenode(Kind::Ours)?;
    ensure!(listed(&single, &hadoop)? == wanted, "they are lost");
    let added = hadoop.run_ok(
        &single.conf(),
        CACHE_ADMIN,
        &["-addDirective", "-path", "/b", "-pool", "theirs", "-replication", "3"],
    )?;
    ensure!(added == "Added cache directive 2\n", "{added}");
    let refused = ["-addDirective", "-path", "/b", "-pool", "nobodys"];
    let java = hadoop.run(&single.conf(), CACHE_ADMIN, &refused)?;
    let ours = single
        .command(Kind::Ours, "cacheadmin", &single.conf(), &refused)?
        .output()?;
    ensure!(java.status.code() == ours.status.code(), "{java:?} {ours:?}");
    let words = String::from_utf8_lossy(&ours.stderr);
    ensure!(
        String::from_utf8_lossy(&java.stderr).contains(&*words) && words.contains("Unknown pool nobodys"),
        "{java:?} {ours:?}"
    );
    let wanted = listed(&single, &hadoop)?;
    single.kill_namenode()?;

    single.start_namenode(Kind::Hadoops)?;
    ensure!(
        listed(&single, &hadoop)? == wanted,
        "Hadoop's NameNode does not find them again"
    );
    Ok(())
}
