//! Storage directories.

use super::{Rule, Trouble, error, size, trouble, warning};
use crate::cmd::doctor::facts::{Contents, Directory, Facts, Found, Role};
use hathi_formats::ids::LayoutVersion;
use hathi_storage::StorageState;
use std::collections::BTreeMap;
use std::path::Path;

/// Free part of a file system, in percent, below which it is nearly full.
const FREE_PERCENT_MIN: u64 = 5;

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    warning("storage-below-tmp", "a directory is below /tmp, whose files a restart of the machine may delete", "Set the key to a directory on a disk that stays.", storage_below_tmp),
    error("directory-twice", "two daemons or roles have the same directory", "Give each its own directory.", directory_twice),
    error("directory-nested", "a directory lies within that of another role", "Put the directories beside each other.", directory_nested),
    error("name-directory-missing", "a NameNode's directory is not there", "Create it for the daemons' user; then run hathi namenode -format on the first NameNode of a new cluster, else -bootstrapStandby.", name_directory_missing),
    warning("directory-missing", "a directory of a JournalNode or DataNode is not there, perhaps because its disk is not mounted", "Mount the disk, or create the directory for the daemons' user.", directory_missing),
    error("no-directory", "a file is where a directory should be", "Move the file away, or correct the key.", no_directory),
    warning("directory-unreadable", "a directory can't be looked at by this user", "Run hathi doctor as the daemons' user, or give the directory to that user.", directory_unreadable),
    error("directory-not-writable", "this user may not write in a directory", "Run the daemons and hathi doctor as the owner of the directory, or change the owner.", directory_not_writable),
    error("files-of-other-owner", "files in a directory belong to another user than the directory, as after a format by root", "Give all files of the directory to the daemons' user: chown -R.", files_of_other_owner),
    error("not-formatted", "a NameNode's directory is not formatted", "Run hathi namenode -format on the first NameNode of a new cluster, else -bootstrapStandby.", not_formatted),
    error("version-broken", "a VERSION file lacks a number or can't be read", "Copy VERSION from another directory of the same daemon, or set the directory up again.", version_broken),
    error("layout-unreadable", "a directory was written by older or newer software", "Serve it with that software; docs/upgrade.md says how to take over data of Hadoop.", layout_unreadable),
    error("identities-differ", "directories of this machine belong to different clusters", "Find out which is the right cluster, and set the directories of the other one aside.", identities_differ),
    error("directory-inconsistent", "a directory is in a state that no crash leaves", "Set the directory up again from another NameNode or a copy, and keep the old one.", directory_inconsistent),
    warning("transition-unfinished", "an upgrade, rollback or checkpoint was interrupted", "Start the daemon that was interrupted: it completes the step or takes it back.", transition_unfinished),
    error("upgrade-not-finalized", "an upgrade can still be rolled back, and Hathi's NameNode does not start on it", "Finalize the upgrade with Hadoop, or roll it back.", upgrade_not_finalized),
    warning("directory-in-use", "a process holds a directory, though no daemon was expected or answers", "Look at the process; stop it if it is left over or hangs.", directory_in_use),
    error("image-missing", "a formatted name directory has no image", "Fetch the namespace again: hathi namenode -bootstrapStandby, or restore a copy.", image_missing),
    error("image-without-md5", "the newest image has no md5 file, so it is not loaded", "Restore the file with the extension md5 beside the image, or fetch the namespace again.", image_without_md5),
    error("edits-missing", "without shared edits: edits between the newest image and `seen_txid` are not in any directory", "Restore the missing segments from a copy; without them the last changes are lost.", edits_missing),
    error("disk-below-reserve", "a NameNode's file system has less free space than `dfs.namenode.resource.du.reserved`", "Make room: the NameNode stays in safe mode.", disk_below_reserve),
    warning("disk-nearly-full", "a file system has less than 5 % free space", "Make room, or add a disk.", disk_nearly_full),
    warning("data-disks-shared", "two data directories are on one file system, perhaps because a disk is not mounted", "Mount the second disk, or name one directory for each disk.", data_disks_shared),
    warning("journal-disk-shared", "a JournalNode shares a file system with a DataNode", "Put the JournalNode on a disk of its own: each change waits for its syncs.", journal_disk_shared),
];

