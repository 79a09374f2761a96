//! What the servers take: memory and processor time while idle, memory and disk with 100,000 keys,
//! and the time until a cluster that was killed serves again.

use std::time::{Duration, Instant};

use etcd_client::Client;
use holdfast_tests::harness::wait;

use crate::{
    load,
    pair::{MEMBERS, Match, Pair, Side},
    process::{disk_megabytes, processor_time, resident_megabytes},
    report::{Report, Target},
    samples::Samples,
};

/// Everything, of the largest member where they differ.
pub(crate) async fn measure(
    report: &mut Report,
    with: Match<'_>,
    rounds: usize,
) -> anyhow::Result<()> {
    report.title("Footprint of a member");
    let starts = rounds.clamp(1, STARTS);
    let (mut memory, mut processor) = (Samples::default(), Samples::default());
    let mut pair = Pair::start(with).await?;
    for start in 0..starts {
        if start > 0 {
            drop(pair);
            pair = Pair::start(with).await?;
        }
        idle(&mut pair, &mut memory, &mut processor).await?;
    }
    report.add(
        "footprint",
        "memory, idle",
        "MB",
        memory,
        Target::AtMost(0.5),
    );
    report.add("footprint", "processor, idle", "%", processor, Target::None);

    load::fill(&pair, KEYS, 256).await?;
    let (mut memory, mut disk) = (Samples::default(), Samples::default());
    for side in Side::in_round(0) {
        pair.wait_until_whole(side).await?;
        memory.push(side, resident_megabytes(&pair.pids(side))?);
        let mut most: f64 = 0.0;
        for dir in pair.dirs(side) {
            most = most.max(disk_megabytes(dir)?);
        }
        disk.push(side, most);
    }
    report.add(
        "footprint",
        "memory, 100,000 keys of 256 B",
        "MB",
        memory,
        Target::None,
    );
    report.add(
        "footprint",
        "disk, 100,000 keys of 256 B",
        "MB",
        disk,
        Target::None,
    );

    let mut restart = Samples::default();
    for round in 0..rounds.clamp(1, RESTARTS) {
        for side in Side::in_round(round) {
            restart.push(side, serves_again(&mut pair, side).await?);
        }
    }
    report.add(
        "footprint",
        "all killed and started: first put",
        "s",
        restart,
        Target::None,
    );

    let mut program = Samples::default();
    for side in Side::in_round(0) {
        let bytes = std::fs::metadata(pair.program(side)?)?.len();
        program.push(side, bytes as f64 / 1e6);
    }
    report.add("footprint", "program file", "MB", program, Target::None);
    Ok(())
}

async fn idle(
    pair: &mut Pair,
    memory: &mut Samples,
    processor: &mut Samples,
) -> anyhow::Result<()> {
    let mut before = Vec::new();
    for side in Side::in_round(0) {
        before.push(processor_time(&pair.pids(side))?);
    }
    let began = Instant::now();
    // Not to wait for something: idle is a state, not a moment. Heartbeats go on.
    tokio::time::sleep(IDLE).await;
    for side in Side::in_round(0) {
        let pids = pair.pids(side);
        let ran = processor_time(&pids)? - before[side as usize];
        let share = ran.as_secs_f64() / began.elapsed().as_secs_f64() / MEMBERS as f64;
        processor.push(side, share * 100.0);
        memory.push(side, resident_megabytes(&pids)?);
    }
    Ok(())
}

/// Seconds from the start of all members until one of them acknowledges a put.
async fn serves_again(pair: &mut Pair, side: Side) -> anyhow::Result<f64> {
    let client = pair.endpoints(side)?.client().await?;
    pair.kill_all(side);
    let began = Instant::now();
    for member in 0..MEMBERS {
        pair.run(side, member)?;
    }
    let put = || attempt(client.clone());
    wait::until("a put", Duration::from_secs(60), put).await?;
    let seconds = began.elapsed().as_secs_f64();
    pair.wait_until_whole(side).await?;
    Ok(seconds)
}

/// A put; none if it fails, or is lost before there is a leader.
async fn attempt(mut client: Client) -> Option<()> {
    let put = client.put(load::key(0), load::value(256), None);
    let answered = tokio::time::timeout(ATTEMPT, put).await.ok()?;
    answered.is_ok().then_some(())
}

const KEYS: u64 = 100_000;
const IDLE: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_millis(500);
/// At most so many fresh starts to see them idle, and restarts.
const STARTS: usize = 3;
const RESTARTS: usize = 5;
