//! Which process holds the other end of a loopback connection.
//!
//! `/proc/net/tcp` gives the inode of the socket with a local port, `/proc/PID/fd` who has it
//! open. Both can be read without root for processes of one's own.

use std::fs;

/// The one of `pids` that owns the IPv4 socket whose local port is `port`.
pub fn of_local_port(port: u16, pids: &[u32]) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode(&table, port)?;
    let socket = format!("socket:[{inode}]");
    pids.iter().copied().find(|pid| {
        fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry
                    .and_then(|entry| fs::read_link(entry.path()))
                    .is_ok_and(|target| target.as_os_str() == socket.as_str())
            })
        })
    })
}

/// Columns: number, local address, remote address, state, …, inode as the tenth.
fn inode(table: &str, port: u16) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let local = columns.nth(1)?;
        let (_, local_port) = local.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local_port, 16).ok()? == port;
        let inode = columns.nth(7)?;
        (is_it && inode != "0").then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_our_own_is_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = stream.local_addr().unwrap().port();
        let own = std::process::id();
        assert_eq!(of_local_port(port, &[1, own]), Some(own));
        assert_eq!(of_local_port(port, &[]), None);
    }
}
