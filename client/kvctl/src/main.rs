//! `kvctl`: parses the arguments, runs the command, tells the shell how it ended.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = kvctl::Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(kvctl::run(arguments));
            // A read of standard input that nobody waits for must not hold the exit up.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            anstream::eprintln!("error: no runtime could be started: {error}");
            ExitCode::FAILURE
        }
    }
}
