//! Name directories and shared edits are made whole or not at all, whenever the one who makes them is killed.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Faults, Kind, Pair, SharedEdits, Single};
use hathi_namenode::storage::{self, NameDirs};
use hathi_namenode::{Settings, image_upload, load};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const SIGKILL: i32 = 9;
const FORMAT: [&str; 2] = ["-format", "-nonInteractive"];
const BOOTSTRAP: [&str; 2] = ["-bootstrapStandby", "-nonInteractive"];
const INITIALIZE: [&str; 2] = ["-initializeSharedEdits", "-nonInteractive"];

/// Whether there is nothing in any name directory; if there is something, all of them must be whole.
fn is_empty(conf: &Path) -> Result<bool> {
    let settings = Settings::load(conf)?;
    if storage::has_some_data(&settings)?.is_empty() {
        return Ok(true);
    }
    let dirs = NameDirs::open(&settings)?;
    let images = dirs.images();
    ensure!(
        images.len() == settings.name_dirs.len(),
        "{images:?} in {:?}",
        settings.name_dirs
    );
    for image in images {
        ensure!(storage::read_md5(&image.path)? == load::digest_of(&image.path)?);
        image_upload::check_image(settings.namespace()?, &image.path, &dirs.info, image.txid)?;
    }
    Ok(false)
}

fn told(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat()
}

/// Runs the command again and again, each time killed one change of a file later, until it ends by itself. After each time
/// `check` looks, and puts things back for the next. Answers how often it was killed.
fn kill_everywhere(
    conf: &Path,
    mut command: impl FnMut() -> Result<Command>,
    mut check: impl FnMut() -> Result<()>,
) -> Result<u64> {
    for change in 1.. {
        let mut command = command()?;
        let faults = Faults::of(&mut command, conf)?;
        faults.die_at(change)?;
        let output = command.output()?;
        let was_killed = output.status.signal() == Some(SIGKILL);
        ensure!(was_killed || output.status.success(), "{}", told(&output));
        check().with_context(|| format!("killed at change {change}: {was_killed}\n{}", told(&output)))?;
        if !was_killed {
            return Ok(change - 1);
        }
    }
    unreachable!("it ends by itself")
}

#[test]
fn a_format_that_is_killed_anywhere_leaves_nothing_or_all_of_it() -> Result<()> {
    let mut single = Single::new(HATHI, None, 2, &[])?;
    let conf = single.conf();
    let (mut nothing, mut all) = (0, 0);
    let kills = kill_everywhere(
        &conf,
        || single.command(Kind::Ours, "namenode", &conf, &FORMAT),
        || {
            let was_empty = is_empty(&conf)?;
            let again = single.command(Kind::Ours, "namenode", &conf, &FORMAT)?.output()?;
            let expected = if was_empty { 0 } else { 1 };
            ensure!(again.status.code() == Some(expected), "{}", told(&again));
            ensure!(was_empty || told(&again).contains("data appears to exist in Storage Directory root= "));
            ensure!(!is_empty(&conf)?);
            *(if was_empty { &mut nothing } else { &mut all }) += 1;
            for index in 0..2 {
                std::fs::remove_dir_all(single.name_dir(index))?;
            }
            Ok(())
        },
    )?;
    ensure!(kills > 20 && nothing > 10 && all > 1, "{kills} {nothing} {all}");
    single.run_to_end(Kind::Ours, "namenode", &FORMAT)?;
    single.start_namenode(Kind::Ours)
}

#[test]
fn a_forced_format_that_is_killed_anywhere_leaves_the_old_namespace_or_the_new_one() -> Result<()> {
    let single = Single::new(HATHI, None, 2, &[])?;
    let conf = single.conf();
    single.run_to_end(Kind::Ours, "namenode", &["-format", "-clusterid", "CID-0"])?;
    let (mut number, mut old) = (0, 0);
    let mut last = "CID-0".to_owned();
    let next = Cell::new(0);
    kill_everywhere(
        &conf,
        || {
            next.set(next.get() + 1);
            let id = format!("CID-{}", next.get());
            single.command(Kind::Ours, "namenode", &conf, &["-format", "-force", "-clusterid", &id])
        },
        || {
            number += 1;
            ensure!(!is_empty(&conf)?);
            let found = NameDirs::open(&Settings::load(&conf)?)?.info.cluster_id.clone();
            let new = format!("CID-{number}");
            ensure!(found == last || found == new, "{found} instead of {last} or {new}");
            old += usize::from(found == last);
            last = found;
            Ok(())
        },
    )?;
    ensure!(old > 10 && last == format!("CID-{number}"), "{old} {last}");
    Ok(())
}

