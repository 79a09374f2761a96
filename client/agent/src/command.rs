//! The commands, each in a file of its own.

mod check;
mod exec;
mod render;
mod run;

use std::process::ExitCode;

use crate::{
    arguments::{Arguments, Command},
    failure::Failure,
};

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Run(run) => run::run(&run).await,
        Command::Render(render) => render::run(&render).await,
        Command::Exec(exec) => exec::run(exec).await,
        Command::Check(check) => check::run(&check),
    }
}
