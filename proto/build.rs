//! Compiles the protobuf files with protox, so that no `protoc` is needed.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 10] = [
    "holdfast/v1/types.proto",
    "holdfast/v1/kv.proto",
    "holdfast/v1/watch.proto",
    "holdfast/v1/lease.proto",
    "holdfast/v1/lock.proto",
    "holdfast/v1/cluster.proto",
    "holdfast/log/v1/record.proto",
    "holdfast/log/v1/raft.proto",
    "holdfast/log/v1/state.proto",
    "holdfast/peer/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // What may hold a user's value never prints it.
        .skip_debug([".holdfast.v1.Value"])
        .compile_fds(descriptors)?;
    Ok(())
}
