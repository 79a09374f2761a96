use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{Response, transport::Server};

use super::*;
use crate::{
    identity::{NodeKey, PublicKey, authority::to_pem, new_cluster_id},
    tls::{NodeTls, incoming},
};

/// A cluster whose only service is `Join`: it answers as `verdict` says, and keeps what it was sent.
#[derive(Clone)]
struct Door {
    authority: Arc<CertificateAuthority>,
    verdict: Verdict,
    seen: Arc<Mutex<Vec<v1::JoinRequest>>>,
}

#[derive(Clone, Copy)]
enum Verdict {
    Welcome,
    Refuse(&'static str, &'static str),
    BusyOnce,
    ForAnother,
}

impl Door {
    fn new(verdict: Verdict) -> Self {
        let authority = CertificateAuthority::create(&new_cluster_id(), SystemTime::now()).unwrap();
        Self {
            authority: Arc::new(authority),
            verdict,
            seen: Arc::default(),
        }
    }

    /// Opens the door at a free port.
    async fn open(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let key = NodeKey::generate().unwrap();
        let now = SystemTime::now();
        let name = "n1".parse().unwrap();
        let certificate = self
            .authority
            .sign_node(&name, &key.public_key(), &address, now)
            .unwrap();
        let pem = to_pem(&certificate);
        let tls = NodeTls::load(&self.authority.certificate_pem(), &pem, &key, now).unwrap();
        let service = v1::cluster_server::ClusterServer::new(self.clone());
        let connections = incoming(listener, &tls);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(connections),
        );
        address
    }

    fn token(&self, endpoint: &str) -> JoinToken {
        let endpoints = vec![endpoint.to_owned()];
        JoinToken::generate(self.authority.cluster_id(), self.authority.pin(), endpoints)
    }
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for Door {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let request = request.into_inner();
        let first = {
            let mut seen = self.seen.lock();
            seen.push(request.clone());
            seen.len() == 1
        };
        let name = match self.verdict {
            Verdict::Refuse(reason, message) => {
                let mut status = Status::failed_precondition(message);
                status
                    .metadata_mut()
                    .insert("holdfast-reason", reason.parse().unwrap());
                return Err(status);
            }
            Verdict::BusyOnce if first => return Err(Status::unavailable("no leader")),
            Verdict::ForAnother => "n9",
            _ => &request.name,
        };
        let key = PublicKey::from_request(&request.certificate_request).unwrap();
        let certificate = self
            .authority
            .sign_node(
                &name.parse().unwrap(),
                &key,
                &request.address,
                SystemTime::now(),
            )
            .unwrap();
        Ok(Response::new(v1::JoinResponse {
            id: 2,
            certificate: certificate.to_vec().into(),
            ca_certificate: self.authority.certificate().to_vec().into(),
            ca_key: self.authority.key().to_der().to_vec().into(),
            cluster_id: self.authority.cluster_id().to_owned(),
            ..v1::JoinResponse::default()
        }))
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Err(Status::unimplemented("only Join"))
    }

    async fn member_list(
        &self,
        _: Request<v1::MemberListRequest>,
    ) -> Result<Response<v1::MemberListResponse>, Status> {
        Err(Status::unimplemented("only Join"))
    }

    async fn create_token(
        &self,
        _: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        Err(Status::unimplemented("only Join"))
    }

    async fn promote(
        &self,
        _: Request<v1::PromoteRequest>,
    ) -> Result<Response<v1::PromoteResponse>, Status> {
        Err(Status::unimplemented("only Join"))
    }

    async fn remove(
        &self,
        _: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::RemoveResponse>, Status> {
        Err(Status::unimplemented("only Join"))
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        Err(Status::unimplemented("only Join"))
    }

    async fn retire_authority(
        &self,
        _: Request<v1::RetireAuthorityRequest>,
    ) -> Result<Response<v1::RetireAuthorityResponse>, Status> {
        Err(Status::unimplemented("only Join"))
    }
}

