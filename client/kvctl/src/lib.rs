//! The command line of Holdfast.
//!
//! Each command is a file of its own in `command/`: what it takes (for clap) and what it does. They
//! share:
//!
//! * [`Arguments`]: what is common to all, and which command.
//! * `session`: from a context to a connected client.
//! * `output`: tables for people, JSON for programs (its shapes are in `OUTPUT.md` and stable), raw
//!   for pipes. Results go to standard output; anything else, standard error.
//! * `failure`: what happened, what to do, and the exit code.
//! * `terminal` and `plaintext`: secrets on their way in and out, past every buffer that nobody
//!   wipes. None is ever in an error, an argument list, the environment or a temporary file.
//! * `value`: typed values, from words and to words.
//!
//! Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 the outcome of a write is unknown;
//! 4 no server could be reached, or too few for a leader. `lock` exits as its command did.
//!
//! Absent on purpose: anything the SDK could do. A command reads its arguments, calls the SDK, and
//! shows the answer.

mod arguments;
mod command;
mod duration;
mod failure;
mod member_name;
mod output;
mod plaintext;
mod record;
mod session;
mod terminal;
mod terminate;
mod time;
mod value;

use std::process::ExitCode;

pub use arguments::Arguments;

/// Runs the command. What goes wrong is said on standard error.
pub async fn run(arguments: Arguments) -> ExitCode {
    match command::run(arguments).await {
        Ok(code) => code,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}
