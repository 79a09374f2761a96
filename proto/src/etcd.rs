//! The etcd v3 API, for tools that speak it: generated from `proto/etcd/`.
//!
//! Each module is a protobuf package of etcd's, and names, numbers and types are etcd's. What may
//! hold a user's value or password shows its size alone.

use std::fmt;

use prost::Message;

/// Keys, values, leases, watches, members and maintenance.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Keys as answers and events show them.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Users and roles.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// Locks.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// Elections.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// The file descriptors of these packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd_descriptors.bin"));

macro_rules! veil {
    ($($message:ty),+ $(,)?) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = std::any::type_name::<Self>().rsplit("::").next();
                write!(f, "{}({} bytes encoded)", name.unwrap_or_default(), self.encoded_len())
            }
        })+
    };
}

veil!(
    mvccpb::KeyValue,
    etcdserverpb::PutRequest,
    etcdserverpb::Compare,
    etcdserverpb::AuthenticateRequest,
    etcdserverpb::AuthUserAddRequest,
    etcdserverpb::AuthUserChangePasswordRequest,
    v3electionpb::CampaignRequest,
    v3electionpb::ProclaimRequest,
);

impl fmt::Debug for etcdserverpb::compare::TargetUnion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetUnion(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_what_a_message_holds() {
        let put = etcdserverpb::PutRequest {
            key: "k".into(),
            value: "hunter2".into(),
            ..etcdserverpb::PutRequest::default()
        };
        let pair = mvccpb::KeyValue {
            value: "hunter2".into(),
            ..mvccpb::KeyValue::default()
        };
        let operation = etcdserverpb::RequestOp {
            request: Some(etcdserverpb::request_op::Request::RequestPut(put.clone())),
        };
        let shown = format!("{put:?} {pair:?} {operation:?}");
        assert!(shown.contains("PutRequest(12 bytes encoded)"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("104, 117"),
            "{shown}"
        );
    }
}
