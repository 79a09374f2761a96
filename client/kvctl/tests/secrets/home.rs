//! A fake cluster, a context for it, and `kvctl` in between.
//!
//! The fake nodes speak no TLS; a front before them does, with the certificates of the SDK's tests.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use crate::fake::Cluster;

pub(crate) struct Home {
    pub(crate) cluster: Cluster,
    pub(crate) folder: TempDir,
    context: PathBuf,
    _front: Runtime,
}

/// How `kvctl` ended and what it said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let cluster = Cluster::start(1);
        let front = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = front.block_on(serve_tls(cluster.nodes[0].address()));
        let folder = tempfile::tempdir().unwrap();
        let context = context(folder.path(), address);
        Self {
            cluster,
            folder,
            context,
            _front: front,
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command
            .args(arguments)
            .env("HOLDFAST_CONTEXT", &self.context);
        command
    }

    pub(crate) fn kvctl(&self, arguments: &[&str]) -> Said {
        self.kvctl_with(arguments, b"")
    }

    pub(crate) fn kvctl_with(&self, arguments: &[&str], input: &[u8]) -> Said {
        let file = self.folder.path().join("input");
        fs::write(&file, input).unwrap();
        let output = self
            .command(arguments)
            .stdin(Stdio::from(fs::File::open(file).unwrap()))
            .output();
        output.unwrap().into()
    }

    /// `kvctl -o json …`, which must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.kvctl(&[&["-o", "json"], arguments].concat());
        serde_json::from_slice(&said.succeeds()).unwrap()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    /// Checks that it failed so, said these words, printed nothing and gave nothing away.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {}", self.err);
        }
        assert!(self.out.is_empty(), "{:?}", self.out);
        assert!(!self.err.contains("hunter"), "{}", self.err);
    }
}

/// A context file for a cluster of one node at this address.
fn context(folder: &Path, address: SocketAddr) -> PathBuf {
    let path = folder.join("context.toml");
    let file = |name: &str| certificates().join(name);
    let text = format!(
        "cluster = \"home\"\nendpoints = [\"{address}\"]\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
        file("ca.crt"),
        file("client.crt"),
        file("client.key"),
    );
    fs::write(&path, text).unwrap();
    path
}

fn certificates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/suite/trust")
}

/// Takes the TLS off what comes, and hands it on.
async fn serve_tls(to: SocketAddr) -> SocketAddr {
    let pem = |name: &str| fs::read(certificates().join(name)).unwrap();
    let certificate = |name: &str| {
        CertificateDer::from_pem_slice(&pem(name))
            .unwrap()
            .into_owned()
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.crt")).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![certificate("node.crt")],
            PrivateKeyDer::from_pem_slice(&pem("node.key")).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((outside, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outside = acceptor.accept(outside).await?;
                let mut inside = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    address
}
