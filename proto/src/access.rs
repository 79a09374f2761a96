//! What can be allowed, and rules that allow or deny it, as people write them and as they go over
//! the wire. Who is given which rules, and what follows, is for the replicated state.

mod capability;
mod rule;

pub use self::{
    capability::{Capabilities, Capability},
    rule::{Rule, RuleError},
};
