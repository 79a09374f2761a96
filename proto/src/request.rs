//! Request ids: how a repeated write is known for a repeat.

use std::{cmp::Ordering, fmt};

use crate::v1;

/// Who writes: 16 random bytes, made once by each client process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// From random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialOrd for SessionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As its bytes, which are looked at as one number.
impl Ord for SessionId {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names one write of one session. Applied at most once, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The session.
    pub session: SessionId,
    /// 1, 2, 3 … within the session.
    pub sequence: u64,
    /// Every lower sequence has its answer; those may be forgotten.
    pub first_incomplete: u64,
}

/// Why a wire message is not a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request id needs a session of 16 bytes and a sequence from 1 on")]
pub struct RequestIdError;

impl TryFrom<&v1::RequestId> for RequestId {
    type Error = RequestIdError;

    fn try_from(wire: &v1::RequestId) -> Result<Self, RequestIdError> {
        let session = wire.session[..]
            .try_into()
            .map(SessionId)
            .map_err(|_| RequestIdError)?;
        if wire.sequence == 0 || wire.first_incomplete > wire.sequence {
            return Err(RequestIdError);
        }
        Ok(Self {
            session,
            sequence: wire.sequence,
            first_incomplete: wire.first_incomplete,
        })
    }
}

impl From<RequestId> for v1::RequestId {
    fn from(id: RequestId) -> Self {
        Self {
            session: id.session.0.to_vec().into(),
            sequence: id.sequence,
            first_incomplete: id.first_incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_refused_without_session_or_sequence() {
        let good = v1::RequestId {
            session: vec![7; 16].into(),
            sequence: 1,
            first_incomplete: 1,
        };
        assert!(RequestId::try_from(&good).is_ok());
        for bad in [
            v1::RequestId {
                session: vec![7; 15].into(),
                ..good.clone()
            },
            v1::RequestId {
                sequence: 0,
                ..good.clone()
            },
            v1::RequestId {
                first_incomplete: 2,
                ..good
            },
        ] {
            assert_eq!(RequestId::try_from(&bad), Err(RequestIdError));
        }
    }
}
