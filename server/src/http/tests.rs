use std::sync::atomic::{AtomicBool, Ordering};

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

#[derive(Default)]
struct Patient {
    ill: AtomicBool,
    measured: AtomicBool,
}

impl Vitals for Patient {
    fn live(&self) -> Result<(), String> {
        if self.ill.load(Ordering::Relaxed) {
            Err("the disk is gone".to_owned())
        } else {
            Ok(())
        }
    }

    fn ready(&self) -> Result<(), String> {
        Err("no leader is known".to_owned())
    }

    fn measure(&self) {
        self.measured.store(true, Ordering::Relaxed);
    }
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told_apart() {
    let patient = Arc::new(Patient::default());
    let handle = PrometheusBuilder::new().build_recorder().handle();
    let server = HttpServer::start("127.0.0.1:0", patient.clone(), handle)
        .await
        .unwrap();
    assert!(
        ask(server.address(), "/healthz")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let ready = ask(server.address(), "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("no leader is known"),
        "{ready}"
    );
    assert!(
        ask(server.address(), "/metrics")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(patient.measured.load(Ordering::Relaxed));
    patient.ill.store(true, Ordering::Relaxed);
    assert!(
        ask(server.address(), "/healthz")
            .await
            .contains("the disk is gone")
    );
}

#[tokio::test]
async fn a_taken_http_port_is_told_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let handle = PrometheusBuilder::new().build_recorder().handle();
    let error = HttpServer::start(&address, Arc::new(Patient::default()), handle)
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("--http"), "{text}");
}
