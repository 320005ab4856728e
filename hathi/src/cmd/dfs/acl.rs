//! `-getfacl`, `-setfacl` (`AclCommands`).

use super::{Arguments, Item, Misuse, RemotePath, Shell};
use anyhow::{Result, bail};
use hathi_formats::proto::hdfs::acl_entry_proto::{AclEntryScopeProto as Scope, AclEntryTypeProto as Kind};
use hathi_formats::proto::hdfs::{self, AclEntryProto, AclStatusProto};
use hathi_net::ipc::Idempotence;
use prost::Message;

/// Entries of a list without named users and groups: user, group and other.
const MINIMAL_LEN: usize = 3;
/// Flag of a status: there is an access control list (`HdfsFileStatusProto.Flags.HAS_ACL`).
const HAS_ACL: u32 = 1;

/// A change by `-setfacl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    RemoveAll,
    RemoveDefault,
    Modify,
    Remove,
    Set,
}

impl Change {
    fn method(self) -> &'static str {
        match self {
            Change::RemoveAll => "removeAcl",
            Change::RemoveDefault => "removeDefaultAcl",
            Change::Modify => "modifyAclEntries",
            Change::Remove => "removeAclEntries",
            Change::Set => "setAcl",
        }
    }
}

/// `rwx` of the lowest three bits.
fn letters(bits: u32) -> String {
    let letter = |bit, letter| if bits & bit != 0 { letter } else { '-' };
    [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')].iter().collect()
}

fn bits_of(text: &str) -> Option<i32> {
    let mut bits = 0;
    let mut chars = text.chars();
    for (letter, bit) in [('r', 4), ('w', 2), ('x', 1)] {
        match chars.next()? {
            found if found == letter => bits |= bit,
            '-' => {}
            _ => return None,
        }
    }
    chars.next().is_none().then_some(bits)
}

fn is_default(entry: &AclEntryProto) -> bool {
    entry.scope() == Scope::Default
}

/// `[default:]user:name:rwx`
fn text_of(entry: &AclEntryProto) -> String {
    let scope = if is_default(entry) { "default:" } else { "" };
    let kind = match entry.r#type() {
        Kind::User => "user",
        Kind::Group => "group",
        Kind::Mask => "mask",
        Kind::Other => "other",
    };
    let bits = u32::try_from(entry.permissions).unwrap_or_default();
    format!("{scope}{kind}:{}:{}", entry.name(), letters(bits))
}

/// Parses entries with commas between them, without permissions if they are to be removed (`AclEntry.parseAclSpec`).
fn parse(spec: &str, with_permission: bool) -> Result<Vec<AclEntryProto>, Misuse> {
    spec.split(',')
        .map(|entry| parse_entry(entry, with_permission))
        .collect()
}

fn parse_entry(text: &str, with_permission: bool) -> Result<AclEntryProto, Misuse> {
    let invalid = || Misuse(format!("Invalid <aclSpec> : {text}"));
    // As Java's split, this drops empty parts at the end.
    let mut parts: Vec<&str> = text.split(':').collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    let mut parts = parts.into_iter().peekable();
    let scope = match parts.next_if_eq(&"default") {
        Some(_) => Scope::Default,
        None => Scope::Access,
    };
    let kind = match parts.next().ok_or_else(invalid)?.to_ascii_lowercase().as_str() {
        "user" => Kind::User,
        "group" => Kind::Group,
        "mask" => Kind::Mask,
        "other" => Kind::Other,
        _ => return Err(Misuse(format!("Invalid type of acl in <aclSpec> :{text}"))),
    };
    let name = parts.next().filter(|name| !name.is_empty()).map(str::to_owned);
    let mut permissions = 0;
    if with_permission {
        let wrong = || Misuse(format!("Invalid permission in <aclSpec> : {text}"));
        permissions = bits_of(parts.next().ok_or_else(invalid)?).ok_or_else(wrong)?;
    }
    if parts.next().is_some() {
        return Err(invalid());
    }
    Ok(AclEntryProto {
        r#type: kind.into(),
        scope: scope.into(),
        permissions,
        name,
    })
}

