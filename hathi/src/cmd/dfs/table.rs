//! The commands of the file system shell (`FsShell`), sorted by name as Hadoop shows them.

use crate::cmd::table::Grammar::{Anywhere, Leading, LeadingKnown, Raw};
use crate::cmd::table::{ANY, Grammar, Row};
use std::ops::RangeInclusive;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    AppendToFile,
    Cat,
    Checksum,
    Chgrp,
    Chmod,
    Chown,
    Concat,
    Count,
    Cp,
    CreateSnapshot,
    DeleteSnapshot,
    Df,
    Du,
    Expunge,
    Find,
    Get,
    GetFacl,
    GetFattr,
    GetMerge,
    Head,
    Help,
    Ls,
    Mkdir,
    MoveFromLocal,
    MoveToLocal,
    Mv,
    Put,
    RenameSnapshot,
    Rm,
    Rmdir,
    SetFacl,
    SetFattr,
    SetRep,
    Stat,
    Tail,
    Test,
    Text,
    Touch,
    Touchz,
    Truncate,
    Usage,
    /// Another command with an option. The old name stands in no list.
    Old(&'static str, &'static str),
}

const fn row(
    name: &'static str,
    verb: Verb,
    arguments: &'static str,
    (grammar, flags): (Grammar, &'static [&'static str]),
    words: RangeInclusive<usize>,
    help: &'static str,
) -> Row<Verb> {
    Row {
        name,
        verb,
        arguments,
        flags,
        grammar,
        words,
        help,
    }
}

const NONE: (Grammar, &[&str]) = (Leading, &[]);
const PUT: (Grammar, &[&str]) = (Leading, &["f", "p", "l", "d", "t=", "q="]);
const PUT_ARGUMENTS: &str =
    "[-f] [-p] [-l] [-d] [-t <thread count>] [-q <thread pool queue size>] <localsrc> ... <dst>";
const GET: (Grammar, &[&str]) = (Leading, &["f", "p", "crc", "ignoreCrc", "t=", "q="]);
const GET_ARGUMENTS: &str =
    "[-f] [-p] [-crc] [-ignoreCrc] [-t <thread count>] [-q <thread pool queue size>] <src> ... <localdst>";

