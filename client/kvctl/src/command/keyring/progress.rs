//! Following a rotation: how many versions are under the newest epoch.
//!
//! What is shown is what the cluster counts, so that whoever looks later, or from elsewhere, sees
//! the same bar where it is by then.

use std::time::{Duration, Instant};

use holdfast_client::{Client, KeyringStatus, ReadError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::count;
use crate::{arguments::Format, failure::Failure, session::Session, terminate::Signals};

/// How a rotation that was followed went on.
pub(super) enum Followed {
    /// Every version is under the newest epoch.
    Complete(KeyringStatus),
    /// The looking ended, the rotation goes on.
    Left,
}

/// Follows until every version is under the newest epoch, which is at least `epoch`, or ctrl-c.
/// A cluster that does not answer for a while is asked again, as long as the timeout allows.
pub(super) async fn follow(
    session: &Session,
    client: &Client,
    epoch: u64,
) -> Result<Followed, Failure> {
    let bar = bar(session);
    let keyring = client.keyring();
    let mut signals = Signals::listen()?;
    let mut heard = Instant::now();
    loop {
        let asked = tokio::select! {
            asked = keyring.status() => asked,
            () = signals.next() => {
                bar.abandon();
                return Ok(Followed::Left);
            }
        };
        match asked {
            Ok(status) => {
                heard = Instant::now();
                bar.set_length(status.secrets);
                bar.set_position(status.rewrapped);
                bar.set_message(format!("epoch {}", status.epoch));
                if status.epoch >= epoch && !status.is_rotating() {
                    bar.finish_and_clear();
                    return Ok(Followed::Complete(status));
                }
            }
            Err(error @ ReadError::Unreachable { .. }) => {
                if heard.elapsed() >= session.common.timeout {
                    bar.abandon();
                    let failure = Failure::from(error);
                    return Err(failure.during("the rotation goes on, but was lost sight of"));
                }
                bar.set_message("no answer");
            }
            Err(error) => {
                bar.abandon();
                return Err(error.into());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BETWEEN) => {}
            () = signals.next() => {
                bar.abandon();
                return Ok(Followed::Left);
            }
        }
    }
}

/// What is said when it is complete.
pub(super) fn complete(status: &KeyringStatus) -> String {
    format!(
        "{} under epoch {}",
        count(status.secrets, "version"),
        status.epoch
    )
}

/// For people at a terminal; nothing is drawn otherwise.
fn bar(session: &Session) -> ProgressBar {
    let target = match session.common.output {
        Format::Table if !session.common.quiet => ProgressDrawTarget::stderr(),
        _ => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {pos}/{len} versions · {per_sec} · {eta} left",
    );
    let bar = ProgressBar::with_draw_target(None, target);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

const BETWEEN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use indicatif::ProgressStyle;

    #[test]
    fn the_bar_s_template_is_sound() {
        let template = "{msg} {wide_bar} {pos}/{len} versions · {per_sec} · {eta} left";
        assert!(ProgressStyle::with_template(template).is_ok());
    }
}