/// All entries, with those that the permissions stand for (`AclUtil.getAclFromPermAndEntries`).
fn all_entries(mode: u32, entries: &[AclEntryProto]) -> Vec<AclEntryProto> {
    let entry = |kind: Kind, bits: u32| AclEntryProto {
        r#type: kind.into(),
        scope: Scope::Access.into(),
        permissions: i32::try_from(bits & 7).unwrap_or_default(),
        name: None,
    };
    let named: Vec<AclEntryProto> = entries.iter().filter(|entry| !is_default(entry)).cloned().collect();
    let group = if named.is_empty() { Kind::Group } else { Kind::Mask };
    let mut all = vec![entry(Kind::User, mode >> 6)];
    all.extend(named);
    all.push(entry(group, mode >> 3));
    all.push(entry(Kind::Other, mode));
    all.extend(entries.iter().filter(|entry| is_default(entry)).cloned());
    all
}

/// The lines of entries of one scope. An entry that the mask narrows is shown with what is left.
fn lines(entries: &[&AclEntryProto], mask: u32) -> Vec<String> {
    let extended = entries.len() > MINIMAL_LEN;
    let line = |entry: &&AclEntryProto| {
        let text = text_of(entry);
        let narrowed = entry.name.is_some() || entry.r#type() == Kind::Group;
        let bits = u32::try_from(entry.permissions).unwrap_or_default();
        if extended && narrowed && bits & mask != bits {
            return format!("{text}\t#effective:{}", letters(bits & mask));
        }
        text
    };
    entries.iter().map(line).collect()
}