/// The directories in which something was found.
fn there(facts: &Facts) -> impl Iterator<Item = (&Directory, &Contents)> {
    facts
        .directories
        .iter()
        .filter_map(|directory| Some((directory, directory.contents()?)))
}

/// The directories of some state, with what is said of them.
fn that_are(facts: &Facts, what: impl Fn(&Directory) -> Option<String>) -> Vec<Trouble> {
    let each = facts
        .directories
        .iter()
        .filter_map(|directory| Some(trouble(directory.place(), what(directory)?)));
    each.collect()
}

/// The directories with such contents, with what is said of them.
fn with(facts: &Facts, what: impl Fn(&Directory, &Contents) -> Option<String>) -> Vec<Trouble> {
    let each =
        there(facts).filter_map(|(directory, contents)| Some(trouble(directory.place(), what(directory, contents)?)));
    each.collect()
}

fn storage_below_tmp(facts: &Facts) -> Vec<Trouble> {
    that_are(facts, |directory| {
        let is_temporary = directory.path.starts_with("/tmp") || directory.path.starts_with("/var/tmp");
        is_temporary.then(|| format!("{} may be emptied when the machine starts", directory.path.display()))
    })
}

fn pairs(facts: &Facts) -> impl Iterator<Item = (&Directory, &Directory)> {
    let all = facts.directories.iter().enumerate();
    all.flat_map(move |(at, left)| facts.directories.iter().skip(at + 1).map(move |right| (left, right)))
}

fn directory_twice(facts: &Facts) -> Vec<Trouble> {
    let same = pairs(facts)
        .filter(|(left, right)| left.storage == right.storage || (left.path == right.path && left.role != right.role));
    same.map(|(left, right)| trouble(left.place(), format!("{} has the same directory", right.key)))
        .collect()
}

fn directory_nested(facts: &Facts) -> Vec<Trouble> {
    let within = |inner: &Directory, outer: &Path| inner.path != outer && inner.path.starts_with(outer);
    let mut found = Vec::new();
    for (left, right) in pairs(facts) {
        for (inner, outer) in [(left, right), (right, left)] {
            if within(inner, &outer.path) {
                found.push(trouble(inner.place(), format!("it lies within {}", outer.place())));
            }
        }
    }
    found
}

fn is_name_directory(directory: &Directory) -> bool {
    matches!(directory.role, Role::Image | Role::Edits)
}

/// Whether a NameNode with empty directories fetches its namespace by itself.
fn joins(facts: &Facts) -> bool {
    facts.conf.get_bool("hathi.namenode.join", false)
}

fn name_directory_missing(facts: &Facts) -> Vec<Trouble> {
    that_are(facts, |directory| {
        let missing = matches!(directory.state, Found::Missing) && is_name_directory(directory) && !joins(facts);
        missing.then(|| "the directory is not there, and the NameNode does not start without it".to_owned())
    })
}

fn directory_missing(facts: &Facts) -> Vec<Trouble> {
    that_are(facts, |directory| {
        let missing = matches!(directory.state, Found::Missing) && !is_name_directory(directory);
        missing.then(|| "the directory is not there; its daemon makes it, on whatever file system is there".to_owned())
    })
}

fn no_directory(facts: &Facts) -> Vec<Trouble> {
    that_are(facts, |directory| {
        let is_file = matches!(directory.state, Found::NoDirectory);
        is_file.then(|| format!("{} is no directory", directory.path.display()))
    })
}

fn directory_unreadable(facts: &Facts) -> Vec<Trouble> {
    that_are(facts, |directory| match &directory.state {
        Found::Unreadable(problem) => Some(format!("it can't be looked at: {problem}")),
        Found::Missing | Found::NoDirectory | Found::There(_) => None,
    })
}

fn directory_not_writable(facts: &Facts) -> Vec<Trouble> {
    with(facts, |_, contents| {
        let (owner, user) = (contents.uid, facts.machine.uid);
        (!contents.writable).then(|| format!("user {user} may not write in it; its owner is user {owner}"))
    })
}

fn files_of_other_owner(facts: &Facts) -> Vec<Trouble> {
    with(facts, |_, contents| {
        let of_version = contents.version_uid.filter(|owner| *owner != contents.uid)?;
        Some(format!(
            "the directory belongs to user {}, its VERSION to user {of_version}",
            contents.uid
        ))
    })
}

