//! `identity issue`: a context for somebody else. The private key is made here and stays here.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_client::{Client, Context, IssuedCertificate};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use zeroize::Zeroizing;

use super::parse_identity;
use crate::{duration, failure::Failure, plaintext, session::Session, time};

/// Give out a certificate: writes a context that its owner uses with --context
///
/// The private key is made by this program, and sent to nobody. Without a role the new identity may
/// do nothing but ask what it may do. Issue a name again to renew its certificate.
#[derive(Debug, clap::Args)]
pub(crate) struct Issue {
    /// Its name
    #[arg(value_parser = parse_identity)]
    identity: String,
    /// A role to grant it, too; may be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// How long it is good
    #[arg(long, value_name = "TIME", value_parser = duration::parse_some, default_value = "365d")]
    valid: Duration,
    /// The new folder for the context [default: the name]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Issue {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = self.identity.trim_start_matches("client/");
        let folder = self.out.clone().unwrap_or_else(|| PathBuf::from(name));
        let own = session.own_context()?;
        let client = session.connect().await?;
        // Before anything is given out: it has to be somewhere then.
        let unwritten = |error| unwritten(&folder, &error);
        fs::create_dir(&folder).map_err(unwritten)?;
        match self.issue(&client, name, &folder, &own).await {
            Ok((context, issued)) => self.tell(session, &context, &issued),
            Err(failure) => {
                // Nothing is in it, or a key that no certificate is for.
                drop(fs::remove_dir_all(&folder));
                Err(failure)
            }
        }
    }

    async fn issue(
        &self,
        client: &Client,
        name: &str,
        folder: &Path,
        own: &Context,
    ) -> Result<(PathBuf, IssuedCertificate), Failure> {
        let (key, request) = new_key()?;
        let unwritten = |error| unwritten(folder, &error);
        let key_file = format!("{name}.key");
        plaintext::write_private(&folder.join(&key_file), key.as_bytes()).map_err(unwritten)?;
        let access = client.access();
        let issued = access.issue(name, request, Some(self.valid)).await?;
        let (ca, certificate) = ("ca.crt", format!("{name}.crt"));
        // Whom it trusts is who signed it: while the authority is rotated there are two.
        for (file, der) in [
            (ca, &issued.authority),
            (&*certificate, &issued.certificate),
        ] {
            fs::write(folder.join(file), pem(der)).map_err(unwritten)?;
        }
        let text = Context::file_text(&own.cluster, &own.endpoints, ca, certificate, key_file);
        let path = folder.join(format!("{name}.toml"));
        fs::write(&path, text).map_err(unwritten)?;
        if !self.role.is_empty() {
            let roles: Vec<&str> = self.role.iter().map(String::as_str).collect();
            let granted = access
                .change_grant(self.identity.as_str(), &roles, &[])
                .await;
            granted.map_err(|error| {
                Failure::from(error).during("the certificate was given out without a role")
            })?;
        }
        Ok((path, issued))
    }

    fn tell(
        &self,
        session: &Session,
        context: &Path,
        issued: &IssuedCertificate,
    ) -> Result<(), Failure> {
        if session.is_json() {
            return session.output.json(&json!({
                "identity": self.identity,
                "context": context,
                "expires_at": time::rfc3339(issued.expires_at),
                "granted": self.role,
            }));
        }
        session.output.line(context.display())?;
        let roles = match &self.role[..] {
            [] => "; it may do nothing yet: kvctl grant add".to_owned(),
            roles => format!(", with {}", roles.join(", ")),
        };
        session.output.remark(format_args!(
            "{} is let in until {} UTC{roles}",
            self.identity,
            time::short(issued.expires_at)
        ));
        Ok(())
    }
}

/// A fresh private key (PKCS #8, PEM) and the proof that it is held (PKCS #10, DER).
fn new_key() -> Result<(Zeroizing<String>, Vec<u8>), Failure> {
    let unmade = |error: rcgen::Error| Failure::refused(format!("no key could be made: {error}"));
    // As all certificates of a cluster: every TLS library of the last decade takes it.
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(unmade)?;
    let request = CertificateParams::default().serialize_request(&pair);
    let request = request.map_err(unmade)?.der().to_vec();
    Ok((Zeroizing::new(pair.serialize_pem()), request))
}

fn pem(certificate: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn unwritten(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::refused(format!(
        "{} could not be written: {error}; choose a folder that is not there yet with --out",
        folder.display()
    ))
}
