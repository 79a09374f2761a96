use std::{pin::pin, time::Duration};

use futures::StreamExt;
use holdfast_core::{
    AuthorityBegin, AuthorityTaken, AuthorityWanted, Body, Command, Context, Founding, Role, State,
    TokenDigest, apply,
};
use holdfast_proto::{NodeId, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::identity::{CaPin, CertificateAuthority, authority::to_pem};

const ADDRESS: &str = "127.0.0.1:7101";

fn cluster(id: &str) -> CertificateAuthority {
    CertificateAuthority::create(id, SystemTime::now()).unwrap()
}

fn node(authority: &CertificateAuthority, name: &str, now: SystemTime) -> NodeTls {
    let key = NodeKey::generate().unwrap();
    let certificate = authority
        .sign_node(&name.parse().unwrap(), &key.public_key(), ADDRESS, now)
        .unwrap();
    NodeTls::load(
        &authority.certificate_pem(),
        &to_pem(&certificate),
        &key,
        SystemTime::now(),
    )
    .unwrap()
}

/// One handshake over loopback: what the client made of it, and whom the server saw.
async fn meet(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (Result<(), String>, Option<Option<Identity>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(stream).await.ok()?;
        stream.write_all(b"!").await.ok()?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .map(|chain| chain[0].clone());
        Some(certificate.map(|certificate| Identity::from_certificate(&certificate).unwrap()))
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("holdfast").unwrap();
    let met = match TlsConnector::from(client).connect(name, stream).await {
        // The server's verdict on our certificate comes with the first byte it sends.
        Ok(mut stream) => stream.read_u8().await.map(|_| ()),
        Err(error) => Err(error),
    };
    (
        met.map_err(|error| error.to_string()),
        serving.await.unwrap(),
    )
}

#[tokio::test]
async fn two_nodes_of_a_cluster_know_each_other() {
    let authority = cluster("c1");
    let (one, two) = (
        node(&authority, "n1", SystemTime::now()),
        node(&authority, "n2", SystemTime::now()),
    );
    let (met, seen) = meet(
        two.server_config(),
        one.client_config(&"n2".parse().unwrap()),
    )
    .await;
    met.unwrap();
    assert_eq!(seen.unwrap().as_ref(), Some(one.identity()));
}

#[tokio::test]
async fn a_peer_that_is_another_node_than_was_meant_is_refused_by_name() {
    let authority = cluster("c1");
    let (one, two) = (
        node(&authority, "n1", SystemTime::now()),
        node(&authority, "n2", SystemTime::now()),
    );
    let (met, _) = meet(
        two.server_config(),
        one.client_config(&"n3".parse().unwrap()),
    )
    .await;
    let error = met.unwrap_err();
    assert!(
        error.contains("node/n2") && error.contains("not node/n3"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_of_the_cluster_is_no_node() {
    let authority = cluster("c1");
    let key = NodeKey::generate().unwrap();
    let certificate = authority
        .sign_client("admin", &key.public_key(), SystemTime::now())
        .unwrap();
    let admin = NodeTls::load(
        &authority.certificate_pem(),
        &to_pem(&certificate),
        &key,
        SystemTime::now(),
    )
    .unwrap();
    let one = node(&authority, "n1", SystemTime::now());
    let (met, _) = meet(
        admin.server_config(),
        one.client_config(&"n2".parse().unwrap()),
    )
    .await;
    assert!(met.is_err());
    assert!(matches!(
        admin.expect_node("c1", &"n1".parse().unwrap()),
        Err(TlsError::Stranger { .. })
    ));
}

#[tokio::test]
async fn certificates_of_another_authority_count_for_nothing_on_either_side() {
    let (ours, theirs) = (cluster("c1"), cluster("c1"));
    let (one, stranger) = (
        node(&ours, "n1", SystemTime::now()),
        node(&theirs, "n2", SystemTime::now()),
    );
    let (met, _) = meet(
        stranger.server_config(),
        one.client_config(&"n2".parse().unwrap()),
    )
    .await;
    let error = met.unwrap_err();
    assert!(error.contains("a node of another cluster"), "{error}");
    // A client that checks nothing still meets a server that does.
    let pin = Verifier::new(verify::PinnedAuthority::new(ours.pin(), "c1"));
    let client = client_builder(Arc::new(pin)).with_client_cert_resolver(stranger.own.clone());
    let (met, seen) = meet(one.server_config(), Arc::new(client)).await;
    assert!(met.is_err());
    assert_eq!(seen, None);
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_let_in_as_nobody_and_only_with_the_right_pin() {
    let authority = cluster("c1");
    let one = node(&authority, "n1", SystemTime::now());
    let client = |pin: CaPin, id: &str| {
        let verifier = Arc::new(Verifier::new(verify::PinnedAuthority::new(pin, id)));
        (
            verifier.clone(),
            Arc::new(client_builder(verifier).with_no_client_auth()),
        )
    };
    let (verifier, config) = client(authority.pin(), "c1");
    let (met, seen) = meet(one.server_config(), config).await;
    met.unwrap();
    assert_eq!(seen, Some(None));
    assert_eq!(verifier.authority().as_ref(), Some(authority.certificate()));

    let (_, config) = client(CaPin::from_bytes([0; 32]), "c1");
    let (met, _) = meet(one.server_config(), config).await;
    assert!(met.unwrap_err().contains(verify::WRONG_AUTHORITY));
    let (_, config) = client(authority.pin(), "c2");
    let (met, _) = meet(one.server_config(), config).await;
    assert!(
        met.unwrap_err()
            .contains("not a node of the token's cluster")
    );
}

#[tokio::test]
async fn the_key_exchange_is_hybrid_and_the_version_is_1_3() {
    let authority = cluster("c1");
    let (one, two) = (
        node(&authority, "n1", SystemTime::now()),
        node(&authority, "n2", SystemTime::now()),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(two.server_config());
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap()
    });
    let connector = TlsConnector::from(one.client_config(&"n2".parse().unwrap()));
    let name = rustls_pki_types::ServerName::try_from("holdfast").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let connection = stream.get_ref().1;
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(connection.alpn_protocol(), Some(b"h2".as_slice()));
    drop(serving.await.unwrap());
}

#[test]
fn a_clock_that_is_far_off_is_told_before_any_handshake() {
    let authority = cluster("c1");
    let key = NodeKey::generate().unwrap();
    let now = SystemTime::now();
    let certificate = authority
        .sign_node(&"n1".parse().unwrap(), &key.public_key(), ADDRESS, now)
        .unwrap();
    let load = |at| {
        NodeTls::load(
            &authority.certificate_pem(),
            &to_pem(&certificate),
            &key,
            at,
        )
    };
    let behind = load(SystemTime::UNIX_EPOCH).err().unwrap().to_string();
    assert!(
        behind.contains("1970") && behind.contains("set the clock"),
        "{behind}"
    );
    let ahead = load(now + Duration::from_secs(20 * 365 * 24 * 3600))
        .err()
        .unwrap()
        .to_string();
    assert!(ahead.contains("set the clock"), "{ahead}");
    assert!(load(now - Duration::from_secs(60)).is_ok());
}

#[test]
fn a_certificate_is_due_in_its_last_third() {
    let authority = cluster("c1");
    let now = SystemTime::now();
    let fresh = node(&authority, "n1", now);
    assert!(!fresh.is_due(now));
    assert!(!fresh.is_due(now + LIFETIME / 2));
    assert!(fresh.is_due(now + LIFETIME * 3 / 4));
    assert!(fresh.names_address("localhost:9"));
    assert!(fresh.names_address("127.0.0.1:9"));
    assert!(!fresh.names_address("10.0.0.1:9"));
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let authority = cluster("c1");
    let now = SystemTime::now();
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let certificate = authority
        .sign_node(&"n1".parse().unwrap(), &key.public_key(), ADDRESS, now)
        .unwrap();
    let pem = to_pem(&certificate);
    assert!(matches!(
        NodeTls::load(&authority.certificate_pem(), &pem, &other, now),
        Err(TlsError::Mismatch(_))
    ));
    assert!(matches!(
        NodeTls::load(&authority.certificate_pem(), "half", &key, now),
        Err(TlsError::Unreadable {
            file: "node.crt",
            ..
        })
    ));
}

fn done(state: &mut State, body: Body) {
    let context = Context {
        index: 1,
        term: 1,
        at: Timestamp::from_millis(1),
    };
    let outcome = apply(state, context, Command::internal("test", body));
    assert_eq!(outcome.reply.refusal(), None);
}

/// Members of the names and with the keys of these nodes.
fn members(nodes: &[&NodeTls]) -> State {
    let mut state = State::new();
    for (place, tls) in nodes.iter().enumerate() {
        let Identity::Node {
            name, public_key, ..
        } = tls.identity()
        else {
            panic!("a node");
        };
        let (name, address) = (name.clone(), ADDRESS.into());
        let public_key = public_key.clone();
        let digest = TokenDigest::from_bytes([place as u8; 32]);
        let bodies = match place {
            0 => vec![Body::ClusterInit(Box::new(Founding {
                cluster_id: "c1".into(),
                cluster_name: "test".into(),
                founder: NodeId(1),
                name,
                address,
                public_key,
            }))],
            _ => vec![
                Body::TokenCreate {
                    digest,
                    role: Role::Voter,
                    expires: Timestamp::from_millis(60_000),
                    name: None,
                },
                Body::MemberAdmit {
                    token: digest,
                    name,
                    address,
                    public_key,
                },
            ],
        };
        for body in bodies {
            done(&mut state, body);
        }
    }
    state
}

#[tokio::test]
async fn members_know_each_other_by_their_keys_whoever_signed_for_them() {
    let (old, new) = (cluster("c1"), cluster("c1"));
    let now = SystemTime::now();
    let (one, two, namesake) = (
        node(&old, "n1", now),
        node(&new, "n2", now),
        node(&new, "n2", now),
    );
    let to_two = || one.client_config(&"n2".parse().unwrap());
    assert!(meet(two.server_config(), to_two()).await.0.is_err());
    let state = members(&[&one, &two]);
    for tls in [&one, &two, &namesake] {
        tls.trust().follow(&state);
    }
    let (met, seen) = meet(two.server_config(), to_two()).await;
    met.unwrap();
    assert_eq!(seen.unwrap().as_ref(), Some(one.identity()));
    // Its name and another key: only an authority could vouch for that, and none does that is trusted.
    assert!(meet(namesake.server_config(), to_two()).await.0.is_err());
    let from_namesake = namesake.client_config(&"n1".parse().unwrap());
    let (met, seen) = meet(one.server_config(), from_namesake).await;
    assert!(met.is_err());
    assert_eq!(seen, None);
}

/// Takes member 2 out, and puts `new` in the place of `old`, which is retired.
fn shut_out(state: &mut State, old: &CertificateAuthority, new: &CertificateAuthority) {
    let der = |authority: &CertificateAuthority| Bytes::copy_from_slice(authority.certificate());
    let (old, new) = (der(old), der(new));
    for body in [
        Body::MemberRemove {
            id: NodeId(2),
            heard: None,
        },
        Body::AuthorityWanted(AuthorityWanted {
            member: NodeId(2),
            replaces: old,
            public_key: "an administrator's".into(),
        }),
        Body::AuthorityBegin(AuthorityBegin {
            generation: 2,
            certificate: new.clone(),
            replaces: Bytes::new(),
        }),
        Body::AuthorityTaken(AuthorityTaken {
            generation: 2,
            certificate: new,
            member: NodeId(1),
        }),
        Body::AuthorityRetire(1),
    ] {
        done(state, body);
    }
}

#[tokio::test]
async fn who_comes_with_a_retired_authoritys_certificate_is_told_for_a_moment_and_then_shut_out() {
    let (old, new) = (cluster("c1"), cluster("c1"));
    let now = SystemTime::now();
    let (server, late) = (node(&new, "n1", now), node(&old, "n2", now));
    let mut state = members(&[&server, &late]);
    shut_out(&mut state, &old, &new);
    for tls in [&server, &late] {
        tls.trust().follow(&state);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut connections = pin!(incoming(listener, &server));
    let echo = async {
        let mut stream = connections.next().await.unwrap().unwrap();
        let mut told = 0;
        loop {
            match stream.read_u8().await {
                Ok(byte) => stream.write_u8(byte).await.unwrap(),
                Err(error) => return (told, error.kind()),
            }
            stream.flush().await.unwrap();
            told += 1;
        }
    };
    let call = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("holdfast").unwrap();
        let config = late.client_config(&"n1".parse().unwrap());
        let connector = TlsConnector::from(config);
        let mut stream = connector.connect(name, stream).await.unwrap();
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        // It ends when the other end does.
        while stream.write_u8(b'?').await.is_ok() && stream.read_u8().await.is_ok() {
            beat.tick().await;
        }
    };
    let limit = Duration::from_secs(20);
    let ended = tokio::time::timeout(limit, async { tokio::join!(echo, call) }).await;
    let ((told, why), ()) = ended.expect("it is shut out");
    assert!(told > 0, "it was not told why");
    assert_eq!(why, std::io::ErrorKind::ConnectionAborted);
}
