//! Join tokens: each lets one node in, once, until it runs out. Only digests are known here.

use std::fmt;

use holdfast_proto::{NodeName, Timestamp, limits};
use imbl::OrdMap;

use crate::{
    hash::{RollingHash, RowBuffer, RowHash},
    member::Role,
    reply::{Reason, Refusal},
};

/// BLAKE3-256 of a token's secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenDigest([u8; 32]);

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What the node becomes.
    pub role: Role,
    /// Until when.
    pub expires: Timestamp,
    /// The only name it may have; `None`: any.
    pub name: Option<NodeName>,
}

#[derive(Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) all: OrdMap<TokenDigest, Token>,
    pub(crate) hash: RollingHash,
}

impl Tokens {
    pub(crate) fn create(
        &mut self,
        digest: TokenDigest,
        token: Token,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.forget_expired(now);
        let life_ms = token.expires.millis_since(now);
        if life_ms == 0 || life_ms > limits::TOKEN_TTL_MS {
            let message = format!(
                "a token must run out within {} ms from now, and not before now",
                limits::TOKEN_TTL_MS
            );
            return Err(
                Refusal::new(Reason::Invalid, message).numbers(life_ms, limits::TOKEN_TTL_MS)
            );
        }
        if self.all.contains_key(&digest) {
            return Err(Refusal::new(
                Reason::TokenInvalid,
                "there is such a token already; make a new one",
            ));
        }
        if self.all.len() >= limits::TOKENS {
            let message = format!(
                "{} tokens are unused; use one, or wait until one runs out",
                self.all.len()
            );
            return Err(Refusal::new(Reason::TooMany, message)
                .numbers(self.all.len() as u64, limits::TOKENS as u64)
                .limit("unused tokens"));
        }
        self.insert(digest, token);
        Ok(())
    }

    /// What the token is good for, if `name` may use it now.
    pub(crate) fn check(
        &self,
        digest: TokenDigest,
        name: &NodeName,
        now: Timestamp,
    ) -> Result<Role, Refusal> {
        let refuse = |message: String| Err(Refusal::new(Reason::TokenInvalid, message));
        match self.all.get(&digest) {
            None => refuse(
                "the token is unknown, was used, or ran out; ask an operator for a new one".into(),
            ),
            Some(token) if token.expires <= now => {
                refuse("the token ran out; ask an operator for a new one".into())
            }
            Some(Token {
                name: Some(meant), ..
            }) if meant != name => refuse(format!(
                "the token is for a node called {meant}, not {name}"
            )),
            Some(token) => Ok(token.role),
        }
    }

    pub(crate) fn insert(&mut self, digest: TokenDigest, token: Token) {
        self.hash.add(row_hash(&digest, &token));
        if let Some(before) = self.all.insert(digest, token) {
            self.hash.remove(row_hash(&digest, &before));
        }
    }

    /// Uses a token up.
    pub(crate) fn burn(&mut self, digest: TokenDigest) {
        if let Some(token) = self.all.remove(&digest) {
            self.hash.remove(row_hash(&digest, &token));
        }
    }

    pub(crate) fn forget_expired(&mut self, now: Timestamp) {
        let expired = self.all.iter().filter(|(_, token)| token.expires <= now);
        for digest in expired.map(|(digest, _)| *digest).collect::<Vec<_>>() {
            self.burn(digest);
        }
    }
}

fn row_hash(digest: &TokenDigest, token: &Token) -> RowHash {
    RowBuffer::new(b't')
        .bytes(&digest.0)
        .number(token.role.number())
        .number(token.expires.as_millis())
        .bytes(token.name.as_ref().map_or("", NodeName::as_str).as_bytes())
        .finish()
}

impl TokenDigest {
    /// Of a token's secret.
    pub fn of(secret: &[u8]) -> Self {
        Self(*blake3::hash(secret).as_bytes())
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}
