use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::{End, Fabric, Link};
use crate::harness::ports;

/// An echo server behind a proxy; this process is node 0, the server is node 1.
fn echo() -> (Fabric, TcpStream) {
    let [outer, inner] = ports::free();
    let server = TcpListener::bind(("127.0.0.1", inner)).unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                std::io::copy(&mut stream.try_clone().unwrap(), &mut stream)
            });
        }
    });
    let fabric = Fabric::new(1).unwrap();
    fabric.identify(std::process::id(), 0);
    fabric.serve(1, outer, inner).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", outer)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    (fabric, stream)
}

fn round(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

#[test]
fn a_whole_link_carries_both_ways() {
    let (_fabric, mut stream) = echo();
    round(&mut stream).unwrap();
}

#[test]
fn a_cut_of_either_direction_holds_back_and_healing_delivers() {
    for (from, to) in [(0, 1), (1, 0)] {
        let (fabric, mut stream) = echo();
        round(&mut stream).unwrap();
        fabric.cut(from, to);
        round(&mut stream).unwrap_err();
        fabric.heal();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut late = [0; 4];
        stream.read_exact(&mut late).unwrap();
        round(&mut stream).unwrap();
    }
}

#[test]
fn a_cut_between_others_does_not_matter() {
    let (fabric, mut stream) = echo();
    fabric.part(1, [2, 3]);
    round(&mut stream).unwrap();
}

#[test]
fn a_delay_is_added_to_each_direction() {
    let (fabric, mut stream) = echo();
    round(&mut stream).unwrap();
    let delay = Duration::from_millis(30);
    for (from, to) in [(0, 1), (1, 0)] {
        fabric.set(
            End::Node(from),
            End::Node(to),
            Link {
                delay,
                ..Link::default()
            },
        );
    }
    let began = Instant::now();
    round(&mut stream).unwrap();
    assert!(began.elapsed() >= 2 * delay, "{:?}", began.elapsed());
}

#[test]
fn a_reset_ends_what_is_there_and_new_connections_work() {
    let (fabric, mut stream) = echo();
    round(&mut stream).unwrap();
    let address = stream.peer_addr().unwrap();
    fabric.reset();
    assert!(round(&mut stream).is_err());
    let mut again = TcpStream::connect(address).unwrap();
    round(&mut again).unwrap();
}
