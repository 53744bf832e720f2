//! The users that units run as, and what they may read.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use super::unit_file::GROUP;

const ACCOUNTS_FILE: &str = "/etc/sysusers.d/dsctl.conf";

/// Makes the system users and their group where they are missing.
pub(super) fn make(users: &[&str]) -> io::Result<()> {
    let mut file = format!("# Made by dsctl's agent.\ng {GROUP} -\n");
    for user in users {
        file.push_str(&format!("u {user} - \"dsctl's {user}\"\n"));
    }
    fs::create_dir_all(Path::new(ACCOUNTS_FILE).parent().unwrap_or(Path::new("/etc")))?;
    fs::write(ACCOUNTS_FILE, file)?;
    let output = Command::new("systemd-sysusers").arg(ACCOUNTS_FILE).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("systemd-sysusers: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// The units' group may read the file, or what is in the folder and what will be; others nothing.
pub(super) fn share(path: &Path) -> io::Result<()> {
    chown(path, Some(0), Some(number_of("/etc/group", GROUP)?))?;
    if !path.is_dir() {
        return fs::set_permissions(path, fs::Permissions::from_mode(0o640));
    }
    // Files that are made in it are the group's at once.
    fs::set_permissions(path, fs::Permissions::from_mode(0o2750))?;
    fs::read_dir(path)?.try_for_each(|entry| share(&entry?.path()))
}

/// The folder is the user's own.
pub(super) fn give(path: &Path, user: &str) -> io::Result<()> {
    chown(path, Some(number_of("/etc/passwd", user)?), Some(number_of("/etc/group", user)?))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

pub(crate) fn number_of(table: &str, name: &str) -> io::Result<u32> {
    number_in(&fs::read_to_string(table)?, name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{table} has no {name}")))
}

/// The third field of the line of this name.
fn number_in(text: &str, name: &str) -> Option<u32> {
    let mut fields = text.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    fields.nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_number() {
        let table = "root:x:0:\ndsgate-old:x:7:\ndsgate:x:998:\n";
        assert_eq!(number_in(table, "dsgate"), Some(998));
        assert_eq!(number_in(table, "dsg"), None);
    }
}
