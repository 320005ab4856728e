//! The user of a process.

use std::process::{Command, Stdio};

/// The user that this process acts as: `HADOOP_USER_NAME`, else the owner of the process: by the local files, which is at
/// once, else as the system knows it (LDAP, SSSD), else `USER`, else the number.
#[must_use]
pub fn process_user() -> String {
    if let Ok(name) = std::env::var("HADOOP_USER_NAME")
        && !name.is_empty()
    {
        return name;
    }
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&uid, &passwd)
        .or_else(name_by_id)
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or(uid)
}

fn name_of(uid: &str, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid)).then(|| name.to_owned())
    })
}

/// `id` asks whatever the machine is set up to ask.
fn name_by_id() -> Option<String> {
    let ran = Command::new("id")
        .arg("-un")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let output = ran.ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !name.is_empty()).then_some(name)
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

    #[test]
    fn who_is_in_no_file_is_known_to_the_system() {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        if let Some(name) = name_of(&uid, &passwd) {
            assert_eq!(name_by_id(), Some(name));
        }
    }
}
