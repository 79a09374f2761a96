//! The HTTP port of a node, as a monitor reads it.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A page, with its head.
pub async fn page(address: &str, path: &str) -> anyhow::Result<String> {
    page_on(&mut TcpStream::connect(address).await?, path).await
}

/// A page, with its head, over a connection that nothing was sent on.
pub async fn page_on(stream: &mut TcpStream, path: &str) -> anyhow::Result<String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: node\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}
