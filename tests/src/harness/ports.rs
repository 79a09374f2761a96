//! Free ports, below the range that the system gives to outgoing connections.

use std::{collections::HashSet, net::TcpListener};

use parking_lot::Mutex;

/// `count` ports of 127.0.0.1 that nobody listens on, and that were not given before.
pub fn free<const COUNT: usize>() -> [u16; COUNT] {
    std::array::from_fn(|_| one())
}

fn one() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock();
    let given = given.get_or_insert_default();
    for _ in 0..10_000 {
        let port = rand::random_range(RANGE);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no port of {RANGE:?} is free");
}

const RANGE: std::ops::Range<u16> = 20_000..32_000;
