//! Is a loopback port free, and if not, who has it?

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::process;

/// The process that listens on a port, as far as this user may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub pid: u32,
    pub name: String,
}

/// `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The next free port above this one.
pub(crate) fn next_free(port: u16) -> Option<u16> {
    (port.saturating_add(1)..=port.saturating_add(200)).find(|next| is_free(*next))
}

pub(crate) fn holder_of(port: u16) -> Option<Holder> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let pid = pid_with_socket(&inode)?;
    Some(Holder { pid, name: process::name_of(pid).unwrap_or_else(|| "unknown".to_owned()) })
}

/// Who listens on a port, in words; none if nobody does, or nobody that this user may know of.
pub fn port_holder(port: u16) -> Option<String> {
    holder_of(port).map(|holder| format!("{} (process {})", holder.name, holder.pid))
}

/// Columns: number, local `ADDRESS:PORT` in hexadecimal, remote, state, …, the tenth is the socket's inode.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let wanted = format!("{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
        (local_port == wanted && *columns.get(3)? == LISTEN).then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn pid_with_socket(inode: &str) -> Option<u32> {
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        has_open(&entry.path().join("fd"), &socket).then_some(pid)
    })
}

fn has_open(descriptors: &Path, socket: &str) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else {
        return false;
    };
    entries.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_known_with_its_holder() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert_eq!(holder_of(port).unwrap().pid, std::process::id());
        assert!(next_free(port).is_some_and(|next| next > port));
    }

    #[test]
    fn only_listeners_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1\n";
        assert_eq!(listening_inode(table, 8080).as_deref(), Some("222"));
        assert_eq!(listening_inode(table, 8081), None);
    }
}
