//! The sidecar: what a node's services need of the cluster, for those that cannot link the SDK.
//!
//! It installs **sets of files** that are made of what lies under prefixes, and runs a hook when a
//! set changed. What holds, whatever happens to the servers, the agent or the machine:
//!
//! * **A set is replaced whole.** All of its files are of one revision; they are complete and synced,
//!   with owner and mode, in a folder of their own before the link `current` is moved to it.
//! * **A set is never emptied by accident.** Where the cluster has nothing, or less than the guard
//!   allows, and where a template fails, the files stay as they are, and the status says why.
//! * **A hook runs once for each change that was installed**, is repeated until it succeeds, and is not
//!   forgotten if the agent dies before it did.
//! * **What is on the disk is what was installed**: what somebody edits there is found and put right.
//! * **An agent that starts with every server down has what it knew last**, from a sealed cache: what
//!   somebody removed is put back. Older than what is installed is installed from a server alone.
//! * **One broken set harms no other.**
//! * **A secret is on the disk only where a set says so**, with mode 0600 unless a file says otherwise;
//!   never in a log, an error, a status or a diff.
//!
//! The modules: `settings` is the file; `values` are what the cluster has, at one revision and as it
//! counts on this node; `render` makes contents of them; `set` installs; `hook` runs; `keeper` does that
//! for one set as long as the agent runs, and `supervisor` has one for each; `status` says how it is, and
//! `fleet` tells the cluster.
//!
//! Absent on purpose: commands in templates, and a clock (a file would differ each time it is made).

mod agent;
mod arguments;
mod command;
mod diff;
mod failure;
mod fault;
mod fleet;
mod hook;
mod keeper;
mod log;
mod render;
mod set;
mod settings;
mod source;
mod status;
mod supervisor;
mod values;

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
