//! The figures that Holdfast promises, measured: release `kvd` processes on loopback, mTLS,
//! default settings, clients on the same machine.
//!
//! `cargo run --release -p holdfast-tests --bin bench -- all`

mod agent;
mod config;
mod elections;
mod failover;
mod fill;
mod growth;
mod memory;
mod mirror;
mod report;
mod secrets;
mod throughput;
mod watching;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use holdfast_tests::machine;
use report::Report;

/// Measures a cluster of three nodes, and prints the targets beside the figures.
#[derive(Parser)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    what: Vec<Bench>,
    /// Write the figures to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Rounds of what is repeated.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Seconds of each measurement of throughput.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The most keys in `growth`.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// The gap between acknowledged writes when the leader is killed.
    Failover,
    /// The gap when leadership is handed over.
    Transfer,
    /// Elections without a cause.
    Elections,
    /// Writes of 256 B.
    Writes,
    /// Linearizable and local reads.
    Reads,
    /// A read of a mirror.
    Mirror,
    /// A typed configuration: a load, a change, a start without servers.
    Config,
    /// Resident memory of the sidecar.
    Agent,
    /// Resident memory, idle and with 100,000 keys.
    Memory,
    /// Time until a node serves again.
    Restart,
    /// Delivery to 100 watchers.
    Fanout,
    /// Secrets beside plain values, and the rewrap of a rotation.
    Secrets,
    /// Throughput and memory as the keys grow.
    Growth,
    /// Everything.
    All,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build; its figures mean nothing. Use --release.");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut report = Report::new(machine::describe());
    let outcome = runtime.block_on(measure(&arguments, &mut report));
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    outcome?;
    println!("\n{} targets missed", report.missed());
    Ok(())
}

async fn measure(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let wants = |bench| arguments.what.contains(&bench) || arguments.what.contains(&Bench::All);
    if wants(Bench::Failover) {
        failover::killed(report, arguments.rounds).await?;
    }
    if wants(Bench::Transfer) {
        failover::handed_over(report, arguments.rounds).await?;
    }
    if wants(Bench::Elections) {
        elections::measure(report, arguments.seconds).await?;
    }
    if wants(Bench::Writes) {
        throughput::writes(report, arguments.seconds).await?;
    }
    if wants(Bench::Reads) {
        throughput::reads(report, arguments.seconds).await?;
    }
    if wants(Bench::Mirror) {
        mirror::measure(report).await?;
    }
    if wants(Bench::Config) {
        config::measure(report, arguments.rounds * 10).await?;
    }
    if wants(Bench::Agent) {
        agent::measure(report).await?;
    }
    if wants(Bench::Memory) || wants(Bench::Restart) {
        memory::measure(report, wants(Bench::Restart)).await?;
    }
    if wants(Bench::Fanout) {
        watching::measure(report, arguments.rounds * 10).await?;
    }
    if wants(Bench::Secrets) {
        secrets::measure(report, arguments.seconds).await?;
    }
    if wants(Bench::Growth) {
        growth::measure(report, arguments.seconds, arguments.keys).await?;
    }
    Ok(())
}
