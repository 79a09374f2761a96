//! `kvd join`: a new node asks a cluster to let it in.
//!
//! Nothing secret leaves this machine before the other end has shown the authority that the token
//! pins. The request carries an id derived from the node's key and the token, so that a repeat,
//! even by another run of the command, is answered and not applied twice.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use holdfast_proto::{NodeId, NodeName, v1};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use tonic::{Code, Request, Status};

use crate::{
    configuration::NodeConfiguration,
    dir::{DirError, Maker, NodeDir, Papers, UnfinishedDir},
    identity::{AuthorityError, CertificateAuthority, Identity, JoinToken, KeyError},
    tls::{
        self, dial,
        verify::{PinnedAuthority, Verifier, WRONG_AUTHORITY},
    },
};

/// What a new node is told.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// Its folder: new, empty, or left by an interrupted `kvd join`.
    pub dir: PathBuf,
    /// Its name, new in the cluster.
    pub name: NodeName,
    /// Where it listens, `HOST:PORT`.
    pub listen: String,
    /// Where others reach it, if elsewhere.
    pub advertise: Option<String>,
    /// Where its HTTP port is, if it has one.
    pub http: Option<String>,
    /// Where it serves etcd's clients, if it does.
    pub etcd: Option<String>,
    /// How its node key is kept on disk.
    pub key_protector: holdfast_seal::Protector,
    /// What lets it in.
    pub token: JoinToken,
    /// How long to try. 60 s are plenty.
    pub patience: Duration,
}

/// Why a node was not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The folder cannot be used, or a setting cannot be.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The node's own key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another cluster answers where the token's should be. Nothing secret was sent.
    #[error(
        "{endpoint} is not of the token's cluster ({why}); nothing secret was sent. \
         Make a new token at the cluster that you mean"
    )]
    WrongCluster {
        /// Who answered.
        endpoint: String,
        /// What was wrong with it.
        why: String,
    },
    /// Nobody answered.
    #[error(
        "no node of the cluster could be asked ({tried}); check that one is up and can be reached \
         from here, then run the same command again"
    )]
    Unreachable {
        /// Each endpoint with what it met.
        tried: String,
    },
    /// The cluster said no.
    #[error("the cluster did not let {name} in: {message}")]
    Refused {
        /// The new node's name.
        name: NodeName,
        /// The cluster's reason, as a word.
        reason: String,
        /// The cluster's words.
        message: String,
    },
    /// The answer makes no sense.
    #[error("the cluster's answer cannot be used: {0}; check that it runs the same version")]
    Answer(String),
}

/// Asks to be let in, and writes the folder of the new node.
pub async fn join(options: &JoinOptions, now: SystemTime) -> Result<NodeDir, JoinError> {
    let making = UnfinishedDir::begin(&options.dir, Maker::Join)?;
    let token = &options.token;
    let advertise = options
        .advertise
        .clone()
        .unwrap_or_else(|| options.listen.clone());
    let mut configuration = NodeConfiguration::new(
        token.cluster_id(),
        "",
        options.name.clone(),
        NodeId(0),
        &options.listen,
    );
    configuration.advertise.clone_from(&advertise);
    configuration.http.clone_from(&options.http);
    configuration.etcd.clone_from(&options.etcd);
    configuration.key_protector = options.key_protector;
    making.check(&configuration)?;
    let request = v1::JoinRequest {
        request: Some(making.request(token).into()),
        token: token.reveal().to_string(),
        name: options.name.to_string(),
        address: advertise,
        certificate_request: making.key().certificate_request()?.into(),
        node_time_ms: millis(now),
    };
    let admitted = ask(options, request).await?;
    let answer = admitted.answer;
    let papers = Admission::parse(&answer, token, &admitted.authority, &options.name)?;
    if papers.public_key != *making.key().public_key().der() {
        return Err(JoinError::Answer(
            "the certificate is for another key".to_owned(),
        ));
    }
    configuration.id = NodeId(answer.id);
    configuration.witness = answer.role() == v1::Role::Witness;
    if configuration.witness && configuration.etcd.take().is_some() {
        tracing::warn!("a witness serves no clients, so it has no front for etcd's");
    }
    configuration.cluster_name = token.cluster_id().chars().take(8).collect();
    let papers = Papers {
        authority: &admitted.authority,
        authority_key: papers.authority.as_ref().map(CertificateAuthority::key),
        certificate: &papers.certificate,
    };
    Ok(making.finish(configuration, &papers)?)
}

struct Admitted {
    answer: v1::JoinResponse,
    authority: CertificateDer<'static>,
}