/// Formatted and started, with the edits of both NameNodes in a directory.
fn started() -> Result<Pair> {
    let mut pair = Pair::new(HATHI, None, SharedEdits::Directory, &[])?;
    pair.namenode(Kind::Ours, &pair.conf(0), &FORMAT)?;
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.run("dfs", &["-mkdir", "/made"])?;
    Ok(pair)
}

#[test]
fn a_bootstrap_that_is_killed_anywhere_leaves_nothing_or_all_of_it() -> Result<()> {
    let mut pair = started()?;
    let conf = pair.conf(1);
    let (mut nothing, mut all) = (0, 0);
    kill_everywhere(
        &conf,
        || pair.namenode_command(1, &BOOTSTRAP),
        || {
            let was_empty = is_empty(&conf)?;
            let again = pair.namenode_command(1, &BOOTSTRAP)?.output()?;
            // `ERR_CODE_ALREADY_FORMATTED`
            let expected = if was_empty { 0 } else { 5 };
            ensure!(again.status.code() == Some(expected), "{}", told(&again));
            ensure!(!is_empty(&conf)?);
            *(if was_empty { &mut nothing } else { &mut all }) += 1;
            Ok(std::fs::remove_dir_all(pair.name_dir(1))?)
        },
    )?;
    ensure!(nothing > 10 && all > 1, "{nothing} {all}");
    pair.namenode(Kind::Ours, &conf, &BOOTSTRAP)?;
    // What is there is taken away when the administrator agrees, or has said so before.
    let mark = pair.name_dir(1).join("current/mark");
    for (flags, answers, expected) in [
        (&["-bootstrapStandby"][..], "what\nn\n", 5),
        (&["-bootstrapStandby"], "", 5),
        (&["-bootstrapStandby"], "y\n", 0),
        (&["-bootstrapStandby", "-force"], "", 0),
        (&["-bootstrapStandby", "-force", "-nonInteractive"], "", 0),
    ] {
        std::fs::write(&mark, "")?;
        let output = with_answers(pair.namenode_command(1, flags)?, answers)?;
        let text = told(&output);
        ensure!(output.status.code() == Some(expected), "{flags:?} {answers}: {text}");
        ensure!(mark.exists() == (expected != 0), "{flags:?} {answers}: {text}");
    }
    pair.start_namenode(1, Kind::Ours, &conf)?;
    pair.run("haadmin", &["-failover", "nn0", "nn1"])?;
    pair.run("dfs", &["-test", "-d", "/made"]).map(drop)
}

