//! Join tokens: what a new node needs to find a cluster, to trust it, and to be let in once.
//!
//! `hf1-` and the unpadded URL-safe base64 of, in this order: the length of the cluster id (1 byte)
//! and the id, the secret (16 bytes), the pin of the authority (32 bytes), the endpoints joined by
//! commas, and the CRC-32 (big-endian) of all before it, so that half a paste is told from a wrong token.
//!
//! Role, expiry and single use are the cluster's to keep, under the [digest](JoinToken::digest).

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::{Zeroize, Zeroizing};

use super::CaPin;

/// A join token. A secret: `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    cluster_id: String,
    secret: [u8; SECRET_BYTES],
    ca_pin: CaPin,
    endpoints: Vec<String>,
}

/// Why text is not a join token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It does not begin as one.
    #[error(
        "this is no join token: it does not begin with hf1-; make one with `kvctl member token`"
    )]
    Foreign,
    /// Cut off or altered.
    #[error(
        "the join token is damaged, perhaps cut off when it was copied; copy it whole, in one line"
    )]
    Damaged,
}

impl JoinToken {
    /// A fresh token for the cluster of this id and authority, naming where its nodes listen
    /// (`HOST:PORT`, at least one).
    pub fn generate(cluster_id: &str, ca_pin: CaPin, endpoints: Vec<String>) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            secret: rand::random(),
            ca_pin,
            endpoints,
        }
    }

    /// The id of the cluster it lets in to.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// What the cluster's authority must hash to.
    pub fn ca_pin(&self) -> &CaPin {
        &self.ca_pin
    }

    /// Where nodes of the cluster listened when it was made, `HOST:PORT`.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// BLAKE3-256 of the secret: all that the cluster keeps of it.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.secret).as_bytes()
    }

    /// The whole token as text. A secret: show it to the person who asked for it and nobody else.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(128));
        bytes.push(u8::try_from(self.cluster_id.len()).expect("a cluster id is 32 digits"));
        bytes.extend_from_slice(self.cluster_id.as_bytes());
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(self.ca_pin.as_bytes());
        bytes.extend_from_slice(self.endpoints.join(",").as_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        Zeroizing::new(format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(bytes.as_slice())
        ))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let body = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(TokenError::Foreign)?;
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(body)
                .map_err(|_| TokenError::Damaged)?,
        );
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(TokenError::Damaged)?;
        if crc32fast::hash(content).to_be_bytes() != *checksum {
            return Err(TokenError::Damaged);
        }
        parse_content(content).ok_or(TokenError::Damaged)
    }
}

fn parse_content(content: &[u8]) -> Option<JoinToken> {
    let (&length, rest) = content.split_first()?;
    let (cluster_id, rest) = rest.split_at_checked(usize::from(length))?;
    let (secret, rest) = rest.split_first_chunk::<SECRET_BYTES>()?;
    let (pin, rest) = rest.split_first_chunk::<32>()?;
    let endpoints: Vec<String> = std::str::from_utf8(rest)
        .ok()?
        .split(',')
        .map(str::to_owned)
        .collect();
    if cluster_id.is_empty() || endpoints.iter().any(String::is_empty) {
        return None;
    }
    Some(JoinToken {
        cluster_id: std::str::from_utf8(cluster_id).ok()?.to_owned(),
        secret: *secret,
        ca_pin: CaPin::from_bytes(*pin),
        endpoints,
    })
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

const PREFIX: &str = "hf1-";
const SECRET_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::generate(
            "00112233445566778899aabbccddeeff",
            CaPin::from_bytes([7; 32]),
            vec!["127.0.0.1:7101".to_owned(), "[::1]:7102".to_owned()],
        )
    }

    #[test]
    fn a_token_survives_being_copied() {
        let token = token();
        let pasted = format!("  {}\n", token.reveal().as_str());
        let again: JoinToken = pasted.parse().unwrap();
        assert!(again == token);
        assert_eq!(again.digest(), token.digest());
        assert_eq!(again.endpoints(), ["127.0.0.1:7101", "[::1]:7102"]);
    }

    #[test]
    fn a_token_cut_off_anywhere_or_altered_is_called_damaged() {
        let text = token().reveal();
        for end in PREFIX.len()..text.len() {
            assert_eq!(
                text[..end].parse::<JoinToken>().err(),
                Some(TokenError::Damaged),
                "{end}"
            );
        }
        let altered = text.replacen(
            &text[40..41],
            if &text[40..41] == "A" { "B" } else { "A" },
            1,
        );
        assert_eq!(
            altered.parse::<JoinToken>().err(),
            Some(TokenError::Damaged)
        );
        assert_eq!(
            "K10abc".parse::<JoinToken>().err(),
            Some(TokenError::Foreign)
        );
    }

    #[test]
    fn two_tokens_share_no_secret_and_debug_shows_none() {
        let (one, two) = (token(), token());
        assert_ne!(one.digest(), two.digest());
        assert!(!format!("{one:?}").contains(&hex::encode(one.secret)));
        assert!(!format!("{one:?}").contains(one.reveal().as_str()));
    }
}
