//! Ports on loopback: finding a free one, and checking who listens there.
//!
//! With two programs on one port a test may pass against the wrong server, so callers that start a server ask
//! `is_owned_by`.

use std::fs;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// The first port for servers. They stay below 32,768, where Linux starts handing out ports to outgoing connections.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 12_000;
/// How many ports this process has tried, so that two servers that start at once do not get the same one.
static TRIED: AtomicU32 = AtomicU32::new(0);
/// The state "listening" in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A port that is free now. Another program may take it before the caller does.
///
/// It is read from the kernel's table. Binding it to see would put the socket into every child that another thread
/// happens to fork at that moment, and so keep the port from the server it is meant for.
pub fn free_port() -> Result<u16> {
    let tables = tables();
    // Processes that start at the same time have neighbouring ids: spread them.
    let start = process::id().wrapping_mul(31);
    (0..PORTS)
        .map(|_| start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % PORTS)
        .filter_map(|offset| Some(FIRST_PORT + u16::try_from(offset).ok()?))
        .find(|port| !tables.iter().any(|table| is_used(table, *port)))
        .context("no port between 20000 and 31999 is free")
}

/// Whether the process with this id (not a child of it) holds a socket that listens on `port`.
pub fn is_owned_by(port: u16, process_id: u32) -> bool {
    let tables = tables();
    let mut inodes = tables
        .iter()
        .flat_map(|table| listening_inodes(table, port));
    inodes.any(|inode| holds_socket(process_id, inode))
}

/// Whether any program listens on `port`, of any address.
pub fn is_listened_on(port: u16) -> bool {
    tables()
        .iter()
        .any(|table| listening_inodes(table, port).next().is_some())
}

/// The process that listens on `port`, if this user may see it.
pub fn owner(port: u16) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|process_id| is_owned_by(port, *process_id))
}

/// The words a process was started with.
pub fn command_line(process_id: u32) -> Result<Vec<String>> {
    let bytes = fs::read(format!("/proc/{process_id}/cmdline"))
        .with_context(|| format!("process {process_id} is gone"))?;
    let words = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    Ok(words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect())
}

/// The kernel's sockets of IPv4 and IPv6.
fn tables() -> [String; 2] {
    ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default())
}

/// The sockets of a table that listen on this port, of any address.
fn listening_inodes(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).filter_map(move |line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (*columns.get(1)?, *columns.get(3)?, *columns.get(9)?);
        (state == LISTENING && local.ends_with(&suffix)).then_some(inode)
    })
}

/// Whether any socket of the table, of any address and state, has this port.
fn is_used(table: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    let mut sockets = table.lines().skip(1);
    sockets.any(|line| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&suffix))
    })
}

fn holds_socket(process_id: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process_id}/fd")) else {
        return false;
    };
    descriptors
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target == Path::new(&wanted))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_owner_of_a_port_is_told_from_a_bystander() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut bystander = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();

        assert!(is_owned_by(port, process::id()));
        assert!(!is_owned_by(port, bystander.id()));
        assert_eq!(owner(port), Some(process::id()));

        drop(listener);
        assert!(!is_owned_by(port, process::id()));
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn only_listening_sockets_of_that_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1\n\
             1: 0100007F:4E20 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 12 1\n\
             2: 0200007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1\n\
             3: 00000000:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1\n\
             4: 0100007F:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15 1\n";
        let found: Vec<_> = listening_inodes(table, 20_000).collect();
        assert_eq!(found, ["11", "13", "14"]);
    }

    #[test]
    fn a_free_port_is_below_the_ephemeral_range_and_never_given_twice() {
        let (first, second) = (free_port().unwrap(), free_port().unwrap());
        assert!((20_000..32_000).contains(&first));
        assert_ne!(first, second);
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(is_used(&table, port));
        assert!(!is_used(&table, 1));
    }

    #[test]
    fn a_command_line_is_read_word_by_word() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        // Between fork and exec the child still shows the arguments of this process.
        let words = (0..1000)
            .map(|_| {
                thread::sleep(Duration::from_millis(5));
                command_line(child.id()).unwrap()
            })
            .find(|words| words.first().is_some_and(|word| word == "sleep"));
        assert_eq!(words.unwrap(), ["sleep", "60"]);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