#[test]
fn shared_edits_that_were_not_filled_are_used_by_nobody_until_they_are() -> Result<()> {
    let mut pair = Pair::new(HATHI, None, SharedEdits::Directory, &[])?;
    let alone = pair.conf_alone();
    pair.namenode(Kind::Ours, &alone, &FORMAT)?;
    pair.start_namenode(0, Kind::Ours, &alone)?;
    let mut mkdir = Command::new(HATHI);
    mkdir.args(["dfs", "-mkdir", "/made"]).env("HADOOP_CONF_DIR", &alone);
    ensure!(mkdir.status()?.success());
    pair.kill_namenode(0)?;
    let shared = pair.shared_edits();
    let (mut refused, mut untouched) = (0, 0);
    kill_everywhere(
        &pair.conf(0),
        || pair.namenode_command(0, &INITIALIZE),
        || {
            let dirs = NameDirs::open(&Settings::load(&pair.conf(0))?)?;
            let is_filling = dirs.filling().is_some();
            drop(dirs);
            if is_filling {
                let (_, told) = pair.namenode_refuses(0, &[])?;
                ensure!(told.contains("-initializeSharedEdits ended while it filled"), "{told}");
                refused += 1;
            } else if !shared.exists() {
                untouched += 1;
            }
            if is_filling || !shared.exists() {
                // It goes on, and asks nothing.
                pair.namenode(Kind::Ours, &pair.conf(0), &INITIALIZE)?;
            }
            ensure!(std::fs::read_dir(&shared)?.flatten().any(|entry| {
                let name = entry.file_name();
                name.to_string_lossy().starts_with("edits_0")
            }));
            Ok(std::fs::remove_dir_all(&shared)?)
        },
    )?;
    ensure!(refused > 5 && untouched > 1, "{refused} {untouched}");
    pair.namenode(Kind::Ours, &pair.conf(0), &INITIALIZE)?;
    // It is the same as before, and has no more to ask.
    let (code, told) = pair.namenode_refuses(0, &INITIALIZE)?;
    ensure!(
        code == Some(1) && told.contains("data appears to exist in Storage Directory root= "),
        "{told}"
    );
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.run("dfs", &["-test", "-d", "/made"]).map(drop)
}

#[test]
fn a_format_goes_on_where_it_ended_between_journalnodes_and_another_namenode_is_refused() -> Result<()> {
    let mut pair = Pair::new(HATHI, None, SharedEdits::QUORUM, &[("hathi.namenode.join", "true")])?;
    pair.start_journalnode(0, Kind::Ours)?;
    pair.start_journalnode(1, Kind::Ours)?;
    pair.start_journalnode(2, Kind::Ours)?;
    // Killed when a JournalNode has been formatted, which it logs, and another has not.
    let mut killed = false;
    for change in 1.. {
        // One that goes on has less to change.
        if pair.name_dir(0).exists() {
            std::fs::remove_dir_all(pair.name_dir(0))?;
        }
        let mut command = pair.namenode_command(0, &FORMAT)?;
        let faults = Faults::of(&mut command, &pair.conf(0))?;
        faults.die_at(change)?;
        let output = command.output()?;
        killed = output.status.signal() == Some(SIGKILL);
        ensure!(
            killed,
            "it ended before a JournalNode was formatted:\n{}",
            told(&output)
        );
        if (0..3).any(|index| pair.journal(index).join("VERSION").exists()) {
            break;
        }
    }
    ensure!(killed && is_empty(&pair.conf(0))?);
    let (code, text) = pair.namenode_refuses(1, &FORMAT)?;
    ensure!(
        code == Some(1) && text.contains("data appears to exist in QJM to ["),
        "{text}"
    );
    // The first one goes on, and asks nothing.
    pair.namenode(Kind::Ours, &pair.conf(0), &FORMAT)?;
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.run("dfs", &["-mkdir", "/made"])?;
    // With nothing in its directories the other one joins by itself.
    pair.start_namenode(1, Kind::Ours, &pair.conf(1))?;
    pair.run("haadmin", &["-failover", "nn0", "nn1"])?;
    pair.run("dfs", &["-test", "-d", "/made"]).map(drop)
}

/// A NameNode's command with an administrator at the terminal.
fn answered(single: &Single, args: &[&str], answers: &str) -> Result<Output> {
    with_answers(single.command(Kind::Ours, "namenode", &single.conf(), args)?, answers)
}

fn with_answers(mut command: Command, answers: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It may have ended without a question.
    let _ = child.stdin.take().context("stdin")?.write_all(answers.as_bytes());
    Ok(child.wait_with_output()?)
}

