//! Calls by their path, bytes in and bytes out: what the agent of a node passes on for others.
//!
//! No part of the interface for services. Invariants: (1) a message is passed on as it came, so a write
//! keeps the request id that its maker gave it, and is applied once however often either side repeats it.
//! (2) What a status says of a write, nothing was changed or nobody knows, is what this client knows of
//! all its attempts.

mod bytes_codec;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::{limits, v1};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::{
    Code, Response, Status,
    metadata::{MetadataMap, MetadataValue},
    transport::Channel,
};

pub use self::bytes_codec::BytesCodec;
use crate::{
    Client, Entry,
    attempt::Attempt,
    call::{Answered, Call},
    error::Failure,
    node::{Needs, Route},
};

/// How a call is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding {
    /// To the leader, as far as known; else to any server.
    pub to_leader: bool,
    /// One server can answer it without a majority.
    pub is_local: bool,
    /// It waits on purpose: a server that is silent is not held for frozen.
    pub waits: bool,
    /// All attempts together.
    pub timeout: Duration,
}

/// Why there is no answer to pass on.
#[derive(Debug)]
pub enum NotForwarded {
    /// A server's own refusal.
    Refused(Status),
    /// No attempt was applied: no server, or no majority, took it. What the last attempt met.
    Unreachable(String),
    /// An attempt may have been applied. What the last attempt met.
    Unknown(String),
    /// The servers and this client do not trust each other.
    Untrusted(String),
}

/// An answer as it came, and its header.
struct Raw {
    header: Option<v1::Header>,
    metadata: MetadataMap,
    message: Bytes,
}

/// What all answers have in common.
#[derive(prost::Message)]
struct Headed {
    #[prost(message, optional, tag = "1")]
    header: Option<v1::Header>,
}

impl Answered for Raw {
    fn header(&self) -> Option<&v1::Header> {
        self.header.as_ref()
    }
}

impl Client {
    /// Makes a call with one message and one answer.
    #[doc(hidden)]
    pub async fn forward(
        &self,
        path: &PathAndQuery,
        message: Bytes,
        how: Forwarding,
    ) -> Result<Response<Bytes>, NotForwarded> {
        let attempt_timeout = match how.waits {
            true => how.timeout,
            false => self.options().attempt_timeout.min(how.timeout),
        };
        let call = Call {
            route: how.route(self),
            needs: how.needs(),
            timeout: how.timeout,
            attempt_timeout,
            hedge: !how.waits,
        };
        let answer = self
            .call(call, |attempt| {
                let request = attempt.request(message.clone());
                let path = path.clone();
                async move { once(&attempt, path, request).await }
            })
            .await?;
        let mut response = Response::new(answer.message.message);
        *response.metadata_mut() = answer.message.metadata;
        Ok(response)
    }
}

async fn once(
    attempt: &Attempt,
    path: PathAndQuery,
    request: tonic::Request<Bytes>,
) -> Result<Response<Raw>, Status> {
    let mut grpc = plain(attempt).await?;
    let response = grpc.unary(request, path, BytesCodec).await?;
    let (metadata, message, extensions) = response.into_parts();
    // What cannot be read here may be read by who asked.
    let header = Headed::decode(message.clone()).ok();
    let raw = Raw {
        header: header.and_then(|headed| headed.header),
        metadata: metadata.clone(),
        message,
    };
    Ok(Response::from_parts(metadata, raw, extensions))
}

/// The connection of an attempt, without any service's types.
async fn plain(attempt: &Attempt) -> Result<tonic::client::Grpc<Channel>, Status> {
    let mut grpc = tonic::client::Grpc::new(attempt.channel())
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    // As the generated clients say it; the verdict on it is by what lies under it.
    grpc.ready()
        .await
        .map_err(|error| Status::unknown(format!("the connection was not ready: {error}")))?;
    Ok(grpc)
}

impl Forwarding {
    fn route(&self, client: &Client) -> Route {
        match self.to_leader {
            true => Route::Leader,
            false => client.reading().route,
        }
    }

    fn needs(&self) -> Needs {
        match self.is_local {
            true => Needs::Node,
            false => Needs::Majority,
        }
    }
}

impl From<Failure> for NotForwarded {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(status) => Self::Refused(status),
            Failure::Unreachable { last, .. } => Self::Unreachable(last),
            Failure::Unknown { last, .. } => Self::Unknown(last),
            Failure::Untrusted { message } => Self::Untrusted(message),
        }
    }
}

/// A status with a word for programs.
#[doc(hidden)]
pub fn refusal(code: Code, reason: &'static str, message: impl Into<String>) -> Status {
    let mut status = Status::new(code, message);
    status
        .metadata_mut()
        .insert(crate::reason::REASON, MetadataValue::from_static(reason));
    status
}

/// An entry as it is sent.
#[doc(hidden)]
pub fn to_wire(entry: &Entry) -> v1::Entry {
    entry.to_wire()
}