fn not_formatted(facts: &Facts) -> Vec<Trouble> {
    with(facts, |directory, contents| {
        let empty = contents.state == Ok(StorageState::NotFormatted);
        (empty && is_name_directory(directory) && !joins(facts)).then(|| "there is no current/VERSION".to_owned())
    })
}

fn version_broken(facts: &Facts) -> Vec<Trouble> {
    with(facts, |directory, contents| {
        let version = contents.version.as_ref()?;
        // A DataNode's has no namespace: that stands in the VERSION of each block pool.
        let keys = match directory.role {
            Role::Blocks => &["layoutVersion"][..],
            Role::Image | Role::Edits | Role::Journal => &["layoutVersion", "namespaceID", "cTime"],
        };
        let is_number = |key: &&&str| {
            version
                .get(key)
                .is_some_and(|value| value.trim().parse::<i64>().is_ok())
        };
        let broken = keys.iter().find(|key| !is_number(key))?;
        Some(format!("current/VERSION has no number for {broken}"))
    })
}

fn layout_unreadable(facts: &Facts) -> Vec<Trouble> {
    with(facts, |directory, contents| {
        let ours = match directory.role {
            Role::Image | Role::Edits => LayoutVersion::NAMENODE_CURRENT,
            Role::Blocks => LayoutVersion::DATANODE_CURRENT,
            // Each segment says its own.
            Role::Journal => return None,
        };
        let found: i32 = contents.version.as_ref()?.get("layoutVersion")?.trim().parse().ok()?;
        (found != ours.0).then(|| format!("its layout is {found}, and Hathi reads and writes {ours}"))
    })
}

fn identities_differ(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for key in ["clusterID", "namespaceID"] {
        let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (directory, contents) in there(facts) {
            let value = contents.version.as_ref().and_then(|version| version.get(key));
            // Namespaces of different nameservices differ, and a DataNode has none of its own.
            let comparable = directory.role != Role::Blocks || key == "clusterID";
            if let Some(value) = value.filter(|value| comparable && !value.is_empty()) {
                places
                    .entry(value)
                    .or_default()
                    .push(directory.path.display().to_string());
            }
        }
        if key == "namespaceID" && facts.conf.nameservices().len() > 1 {
            continue;
        }
        if places.len() > 1 {
            let each: Vec<String> = places
                .iter()
                .map(|(value, dirs)| format!("{value} in {}", dirs.join(", ")))
                .collect();
            found.push(trouble(
                format!("{key} of VERSION"),
                format!("it differs: {}", each.join("; ")),
            ));
        }
    }
    found
}

fn directory_inconsistent(facts: &Facts) -> Vec<Trouble> {
    with(facts, |_, contents| contents.state.as_ref().err().cloned())
}

fn transition_unfinished(facts: &Facts) -> Vec<Trouble> {
    with(facts, |_, contents| {
        let what = match contents.state.as_ref().ok()? {
            StorageState::NonExistent | StorageState::NotFormatted | StorageState::Normal => return None,
            StorageState::CompleteUpgrade | StorageState::RecoverUpgrade => "an upgrade (previous.tmp)",
            StorageState::CompleteFinalize => "the end of an upgrade (finalized.tmp)",
            StorageState::CompleteRollback | StorageState::RecoverRollback => "a rollback (removed.tmp)",
            StorageState::CompleteCheckpoint | StorageState::RecoverCheckpoint => "a checkpoint (lastcheckpoint.tmp)",
        };
        Some(format!("{what} was interrupted"))
    })
}

fn upgrade_not_finalized(facts: &Facts) -> Vec<Trouble> {
    with(facts, |directory, contents| {
        (is_name_directory(directory) && contents.has_previous).then(|| "there is a directory previous".to_owned())
    })
}

fn directory_in_use(facts: &Facts) -> Vec<Trouble> {
    let answers = facts.answers();
    let namenodes = answers.namenodes.iter().any(|answer| answer.page.beans.is_ok());
    let journalnodes = answers.journalnodes.iter().any(|answer| answer.page.is_some());
    with(facts, |directory, contents| {
        let pid = contents.holder?;
        let serves = match directory.role {
            Role::Image | Role::Edits => namenodes,
            Role::Journal => journalnodes,
            Role::Blocks => facts.running.is_some(),
        };
        (!serves).then(|| format!("process {pid} holds in_use.lock"))
    })
}

