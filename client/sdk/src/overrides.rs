//! Emergency overrides: a signed file on a service's own node that counts more than anything in the store,
//! for a while. For the hour in which a setting has to change and no server is there to change it.
//!
//! `client/sdk/OVERRIDE.md` has the format. What makes a file count:
//!
//! 1. It is signed with the key of a client's certificate, which the context's authority gave out and
//!    which is still valid. Making one needs no server.
//! 2. The signer was an administrator (one who may change the policy) when this service last heard from
//!    the cluster. A certificate does not say so, and no server may be there to be asked; so a service
//!    that allows overrides keeps the names of the administrators with its cache. Who is revoked stops
//!    to count when the service learns of it.
//! 3. It is for this cluster and this very prefix, and has not run out. It lives for 24 hours at most.
//!
//! What is in use is said in [`crate::ConfigStatus`], in reports, and by `kvctl fleet`.

mod administrators;
mod fields;
mod proof;
mod text;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use holdfast_proto::limits;
use serde_json::{Map, Value as Json};

pub(crate) use self::{administrators::Administrators, proof::Authority};
use self::{proof::Signer, text::Document};
use crate::{Context, ContextError};

/// An emergency override that was checked. Its values are never shown.
#[derive(Clone, PartialEq)]
pub struct Override {
    prefix: String,
    signer: String,
    signed: SystemTime,
    expires: SystemTime,
    reason: String,
    fields: Arc<Map<String, Json>>,
}

/// What is to be signed beside the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideTerms {
    /// The prefix of the configuration, as the service names it.
    pub prefix: String,
    /// How long it counts, from now on; at most 24 hours.
    pub lifetime: Duration,
    /// Why, for all who see that it is in use; at most 512 bytes.
    pub reason: String,
}

/// How the fields of an override are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideFormat {
    /// TOML: a table is a group of fields.
    Toml,
    /// JSON: an object.
    Json,
}

/// Why a file is no override that counts. None shows a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// It is not one, or of a newer version.
    #[error("it is no emergency override: {0}; make it anew with `kvctl override sign`")]
    Malformed(String),
    /// It is another cluster's.
    #[error("it is for cluster {found}, and this service belongs to {expected}")]
    ForeignCluster {
        /// Whose it says it is.
        found: String,
        /// Whose it must be.
        expected: String,
    },
    /// It is for another configuration.
    #[error("it is for the prefix {found}, and this configuration is {expected}")]
    OtherPrefix {
        /// Which one it says it is for.
        found: String,
        /// Which one it must be for.
        expected: String,
    },
    /// The certificate in it is none that counts.
    #[error(
        "the certificate of its signer is not one of this cluster's authority, or not valid now: {0}"
    )]
    Untrusted(String),
    /// The certificate does not name who the file says has signed it.
    #[error("it names {named} as its signer, and its certificate is {found}'s")]
    OtherSigner {
        /// Who the file says.
        named: String,
        /// Who the certificate says.
        found: String,
    },
    /// It was changed after it was signed.
    #[error("it was changed after {signer} signed it, or is damaged; copy it anew")]
    Tampered {
        /// Who signed it.
        signer: String,
    },
    /// The signer may not change the policy.
    #[error(
        "{signer} signed it, who was no administrator when this service last heard from the cluster"
    )]
    NotAdministrator {
        /// Who signed it.
        signer: String,
    },
    /// The service does not know who the administrators are.
    #[error(
        "{signer} signed it, and this service never learned from the cluster who its administrators \
         are, or keeps no cache to remember them by"
    )]
    AdministratorsUnknown {
        /// Who signed it.
        signer: String,
    },
    /// It does not count any more.
    #[error("it ran out {} ago; sign a new one", ago(*.0))]
    Expired(Duration),
    /// It does not count yet.
    #[error("it was signed {} in the future; look at the clocks of both machines", ago(*.0))]
    NotYet(Duration),
    /// It would count for too long.
    #[error("it would count for longer than 24 hours")]
    TooLong,
    /// It does not last at all.
    #[error("it lasts for no time; give it some, such as 4h")]
    TooShort,
    /// Its fields make no sense.
    #[error("its fields cannot be used: {0}")]
    Fields(String),
    /// The signer's own files.
    #[error("it could not be signed: {0}")]
    Signing(String),
    /// The authority's certificate cannot be read.
    #[error("the context's authority cannot be read: {0}")]
    Authority(String),
    /// The context.
    #[error(transparent)]
    Context(#[from] ContextError),
}

