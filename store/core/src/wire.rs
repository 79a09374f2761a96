//! Between the parsed types and their protobuf forms. Parsing checks shapes and sizes.

mod command;
mod operation;
mod reply;
