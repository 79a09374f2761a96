//! Who may do what: roles made of rules, the roles that identities are granted, and certificates.
//!
//! Everything here but [`AccessClient::can`] about oneself is for administrators of the policy. A
//! change holds at once, on watches that are open too.

use std::{fmt, time::Duration};

use bytes::Bytes;
use holdfast_proto::{
    KeyRange, Timestamp,
    access::{Capability, Rule},
    v1,
};

use crate::{Client, ReadError, WriteError};

/// Reads and changes the policy. From [`Client::access`].
#[derive(Clone, Debug)]
pub struct AccessClient {
    client: Client,
}

/// Rules under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRole {
    /// 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`.
    pub name: String,
    /// What it allows and denies. Their order means nothing.
    pub rules: Vec<Rule>,
    /// Whether every cluster has it, and nobody can change it.
    pub built_in: bool,
}

/// The roles of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessGrant {
    /// `client/NAME`.
    pub identity: String,
    /// By name.
    pub roles: Vec<String>,
}

/// What is known of an identity beside its roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessIdentity {
    /// `client/NAME`.
    pub identity: String,
    /// When its newest certificate was given out; `None`: not by the cluster.
    pub issued_at: Option<Timestamp>,
    /// When that certificate ends.
    pub expires_at: Option<Timestamp>,
    /// Since when it is let in no more.
    pub revoked_at: Option<Timestamp>,
}

/// A certificate that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// DER.
    pub certificate: Bytes,
    /// Of the authority that signed it, DER.
    pub authority: Bytes,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What would be decided, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessDecision {
    /// Whom it is about.
    pub identity: String,
    /// Whether it may be done.
    pub allowed: bool,
    /// The rule that decides; `None`: none is about it, so it is refused.
    pub by: Option<DecidingRule>,
    /// It may be done, with a reason.
    pub reason_required: bool,
    /// The identity was revoked, and may do nothing.
    pub revoked: bool,
}

/// Where a rule stands, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidingRule {
    /// Its role.
    pub role: String,
    /// Its place in the role, from 0.
    pub place: u32,
    /// As rules are written: `allow read:app/`.
    pub text: String,
}

/// `rule 1 of role app (allow read:app/)`
impl fmt::Display for DecidingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = u64::from(self.place) + 1;
        write!(f, "rule {place} of role {} ({})", self.role, self.text)
    }
}

impl Client {
    /// Reads and changes who may do what.
    pub fn access(&self) -> AccessClient {
        AccessClient {
            client: self.clone(),
        }
    }
}

