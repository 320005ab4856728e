//! `-upgrade`, `-rollback` and `dfsadmin -finalizeUpgrade` of a NameNode without HA.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Kind, Single};
use std::io::Write;
use std::process::Stdio;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// Runs the NameNode with an option after which it ends, and answers its question.
fn answered(single: &Single, option: &str, answer: &str) -> Result<(Option<i32>, String)> {
    let mut command = single.command(Kind::Ours, "namenode", &single.conf(), &[option])?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("stdin")?.write_all(answer.as_bytes())?;
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), told))
}

fn ctime(single: &Single, index: usize) -> Result<i64> {
    let version = std::fs::read_to_string(single.name_dir(index).join("current/VERSION"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("cTime="));
    Ok(line.context("cTime")?.parse()?)
}

fn is_there(single: &Single, path: &str) -> bool {
    single.tool("dfs", &["-test", "-d", path]).is_ok()
}

#[test]
fn an_upgrade_is_rolled_back_or_finalized_and_not_begun_twice() -> Result<()> {
    let mut single = Single::new(HATHI, None, 2, &[])?;
    single.run_to_end(Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
    let (code, told) = answered(&single, "-rollback", "y\n")?;
    ensure!(
        code == Some(1) && told.contains("None of the storage directories"),
        "{code:?} {told}"
    );
    single.start_namenode(Kind::Ours)?;
    single.tool("dfs", &["-mkdir", "/before"])?;
    single.kill_namenode()?;

    single.start_namenode_with(Kind::Ours, &["-upgrade"])?;
    ensure!(is_there(&single, "/before"), "an edit was left out");
    single.tool("dfs", &["-mkdir", "/since"])?;
    let upgraded = ctime(&single, 0)?;
    ensure!(upgraded > 0 && upgraded == ctime(&single, 1)?, "{upgraded}");
    for index in 0..2 {
        ensure!(single.name_dir(index).join("previous/VERSION").exists(), "no previous");
    }
    single.kill_namenode()?;
    let (code, told) = answered(&single, "-upgrade", "")?;
    ensure!(
        code == Some(1) && told.contains("Finalize or rollback first"),
        "{code:?} {told}"
    );
    // A usual start goes on with it.
    single.start_namenode(Kind::Ours)?;
    ensure!(is_there(&single, "/since"), "an edit is lost");
    single.kill_namenode()?;

    let (code, told) = answered(&single, "-rollback", "n\n")?;
    ensure!(code == Some(1) && told.contains("Rollback aborted."), "{code:?} {told}");
    let (code, told) = answered(&single, "-rollback", "y\n")?;
    ensure!(code == Some(0), "{code:?} {told}");
    ensure!(ctime(&single, 0)? == 0 && ctime(&single, 1)? == 0, "another cTime");
    single.start_namenode(Kind::Ours)?;
    ensure!(
        is_there(&single, "/before") && !is_there(&single, "/since"),
        "it was not rolled back"
    );
    single.kill_namenode()?;

    single.start_namenode_with(Kind::Ours, &["-upgrade"])?;
    single.tool("dfsadmin", &["-finalizeUpgrade"])?;
    for index in 0..2 {
        ensure!(!single.name_dir(index).join("previous").exists(), "previous is left");
    }
    single.tool("dfs", &["-mkdir", "/then"])?;
    single.kill_namenode()?;
    single.start_namenode(Kind::Ours)?;
    ensure!(
        is_there(&single, "/before") && is_there(&single, "/then"),
        "an edit is lost"
    );
    Ok(())
}

#[test]
fn an_upgrade_that_was_cut_off_is_undone_or_completed_by_the_next_start() -> Result<()> {
    let mut single = Single::new(HATHI, None, 1, &[])?;
    single.run_to_end(Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
    let dir = single.name_dir(0);
    // After the first step: the image and VERSION are missing.
    std::fs::rename(dir.join("current"), dir.join("previous.tmp"))?;
    std::fs::create_dir(dir.join("current"))?;
    single.start_namenode(Kind::Ours)?;
    ensure!(
        !dir.join("previous.tmp").exists() && ctime(&single, 0)? == 0,
        "not undone"
    );
    single.kill_namenode()?;
    // Before the last step.
    single.start_namenode_with(Kind::Ours, &["-upgrade"])?;
    single.kill_namenode()?;
    std::fs::rename(dir.join("previous"), dir.join("previous.tmp"))?;
    single.start_namenode(Kind::Ours)?;
    ensure!(
        dir.join("previous/VERSION").exists() && ctime(&single, 0)? > 0,
        "not completed"
    );
    Ok(())
}
