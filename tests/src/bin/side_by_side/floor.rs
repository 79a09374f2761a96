//! What nobody can go below on this machine: one synced write, and one round trip through TLS.
//!
//! Nothing of either side runs in them. A put of one client needs at least a round trip to its
//! member, one from a leader to a follower, and a synced write on each of two disks at the same
//! time.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Instant,
};

use anyhow::{Context as _, anyhow};
use holdfast_tests::etcd::Endpoints;
use rustls::{ClientConnection, ServerConnection, StreamOwned, pki_types::ServerName};

use crate::{
    pair::{Pair, Side},
    report::Report,
    tls,
};

/// Microseconds of both, as medians and 99th percentiles.
pub(crate) fn measure(report: &mut Report, pair: &Pair) -> anyhow::Result<()> {
    report.floor_title();
    let synced = synced_appends(pair.folder(Side::Holdfast))?;
    report.floor("fdatasync of an append of 300 B", synced);
    let round_trips = round_trips(
        &pair.endpoints(Side::Holdfast)?,
        pair.dirs(Side::Holdfast)[0],
    )?;
    report.floor("round trip of 300 B, mutual TLS on loopback", round_trips);
    Ok(())
}

/// Appends to a file that grows, as a log without preallocated space does.
fn synced_appends(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let mut file = File::create_new(folder.join("floor"))?;
    let mut micros = Vec::new();
    for _ in 0..APPENDS {
        let began = Instant::now();
        file.write_all(&MESSAGE)?;
        file.sync_data()?;
        micros.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

/// A message there and back, between two threads that block.
fn round_trips(endpoints: &Endpoints, node: &Path) -> anyhow::Result<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let papers = endpoints.papers.as_ref().context("papers")?;
    let server = tls::server(node, &papers.ca)?;
    let client = tls::client(papers)?;

    let echo = thread::spawn(move || -> anyhow::Result<()> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(server))?, stream);
        let mut message = MESSAGE;
        for _ in 0..ROUND_TRIPS {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let name = ServerName::IpAddress(address.ip().into());
    let connection = ClientConnection::new(Arc::new(client), name)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut micros = Vec::new();
    let mut message = MESSAGE;
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        micros.push(began.elapsed().as_secs_f64() * 1e6);
    }
    echo.join().map_err(|_| anyhow!("the echo panicked"))??;
    // The first ones shake hands.
    Ok(micros.split_off(HANDSHAKE))
}

const MESSAGE: [u8; 300] = [7; 300];
const APPENDS: usize = 1_000;
const ROUND_TRIPS: usize = 4_000;
const HANDSHAKE: usize = 100;
