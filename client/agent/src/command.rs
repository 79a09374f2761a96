//! The commands, each in a file of its own.

mod check;

use std::process::ExitCode;

use crate::{
    arguments::{Arguments, Command},
    failure::{Exit, Failure},
};

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Check(check) => check::run(&check),
        Command::Run(_) | Command::Render(_) => {
            Err(Failure::new(Exit::Refused, "this is being built"))
        }
    }
}
