//! Talking to peers: the channels, the client side of consensus' messages, and the service that
//! answers them.

pub(crate) mod append;
pub(crate) mod channels;
pub(crate) mod incoming;
pub(crate) mod reverted;
pub(crate) mod service;
pub(crate) mod snapshot;
