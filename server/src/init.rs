//! `kvd init`: a new cluster of one. Nothing is started; it is only written down.

use std::{path::PathBuf, time::SystemTime};

use holdfast_proto::{NodeId, NodeName};
use holdfast_seal::Protector;

use crate::{
    configuration::NodeConfiguration,
    dir::{DirError, Maker, NodeDir, Papers, UnfinishedDir},
    identity::{AuthorityError, CertificateAuthority, new_cluster_id},
    operator::{self, OperatorError},
};

/// What a new cluster is told.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The folder of its first node: new, empty, or left by an interrupted `kvd init`.
    pub dir: PathBuf,
    /// The first node's name.
    pub name: NodeName,
    /// What people call the cluster.
    pub cluster_name: String,
    /// Where the node listens, `HOST:PORT`.
    pub listen: String,
    /// Where others reach it, if elsewhere.
    pub advertise: Option<String>,
    /// Where its HTTP port is, if it has one.
    pub http: Option<String>,
    /// Where it serves etcd's clients, if it does.
    pub etcd: Option<String>,
    /// How its node key is kept on disk.
    pub key_protector: Protector,
}

/// Why there is no new cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The folder cannot be used, or a setting cannot be.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// No certificate could be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The operator's context could not be written.
    #[error(transparent)]
    Operator(#[from] OperatorError),
}

/// Makes the authority, the first node's folder, and an operator's context in it.
pub fn init(options: &InitOptions, now: SystemTime) -> Result<NodeDir, InitError> {
    let making = UnfinishedDir::begin(&options.dir, Maker::Init)?;
    let cluster_id = new_cluster_id();
    let name = options.name.clone();
    let mut configuration = NodeConfiguration::new(
        &cluster_id,
        &options.cluster_name,
        name,
        FOUNDER,
        &options.listen,
    );
    configuration.advertise = options
        .advertise
        .clone()
        .unwrap_or_else(|| options.listen.clone());
    configuration.http = options.http.clone();
    configuration.etcd = options.etcd.clone();
    configuration.key_protector = options.key_protector;
    configuration.founder = true;
    making.check(&configuration)?;
    let authority = CertificateAuthority::create(&cluster_id, now)?;
    let address = &configuration.advertise;
    let certificate = authority.sign_node(
        &configuration.name,
        &making.key().public_key(),
        address,
        now,
    )?;
    let endpoints = [address.clone()];
    operator::write_context(
        &making.context(),
        &authority,
        operator::ADMIN,
        &endpoints,
        now,
    )?;
    let papers = Papers {
        authority: authority.certificate(),
        authority_key: Some(authority.key()),
        certificate: &certificate,
    };
    Ok(making.finish(configuration, &papers)?)
}

const FOUNDER: NodeId = NodeId(1);

#[cfg(test)]
mod tests {
    use holdfast_client::Context;

    use super::*;
    use crate::identity::Identity;

    fn options(dir: PathBuf) -> InitOptions {
        InitOptions {
            dir,
            name: "n1".parse().unwrap(),
            cluster_name: "main".to_owned(),
            listen: "127.0.0.1:7101".to_owned(),
            advertise: None,
            http: None,
            etcd: None,
            key_protector: Protector::File,
        }
    }

    #[test]
    fn init_leaves_a_node_that_can_run_and_an_operator_who_may_speak_to_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = init(&options(temp.path().join("n1")), SystemTime::now()).unwrap();
        assert!(dir.configuration().founder);
        assert!(dir.tls(SystemTime::now()).is_ok());
        let context = Context::load(dir.context().unwrap()).unwrap();
        assert_eq!(context.cluster, dir.configuration().cluster_id);
        assert_eq!(context.endpoints, ["127.0.0.1:7101"]);
        use rustls_pki_types::{CertificateDer, pem::PemObject};
        let certificate = CertificateDer::from_pem_slice(&context.cert).unwrap();
        let identity = Identity::from_certificate(&certificate).unwrap();
        assert_eq!(identity.to_string(), "client/admin");
    }

    #[test]
    fn an_address_that_nobody_can_reach_is_refused_with_what_to_say_instead() {
        let temp = tempfile::tempdir().unwrap();
        let mut options = options(temp.path().join("n1"));
        options.listen = "0.0.0.0:7101".to_owned();
        let error = init(&options, SystemTime::now()).err().unwrap();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains("--advertise"), "{why}");
        options.advertise = Some("db-1.example:7101".to_owned());
        assert!(init(&options, SystemTime::now()).is_ok());
    }
}