#[rustfmt::skip]
pub(super) const ROWS: &[Row<Verb>] = &[
    row("appendToFile", Verb::AppendToFile, "[-n] <localsrc> ... <dst>", (Leading, &["n"]), 0..=ANY,
        "Append local files to a file, which is created if it does not exist. A source of - is\n\
         the standard input. With -n the new data begins in a new block."),
    row("cat", Verb::Cat, "[-ignoreCrc] <src> ...", (Leading, &["ignoreCrc"]), 1..=ANY,
        "Write files to the standard output."),
    row("checksum", Verb::Checksum, "[-v] <src> ...", (Leading, &["v"]), 1..=ANY,
        "Show the checksum of files, which depends on content, block size and the kind of\n\
         checksum. A DataNode is asked for each block. With -v also the block size."),
    row("chgrp", Verb::Chgrp, "[-R] GROUP PATH...", (Leading, &["R"]), 2..=ANY,
        "Change the group, as -chown :GROUP does."),
    row("chmod", Verb::Chmod, "[-R] <MODE[,MODE]... | OCTALMODE> PATH...", (LeadingKnown, &["R"]), 2..=ANY,
        "Change permissions. A mode has the letters rwxXt, as in +t,a+r,g-w,+rwx,o=r, or is octal\n\
         with 3 or 4 digits. Without a user letter all three are meant, and no umask applies.\n\
         With -R everything below a directory too."),
    row("chown", Verb::Chown, "[-R] [OWNER][:[GROUP]] PATH...", (Leading, &["R"]), 2..=ANY,
        "Change owner and group, or the one that is named. With -R everything below too."),
    row("concat", Verb::Concat, "<target path> <src path> <src path> ...", NONE, 0..=ANY,
        "Move the blocks of files to the end of another file in the same directory."),
    row("copyFromLocal", Verb::Put, PUT_ARGUMENTS, PUT, 1..=ANY, "The same as -put."),
    row("copyToLocal", Verb::Get, GET_ARGUMENTS, GET, 1..=ANY, "The same as -get."),
    row("count", Verb::Count, "[-q] [-h] [-v] [-t [<storage type>]] [-u] [-x] [-e] [-s] <path> ...",
        (Leading, &["q", "h", "v", "u", "x", "e"]), 1..=ANY,
        "Count directories, files and bytes. The columns are DIR_COUNT FILE_COUNT CONTENT_SIZE\n\
         PATHNAME, with -q after QUOTA REM_QUOTA SPACE_QUOTA REM_SPACE_QUOTA, with -u only these.\n\
         -h shows sizes with units, -v a heading, -x leaves out snapshots, -e adds the erasure\n\
         coding policy. -t and -s are not served."),
    row("cp", Verb::Cp, "[-f] [-p | -p[topax]] [-d] [-t <thread count>] [-q <thread pool queue size>] <src> ... <dst>",
        (Leading, &["f", "p*", "d", "t=", "q="]), 2..=ANY,
        "Copy files and directories. Several sources need a directory as their destination.\n\
         -p keeps times, owner and permissions, or those named by letters (a and x are not\n\
         served), -f replaces files, -d writes under the final name at once, -t copies so many\n\
         files at a time."),
    row("createSnapshot", Verb::CreateSnapshot, "<snapshotDir> [<snapshotName>]", (Raw, &[]), 0..=ANY,
        "Create a snapshot of a directory."),
    row("deleteSnapshot", Verb::DeleteSnapshot, "<snapshotDir> <snapshotName>", (Raw, &[]), 0..=ANY,
        "Delete a snapshot of a directory."),
    row("df", Verb::Df, "[-h] [<path> ...]", (Leading, &["h"]), 0..=ANY,
        "Show capacity, used and free bytes of the file system."),
    row("du", Verb::Du, "[-s] [-h] [-v] [-x] <path> ...", (Leading, &["s", "h", "v", "x"]), 0..=ANY,
        "Show the bytes of files and directories, and the disk space of all their replicas.\n\
         -s gives one line for each path, -h sizes with units, -v a heading, -x leaves out\n\
         snapshots."),
    row("expunge", Verb::Expunge, "[-immediate] [-fs <path>]", (Leading, &["immediate", "fs="]), 0..=ANY,
        "Delete what is longer in the trash than fs.trash.interval, and close its current\n\
         checkpoint. With -immediate every closed checkpoint is deleted."),
    row("find", Verb::Find, "<path> ... <expression> ...", (Raw, &[]), 1..=ANY,
        "Find files below the paths, or below the home directory.\n\
         -name PATTERN, -iname PATTERN  the last component matches, without or with any case\n\
         -print, -print0                show the path, with a line feed or a NUL after it\n\
         EXPRESSION -a EXPRESSION, EXPRESSION -and EXPRESSION, EXPRESSION EXPRESSION  both"),
    row("get", Verb::Get, GET_ARGUMENTS, GET, 1..=ANY,
        "Copy files and directories to this machine. Several sources need a directory as their\n\
         destination. -p keeps times, owner and permissions, -f replaces files, -ignoreCrc does\n\
         not verify, -crc writes a file of checksums too, -t copies so many files at a time."),
    row("getfacl", Verb::GetFacl, "[-R] <path>", (Leading, &["R"]), 0..=ANY,
        "Show access control lists, also those that new children get. With -R everything below too."),
    row("getfattr", Verb::GetFattr, "[-R] {-n name | -d} [-e en] <path>", (Anywhere, &["R", "d", "n=", "e="]), 0..=ANY,
        "Show extended attributes: one, or all with -d. -e text, -e hex and -e base64 say how\n\
         values are shown. With -R everything below too."),
    row("getmerge", Verb::GetMerge, "[-nl] [-skip-empty-file] <src> <localdst>",
        (Leading, &["nl", "skip-empty-file"]), 2..=ANY,
        "Copy files, or those of a directory in the order of their names, into one local file.\n\
         -nl ends each with a line feed, with -skip-empty-file not the empty ones."),
    row("head", Verb::Head, "<file>", NONE, 1..=1, "Show the first 1024 bytes of a file."),
    row("help", Verb::Help, "[cmd ...]", (Raw, &[]), 0..=ANY, "Show what commands do, or all of them."),
    row("ls", Verb::Ls, "[-C] [-d] [-h] [-q] [-R] [-t] [-S] [-r] [-u] [-e] [<path> ...]",
        (Leading, &["C", "d", "h", "q", "R", "t", "S", "r", "u", "e"]), 0..=ANY,
        "List directories and files: permissions, replicas, owner, group, bytes, modification\n\
         time, path.\n\
         -C paths only            -d directories as files    -h sizes with units\n\
         -q ? for control characters                         -R everything below\n\
         -t newest first          -S largest first           -r in reverse\n\
         -u access times          -e erasure coding policies"),
    row("mkdir", Verb::Mkdir, "[-p] <path> ...", (Leading, &["p"]), 1..=ANY,
        "Make directories. With -p also their parents, and existing ones are no error."),
    row("moveFromLocal", Verb::MoveFromLocal, "[-f] [-p] [-l] [-d] <localsrc> ... <dst>", PUT, 1..=ANY,
        "As -put, and each source is deleted after it was copied."),
    row("moveToLocal", Verb::MoveToLocal, "<src> <localdst>", (Raw, &[]), 0..=ANY, "Not implemented, as in Hadoop."),
    row("mv", Verb::Mv, "<src> ... <dst>", NONE, 2..=ANY,
        "Rename files and directories. Several sources need a directory as their destination."),
    row("put", Verb::Put, PUT_ARGUMENTS, PUT, 1..=ANY,
        "Copy files and directories of this machine. -p keeps times, owner and permissions, -f\n\
         replaces files, -d writes under the final name at once, -l lets the DataNode write it\n\
         to disk later, with one replica, -t copies so many files at a time."),
    row("renameSnapshot", Verb::RenameSnapshot, "<snapshotDir> <oldName> <newName>", (Raw, &[]), 0..=ANY,
        "Rename a snapshot of a directory."),
    row("rm", Verb::Rm, "[-f] [-r|-R] [-skipTrash] [-safely] <src> ...",
        (Leading, &["f", "r", "R", "skipTrash", "safely"]), 1..=ANY,
        "Delete files, or move them to the trash where fs.trash.interval is set.\n\
         -f missing files are no error, -r and -R also directories, -skipTrash delete at once,\n\
         -safely ask before deleting more than hadoop.shell.safely.delete.limit.num.files files."),
    row("rmdir", Verb::Rmdir, "[--ignore-fail-on-non-empty] <dir> ...",
        (Leading, &["-ignore-fail-on-non-empty"]), 1..=ANY, "Delete empty directories."),
    row("setfacl", Verb::SetFacl, "[-R] [{-b|-k} {-m|-x <acl_spec>} <path>]|[--set <acl_spec> <path>]",
        (Leading, &["b", "k", "R", "m", "x", "-set"]), 0..=ANY,
        "Change access control lists.\n\
         -b removes all entries but those of the permissions, -k those for new children,\n\
         -m adds entries or changes them, -x removes entries, --set replaces all.\n\
         With -R everything below too. Entries are [default:]user|group|mask|other:[NAME]:[rwx]\n\
         with commas between them."),
    row("setfattr", Verb::SetFattr, "{-n name [-v value] | -x name} <path>", (Anywhere, &["n=", "v=", "x="]), 0..=ANY,
        "Set an extended attribute, or remove it with -x. A value is a text (also in quotation\n\
         marks), 0x and hexadecimal digits, or 0s and base64."),
    row("setrep", Verb::SetRep, "[-R] [-w] <rep> <path> ...", (Leading, &["R", "w"]), 2..=ANY,
        "Set the number of replicas of files, and of all files below directories. With -w wait\n\
         for them. -R has no effect."),
    row("stat", Verb::Stat, "[format] <path> ...", NONE, 1..=ANY,
        "Show a file's permissions (%a octal, %A letters), bytes (%b), type (%F), group (%g),\n\
         name (%n), block size (%o), replicas (%r), owner (%u), access (%x, %X) and modification\n\
         time (%y, %Y; the capitals in ms). Without a format %y."),
    row("tail", Verb::Tail, "[-f] [-s <sleep interval>] <file>", (Leading, &["f", "s="]), 1..=1,
        "Show the last 1024 bytes of a file. -f goes on with what is written later, and looks\n\
         every so many ms (-s)."),
    row("test", Verb::Test, "-[defswrz] <path>", (Leading, &["d", "e", "f", "s", "w", "r", "z"]), 1..=1,
        "Exit status 0 if the path is a directory (-d), exists (-e), is a file (-f), has bytes\n\
         (-s), may be written (-w) or read (-r), or is empty (-z)."),
    row("text", Verb::Text, "[-ignoreCrc] <src> ...", (Leading, &["ignoreCrc"]), 1..=ANY,
        "Write files to the standard output, decompressed (gzip, zlib, bzip2). Sequence files\n\
         and Avro are refused."),
    row("touch", Verb::Touch, "[-a] [-m] [-t TIMESTAMP (yyyyMMdd:HHmmss) ] [-c] <path> ...",
        (Leading, &["a", "m", "c", "t="]), 1..=ANY,
        "Set access and modification time to now or to a time (-t), or only one (-a, -m).\n\
         A missing file is created, unless -c is given."),
    row("touchz", Verb::Touchz, "<path> ...", NONE, 1..=ANY,
        "Create empty files. A file with bytes is an error."),
    row("truncate", Verb::Truncate, "[-w] <length> <path> ...", (Leading, &["w"]), 2..=ANY,
        "Cut files to a length. With -w wait until their last blocks are recovered."),
    row("usage", Verb::Usage, "[cmd ...]", (Raw, &[]), 0..=ANY, "Show the arguments of commands, or of all of them."),
    row("dus", Verb::Old("du", "s"), "", (Raw, &[]), 0..=ANY, "(DEPRECATED) Same as 'du -s'"),
    row("lsr", Verb::Old("ls", "R"), "", (Raw, &[]), 0..=ANY, "(DEPRECATED) Same as 'ls -R'"),
    row("rmr", Verb::Old("rm", "r"), "", (Raw, &[]), 0..=ANY, "(DEPRECATED) Same as '-rm -r'"),
];
