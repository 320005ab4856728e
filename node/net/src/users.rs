//! The user of a process.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The user that this process acts as. It is `HADOOP_USER_NAME`, else the owner of the process as the system knows it
/// (files, LDAP, SSSD: in the order that the machine is set up for), else `USER`, else the owner's number.
#[must_use]
pub fn process_user() -> String {
    // The system is asked once: that takes a process, and the owner of this process does not change.
    static USER: OnceLock<String> = OnceLock::new();
    let own = || {
        let named = std::env::var("HADOOP_USER_NAME").ok().filter(|name| !name.is_empty());
        named.unwrap_or_else(process_owner)
    };
    USER.get_or_init(own).clone()
}

/// The owner of this process, whose rights on files count: as the system knows it, else `USER`, else its number.
#[must_use]
pub fn process_owner() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    owner("id", &uid).or_else(|| std::env::var("USER").ok()).unwrap_or(uid)
}

/// The owner as `id` tells it. `id` asks all sources that the machine is set up to ask, and works with every libc. A
/// machine without `id` has no directory service either, so its local file is read.
fn owner(id: &str, uid: &str) -> Option<String> {
    let ran = Command::new(id)
        .arg("-un")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(output) = ran else {
        return name_of(uid, &std::fs::read_to_string("/etc/passwd").ok()?);
    };
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !name.is_empty()).then_some(name)
}

fn name_of(uid: &str, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_the_process_is_found_by_its_number() {
        let passwd = "root:x:0:0::/:/bin/sh\nbob:x:7:0::/:/bin/sh\n";
        assert_eq!(name_of("7", passwd).as_deref(), Some("bob"));
        assert_eq!(name_of("70", passwd), None);
    }

    /// A user of a directory service may have a number that the local files have for somebody else.
    #[test]
    fn the_system_is_asked_before_the_local_files() {
        // `echo` prints its arguments.
        assert_eq!(owner("echo", "0").as_deref(), Some("-un"));
        assert_eq!(owner("/nowhere/id", "0").as_deref(), Some("root"));
    }
}
