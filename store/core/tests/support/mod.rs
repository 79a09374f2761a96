//! A naive model of the store, and generated commands to hold the real one against it.

pub(crate) mod generate;
pub(crate) mod model;
pub(crate) mod random;
pub(crate) mod transaction;
