//! Our viewers of images and edits beside Hadoop's, on what a NameNode of Hadoop's wrote with every feature that it has.

use crate::features::started;
use anyhow::{Context, Result, ensure};
use hathi_interop::{FileClient, Hadoop, Kind, Pair, PortRange, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// The files with this prefix in a name directory or in the shared edits.
fn files(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && !name.contains('.') && !name.contains("inprogress") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Both tools on the same files.
struct Viewers<'a> {
    hadoop: &'a Hadoop,
    conf: PathBuf,
    dir: TempDir,
}

impl Viewers<'_> {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn ours(&self, tool: &str, args: &[&str]) -> Result<()> {
        let output = Command::new(HATHI).arg(tool).args(args).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{tool} {args:?}: {told}");
        Ok(())
    }

    /// What a processor of either tool writes: theirs and ours.
    fn both(&self, tool: &str, input: &str, args: &[&str]) -> Result<(Vec<u8>, Vec<u8>)> {
        let (theirs, ours) = (self.path("theirs"), self.path("ours"));
        let with = |output: &str| {
            let all = [&["-i", input, "-o", output][..], args].concat();
            all.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>()
        };
        let of = |words: &[String], run: &dyn Fn(&[&str]) -> Result<()>| {
            run(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        of(&with(&theirs), &|words| {
            self.hadoop.run_ok(&self.conf, tool, words).map(drop)
        })?;
        of(&with(&ours), &|words| self.ours(tool, words))?;
        Ok((std::fs::read(theirs)?, std::fs::read(ours)?))
    }

    /// Both write the same, line by line.
    fn same(&self, tool: &str, input: &str, args: &[&str]) -> Result<String> {
        let (theirs, ours) = self.both(tool, input, args)?;
        let (theirs, ours) = (String::from_utf8(theirs)?, String::from_utf8(ours)?);
        let theirs = without_revision(&theirs);
        let ours = without_revision(&ours);
        for (theirs, ours) in theirs.lines().zip(ours.lines()) {
            ensure!(
                theirs == ours,
                "{tool} {args:?}:\nHadoop's {theirs:?}\nours     {ours:?}"
            );
        }
        ensure!(theirs == ours, "{tool} {args:?}: one ends early");
        Ok(theirs)
    }
}

/// XML without what names the tool that made it.
fn without_revision(text: &str) -> String {
    let Some((before, rest)) = text.split_once("<oivRevision>") else {
        return text.to_owned();
    };
    let after = rest.split_once("</oivRevision>").map_or("", |(_, after)| after);
    format!("{before}{after}")
}

/// A cluster with everything in its image, whose NameNode has ended, and its client.
fn everything(hadoop: &Hadoop) -> Result<(Pair, FileClient, TempDir)> {
    let (mut pair, mut client, keys) = started(hadoop)?;
    for made in ["served", "coded file", "zone", "viewed"] {
        client.run(made).with_context(|| made.to_owned())?;
    }
    client.run("save")?;
    client.run("roll")?;
    pair.kill_namenode(0)?;
    Ok((pair, client, keys))
}

#[test]
fn an_image_with_everything_prints_as_hadoops_viewer_prints_it_and_is_made_of_xml_again() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let (mut pair, mut client, _keys) = everything(&hadoop)?;
    let current = pair.name_dir(0).join("current");
    let image = files(&current, "fsimage_")?.pop().context("no image")?;
    let image = image.display().to_string();
    let viewers = Viewers {
        hadoop: &hadoop,
        conf: pair.conf(0),
        dir: TempDir::with_prefix("hathi-viewers-")?,
    };
    let xml = viewers.same("oiv", &image, &["-p", "XML"])?;
    for part in [
        "<erasureCodingPolicyId>",
        "hdfs.crypto.encryption.zone",
        "<dirDiffEntry>",
        "<fileDiffEntry>",
        "<deletedInode>",
        "<ref>",
        "<refChild>",
        "<pool>",
        "<directive>",
        "<token>",
        "<delegationKey>",
        "<typeQuota>",
        "<acl>",
        "<file-under-construction>",
        "\\005c;",
        "\\0001;",
    ] {
        ensure!(xml.contains(part), "nothing has a {part}");
    }
    for args in [
        &["-p", "Delimited"][..],
        &["-p", "Delimited", "-sp", "-ec", "-delimiter", ", "],
        &["-p", "FileDistribution"],
        &["-p", "FileDistribution", "-maxSize", "4", "-step", "2", "-format"],
        &["-p", "DetectCorruption"],
    ] {
        viewers.same("oiv", &image, args)?;
    }
    // An image made of that XML prints as it, in either viewer.
    let (file, made) = (viewers.path("image.xml"), viewers.path("made"));
    std::fs::write(
        &file,
        xml.replace("</version>", "<oivRevision>x</oivRevision></version>"),
    )?;
    viewers.ours("oiv", &["-p", "ReverseXML", "-i", &file, "-o", &made])?;
    ensure!(
        viewers.same("oiv", &made, &["-p", "XML"])? == xml,
        "another image was made"
    );
    // Without one of its inodes it is damaged, and both say where.
    let damaged = without_an_inode(&xml, "<name>served</name>")?;
    std::fs::write(&file, damaged)?;
    let broken = viewers.path("broken");
    viewers.ours("oiv", &["-p", "ReverseXML", "-i", &file, "-o", &broken])?;
    let found = viewers.same("oiv", &broken, &["-p", "DetectCorruption", "-delimiter", ","])?;
    ensure!(found.contains("CorruptNode"), "{found}");
    web_answers_alike(&viewers, &image)?;

    // Hadoop's NameNode loads what was made, and serves the same.
    pair.start_namenode(0, Kind::Hadoops, &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    let described = client.run("describe")?;
    pair.kill_namenode(0)?;
    let name = Path::new(&image)
        .file_name()
        .context("name")?
        .to_string_lossy()
        .into_owned();
    std::fs::copy(&made, &image)?;
    let md5 = std::fs::read_to_string(format!("{made}.md5"))?.replace("made", &name);
    std::fs::write(format!("{image}.md5"), md5)?;
    pair.start_namenode(0, Kind::Hadoops, &pair.conf(0))
        .with_context(|| pair.log("nn0"))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    let now = client.run("describe")?;
    ensure!(
        now == described,
        "of the image made of XML:\n{now}\n instead of\n{described}"
    );
    Ok(())
}

/// XML without one inode of its section, which directories still name.
fn without_an_inode(xml: &str, of: &str) -> Result<String> {
    let at = xml.find(of).context("no such inode")?;
    let start = xml[..at].rfind("<inode>").context("start")?;
    let end = at + xml[at..].find("</inode>\n").context("end")? + "</inode>\n".len();
    let (_, rest) = xml.split_once("<numInodes>").context("number")?;
    let (number, _) = rest.split_once('<').context("number")?;
    let fewer = number.parse::<u64>()? - 1;
    let without = format!("{}{}", &xml[..start], &xml[end..]);
    Ok(without.replacen(&format!("<numInodes>{number}<"), &format!("<numInodes>{fewer}<"), 1))
}

/// A process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended by itself when all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Status and body of an answer.
fn get(address: &str, path: &str) -> Result<(u16, Value)> {
    let url = format!("http://{address}{path}");
    let output = Command::new("curl")
        .args(["-s", "-w", "\n%{http_code}", &url])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let (body, status) = text.trim_end().rsplit_once('\n').context("no status")?;
    Ok((status.parse()?, serde_json::from_str(body).unwrap_or(Value::Null)))
}

fn web_answers_alike(viewers: &Viewers<'_>, image: &str) -> Result<()> {
    let range = PortRange::claim()?;
    let theirs_at = format!("127.0.0.1:{}", range.base());
    let theirs = viewers
        .hadoop
        .command(&viewers.conf, "oiv", &["-p", "Web", "-i", image, "-addr", &theirs_at])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _theirs = Killed(theirs);
    let ours = Command::new(HATHI)
        .args(["oiv", "-i", image, "-addr", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ours = Killed(ours);
    let mut first = String::new();
    BufReader::new(ours.0.stdout.take().context("stdout")?).read_line(&mut first)?;
    let ours_at = first
        .split_whitespace()
        .find_map(|word| word.strip_suffix('.').filter(|word| word.contains(':')))
        .with_context(|| first.clone())?;
    wait_for("Hadoop's viewer", PATIENCE, || {
        let (status, _) = get(&theirs_at, "/webhdfs/v1/?op=LISTSTATUS").ok()?;
        (status == 200).then_some(())
    });
    for path in [
        "/webhdfs/v1/?op=LISTSTATUS",
        "/webhdfs/v1/?op=GETFILESTATUS",
        "/webhdfs/v1/names?op=LISTSTATUS",
        "/webhdfs/v1/served/?op=liststatus",
        "/webhdfs/v1/coded/files/file?op=GETFILESTATUS",
        "/webhdfs/v1/served/modes?op=GETFILESTATUS",
        "/webhdfs/v1/served/acls?op=GETACLSTATUS",
        "/webhdfs/v1/served/acls/inherits?op=GETACLSTATUS",
        "/webhdfs/v1/served/xattrs?op=LISTXATTRS",
        "/webhdfs/v1/served/xattrs?op=GETXATTRS",
        "/webhdfs/v1/served/xattrs?op=GETXATTRS&encoding=hex&xattr.name=user.name",
        "/webhdfs/v1/served/xattrs?op=GETXATTRS&encoding=base64",
        "/webhdfs/v1/served/xattrs?op=GETXATTRS&xattr.name=user.none",
        "/webhdfs/v1/?op=GETCONTENTSUMMARY",
        "/webhdfs/v1/served/quotas?op=GETCONTENTSUMMARY",
        "/webhdfs/v1/served/quotas/file?op=GETCONTENTSUMMARY",
        "/webhdfs/v1/none?op=GETFILESTATUS",
        "/webhdfs/v1/served?op=OPEN",
        "/webhdfs/v1/served",
        "/other?op=LISTSTATUS",
    ] {
        let (theirs, ours) = (get(&theirs_at, path)?, get(ours_at, path)?);
        ensure!(theirs == ours, "{path}:\nHadoop's {theirs:?}\nours     {ours:?}");
    }
    Ok(())
}

#[test]
fn edits_with_everything_print_as_hadoops_viewer_prints_them_and_come_back() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let (pair, _client, _keys) = everything(&hadoop)?;
    let viewers = Viewers {
        hadoop: &hadoop,
        conf: pair.conf(0),
        dir: TempDir::with_prefix("hathi-viewers-")?,
    };
    let stored = hadoop.test_file("editsStored");
    let mut logs = files(&pair.shared_edits(), "edits_")?;
    logs.extend(stored.exists().then_some(stored));
    ensure!(logs.len() > 1, "{logs:?}");
    for log in logs {
        let log = log.display().to_string();
        viewers.same("oev", &log, &["-p", "stats"])?;
        let xml = viewers.same("oev", &log, &["-p", "xml"])?;
        viewers.same("oev", &log, &["-p", "xml", "-f"])?;
        let file = viewers.path("edits.xml");
        std::fs::write(&file, xml)?;
        viewers.same("oev", &file, &["-p", "stats"])?;
        let (theirs, ours) = viewers.both("oev", &file, &["-p", "binary"])?;
        ensure!(theirs.starts_with(&ours), "{log}: other binary edits");
        let rest = theirs.get(ours.len()..).unwrap_or_default();
        ensure!(rest.iter().all(|byte| *byte == 0xFF), "{log}: fewer binary edits");
    }
    Ok(())
}

/// What random calls left (`core/namesystem/src/calls/tests/model`): some that are kept, and those of a directory of the
/// environment, which `HATHI_MODEL_SAVE` has filled.
fn random_namespaces() -> Result<Vec<PathBuf>> {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../formats/tests/data/random").to_owned();
    let mut found = Vec::new();
    for dir in [Some(kept), std::env::var("HATHI_MODEL_DIR").ok()]
        .into_iter()
        .flatten()
    {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.clone())? {
            let path = entry?.path();
            found.extend(path.extension().is_some_and(|kind| kind != "md").then_some(path));
        }
    }
    Ok(found)
}

#[test]
fn random_namespaces_and_their_edits_print_as_hadoops_viewers_print_them() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let dir = TempDir::with_prefix("hathi-random-")?;
    let files = random_namespaces()?;
    for file in &files {
        let name = file.file_name().context("a name")?;
        std::fs::copy(file, dir.path().join(name))?;
    }
    let path = dir.path().display().to_string();
    hadoop.run_ok(dir.path(), "Viewers.java", &[&path])?;
    let mut all = String::new();
    for file in &files {
        let name = file.file_name().context("a name")?.to_string_lossy().into_owned();
        let (tool, processor) = match name.ends_with(".image") {
            true => ("oiv", "XML"),
            false => ("oev", "xml"),
        };
        let (input, output) = (format!("{path}/{name}"), format!("{path}/{name}.ours"));
        let told = Command::new(HATHI)
            .args([tool, "-p", processor, "-i", &input, "-o", &output])
            .output()?;
        ensure!(
            told.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&told.stderr)
        );
        let theirs = without_revision(&std::fs::read_to_string(format!("{input}.xml"))?);
        let ours = without_revision(&std::fs::read_to_string(&output)?);
        for (theirs, ours) in theirs.lines().zip(ours.lines()) {
            ensure!(theirs == ours, "{name}:\nHadoop's {theirs:?}\nours     {ours:?}");
        }
        ensure!(theirs == ours, "{name}: one ends early");
        all.push_str(&theirs);
    }
    for part in [
        "<erasureCodingPolicyId>",
        "hdfs.erasurecoding.policy",
        "hdfs.crypto.encryption.zone",
        "hdfs.crypto.file.encryption.info",
        "hdfs.sps",
        "<dirDiffEntry>",
        "<fileDiffEntry>",
        "<ref>",
        "<refChild>",
        "<pool>",
        "<directive>",
        "<typeQuota>",
        "<acl>",
        "<file-under-construction>",
        "OP_REMOVE_ERASURE_CODING_POLICY",
        "OP_MODIFY_CACHE_DIRECTIVE",
        "OP_CONCAT_DELETE",
        "OP_RENAME_SNAPSHOT",
    ] {
        ensure!(all.contains(part), "nothing has a {part}");
    }
    Ok(())
}
