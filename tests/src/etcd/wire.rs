//! Calls of the etcd v3 API as they are on the wire: any fields, also those that no client sets.

use etcd_client::proto::{PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse};
use prost::Message;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::{http::uri::PathAndQuery, tokio_stream},
    transport::Channel,
};
use tonic_prost::ProstCodec;

/// Why a call was refused: what clients match on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The text, to the letter.
    pub text: String,
}

/// Asks once, and gives the answer as it came.
pub async fn call<Q, A>(channel: &Channel, method: &'static str, request: Q) -> Result<A, Refusal>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
    grpc.ready().await.map_err(unreachable)?;
    let path = PathAndQuery::from_static(method);
    let codec = ProstCodec::<Q, A>::default();
    let answered = grpc.unary(Request::new(request), path, codec).await;
    Ok(answered?.into_inner())
}

/// Keeps a lease alive once, on a stream of its own.
pub async fn keep_alive(
    channel: &Channel,
    request: PbLeaseKeepAliveRequest,
) -> Result<PbLeaseKeepAliveResponse, Refusal> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(unreachable)?;
    let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
    let requests = Request::new(tokio_stream::once(request));
    let answers = grpc
        .streaming(requests, path, ProstCodec::default())
        .await?;
    let first = answers.into_inner().message().await?;
    first.ok_or_else(|| Status::unavailable("the stream ended without an answer").into())
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self {
            code: status.code(),
            text: status.message().to_owned(),
        }
    }
}

fn unreachable(error: tonic::transport::Error) -> Refusal {
    Status::unavailable(error.to_string()).into()
}

/// A whole range in one answer.
const MESSAGE_BYTES: usize = 64 << 20;