impl AccessClient {
    /// All roles, those that are built in first.
    pub async fn roles(&self) -> Result<Vec<AccessRole>, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::RoleListRequest {});
                async move { attempt.access().role_list(request).await }
            })
            .await?;
        answer.message.roles.into_iter().map(role).collect()
    }

    /// Makes a role, or puts other rules into it.
    pub async fn set_role(
        &self,
        name: impl Into<String>,
        rules: impl IntoIterator<Item = Rule>,
    ) -> Result<(), WriteError> {
        let write = self.client.begin_write();
        let request = v1::RoleSetRequest {
            request: Some(write.id().into()),
            role: Some(v1::AccessRole {
                name: name.into(),
                rules: rules.into_iter().map(|rule| rule.to_wire()).collect(),
                built_in: false,
            }),
        };
        self.client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.access().role_set(request).await }
            })
            .await?;
        Ok(())
    }

    /// Removes a role that nobody is granted.
    pub async fn remove_role(&self, name: impl Into<String>) -> Result<(), WriteError> {
        let write = self.client.begin_write();
        let request = v1::RoleRemoveRequest {
            request: Some(write.id().into()),
            name: name.into(),
        };
        self.client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.access().role_remove(request).await }
            })
            .await?;
        Ok(())
    }

    /// Who is granted what, by identity.
    pub async fn grants(&self) -> Result<Vec<AccessGrant>, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::GrantListRequest {});
                async move { attempt.access().grant_list(request).await }
            })
            .await?;
        let grants = answer.message.grants.into_iter();
        Ok(grants
            .map(|grant| AccessGrant {
                identity: grant.identity,
                roles: grant.roles,
            })
            .collect())
    }

    /// Gives an identity (`client/NAME`) roles, and takes others from it; in one step, and what it
    /// has already or has not is passed over.
    pub async fn change_grant(
        &self,
        identity: impl Into<String>,
        add: &[&str],
        remove: &[&str],
    ) -> Result<(), WriteError> {
        let owned = |roles: &[&str]| roles.iter().map(|&role| role.to_owned()).collect();
        let write = self.client.begin_write();
        let request = v1::GrantChangeRequest {
            request: Some(write.id().into()),
            identity: identity.into(),
            add: owned(add),
            remove: owned(remove),
        };
        self.client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.access().grant_change(request).await }
            })
            .await?;
        Ok(())
    }

    /// A certificate for `client/NAME` and the key that signed the request (PKCS #10, DER). That key
    /// stays with the caller; of the request nothing but it is used. `None`: valid for a year.
    pub async fn issue(
        &self,
        name: impl Into<String>,
        certificate_request: impl Into<Bytes>,
        validity: Option<Duration>,
    ) -> Result<IssuedCertificate, WriteError> {
        let write = self.client.begin_write();
        let request = v1::IdentityIssueRequest {
            request: Some(write.id().into()),
            name: name.into(),
            certificate_request: certificate_request.into(),
            validity_ms: validity.map_or(0, |validity| validity.as_millis() as u64),
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.access().identity_issue(request).await }
            })
            .await?
            .message;
        Ok(IssuedCertificate {
            certificate: answer.certificate,
            authority: answer.authority,
            expires_at: Timestamp::from_millis(answer.expires_at_ms),
        })
    }

    /// Lets an identity (`client/NAME`) in no more, for good: its certificates are refused, its roles
    /// are gone, and the name is not given out again.
    pub async fn revoke(&self, identity: impl Into<String>) -> Result<(), WriteError> {
        let write = self.client.begin_write();
        let request = v1::IdentityRevokeRequest {
            request: Some(write.id().into()),
            identity: identity.into(),
        };
        self.client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.access().identity_revoke(request).await }
            })
            .await?;
        Ok(())
    }

    /// The identities that certificates were given to, and those that were revoked.
    pub async fn identities(&self) -> Result<Vec<AccessIdentity>, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::IdentityListRequest {});
                async move { attempt.access().identity_list(request).await }
            })
            .await?;
        let identities = answer.message.identities.into_iter();
        Ok(identities
            .map(|known| AccessIdentity {
                identity: known.identity,
                issued_at: time(known.issued_at_ms),
                expires_at: time(known.expires_at_ms),
                revoked_at: time(known.revoked_at_ms),
            })
            .collect())
    }

    /// Whether an identity (`client/NAME`; empty: this client) may do something to these keys (`None`:
    /// to the cluster), and which rule says so. Anybody may ask about himself.
    pub async fn can(
        &self,
        identity: impl Into<String>,
        capability: Capability,
        range: Option<KeyRange>,
    ) -> Result<AccessDecision, ReadError> {
        let request = v1::CanRequest {
            identity: identity.into(),
            capability: capability.to_wire().into(),
            range: range.map(Into::into),
        };
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.access().can(request).await }
            })
            .await?
            .message;
        let by = (!answer.role.is_empty()).then_some(DecidingRule {
            role: answer.role,
            place: answer.rule,
            text: answer.text,
        });
        Ok(AccessDecision {
            identity: answer.identity,
            allowed: answer.allowed,
            by,
            reason_required: answer.reason_required,
            revoked: answer.revoked,
        })
    }
}

fn role(wire: v1::AccessRole) -> Result<AccessRole, ReadError> {
    let rules = wire.rules.into_iter().map(Rule::try_from);
    let unknown = |error: holdfast_proto::access::RuleError| ReadError::Invalid {
        message: format!("role {}: {error}; update this program", wire.name),
    };
    Ok(AccessRole {
        rules: rules.collect::<Result<_, _>>().map_err(unknown)?,
        name: wire.name,
        built_in: wire.built_in,
    })
}

/// 0 stands for never.
fn time(millis: u64) -> Option<Timestamp> {
    (millis != 0).then(|| Timestamp::from_millis(millis))
}
