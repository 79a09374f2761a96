//! Whatever is sealed opens at its place and nowhere else; whatever was changed, cut, moved or mixed up
//! is refused, by layer, without a panic and without a wrong plaintext.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

mod debugging;
mod envelopes;
mod epochs;
mod node_keys;
mod parsers;
mod shares;
mod streams;
