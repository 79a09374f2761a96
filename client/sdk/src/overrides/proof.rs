//! Who signed an override: a client's certificate of the cluster's authority, and a signature by its key.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use rustls::{
    SignatureScheme,
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::OverrideError;
use crate::Context;

/// What stands behind the signed text.
pub(super) struct Proof {
    /// DER.
    pub(super) certificate: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// The authority whose clients may sign.
#[derive(Clone)]
pub(crate) struct Authority {
    cluster: String,
    /// PEM.
    certificates: Vec<u8>,
    /// Where another one is found after it was replaced.
    context: Option<PathBuf>,
}

/// Who signs.
pub(super) struct Signer {
    name: String,
    certificate: CertificateDer<'static>,
    key: Arc<dyn rustls::sign::SigningKey>,
}

impl Authority {
    /// That of a context, as it is when something is verified.
    pub(crate) fn of(context: &Context) -> Self {
        Self {
            cluster: context.cluster.clone(),
            certificates: context.ca.clone(),
            context: context.file.clone(),
        }
    }

    /// From its certificate, PEM.
    pub(crate) fn from_pem(cluster: &str, certificates: Vec<u8>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            certificates,
            context: None,
        }
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Who signed a text: `client/NAME`. `named` is who it says that was.
    pub(super) fn verify(
        &self,
        text: &[u8],
        proof: &Proof,
        named: &str,
        now: SystemTime,
    ) -> Result<String, OverrideError> {
        let untrusted = |error: webpki::Error| OverrideError::Untrusted(error.to_string());
        let certificate = CertificateDer::from(proof.certificate.as_slice());
        let signer = EndEntityCert::try_from(&certificate).map_err(untrusted)?;
        let roots = self.roots()?;
        let anchors = roots
            .iter()
            .map(anchor_from_trusted_cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| OverrideError::Authority(error.to_string()))?;
        let algorithms = provider().signature_verification_algorithms;
        let since_1970 = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        signer
            .verify_for_usage(
                algorithms.all,
                &anchors,
                &[],
                UnixTime::since_unix_epoch(since_1970),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(untrusted)?;
        let is_signed = algorithms
            .all
            .iter()
            .any(|&one| signer.verify_signature(one, text, &proof.signature).is_ok());
        if !is_signed {
            return Err(OverrideError::Tampered {
                signer: named.to_owned(),
            });
        }
        client_name(&certificate, &self.cluster)
    }

    /// Those of the context's file, which may have been renewed since; else those that there were.
    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, OverrideError> {
        let renewed = self
            .context
            .as_ref()
            .and_then(|file| Context::load(file).ok());
        let pem = renewed
            .as_ref()
            .map_or(&self.certificates, |context| &context.ca);
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| OverrideError::Authority(error.to_string()))
    }
}

impl Signer {
    /// Whoever has the context's key.
    pub(super) fn new(context: &Context) -> Result<Self, OverrideError> {
        let signing = |error: &dyn std::fmt::Display| OverrideError::Signing(error.to_string());
        let certificate = CertificateDer::from_pem_slice(&context.cert).map_err(|e| signing(&e))?;
        let key = PrivateKeyDer::from_pem_slice(&context.key).map_err(|e| signing(&e))?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|e| signing(&e))?;
        Ok(Self {
            name: client_name(&certificate, &context.cluster)?,
            certificate,
            key,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn sign(&self, text: &[u8]) -> Result<Proof, OverrideError> {
        let signer = self
            .key
            .choose_scheme(&SCHEMES)
            .ok_or_else(|| OverrideError::Signing("the key is of a kind not known here".into()))?;
        let signature = signer
            .sign(text)
            .map_err(|error| OverrideError::Signing(error.to_string()))?;
        Ok(Proof {
            certificate: self.certificate.to_vec(),
            signature,
        })
    }
}

/// `client/NAME`, of a certificate of this cluster.
fn client_name(certificate: &CertificateDer<'_>, cluster: &str) -> Result<String, OverrideError> {
    let nobody = || OverrideError::Untrusted("it names no client of this cluster".to_owned());
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| nobody())?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.ok_or_else(nobody)?;
    let uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        });
    let uris: Vec<_> = uris.collect();
    let [uri] = uris[..] else {
        return Err(nobody());
    };
    let own = format!("{SCHEME}{cluster}/");
    let client = uri.strip_prefix(&own).filter(|it| it.starts_with(CLIENT));
    client.map(str::to_owned).ok_or_else(nobody)
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

const SCHEME: &str = "holdfast://";
const CLIENT: &str = "client/";
/// As keys are here, and as others may bring them.
const SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
];