#[test]
fn who_asks_for_help_or_errs_in_an_option_is_shown_all_of_them() -> Result<()> {
    for (args, code) in [
        (&["-h"][..], 0),
        (&["-help"], 0),
        (&["--help"], 0),
        (&["-bootstrapStandby", "-help"], 0),
        (&["-never"], 1),
        (&["-bootstrapStandby", "-clusterid", "x"], 1),
    ] {
        let output = Command::new(HATHI)
            .arg("namenode")
            .args(args)
            .stdin(Stdio::null())
            .output()?;
        let shown = if code == 0 { &output.stdout } else { &output.stderr };
        let shown = String::from_utf8_lossy(shown);
        ensure!(
            output.status.code() == Some(code)
                && shown.contains("[-bootstrapStandby [-force] [-nonInteractive] [-skipSharedEditsCheck]]")
                && (code == 0 || shown.contains("unknown option -")),
            "{args:?}: {}",
            told(&output)
        );
    }
    Ok(())
}

#[test]
fn questions_are_asked_until_they_are_answered() -> Result<()> {
    let single = Single::new(HATHI, None, 1, &[])?;
    single.run_to_end(Kind::Ours, "namenode", &FORMAT)?;
    let version = || std::fs::read_to_string(single.name_dir(0).join("current/VERSION"));
    let before = version()?;
    let question = format!(
        "Re-format filesystem in Storage Directory root= {}; location= null ? (Y or N) ",
        single.name_dir(0).display()
    );
    let refused = answered(&single, &["-format"], "what\nno\n")?;
    let text = told(&refused);
    ensure!(refused.status.code() == Some(1) && version()? == before, "{text}");
    ensure!(
        text.matches(&question).count() == 2 && text.contains("Invalid input: what"),
        "{text}"
    );
    ensure!(text.contains("Format aborted in Storage Directory root= "), "{text}");
    let agreed = answered(&single, &["-format", "-clusterid", "CID-mine"], "Y\n")?;
    ensure!(
        agreed.status.success() && version()?.contains("clusterID=CID-mine"),
        "{}",
        told(&agreed)
    );
    let forced = answered(&single, &["-format", "-force"], "")?;
    ensure!(
        forced.status.success() && told(&forced).contains(". Formatting anyway."),
        "{}",
        told(&forced)
    );
    let output = answered(&single, &["-metadataVersion"], "")?;
    ensure!(
        output.stdout == b"HDFS Image Version: -67\nSoftware format version: -67\n",
        "{}",
        told(&output)
    );
    Ok(())
}

