//! Hadoop's shell over `webhdfs://`, before, during and after a kill of the active.

use crate::client::{Java, Said};
use anyhow::{Context, Result, ensure};
use hathi_interop::webhdfs::survive_kills;
use hathi_interop::{Cluster, ClusterOptions, FileClient, Hadoop, Role, wait_for};
use rustix::process::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the shell is told: `R` is a directory of its own for each round, `L` a directory of this machine.
const CALLS: &str = "\
-mkdir -p R/d
-mkdir R/d
-put L/large R/d/f
-put L/large R/d/f
-put -f L/small R/d/g
-ls -C R/d
-stat %b,%n,%o,%r,%u,%a,%F R/d/f
-checksum R/d/f
-get -f R/d/f L/back
-cat R/d/g
-cat R/d/none
-appendToFile L/small R/d/g
-cat R/d/g
-tail R/d/g
-chmod 750 R/d/g
-chown bob:staff R/d/g
-setrep 2 R/d/g
-touch -m -t 20260102:030405 R/d/g
-stat %y,%a,%u,%g,%r R/d/g
-setfacl -m user:bruce:rw-,default:user:bruce:r-x R/d
-getfacl R/d
-setfacl -x user:bruce R/d
-setfacl -k R/d
-setfacl -b R/d
-getfacl R/d
-setfacl --set user::rwx,user:x:r--,group::r-x,other::--- R/d
-getfacl R/d
-setfattr -n user.colour -v blue R/d/g
-setfattr -n user.hex -v 0x00ff R/d/g
-getfattr -e hex -d R/d/g
-setfattr -x user.colour R/d/g
-getfattr -d R/d/g
-mv R/d/g R/d/h
-mv R/d/none R/d/x
-cp R/d/h R/d/i
-cp R/d/h R/d/j
-concat R/d/f R/d/none R/d/none
-du -s R
-count R
-count -q R
-truncate 5 R/d/h
-test -e R/d/none
-test -d R/d
-createSnapshot R/d
-touchz R/d/empty
-checksum R/d/empty
-rmdir R/d
-rm R/d/j
-rm -r -skipTrash R/d/none
-find R -name h
-rm -r -skipTrash R/d
-ls R/d
";

fn round(java: &mut Java, fs: &str, name: &str, local: &str) -> Result<Vec<(String, Said)>> {
    let dir = format!("/{name}");
    let mut all = Vec::new();
    for line in CALLS.lines() {
        let filled = line.replace("R/", &format!("{dir}/")).replace(" R", &format!(" {dir}"));
        let filled = filled.replace("L/", &format!("{local}/"));
        let words: Vec<&str> = ["dfs", "-fs", fs].into_iter().chain(filled.split(' ')).collect();
        let mut said = java.call("", &words).context(filled.clone())?;
        for text in said.out.iter_mut().chain(&mut said.err) {
            *text = text.replace(&dir, "R").replace(fs, "FS");
        }
        // What it logs about failovers is no answer.
        said.out
            .retain(|text| !text.contains(" INFO ") && !text.contains(" WARN "));
        said.err
            .retain(|text| !text.contains(" INFO ") && !text.contains(" WARN "));
        all.push((line.to_owned(), said));
    }
    Ok(all)
}

#[test]
fn the_shell_says_the_same_over_webhdfs_before_during_and_after_a_kill() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let settings = ["dfs.blocksize=1048576"];
    let cluster = Cluster::start_with(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default(), &settings)?;
    let local = cluster.dir().join("local");
    std::fs::create_dir(&local)?;
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number.wrapping_mul(7919) >> 8) as u8)
        .collect();
    std::fs::write(local.join("large"), &large)?;
    std::fs::write(local.join("small"), "small\n")?;
    let local = local.display().to_string();
    let mut java = Java::start(&hadoop, &cluster.conf())?;
    // What the same calls say over RPC.
    let expected = round(&mut java, "hdfs://hathi", "rpc", &local)?;
    let mut wrong = Vec::new();
    for name in ["before", "during", "after"] {
        if name == "during" {
            let active = wait_for("one active", PATIENCE, || cluster.active());
            cluster.signal(Role::NameNode, active, Signal::KILL)?;
        }
        let said = round(&mut java, "webhdfs://hathi", name, &local)?;
        ensure!(
            std::fs::read(format!("{local}/back"))? == large,
            "{name}: the file came back changed"
        );
        for ((line, expected), (_, said)) in expected.iter().zip(&said) {
            if expected != said {
                wrong.push(format!("{name}: {line}\n  RPC:     {expected:?}\n  WebHDFS: {said:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn hadoops_client_over_webhdfs_sees_nothing_of_twenty_kills_and_loses_nothing() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default())?;
    cluster.hathi_ok("dfs", &["-mkdir", "/java"])?;
    let args = ["webhdfs://hathi", "/java"];
    let client = FileClient::of(&hadoop, &cluster.conf(), "WebHdfsClient.java", &args)?;
    survive_kills(&cluster, vec![("Hadoop's client", client)], 20)
}
