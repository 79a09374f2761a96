//! Between the parsed types and their protobuf forms. Parsing checks shapes and sizes.

pub(crate) mod command;
mod operation;
mod reply;
