//! `hathi oiv`: the offline image viewer, with the options of `hdfs oiv`.

use anyhow::{Context, Result, bail};
use hathi_formats::fsimage::{
    Image, InodeKind, InodeRef, SectionName, SerialKind, StringTable, permission_parts, write_xml,
};
use hathi_formats::proto::fsimage::INodeSection;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

const USAGE: &str = "usage: hathi oiv -i FSIMAGE [-o OUTPUT] [-p PROCESSOR] [-delimiter TEXT] [-sp]
  -i, --inputFile FILE    fsimage
  -o, --outputFile FILE   output; - (default) is the standard output
  -p, --processor NAME    XML, Delimited, FileDistribution
  -delimiter TEXT         between the columns of Delimited, by default a tab
  -sp                     Delimited: also the storage policy
  -maxSize BYTES          FileDistribution: the largest size that is told apart
  -step BYTES             FileDistribution: width of a step
  -h, --help              this text";

struct Options {
    input: Option<OsString>,
    output: OsString,
    processor: String,
    delimiter: String,
    storage_policy: bool,
    max_size: u64,
    step: u64,
}

/// How the command is used.
pub fn usage() -> String {
    format!("{USAGE}\n")
}

/// Runs the command.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut options = Options {
        input: None,
        output: "-".into(),
        processor: String::new(),
        delimiter: "\t".to_owned(),
        storage_policy: false,
        max_size: 0x20_0000_0000,
        step: 2 << 20,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = arg.to_string_lossy().into_owned();
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "-h" | "--help" | "-help" => {
                println!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            "-sp" => options.storage_policy = true,
            "-i" | "--inputFile" => options.input = Some(value()?),
            "-o" | "--outputFile" => options.output = value()?,
            "-p" | "--processor" => options.processor = value()?.to_string_lossy().to_ascii_lowercase(),
            "-delimiter" => options.delimiter = value()?.to_string_lossy().into_owned(),
            "-maxSize" => options.max_size = value()?.to_string_lossy().parse().context("-maxSize")?,
            "-step" => options.step = value()?.to_string_lossy().parse().context("-step")?,
            other => bail!("unknown option {other}\n{USAGE}"),
        }
    }
    let Some(input) = &options.input else {
        bail!("-i is needed\n{USAGE}");
    };
    let file = File::open(input).with_context(|| format!("cannot open {}", input.display()))?;
    let image = Image::open(&file).with_context(|| input.display().to_string())?;
    let mut out: Box<dyn Write> = if options.output == "-" {
        Box::new(BufWriter::new(crate::output::Stdout))
    } else {
        let path = options.output.clone();
        Box::new(BufWriter::new(
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?,
        ))
    };
    match options.processor.as_str() {
        "xml" => write_xml(&image, concat!("hathi-", env!("CARGO_PKG_VERSION")), &mut out)?,
        "delimited" => delimited(&image, &options, &mut out)?,
        "filedistribution" => distribution(&image, &options, &mut out)?,
        "" => bail!("-p is needed: XML, Delimited or FileDistribution\n{USAGE}"),
        other => bail!("unknown processor {other}\n{USAGE}"),
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn for_each_inode(image: &Image<'_, File>, mut each: impl FnMut(&InodeRef<'_>) -> Result<()>) -> Result<()> {
    let section = image.section(SectionName::Inode).context("the image has no inodes")?;
    let mut messages = image.messages(section);
    let header: INodeSection = messages.require()?;
    for _ in 0..header.num_inodes() {
        let inode = {
            let bytes = messages.next_bytes()?.context("inodes are missing")?;
            InodeRef::decode(bytes)
        };
        each(&inode.context("a damaged inode")?)?;
    }
    Ok(())
}

/// Parents of inodes and names of directories, which is enough for every path.
#[derive(Default)]
struct Paths {
    parents: HashMap<u64, u64>,
    names: HashMap<u64, String>,
}

/// The root's inode id.
const ROOT: u64 = hathi_formats::ids::InodeId::ROOT.0;
/// Most components of a path. A longer chain is a circle in a damaged image.
const MAX_DEPTH: usize = 1 << 16;

impl Paths {
    fn load(image: &Image<'_, File>) -> Result<Paths> {
        use hathi_formats::proto::fsimage::i_node_directory_section::DirEntry;
        use hathi_formats::proto::fsimage::i_node_reference_section::INodeReference;
        let mut paths = Paths::default();
        let mut references = Vec::new();
        if let Some(section) = image.section(SectionName::InodeReference) {
            let mut messages = image.messages(section);
            while let Some(reference) = messages.next_message::<INodeReference>()? {
                references.push(reference.referred_id());
            }
        }
        if let Some(section) = image.section(SectionName::InodeDir) {
            let mut messages = image.messages(section);
            while let Some(entry) = messages.next_message::<DirEntry>()? {
                let referred = entry
                    .ref_children
                    .iter()
                    .filter_map(|index| references.get(*index as usize));
                for child in entry.children.iter().chain(referred) {
                    paths.parents.insert(*child, entry.parent());
                }
            }
        }
        for_each_inode(image, |inode| {
            if inode.kind == InodeKind::Directory {
                paths
                    .names
                    .insert(inode.id, String::from_utf8_lossy(inode.name).into_owned());
            }
            Ok(())
        })?;
        Ok(paths)
    }

    /// The path of an inode. `None` if it exists only in snapshots.
    fn path(&self, id: u64, name: &str) -> Option<String> {
        if id == ROOT {
            return Some("/".to_owned());
        }
        let mut components = vec![name];
        let mut at = *self.parents.get(&id)?;
        while at != ROOT {
            components.push(self.names.get(&at)?);
            at = *self.parents.get(&at)?;
            if components.len() > MAX_DEPTH {
                return None;
            }
        }
        components.push("");
        components.reverse();
        Some(components.join("/"))
    }
}