impl Shell {
    pub(super) async fn getfacl(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        one_path(&words, "")?;
        for item in self.with_children(&words, flags.has("R")).await? {
            if let Err(error) = self.show_acl(&item).await {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    async fn show_acl(&mut self, item: &Item) -> Result<()> {
        let status = &item.status;
        let mut mode = status.permission.perm;
        println!("# file: {}", item.path);
        println!("# owner: {}", status.owner);
        println!("# group: {}", status.group);
        if mode & 0o1000 != 0 {
            println!("# flags: --{}", if mode & 1 != 0 { "t" } else { "T" });
        }
        let mut acl = AclStatusProto::default();
        if status.flags() & HAS_ACL != 0 {
            let request = hdfs::GetAclStatusRequestProto {
                src: item.path.path.clone(),
            };
            let answer: hdfs::GetAclStatusResponseProto = self
                .fs(&item.path)?
                .call("getAclStatus", &request, Idempotence::Idempotent)
                .await?;
            acl = answer.result;
            mode = acl.permission.map_or(mode, |permission| permission.perm);
        }
        let all = all_entries(mode, &acl.entries);
        let (default, access): (Vec<&AclEntryProto>, Vec<&AclEntryProto>) =
            all.iter().partition(|entry| is_default(entry));
        // The last entry but one is the mask, or the group's where there is none.
        let default_mask = default.iter().rev().nth(1).map_or(7, |mask| mask.permissions);
        let default_mask = u32::try_from(default_mask).unwrap_or(7);
        for line in lines(&access, mode >> 3 & 7)
            .iter()
            .chain(&lines(&default, default_mask))
        {
            println!("{line}");
        }
        println!();
        Ok(())
    }

    pub(super) async fn setfacl(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        let options = [
            ("b", Change::RemoveAll),
            ("k", Change::RemoveDefault),
            ("m", Change::Modify),
            ("x", Change::Remove),
            ("-set", Change::Set),
        ];
        let given: Vec<Change> = options
            .iter()
            .filter(|(flag, _)| flags.has(flag))
            .map(|(_, change)| *change)
            .collect();
        if given.len() > 1 {
            bail!(Misuse(
                "Specified flags contains both remove and modify flags".to_owned()
            ));
        }
        let change = given.first().copied();
        let mut entries = Vec::new();
        if matches!(change, Some(Change::Modify | Change::Remove | Change::Set)) {
            match words.len() {
                0 => bail!(Misuse("Missing arguments: <acl_spec> <path>".to_owned())),
                1 => bail!(Misuse("Missing either <acl_spec> or <path>".to_owned())),
                _ => entries = parse(&words.remove(0), change != Some(Change::Remove))?,
            }
        }
        one_path(&words, "")?;
        let Some(change) = change else {
            bail!(Misuse("Expected one of -b, -k, -m, -x or --set options".to_owned()));
        };
        let recursive = flags.has("R");
        for item in self.with_children(&words, recursive).await? {
            let mut entries = entries.clone();
            if recursive && !item.is_dir() {
                // A file has no entries for children.
                entries.retain(|entry| !is_default(entry));
                if entries.is_empty() && !matches!(change, Change::RemoveAll | Change::RemoveDefault) {
                    continue;
                }
            }
            if let Err(error) = self.change_acl(&item.path, change, entries).await {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    async fn change_acl(&mut self, path: &RemotePath, change: Change, acl_spec: Vec<AclEntryProto>) -> Result<()> {
        let src = path.path.clone();
        let method = change.method();
        // Requests with and without entries have the same first field, and their answers are empty.
        match change {
            Change::RemoveAll | Change::RemoveDefault => {
                self.call_acl(path, method, &hdfs::RemoveAclRequestProto { src }).await
            }
            Change::Modify | Change::Remove | Change::Set => {
                self.call_acl(path, method, &hdfs::SetAclRequestProto { src, acl_spec })
                    .await
            }
        }
    }

    async fn call_acl<Q: Message>(&mut self, path: &RemotePath, method: &str, request: &Q) -> Result<()> {
        let fs = self.fs(path)?;
        let _: hdfs::SetAclResponseProto = fs.call(method, request, Idempotence::Idempotent).await?;
        Ok(())
    }
}

/// Refuses anything but one path. Messages of attributes end with a full stop, those of lists do not.
pub(super) fn one_path(words: &[String], stop: &str) -> Result<(), Misuse> {
    match words.len() {
        0 => Err(Misuse(format!("<path> is missing{stop}"))),
        1 => Ok(()),
        _ => Err(Misuse(format!("Too many arguments{stop}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(spec: &str, with_permission: bool) -> Result<String, Misuse> {
        let entries = parse(spec, with_permission)?;
        Ok(entries.iter().map(text_of).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn entries_are_read_as_hadoop_reads_them() {
        let spec = "user::rwx,user:bob:r-x,group::---,mask::r--,other::--x,default:group:staff:rw-";
        assert_eq!(round_trip(spec, true).unwrap(), spec);
        assert_eq!(round_trip("user:bob", false).unwrap(), "user:bob:---");
        assert_eq!(round_trip("default:user:", false).unwrap(), "default:user::---");
        for (wrong, with_permission, text) in [
            ("nonsense", true, "Invalid type of acl in <aclSpec> :nonsense"),
            ("user:a:q", true, "Invalid permission in <aclSpec> : user:a:q"),
            ("user:a", true, "Invalid <aclSpec> : user:a"),
            ("user:a:rwx", false, "Invalid <aclSpec> : user:a:rwx"),
            ("", true, "Invalid <aclSpec> : "),
            ("default", true, "Invalid <aclSpec> : default"),
        ] {
            assert_eq!(round_trip(wrong, with_permission), Err(Misuse(text.to_owned())));
        }
    }

    #[test]
    fn a_mask_shows_what_it_leaves() {
        let shown = |mode: u32, spec: &str| {
            let entries = if spec.is_empty() {
                Vec::new()
            } else {
                parse(spec, true).unwrap()
            };
            let all = all_entries(mode, &entries);
            let access: Vec<&AclEntryProto> = all.iter().filter(|entry| !is_default(entry)).collect();
            lines(&access, mode >> 3 & 7)
        };
        assert_eq!(shown(0o640, ""), ["user::rw-", "group::r--", "other::---"]);
        assert_eq!(
            shown(0o640, "user:bob:rwx,group::rwx"),
            [
                "user::rw-",
                "user:bob:rwx\t#effective:r--",
                "group::rwx\t#effective:r--",
                "mask::r--",
                "other::---"
            ]
        );
    }
}