fn image_missing(facts: &Facts) -> Vec<Trouble> {
    with(facts, |directory, contents| {
        let formatted = contents.version.is_some() && directory.role == Role::Image;
        (formatted && contents.images.is_empty()).then(|| "there is no fsimage in current".to_owned())
    })
}

fn image_without_md5(facts: &Facts) -> Vec<Trouble> {
    with(facts, |directory, contents| {
        let (txid, _, has_md5) = contents.images.last().filter(|_| directory.role == Role::Image)?;
        (!has_md5).then(|| format!("fsimage_{txid:019} has no md5 file beside it"))
    })
}

/// The first transaction behind the newest image that no segment has.
fn edits_missing(facts: &Facts) -> Vec<Trouble> {
    if facts.namenodes.iter().any(|namenode| namenode.journal.is_some()) {
        // The edits are elsewhere.
        return Vec::new();
    }
    let of_namenode = || there(facts).filter(|(directory, _)| is_name_directory(directory));
    let image = of_namenode()
        .filter_map(|(_, contents)| contents.images.last())
        .map(|(txid, ..)| *txid)
        .max();
    let (Some(image), Some(seen)) = (
        image,
        of_namenode().filter_map(|(_, contents)| contents.seen_txid).max(),
    ) else {
        return Vec::new();
    };
    let mut segments: Vec<(u64, Option<u64>)> = of_namenode()
        .flat_map(|(_, contents)| contents.segments.clone())
        .collect();
    segments.sort_unstable();
    let mut next = image.saturating_add(1);
    for (first, last) in segments {
        if first > next {
            break;
        }
        // A segment that is being written reaches beyond whatever was seen.
        next = next.max(last.unwrap_or(seen).saturating_add(1));
    }
    if next > seen {
        return Vec::new();
    }
    let what = format!("the newest image is {image}, seen_txid is {seen}, and no segment has transaction {next}");
    vec![trouble("dfs.namenode.edits.dir", what)]
}

fn disk_below_reserve(facts: &Facts) -> Vec<Trouble> {
    const KEY: &str = "dfs.namenode.resource.du.reserved";
    let reserved = facts.conf.get_bytes(KEY, 104_857_600).unwrap_or(0);
    let reserved = u64::try_from(reserved).unwrap_or(0);
    with(facts, |directory, contents| {
        let free = contents.free_bytes;
        (is_name_directory(directory) && free < reserved)
            .then(|| format!("{} are free, and {KEY} is {}", size(free), size(reserved)))
    })
}

fn disk_nearly_full(facts: &Facts) -> Vec<Trouble> {
    with(facts, |_, contents| {
        let least = contents.size_bytes / 100 * FREE_PERCENT_MIN;
        let (free, all) = (contents.free_bytes, contents.size_bytes);
        (free < least).then(|| format!("{} of {} are free", size(free), size(all)))
    })
}

fn data_disks_shared(facts: &Facts) -> Vec<Trouble> {
    let shared = pairs(facts).filter(|(left, right)| left.role == Role::Blocks && right.role == Role::Blocks);
    shared
        .filter(|(left, right)| same_device(left, right))
        .map(|(left, right)| {
            trouble(
                right.place(),
                format!("it is on the file system of {}", left.path.display()),
            )
        })
        .collect()
}

fn journal_disk_shared(facts: &Facts) -> Vec<Trouble> {
    let of_both = |left: &Directory, right: &Directory| left.role == Role::Journal && right.role == Role::Blocks;
    let shared = pairs(facts).filter(|(left, right)| of_both(left, right) && same_device(left, right));
    shared
        .map(|(left, right)| {
            trouble(
                left.place(),
                format!("it is on the file system of {}", right.path.display()),
            )
        })
        .collect()
}

fn same_device(left: &Directory, right: &Directory) -> bool {
    let device = |directory: &Directory| directory.contents().map(|contents| contents.device);
    device(left).is_some() && device(left) == device(right)
}