/// Prints a table with one line for each inode (`PBImageDelimitedTextWriter`).
fn delimited(image: &Image<'_, File>, options: &Options, out: &mut dyn Write) -> Result<()> {
    let strings = StringTable::load(image)?;
    let paths = Paths::load(image)?;
    let zone = TimeZone::system();
    let mut columns = vec![
        "Path",
        "Replication",
        "ModificationTime",
        "AccessTime",
        "PreferredBlockSize",
        "BlocksCount",
        "FileSize",
        "NSQUOTA",
        "DSQUOTA",
        "Permission",
        "UserName",
        "GroupName",
    ];
    if options.storage_policy {
        columns.push("StoragePolicyId");
    }
    writeln!(out, "{}", columns.join(&options.delimiter))?;
    for_each_inode(image, |inode| {
        let Some(path) = paths.path(inode.id, &String::from_utf8_lossy(inode.name)) else {
            return Ok(());
        };
        let (user, group, mode) = permission_parts(inode.permission);
        let directory = inode.kind == InodeKind::Directory;
        let size: u64 = inode.blocks.clone().map(|block| block.num_bytes).sum();
        let quota = |quota: u64| if directory { quota.cast_signed() } else { 0 };
        let mut line = vec![
            path,
            inode.replication.to_string(),
            minute(inode.modification_time, &zone),
            minute(inode.access_time, &zone),
            inode.preferred_block_size.to_string(),
            inode.blocks.clone().count().to_string(),
            size.to_string(),
            quota(inode.ns_quota).to_string(),
            quota(inode.ds_quota).to_string(),
            symbols(directory, mode, inode.acl.is_some_and(|acl| !acl.is_empty())),
            strings.get(SerialKind::User, user).unwrap_or_default().to_owned(),
            strings.get(SerialKind::Group, group).unwrap_or_default().to_owned(),
        ];
        if options.storage_policy {
            line.push(storage_policy(inode, &strings).to_string());
        }
        Ok(writeln!(out, "{}", line.join(&options.delimiter))?)
    })
}

/// The policy of an inode. A directory has it in an extended attribute, a file in a field.
fn storage_policy(inode: &InodeRef<'_>, strings: &StringTable) -> u32 {
    use hathi_formats::fsimage::XAttrNameBits;
    use hathi_formats::proto::fsimage::i_node_section::XAttrFeatureProto;
    use prost::Message;
    let Some(message) = inode.xattrs.filter(|_| inode.kind == InodeKind::Directory) else {
        return inode.storage_policy_id;
    };
    let xattrs = XAttrFeatureProto::decode(message).unwrap_or_default().x_attrs;
    let policy = xattrs.iter().find(|xattr| {
        let name = XAttrNameBits::unpack(xattr.name).and_then(|bits| strings.get(SerialKind::XAttr, bits.name));
        name == Some("hsm.block.storage.policy.id")
    });
    policy
        .and_then(|xattr| xattr.value().first().copied())
        .map_or(0, u32::from)
}

fn minute(millis: u64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(millis.cast_signed()) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => millis.to_string(),
    }
}

/// Permissions as `drwxr-xr-t+` (`FsPermission.toString`).
fn symbols(directory: bool, mode: u16, acl: bool) -> String {
    let mut text = String::from(if directory { "d" } else { "-" });
    for shift in [6, 3, 0] {
        text.push_str(hathi_formats::editlog::fs_action_symbol((mode >> shift & 7) as u8));
    }
    if mode & 0o1000 != 0 {
        let last = if text.ends_with('x') { 't' } else { 'T' };
        text.pop();
        text.push(last);
    }
    if acl {
        text.push('+');
    }
    text
}

/// Prints a histogram of file sizes (`FileDistributionCalculator`).
fn distribution(image: &Image<'_, File>, options: &Options, out: &mut dyn Write) -> Result<()> {
    if options.step == 0 || options.max_size / options.step > 10_000_000 {
        bail!("-step does not suit -maxSize");
    }
    let buckets = usize::try_from(options.max_size.div_ceil(options.step)).context("-maxSize")? + 1;
    let mut counts = vec![0_u64; buckets + 1];
    let (mut files, mut directories, mut symlinks, mut blocks, mut space, mut largest) = (0_u64, 0, 0, 0, 0, 0);
    for_each_inode(image, |inode| {
        match inode.kind {
            InodeKind::Directory => directories += 1,
            InodeKind::Symlink => symlinks += 1,
            InodeKind::File => {
                files += 1;
                let size: u64 = inode.blocks.clone().map(|block| block.num_bytes).sum();
                blocks += inode.blocks.clone().count();
                space += size * u64::from(inode.replication);
                largest = largest.max(size);
                let bucket = if size > options.max_size {
                    buckets
                } else {
                    usize::try_from(size.div_ceil(options.step)).unwrap_or(buckets)
                };
                counts[bucket.min(buckets)] += 1;
            }
        }
        Ok(())
    })?;
    writeln!(
        out,
        "Processed {} inodes.\nSize\tNumFiles",
        files + directories + symlinks
    )?;
    for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        writeln!(out, "{}\t{count}", bucket as u64 * options.step)?;
    }
    writeln!(
        out,
        "totalFiles = {files}\ntotalDirectories = {directories}\ntotalBlocks = {blocks}"
    )?;
    writeln!(out, "totalSpace = {space}\nmaxFileSize = {largest}")?;
    Ok(())
}