impl Override {
    /// Signs fields with the key of a context: the text of a file. Needs no server. The file is not
    /// secret to whoever can read it: it carries its fields in the clear.
    pub fn sign(
        context: &Context,
        terms: &OverrideTerms,
        format: OverrideFormat,
        fields: &str,
        now: SystemTime,
    ) -> Result<String, OverrideError> {
        if terms.lifetime > LONGEST {
            return Err(OverrideError::TooLong);
        }
        if terms.lifetime < SHORTEST {
            return Err(OverrideError::TooShort);
        }
        if terms.reason.trim().is_empty() || terms.reason.len() > limits::FLEET_DETAIL_BYTES {
            return Err(OverrideError::Malformed(
                "its reason has 1 to 512 bytes".to_owned(),
            ));
        }
        fields::parse(format, fields)?;
        let signer = Signer::new(context)?;
        let document = Document {
            cluster: context.cluster.clone(),
            prefix: terms.prefix.clone(),
            signer: signer.name().to_owned(),
            signed: now,
            expires: now + terms.lifetime,
            reason: terms.reason.trim().to_owned(),
            format,
            fields: fields.to_owned(),
        };
        let signed = document.to_text()?;
        let proof = signer.sign(signed.as_bytes())?;
        Ok(text::with_proof(&signed, &proof))
    }

    /// Reads a file, and checks all that can be checked without a cluster: for who looks at it. Whether its
    /// signer is an administrator, [`crate::FleetClient::administrators`] tells.
    pub fn inspect(context: &Context, text: &str, now: SystemTime) -> Result<Self, OverrideError> {
        let authority = Authority::of(context);
        let (read, _) = Self::proven(&authority, text, now)?;
        read.check_time(now)?;
        Ok(read)
    }

    /// Reads a file that is to count for a configuration.
    pub(crate) fn read(
        authority: &Authority,
        prefix: &str,
        administrators: Option<&[String]>,
        text: &str,
        now: SystemTime,
    ) -> Result<Self, OverrideError> {
        let (read, document) = Self::proven(authority, text, now)?;
        if document.prefix != prefix {
            return Err(OverrideError::OtherPrefix {
                found: document.prefix,
                expected: prefix.to_owned(),
            });
        }
        let signer = read.signer.clone();
        match administrators {
            None => return Err(OverrideError::AdministratorsUnknown { signer }),
            Some(known) if !known.contains(&signer) => {
                return Err(OverrideError::NotAdministrator { signer });
            }
            Some(_) => {}
        }
        read.check_time(now)?;
        Ok(read)
    }

    /// What somebody with a certificate of the cluster signed, and nobody has changed since.
    fn proven(
        authority: &Authority,
        text: &str,
        now: SystemTime,
    ) -> Result<(Self, Document), OverrideError> {
        let (signed, proof) = text::split(text)?;
        let document = Document::parse(signed)?;
        if document.cluster != authority.cluster() {
            return Err(OverrideError::ForeignCluster {
                found: document.cluster,
                expected: authority.cluster().to_owned(),
            });
        }
        let found = authority.verify(signed.as_bytes(), &proof, &document.signer, now)?;
        if found != document.signer {
            return Err(OverrideError::OtherSigner {
                named: document.signer,
                found,
            });
        }
        let fields = fields::parse(document.format, &document.fields)?;
        let read = Self {
            prefix: document.prefix.clone(),
            signer: found,
            signed: document.signed,
            expires: document.expires,
            reason: document.reason.clone(),
            fields: Arc::new(fields),
        };
        Ok((read, document))
    }

    fn check_time(&self, now: SystemTime) -> Result<(), OverrideError> {
        if let Ok(ahead) = self.signed.duration_since(now)
            && ahead > CLOCKS_APART
        {
            return Err(OverrideError::NotYet(ahead));
        }
        match self.expires.duration_since(self.signed) {
            Ok(life) if life > LONGEST => return Err(OverrideError::TooLong),
            Err(_) => return Err(OverrideError::TooShort),
            Ok(_) => {}
        }
        match now.duration_since(self.expires) {
            Ok(ago) => Err(OverrideError::Expired(ago)),
            Err(_) => Ok(()),
        }
    }

    /// The configuration it is for.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Who signed it: `client/NAME`.
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// When, by the clock of the machine where it was signed.
    pub fn signed(&self) -> SystemTime {
        self.signed
    }

    /// Its end.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Why, in the signer's words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Which fields it overrides, such as `database/host`.
    pub fn fields(&self) -> Vec<String> {
        fields::names(&self.fields)
    }

    pub(crate) fn tree(&self) -> &Map<String, Json> {
        &self.fields
    }
}

/// Names the fields, and shows no value.
impl fmt::Debug for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Override")
            .field("prefix", &self.prefix)
            .field("signer", &self.signer)
            .field("expires", &self.expires)
            .field("reason", &self.reason)
            .field("fields", &self.fields())
            .finish_non_exhaustive()
    }
}

fn ago(time: Duration) -> String {
    format!("{:?}", Duration::from_secs(time.as_secs()))
}

const LONGEST: Duration = Duration::from_millis(limits::OVERRIDE_LIFE_MS);
const SHORTEST: Duration = Duration::from_secs(1);
const CLOCKS_APART: Duration = Duration::from_millis(limits::CLOCK_APART_MS);

#[cfg(test)]
mod tests;
