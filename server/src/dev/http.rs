//! One question to a node's HTTP port.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Whether `/readyz` of this address answers 200.
pub(super) async fn is_ready(address: &str) -> bool {
    tokio::time::timeout(TIMEOUT, ask(address))
        .await
        .is_ok_and(|answer| answer.unwrap_or(false))
}

async fn ask(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

const TIMEOUT: Duration = Duration::from_secs(2);