/// Asks the token's endpoints in turn, and again while they are out of reach.
async fn ask(options: &JoinOptions, request: v1::JoinRequest) -> Result<Admitted, JoinError> {
    let deadline = tokio::time::Instant::now() + options.patience;
    loop {
        let mut tried = Vec::new();
        for endpoint in options.token.endpoints() {
            match ask_one(endpoint, &options.token, request.clone(), deadline).await {
                Ok(admitted) => return Ok(admitted),
                Err(Failure::Final(error)) => return Err(error.named(&options.name)),
                Err(Failure::TryAnother(why)) => tried.push(format!("{endpoint}: {why}")),
            }
        }
        if tokio::time::Instant::now() + RETRY_PAUSE >= deadline {
            return Err(JoinError::Unreachable {
                tried: tried.join("; "),
            });
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

enum Failure {
    Final(Verdict),
    TryAnother(String),
}

/// A final answer, before it is known for which name.
enum Verdict {
    WrongCluster { endpoint: String, why: String },
    Refused { reason: String, message: String },
}

impl Verdict {
    fn named(self, name: &NodeName) -> JoinError {
        match self {
            Self::WrongCluster { endpoint, why } => JoinError::WrongCluster { endpoint, why },
            Self::Refused { reason, message } => JoinError::Refused {
                name: name.clone(),
                reason,
                message,
            },
        }
    }
}

async fn ask_one(
    endpoint: &str,
    token: &JoinToken,
    request: v1::JoinRequest,
    deadline: tokio::time::Instant,
) -> Result<Admitted, Failure> {
    let pinned = PinnedAuthority::new(*token.ca_pin(), token.cluster_id());
    let verifier = Arc::new(Verifier::new(pinned));
    let config = tls::client_builder(verifier.clone()).with_no_client_auth();
    let config = with_http2(config);
    // First only the handshake: its error says whether this is the wrong cluster or nobody at all.
    dial::probe(endpoint, config.clone()).await.map_err(|why| {
        if why.contains(WRONG_AUTHORITY) || why.contains(NOT_OF_THE_CLUSTER) {
            Failure::Final(Verdict::WrongCluster {
                endpoint: endpoint.to_owned(),
                why,
            })
        } else {
            Failure::TryAnother(why)
        }
    })?;
    let channel = dial::connect(endpoint, config).map_err(Failure::TryAnother)?;
    let mut client = v1::cluster_client::ClusterClient::new(channel);
    let mut request = Request::new(request);
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    request.set_timeout(left.clamp(RETRY_PAUSE, ATTEMPT));
    let answer = client
        .join(request)
        .await
        .map_err(|status| refusal(&status))?
        .into_inner();
    let authority = verifier
        .authority()
        .ok_or_else(|| Failure::TryAnother("the handshake was not ours".to_owned()))?;
    Ok(Admitted { answer, authority })
}

/// Whether asking again, perhaps somebody else, may help. The request id makes it safe.
fn refusal(status: &Status) -> Failure {
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::DeadlineExceeded | Code::Cancelled => {
            Failure::TryAnother(status.message().to_owned())
        }
        _ => {
            let reason = status.metadata().get("holdfast-reason");
            let reason = reason
                .and_then(|reason| reason.to_str().ok())
                .unwrap_or_default();
            Failure::Final(Verdict::Refused {
                reason: reason.to_owned(),
                message: status.message().to_owned(),
            })
        }
    }
}

/// An answer whose parts belong together.
struct Admission {
    authority: Option<CertificateAuthority>,
    certificate: CertificateDer<'static>,
    public_key: bytes::Bytes,
}

impl Admission {
    fn parse(
        answer: &v1::JoinResponse,
        token: &JoinToken,
        met: &CertificateDer<'static>,
        name: &NodeName,
    ) -> Result<Self, JoinError> {
        let odd = |what: &str| JoinError::Answer(what.to_owned());
        if answer.ca_certificate[..] != met[..] {
            return Err(odd("it names another authority than the connection showed"));
        }
        if answer.cluster_id != token.cluster_id() || answer.id == 0 {
            return Err(odd("it is for another cluster"));
        }
        let certificate = CertificateDer::from(answer.certificate.to_vec());
        let public_key = match Identity::from_certificate(&certificate) {
            Ok(Identity::Node {
                cluster,
                name: n,
                public_key,
            }) if cluster == token.cluster_id() && n == *name => public_key,
            _ => return Err(odd("the certificate is for somebody else")),
        };
        let authority = if answer.ca_key.is_empty() {
            None
        } else {
            let authority = CertificateAuthority::from_der(met, &answer.ca_key);
            Some(authority.map_err(|error: AuthorityError| JoinError::Answer(error.to_string()))?)
        };
        Ok(Self {
            authority,
            certificate,
            public_key,
        })
    }
}

fn with_http2(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

fn millis(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const ATTEMPT: Duration = Duration::from_secs(15);
const RETRY_PAUSE: Duration = Duration::from_millis(300);
const NOT_OF_THE_CLUSTER: &str = "not a node of the token's cluster";

#[cfg(test)]
mod tests;
