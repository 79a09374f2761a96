//! etcd and Holdfast side by side: the same client, the same machine, the same minute.
//!
//! `cargo run --release -p holdfast-tests --bin side_by_side`

mod chart;
mod failover;
mod fanout;
mod floor;
mod footprint;
mod load;
mod pair;
mod process;
mod report;
mod samples;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use holdfast_tests::machine;
use pair::{Pair, Side};
use report::Report;

/// Measures three etcd and three kvd in turns, and prints the ratios.
#[derive(Parser)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    what: Vec<Subject>,
    /// Everything in about three minutes: 3 rounds of a second each, if not told otherwise.
    #[arg(long)]
    short: bool,
    /// Rounds of each measurement; in each, both are measured once [default: 10].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of a measurement in a round [default: 5].
    #[arg(long)]
    seconds: Option<f64>,
    /// Threads of the client.
    #[arg(long, default_value_t = 1)]
    client_threads: usize,
    /// Only so many clients, instead of 1, 64 and 256.
    #[arg(long)]
    clients: Option<usize>,
    /// Load only this side: for a profiler; there are no ratios then.
    #[arg(long)]
    only: Option<Side>,
    /// Write everything that was measured to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw the chart of the README into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Writes of 256 B.
    Puts,
    /// Linearizable and serializable reads.
    Gets,
    /// Compare, then write and read.
    Transactions,
    /// Delivery to 100 watchers.
    Fanout,
    /// The gap between acknowledged puts when the leader is killed.
    Failover,
    /// Memory, disk, restarts and the size of the program.
    Footprint,
    /// Everything.
    All,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build; its figures mean nothing. Use --release.");
    }
    let runtime = match arguments.client_threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        threads => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()?,
    };
    let mut report = Report::new(machine::describe());
    let outcome = runtime.block_on(measure(&arguments, &mut report));
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    outcome?;
    if let Some(path) = &arguments.svg {
        std::fs::write(path, chart::draw(&report))?;
    }
    println!("\n{} targets missed", report.missed());
    Ok(())
}

async fn measure(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let wants =
        |subject| arguments.what.contains(&subject) || arguments.what.contains(&Subject::All);
    let (rounds, seconds) = if arguments.short { (3, 1.0) } else { (10, 5.0) };
    let rounds = arguments.rounds.unwrap_or(rounds);
    let turns = load::Turns {
        rounds,
        length: Duration::from_secs_f64(arguments.seconds.unwrap_or(seconds)),
        clients: arguments.clients,
        only: arguments.only,
    };
    if wants(Subject::Puts) || wants(Subject::Gets) || wants(Subject::Transactions) {
        let mut pair = Pair::start().await?;
        floor::measure(report, &pair)?;
        load::fill(&pair, load::KEYS, 256).await?;
        if wants(Subject::Puts) {
            load::puts(report, &mut pair, turns).await?;
        }
        if wants(Subject::Gets) {
            load::gets(report, &mut pair, turns).await?;
        }
        if wants(Subject::Transactions) {
            load::transactions(report, &mut pair, turns).await?;
        }
    }
    if wants(Subject::Fanout) {
        fanout::measure(report, &Pair::start().await?, rounds).await?;
    }
    if wants(Subject::Failover) {
        failover::measure(report, rounds).await?;
    }
    if wants(Subject::Footprint) {
        footprint::measure(report, rounds).await?;
    }
    Ok(())
}
