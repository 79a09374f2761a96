//! Ports of a local cluster.

use std::{io, net::TcpListener};

/// Where a node listens, and where its HTTP port and its port for etcd's clients are.
pub(super) struct Addresses {
    pub(super) listen: String,
    pub(super) http: String,
    pub(super) etcd: String,
}

/// Ports that are free right now: from `base` on, or any. An error names the one that is taken.
pub(super) fn free(count: usize, base: Option<u16>) -> Result<Vec<Addresses>, (u16, io::Error)> {
    // All are held until all are found, so that none is given out twice.
    let mut held = Vec::new();
    let mut take = |wanted: u16| -> Result<String, (u16, io::Error)> {
        let listener = TcpListener::bind(("127.0.0.1", wanted)).map_err(|error| (wanted, error))?;
        let address = listener.local_addr().map_err(|error| (wanted, error))?;
        held.push(listener);
        Ok(address.to_string())
    };
    let offset = |base: Option<u16>, steps: usize| match base {
        Some(base) => base.saturating_add(u16::try_from(steps).unwrap_or(u16::MAX)),
        None => 0,
    };
    (0..count)
        .map(|node| {
            Ok(Addresses {
                listen: take(offset(base, node))?,
                http: take(offset(base, HTTP_OFFSET + node))?,
                etcd: take(offset(base, ETCD_OFFSET + node))?,
            })
        })
        .collect()
}

const HTTP_OFFSET: usize = 100;
const ETCD_OFFSET: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different_and_a_taken_one_is_named() {
        let found = free(5, None).unwrap();
        let mut all: Vec<_> = found
            .iter()
            .flat_map(|a| [&a.listen, &a.http, &a.etcd])
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 15);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(free(1, Some(port)).err().unwrap().0, port);
    }
}
