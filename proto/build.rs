//! Compiles the protobuf files with protox, so that no `protoc` is needed.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 18] = [
    "holdfast/v1/types.proto",
    "holdfast/v1/kv.proto",
    "holdfast/v1/watch.proto",
    "holdfast/v1/lease.proto",
    "holdfast/v1/lock.proto",
    "holdfast/v1/cluster.proto",
    "holdfast/v1/keyring.proto",
    "holdfast/v1/secrets.proto",
    "holdfast/v1/audit.proto",
    "holdfast/v1/access.proto",
    "holdfast/v1/fleet.proto",
    "holdfast/log/v1/record.proto",
    "holdfast/log/v1/raft.proto",
    "holdfast/log/v1/state.proto",
    "holdfast/log/v1/backup.proto",
    "holdfast/v1/backup.proto",
    "holdfast/peer/v1/peer.proto",
    "holdfast/cache/v1/cache.proto",
];

/// What existing tools speak; served apart from ours.
const ETCD_FILES: [&str; 5] = [
    "etcd/kv.proto",
    "etcd/auth.proto",
    "etcd/rpc.proto",
    "etcd/v3lock.proto",
    "etcd/v3election.proto",
];

/// What may hold a user's value or password never prints it.
const VEILED: [&str; 11] = [
    ".holdfast.v1.Value",
    ".holdfast.v1.SecretPutRequest",
    ".holdfast.v1.RevealResponse",
    ".mvccpb.KeyValue",
    ".etcdserverpb.PutRequest",
    ".etcdserverpb.Compare",
    ".etcdserverpb.AuthenticateRequest",
    ".etcdserverpb.AuthUserAddRequest",
    ".etcdserverpb.AuthUserChangePasswordRequest",
    ".v3electionpb.CampaignRequest",
    ".v3electionpb.ProclaimRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    compile(&FILES, "descriptors.bin")?;
    compile(&ETCD_FILES, "etcd_descriptors.bin")
}

fn compile(files: &[&str], described_in: &str) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join(described_in), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(VEILED)
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