fn options(dir: &std::path::Path, token: JoinToken) -> JoinOptions {
    JoinOptions {
        dir: dir.to_owned(),
        name: "n2".parse().unwrap(),
        listen: "127.0.0.1:7102".to_owned(),
        advertise: None,
        http: None,
        etcd: None,
        key_protector: holdfast_seal::Protector::File,
        token,
        patience: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn a_node_that_is_let_in_has_a_folder_that_runs() {
    let door = Door::new(Verdict::Welcome);
    let token = door.token(&door.open().await);
    let temp = tempfile::tempdir().unwrap();
    let dir = join(&options(temp.path(), token.clone()), SystemTime::now())
        .await
        .unwrap();
    assert_eq!(dir.configuration().id, NodeId(2));
    assert!(!dir.configuration().founder);
    assert!(dir.tls(SystemTime::now()).is_ok());
    assert_eq!(dir.authority().unwrap().pin(), door.authority.pin());
    drop(dir);
    let again = join(&options(temp.path(), token), SystemTime::now()).await;
    assert!(matches!(
        again,
        Err(JoinError::Dir(DirError::Occupied { .. }))
    ));
}

#[tokio::test]
async fn another_cluster_is_told_nothing() {
    let (ours, theirs) = (Door::new(Verdict::Welcome), Door::new(Verdict::Welcome));
    let token = ours.token(&theirs.open().await);
    let temp = tempfile::tempdir().unwrap();
    let error = join(&options(temp.path(), token), SystemTime::now())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, JoinError::WrongCluster { .. }), "{error}");
    assert!(error.to_string().contains("nothing secret was sent"));
    assert!(theirs.seen.lock().is_empty());
}

#[tokio::test]
async fn a_used_token_is_told_in_the_clusters_words_and_the_folder_can_try_another() {
    let words = "the token was used already; make a new one with `kvctl member token`";
    let door = Door::new(Verdict::Refuse("token_invalid", words));
    let endpoint = door.open().await;
    let temp = tempfile::tempdir().unwrap();
    let refused = join(
        &options(temp.path(), door.token(&endpoint)),
        SystemTime::now(),
    )
    .await;
    match refused.err().unwrap() {
        JoinError::Refused {
            reason, message, ..
        } => {
            assert_eq!(
                (reason.as_str(), message.as_str()),
                ("token_invalid", words)
            );
        }
        other => panic!("{other}"),
    }
    let open = Door {
        verdict: Verdict::Welcome,
        ..door.clone()
    };
    let token = open.token(&open.open().await);
    join(&options(temp.path(), token), SystemTime::now())
        .await
        .unwrap();
    let seen = door.seen.lock();
    assert_ne!(
        seen[0].request, seen[1].request,
        "another token is another request"
    );
}

#[tokio::test]
async fn a_cluster_without_a_leader_is_asked_again_under_the_same_request_id() {
    let door = Door::new(Verdict::BusyOnce);
    let token = door.token(&door.open().await);
    let temp = tempfile::tempdir().unwrap();
    join(&options(temp.path(), token), SystemTime::now())
        .await
        .unwrap();
    let seen = door.seen.lock();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].request, seen[1].request);
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken() {
    let door = Door::new(Verdict::ForAnother);
    let token = door.token(&door.open().await);
    let temp = tempfile::tempdir().unwrap();
    let error = join(&options(temp.path(), token), SystemTime::now())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, JoinError::Answer(_)), "{error}");
    assert!(!temp.path().join("node.toml").exists());
}

#[tokio::test]
async fn a_cluster_that_is_down_is_named_with_what_to_check() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = closed.local_addr().unwrap().to_string();
    drop(closed);
    let token = Door::new(Verdict::Welcome).token(&endpoint);
    let temp = tempfile::tempdir().unwrap();
    let mut options = options(temp.path(), token);
    options.patience = Duration::from_millis(500);
    let error = join(&options, SystemTime::now())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(&endpoint) && error.contains("can be reached"),
        "{error}"
    );
}
