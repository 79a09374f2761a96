//! What systemd wants to know. Says nothing where there is no systemd.

/// The node serves.
pub(crate) fn ready(name: &str, address: &str) {
    tell(&[
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Status(&format!("{name} serves at {address}")),
    ]);
}

/// The node is on its way out.
pub(crate) fn stopping() {
    tell(&[
        sd_notify::NotifyState::Stopping,
        sd_notify::NotifyState::Status("handing over and finishing what was begun"),
    ]);
}

fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
