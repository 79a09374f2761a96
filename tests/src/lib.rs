//! Whole-cluster suites, the fault harness, the history checker and the benches.
pub mod checker;
pub mod escrow;
pub mod etcd;
pub mod harness;
pub mod history;
pub mod leak;
pub mod load;
pub mod machine;
pub mod scenario;
