//! `kvagent`: parses the arguments, runs the command, tells the shell how it ended.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = kvagent::Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // It waits for nearly all of its time.
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(kvagent::run(arguments));
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            anstream::eprintln!("error: no runtime could be started: {error}");
            ExitCode::FAILURE
        }
    }
}
