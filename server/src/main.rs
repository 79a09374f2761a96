//! `kvd`: makes, runs and shows off nodes of a Holdfast cluster.

use std::process::ExitCode;

use clap::Parser;
use holdfast_server::command::Arguments;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Arguments::parse().execute()
}