/// A NameNode that has ended, with `/one`, `/two` and `/three` in segments of their own, of which the second is damaged.
fn damaged() -> Result<Single> {
    let mut single = Single::new(HATHI, None, 1, &[])?;
    single.run_to_end(Kind::Ours, "namenode", &FORMAT)?;
    single.start_namenode(Kind::Ours)?;
    single.tool("dfs", &["-mkdir", "/one"])?;
    single.tool("dfsadmin", &["-rollEdits"])?;
    single.tool("dfs", &["-mkdir", "/two"])?;
    single.tool("dfsadmin", &["-rollEdits"])?;
    single.tool("dfs", &["-mkdir", "/three"])?;
    single.kill_namenode()?;
    let segments = single.files(0, "edits_0");
    let path = single.name_dir(0).join("current").join(&segments[1]);
    let mut data = std::fs::read(&path)?;
    let at = data.windows(4).position(|bytes| bytes == b"/two").context("/two")?;
    data[at + 1] ^= 0xff;
    std::fs::write(&path, data)?;
    Ok(single)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[test]
fn a_recovery_that_is_killed_anywhere_is_completed_by_the_next_one() -> Result<()> {
    let recover = ["-recover", "-force"];
    let single = RefCell::new(damaged()?);
    let conf = single.borrow().conf();
    let current = single.borrow().name_dir(0).join("current");
    let (found, yes) = (conf.join("found"), conf.join("yes"));
    copy_files(&current, &found)?;
    std::fs::write(&yes, "y\n")?;
    let mut seen = BTreeSet::new();
    let kills = kill_everywhere(
        &conf,
        || {
            let mut command = single.borrow().command(Kind::Ours, "namenode", &conf, &recover)?;
            command.stdin(File::open(&yes)?);
            Ok(command)
        },
        || {
            let mut single = single.borrow_mut();
            let left = single.files(0, "");
            let again = answered(&single, &recover, "y\n")?;
            ensure!(
                again.status.success() && told(&again).contains("RECOVERY COMPLETE"),
                "{}",
                told(&again)
            );
            // What is left is mostly what was left before.
            if seen.insert(left) {
                single.start_namenode(Kind::Ours)?;
                for there in ["/one", "/three"] {
                    single.tool("dfs", &["-test", "-d", there])?;
                }
                single.kill_namenode()?;
            }
            std::fs::remove_dir_all(&current)?;
            copy_files(&found, &current)
        },
    )?;
    ensure!(kills > 5 && seen.len() > 2, "{kills} {seen:?}");
    Ok(())
}

#[test]
fn what_is_whole_of_damaged_edits_is_recovered_when_the_administrator_says_so() -> Result<()> {
    let mut single = damaged()?;
    let segments = single.files(0, "edits_0");

    let aborted = answered(&single, &["-recover"], "n\n")?;
    ensure!(
        aborted.status.success() && told(&aborted).contains("Recovery aborted at user request."),
        "{}",
        told(&aborted)
    );
    let left = answered(&single, &["-recover"], "y\nq\n")?;
    ensure!(
        left.status.success() && single.files(0, "edits_0") == segments,
        "{}",
        told(&left)
    );
    let recovered = answered(&single, &["-recover"], "y\nwhat\ns\n")?;
    ensure!(
        recovered.status.success() && told(&recovered).contains("RECOVERY COMPLETE"),
        "{}",
        told(&recovered)
    );
    for part in [
        "There appears to be a gap in the edit log.  We expected txid",
        "I'm sorry, I cannot understand your response.",
        "Enter 'a' to always select the first choice",
    ] {
        ensure!(told(&recovered).contains(part), "{part}: {}", told(&recovered));
    }
    single.start_namenode(Kind::Ours)?;
    single.tool("dfs", &["-test", "-d", "/one"])?;
    ensure!(
        single.tool("dfs", &["-test", "-d", "/three"]).is_err(),
        "it was behind the damage"
    );
    single.tool("dfs", &["-mkdir", "/four"])?;
    Ok(())
}

#[test]
fn a_recovery_goes_on_behind_damage_and_without_edits_that_do_not_fit_then_when_it_is_told_to() -> Result<()> {
    for (args, answers) in [
        (&["-recover"][..], "y\nc\nc\n"),
        (&["-recover"], "y\na\n"),
        (&["-recover", "-force"], "y\n"),
    ] {
        let mut single = Single::new(HATHI, None, 1, &[])?;
        single.run_to_end(Kind::Ours, "namenode", &FORMAT)?;
        single.start_namenode(Kind::Ours)?;
        single.tool("dfs", &["-mkdir", "/one"])?;
        single.tool("dfsadmin", &["-rollEdits"])?;
        single.tool("dfs", &["-mkdir", "/two"])?;
        // It has no parent when that edit is lost.
        single.tool("dfs", &["-mkdir", "/two/below"])?;
        single.tool("dfs", &["-mkdir", "/three"])?;
        single.kill_namenode()?;
        let segments = single.files(0, "edits_inprogress");
        let path = single.name_dir(0).join("current").join(&segments[0]);
        let mut data = std::fs::read(&path)?;
        let at = data.windows(4).position(|bytes| bytes == b"/two").context("/two")?;
        data[at + 1] ^= 0xff;
        std::fs::write(&path, data)?;
        let recovered = answered(&single, args, answers)?;
        ensure!(
            recovered.status.success() && told(&recovered).contains("RECOVERY COMPLETE"),
            "{}",
            told(&recovered)
        );
        ensure!(
            told(&recovered).contains("Failed to apply edit log operation"),
            "{}",
            told(&recovered)
        );
        single.start_namenode(Kind::Ours)?;
        for there in ["/one", "/three"] {
            single.tool("dfs", &["-test", "-d", there])?;
        }
        ensure!(
            single.tool("dfs", &["-test", "-d", "/two"]).is_err(),
            "its edit is lost"
        );
        single.tool("dfs", &["-mkdir", "/four"])?;
    }
    Ok(())
}
