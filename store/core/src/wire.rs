//! Between the parsed types and their protobuf forms. Parsing checks shapes and sizes.

pub(crate) mod command;
pub(crate) mod field;
pub(crate) mod fleet;
mod operation;
mod reply;
