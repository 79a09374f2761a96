//! etcd and Holdfast side by side: the same client, the same machine, the same minute.
//!
//! `cargo run --release -p holdfast-tests --bin side_by_side`; with `--short` in three minutes.
//!
//! # What is measured
//!
//! Three etcd 3.7.2 and three `kvd`, as processes on loopback. Both have mutual TLS between members
//! and for clients, with the same kind of keys, and their defaults otherwise: both sync every write
//! to the disk of each member before it counts. Both are driven through `etcd-client`, by one
//! process, with the same settings.
//!
//! * **Puts, gets, transactions**: each client is a connection to every member and sends one request
//!   after the other, spread over the members. 10,000 keys, values of 256 B.
//! * **Shared**: the same puts and gets from the tasks of one service, which share one client: what
//!   etcd's clients are made for, and what spares both sides most connections.
//! * **Fan-out**: from the moment a put is sent until each of 100 watching clients has it.
//! * **Failover**: a put every 5 ms, and the longest time without an acknowledgement after SIGKILL of
//!   the leader.
//! * **Footprint**: memory and processor time of an idle member; memory and disk with 100,000 keys;
//!   the first put after all members were killed and started; the size of the program.
//!
//! # How it is fair
//!
//! The machine's mood changes by the minute, so no figure is compared with one of another minute:
//! in each round both sides are measured, one right after the other, and the next round begins with
//! the other one. A ratio is the median of the rounds' ratios, always of Holdfast to etcd. Both sides
//! run all the time, the one that is not measured idles: stopping it would make it elect a leader
//! when it goes on, and starting it would measure cold caches. What an idle member takes is measured,
//! too. Clients stay connected between rounds. Nothing is pinned to a processor.
//!
//! The client shares the processors with the six servers. What it takes is printed beside what the
//! servers take, since no server can be faster than its client: with all processors busy, the ratio
//! of rates is that of both sums.
//!
//! # Where the time goes
//!
//! Two cores of an AMD EPYC, ext4; 64 clients; microseconds of processor time for one request, all
//! three servers together, as printed and as a profile of them shares it out (`perf record
//! --call-graph dwarf` beside `--only holdfast`):
//!
//! | a put | etcd | Holdfast |
//! |---|---|---|
//! | servers | 293 | 123 |
//! | of it: HTTP/2, TLS, the kernel's network, and the request itself | | 44 |
//! | applying the entry, on three nodes | | 32 |
//! | the log: writing, waking its thread, `fdatasync` of a batch, on three nodes | | 16 |
//! | Raft, appends, and forwarding from followers | | 13 |
//! | values of older versions to the past (sled) | | 9 |
//! | falling asleep, waking up, the rest | | 9 |
//! | the client | 58 | 39 |
//!
//! | a get | etcd, linearizable | Holdfast | etcd, serializable | Holdfast |
//! |---|---|---|---|---|
//! | servers | 226 | 64 | 147 | 32 |
//! | the client | 63 | 33 | 45 | 28 |
//!
//! The leader gathers what arrives while a batch is on its way (`store/raft/src/gather.rs`): with 64
//! clients that is a seventh more puts a second for a seventh less processor time, and no slower with
//! four. A round for linearizable reads waits until whatever else is ready has run, for the same reason.
//!
//! With connections of its own for each client, more than half of a get is the kernel's: one write, one
//! read and a share of a wake-up for each request, at both ends. Of the 78 µs that two processors have
//! for each serializable get, servers and client are charged 60; 10 go into the kernel's soft interrupts,
//! which carry four packets over loopback, and 5 are spent idle between two wake-ups (`/proc/stat`). Tasks
//! that share one client share writes, reads and wake-ups too: 17 µs for the servers, 12 for the client.
//!
//! What is linearizable and was asked of a follower costs another round trip, to the leader, which many
//! share. With all processors busy a put waits in line most of its time. One client alone finds them
//! idle: a quarter of its put's processor time is the log's thread, a fifth goes into falling asleep and
//! waking up, and the rest of the wait is the disk. Counted (`perf stat`), such a put is ten writes to
//! sockets over the three nodes, four of which tell the followers of the commit and answer that, and 24
//! switches between threads. The client writes three times for a put and twice for a get (headers, head
//! and value): that is `etcd-client`'s way, and each side must read it.
//!
//! The tables are from before a follower's question carried its vote (`store/raft/src/barrier.rs`). With
//! it, one client's linearizable get takes the servers 206 µs instead of 291, and its median is 0.26 ms
//! instead of 0.31.
//!
//! # The ceiling
//!
//! With `--ceiling`, members answer in the place of `kvd` that have tonic, TLS, as many threads and
//! `kvd`'s joined writes (`holdfast_client::gather`), and do nothing else: they ask nobody, keep nothing
//! and sync nothing. A server that speaks through tonic and does something, too, is no faster. What
//! they reach (`puts gets shared fanout --ceiling --short`, on other days and a faster machine; Holdfast
//! with `--rounds 8 --seconds 1`):
//!
//! | ratio to etcd | wanted | Holdfast | a server that does nothing |
//! |---|---|---|---|
//! | puts, 64 clients | 3 | 3.14 | 6.9 |
//! | puts, 256 clients | 3 | 3.07 | 3.6 |
//! | put, one client, p50 | 0.5 | 0.47 | 0.10 |
//! | linearizable gets, 64 clients | 3 | 3.47 | 3.9 to 4.1 |
//! | serializable gets, 64 clients | 3.5 | 3.73 | 2.7 to 3.4, in four runs |
//! | puts, 64 tasks with one client | 3 | 3.80 | 13.0 |
//! | puts, 256 tasks with one client | 3 | 2.80 | 9.1 |
//! | linearizable gets, 64 tasks with one client | 3 | 6.16 | 7.2 |
//! | serializable gets, 64 tasks with one client | 3.5 | 6.14 | 5.1 |
//! | fan-out, p50 | 0.5 | 0.59 | 0.36 |
//!
//! That run was on a slower machine, without AVX-512, on which both were half as fast. The version before, in two
//! runs on the machine of the day before, had 2.83 and 2.77, 2.47 and 2.48 for puts, 0.55 and 0.45 for one client,
//! 3.40 and 3.69, 3.497 and 3.53 for gets, 0.49 and 0.58 for the fan-out, 3.12 and 3.06, 2.98 and 3.25 for puts of
//! tasks, and 5.22 and 6.04, 6.56 and 6.28 for their gets.
//!
//! In whole runs members write archives meanwhile, of the hundred thousands of older versions that the puts
//! before have left: with that version before, the first three of the eight rounds with 256 clients had 1.75 to
//! 2.14 in its first run, the others 2.41 to 2.92.
//!
//! The last column is from before release builds had a profile, which makes tonic and the client faster,
//! too: so Holdfast can be ahead of it. With serializable gets the client alone takes half of the time of
//! two cores. With 256 clients, a put at three times etcd's rate would leave a sixth of the processors'
//! time for three nodes that agree, store and sync. Tasks that share a client leave most of it: of what
//! their puts take the servers, applying is a third and the past an eighth.
//!
//! # Where the time of a fan-out goes
//!
//! Traced (`perf record -a -e sched:sched_switch` and the system calls; medians of a hundred puts with 100
//! watchers, on a build that differed only in what is named below; tracing takes time of its own), in
//! milliseconds from the sending of the put: 0.15, 0.26 and 0.33 the three disks begin to sync, 0.39,
//! 0.45 and 0.52 they are done. About 0.6 the leader has it confirmed. Then it makes the events of all
//! its watchers, tells the followers, and is often pushed aside by the first of them, which wakes on the
//! same processor. From 0.95 to 1.45 the nodes write to their watchers, and the client, which shares
//! both processors, reads from 1.2 to 2.0. It is the time of processors again.
//!
//! Since then watchers are told once whatever else is ready has run (`store/raft/src/machine.rs`), so the
//! followers hear of the commit before the leader makes its own watchers' events. With what makes applying
//! cheaper (below) a fan-out's median was 0.86 of that before, in 50 turns.
//!
//! And they are told in eight groups (`store/disk/src/store/audience.rs`): after each, the node gives others a
//! turn, so that clients read the first messages while the rest are made. In 40 turns the median was 0.84 of that
//! without, and the last watcher's 1.10, for each turn takes time, too. With four groups it was 0.88 and 1.07, with
//! sixteen 0.91 and 1.19 (30 turns), with eight and no turns between them 1.02 and 1.00. Turns after each eight
//! writes, of events that are written at once, were as good, 0.84 and 1.07; but answers are in several parts, which
//! go together, and with those 0.94 and 1.07.
//!
//! # Whether a change pays
//!
//! `--against KVD` puts another kvd in etcd's place, for instance of the commit before. This machine's
//! mood moves a run by up to a sixth, and two runs one after the other have shown gains of a tenth that
//! were none: only rounds of both in turn tell changes of a few percent. What made no difference in
//! twelve of them: that a follower does not answer what only tells it of a commit, a tenth of a lone
//! put's messages; and that each event of a watch is written at once instead of after all others.
//!
//! Release builds are compiled with a profile of a kvd under this load and that of the native front, and of
//! the programs that load it (`.cargo/rustc`, `.ci/profile`). In eight turns of a second with the same code
//! without it, with a profile of kvd alone, the ratios to that:
//!
//! | 64 clients | rate | servers' processor time |
//! |---|---|---|
//! | puts | 1.11 | 0.84 |
//! | linearizable gets | 1.26 | 0.72 |
//! | serializable gets | 1.11 | 0.88 |
//!
//! One client's put had a median of 0.76 of that without, and took 0.73 of the processor time; a fan-out's
//! was 0.92 (40 rounds). In turns on the same day an earlier recording had 1.06, 1.19 and 1.32 for the rates,
//! 0.79 for the lone put and 0.82 for the fan-out. It had kept all functions that never ran: the file was
//! 16 MB instead of 6, and an idle member 0.88 of that without a profile, since they were compiled for size.
//! That the client counts too makes its share of a put 29 µs instead of 34, of both kinds of gets 18 and 19
//! instead of 19 and 21, whichever side it drives. The tables of where the time goes are from before.
//!
//! Batches that let others run first, one to twelve times (`store/raft/src/gather.rs`, `forward.rs`), made
//! puts of 64 clients 1.00 to 1.09 of those without in eight runs of ten to sixteen turns, with a median of
//! 1.03, and one client's median 0.96 in both of two. With a wait that goes on only as long as something
//! comes it was 0.96, 1.02 and 1.03.
//!
//! What made no difference, in turns on another machine, and but for the last two on builds of which few
//! functions were in the profile: batches of proposals and followers' questions that wait up to a millisecond
//! until so many have come (without that, a batch at the leader has 26 and a question stands for 6 gets), 0.99
//! to 1.01; a second batch while the first is on its way, 1.00; a runtime that looks for messages every 16 or
//! 200 tasks instead of 61, 1.00; the kernel asking silent clients whether they are there, instead of HTTP/2,
//! 0.98 to 1.06; the program's text in huge pages, 0.97 to 1.02. On such a build, too, a notice of a commit
//! that is held back for up to a millisecond, to go with the next entries, made one client's median 0.93 to
//! 0.97, and a fan-out's 1.03: too little for a timer of its own.
//!
//! A socket that is read only after whatever else is ready has run, since a client writes three times for a put
//! and the server reads it in one and a half, made puts 1.04 and 0.98, linearizable gets 1.02 and 1.03, and
//! serializable ones 0.95 and 1.11, in 10 and 20 turns: nothing that is certain.
//!
//! Applying a put costs what it has to look at: memory that four processes' worth of work has pushed out of the
//! caches since. Keys that lie in the nodes of the map, a history that lies with its entry and takes over what
//! was known of a version, values that are not copied out of their log entries, rows of the past that are
//! written straight into their blocks, and a hash of the state at the end of a batch only: three states in one
//! process, put by put in turn, take 4.6 µs for each instead of 6.4. With a profile of that code, puts with 64
//! clients were 1.07, linearizable gets 1.07 and serializable ones 1.09 of those before, in 12 turns, and one
//! client's median 0.97 in 10.
//!
//! A batch of commands looks at what it needs before it is applied (`store/core/src/foresight.rs`), so the
//! processor waits for many places at a time: puts with 64 clients 1.05 in both of two runs of 14 and 24 turns,
//! for 0.95 and 0.97 of the servers' time. Messages have buffers that fit (`proto/src/codec.rs`; 512 bytes were
//! measured, instead of tonic's 8 KiB): puts 1.00 and 1.05, gets 1.01 and 1.00, in 14 to 24 turns. Both together,
//! with a map of the past's queue that is made when somebody looks, no spans of libraries, and a profile of all
//! that: in 70 turns of half a second puts 1.02, their 99th percentile 0.91 and the servers' time 0.94; in 14
//! turns, puts of 64 tasks 1.13 for 0.90 of the time; in 20 and 14 turns, gets 1.03 and 1.01, those of tasks 1.07
//! and 0.97. (20 turns while the machine's speed changed by half had 0.98 for puts.)
//!
//! A profile by lines showed what a put costs beside its key: its session was looked up four times, and two
//! versions of the key were looked at that nobody had looked at for long. With that gone, keys compared as numbers
//! (three states in one process: 6.0 µs for a put instead of 6.7), rows for the past looked at side by side, archives
//! that check blocks instead of rows, and a profile of all that: in 40 turns of half a second puts of 64 clients
//! were 1.05, for 0.94 of the servers' time; in 6 turns with 256 tasks, puts 1.16, linearizable gets 1.05 and
//! serializable ones 1.14. With the profile of before, puts were 1.00 in 40 turns.
//!
//! What gained nothing before: a runtime for a single thread, where kvd has one worker, 0.98; connections that no
//! longer put a flush off once that has brought nothing a few times, puts 1.01, gets 1.01 and 0.97 (14 turns).
//! Nor is it the number of connections: with clients that are each connected to one member only, as those of
//! etcd's own benchmark are, puts had 2.62 and 2.46, gets 3.83 and 3.58 (6 rounds).
//!
//! A worker of kvd that has nothing to do gives others a turn before it falls asleep
//! (`store/raft/src/turns.rs`), and finds what they bring without being woken. In turns with the version before,
//! on one day, in up to five runs of 4 to 40 turns: puts with 64 clients 1.03 to 1.08, linearizable gets 1.10 to
//! 1.20, serializable ones 0.94 to 1.15, one client's median 0.88 to 0.99, a fan-out's 0.79 to 0.93; the more, the
//! slower the machine was. Two programs that compute on both processors made one client's median 5.8 of what it
//! was without turns. With a first rule, no turns for a second after one of more than a millisecond, it was 0.93,
//! but that rule took most of the gain, too. The rule that kvd has was made from how long turns took then and
//! under load. Beside such programs it was measured with two threads that hand each other a byte only: they were
//! slower in the first second (the median 39 µs instead of 12), and not after it.
//! The sync of several entries begins once whatever else is ready has run
//! (`store/raft/src/log.rs`): puts with 64 clients 1.07 in both of two runs of 12 and 20 turns, with 256 clients
//! 1.01. That of a lone entry begins at once, since otherwise one client's median was 1.03 in both.
//!
//! What gained nothing that is certain, or cost more: two turns instead of one, 0.98 to 1.04; a turn of the log's
//! thread, 0.94; a turn of the leader before it proposes a batch, 0.98 to 1.03 with 64 clients and 1.02 to 1.08 with
//! 256; a second batch on its way once it has 16 or 24 proposals, 0.98 to 1.03; looking for messages for 50 or
//! 200 µs before sleeping, one client's median 0.86 to 1.01 for 1.07 to 1.2 of the processor time; a program of
//! the lowest class (`chrt -i 0`) that keeps processors from halting, one client's median 0.8 to 0.9 and the rates
//! of 64 clients 0.6 to 0.9; memory in huge pages, 0.94 to 1.01, and 1.4 of the memory. With 64 clients one of the
//! processors is idle for a fifth of the time, mostly while a thread that was woken waits for the other one
//! (`perf record -e sched:sched_switch -e sched:sched_wakeup`): the kernel wakes who reads a loopback socket on
//! the processor of who writes to it. With a library of the runtime changed so that it waits in `poll` for its
//! `epoll`, which is woken otherwise, the rates were 0.96 to 1.07: too little for a changed library.
//!
//! A twentieth of kvd's time under puts is one instruction of `malloc`, which reads where the next free piece is,
//! out of memory that was not looked at for long. Other allocators are no faster: with jemalloc 5.3 puts were 0.96,
//! gets 0.98 and 1.02, with tcmalloc 2.10 1.00, 1.00 and 1.04 (10 turns, loaded before the program).
//!
//! What was left out, though it is faster here: the kernel's policy for batches (`chrt -b 0 kvd`), under
//! which a thread that wakes does not push another aside. Puts with 64 clients 1.08, linearizable gets 1.24,
//! one client's median 0.93, a fan-out's 0.82 of what they are without. But with another program busy on
//! both processors one client's put then takes 8.0 ms instead of 0.53, since each of its steps waits until
//! that program's slice is over, and puts with 64 clients are 0.47 of what they are without; and kvd runs
//! beside the services that it is for. Longer and shorter slices (20 and 0.3 ms) make no difference.
//!
//! # The memory of an idle member
//!
//! A member runs 3 to 4 MB of the program's 20, and had 14 of them in memory: a page that is run brings at
//! least the 15 around it along. So what never ran under load is split off each function
//! (`-enable-split-machine-functions`), and kvd is linked with the functions that members run from their
//! start on at its beginning (`.cargo/kvd.order`), those of the standard library and of C among them, which
//! no profile of the compiler knows: `.ci/trace` finds them with breakpoints. In turns with the same code
//! without both, puts and gets were 0.97 to 1.07 as fast in two runs of 8 and 16 turns, within what two equal
//! builds differ by, and an idle member's memory 0.62. Reflection is made when it is asked for, which is
//! another megabyte. An idle member has 14 to 16 MB (ratio 0.45 to 0.49, wanted 0.5): 6 are its text, 3 constants
//! and relocations, 3 its own memory, 2 the C library. It depends on how the file came into the kernel's
//! cache, since this kernel maps what it keeps there in one piece as a whole.
//!
//! What was left out because it gained too little: functions in the order of a temporal profile (`lld
//! --bp-startup-sort`), 21 to 23 MB instead of 24, since that knows neither the standard library nor C;
//! blocks of code in another order (`-enable-ext-tsp-block-placement`), 0.96 to 1.00 of the rates; what ran
//! seldom compiled for size (`-pgso-lwss-only=false`), which makes the program 3 % smaller; rounds for
//! linearizable reads that let others run four or twelve times instead of once, 1.03 and 0.98.
//!
//! # Failover
//!
//! A follower whose stream from the leader ends looks whether anybody listens there
//! (`store/raft/src/failure_detector.rs`), so a process that is killed is replaced after a few round trips
//! and a synced vote: of the 11 ms without acknowledged puts, up to 5 are the pace of the puts. Before, it
//! was missed when its lease and a random wait were over, after 370 ms. A leader whose machine is gone is
//! still missed that way.
//!
//! # While archives are written
//!
//! A node writes an archive of its state when its log has grown by 64 MB and by no less than the last
//! archive. Here three of them do that at the same time on two processors. In a minute of puts from 64
//! clients (`puts --clients 64 --only holdfast --rounds 60 --seconds 1`) that was 12 of the seconds, with
//! 7,400 puts in each; between them there were 12,200. Medians do not show it: see the rounds in the JSON.
//! An archive takes its node some 4.5 µs of processor time for each version that it holds, mostly waits
//! for memory: alone it takes half of that.
//!
//! Since who writes it stands back behind requests, and syncs it piece by piece, puts have a 99th percentile
//! of 14 to 27 ms in such seconds (two of 30 had more, 54 and 61); before, in the same hour, it was 17 to
//! 79 ms, above 38 in 7 of 11. Rates are the same: while processors are never idle, each step of a put waits
//! for a turn. To give way every 8 rows instead of every 32 changes neither. Who writes an archive reads the
//! past block by block, instead of row by row, which alone on the machine is 1.36 s instead of 1.75 for 400,000
//! versions; in whole runs it made no difference that is certain (1.01 for puts, 1.02 for those of tasks).
//!
//! # The floor
//!
//! A put is acknowledged when two of three disks have it, so it takes a synced write at the leader and
//! another at a follower at the same time, a round trip between them, and one to the client. Both are
//! measured and printed first: `fdatasync` of an append of 300 B in the folder of the servers, and a
//! message of 300 B there and back through TLS between two threads that do nothing else.
//!
//! Our log is below that floor: an append makes the file longer, so its sync writes the length and the
//! blocks, too, and waits for them. The log writes into room that is on disk already
//! (`store/patched/chunked-wal`): 122 µs instead of 188 for 300 B, and 33 of processor time instead of
//! 53, on this machine when it does nothing else.

mod ceiling;
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
mod tls;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use holdfast_tests::machine;
use pair::{Match, Pair, Side};
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
    /// So many clients, or tasks that share one, instead of the usual numbers.
    #[arg(long)]
    clients: Option<usize>,
    /// Load only this side: for a profiler; there are no ratios then.
    #[arg(long)]
    only: Option<Side>,
    /// In place of kvd, members that answer at once and do nothing: what tonic leaves to win.
    /// Of all but failover and footprint.
    #[arg(long, conflicts_with = "svg")]
    ceiling: bool,
    /// In place of etcd, members of this other kvd: whether a change pays. There are no targets then.
    #[arg(long, value_name = "KVD", conflicts_with_all = ["ceiling", "svg"])]
    against: Option<PathBuf>,
    #[command(flatten)]
    member: ceiling::Member,
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
    /// Writes and reads of many tasks through one client.
    Shared,
    /// Delivery to 100 watchers.
    Fanout,
    /// The gap between acknowledged puts when the leader is killed.
    Failover,
    /// Memory, disk, restarts and the size of the program.
    Footprint,
    /// Everything.
    All,
}

// The client shares the processors with the servers: what it takes, they lack.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.member.serve()? {
        return Ok(());
    }
    if let Some(program) = &mut arguments.against {
        *program = absolute(program)?;
    }
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
    let sides = match &arguments.against {
        Some(_) => ["that kvd", "this kvd"],
        None if arguments.ceiling => ["etcd", "ceiling"],
        None => ["etcd", "Holdfast"],
    };
    let judges = arguments.against.is_none();
    let mut report = Report::new(machine::describe(), sides, judges);
    let outcome = runtime.block_on(measure(&arguments, &mut report));
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    outcome?;
    if let Some(path) = &arguments.svg {
        std::fs::write(path, chart::draw(&report)?)?;
    }
    if judges {
        println!("\n{} targets missed", report.missed());
    }
    Ok(())
}

/// The file of a program, wherever it is started from.
fn absolute(program: &Path) -> anyhow::Result<PathBuf> {
    let found = program.canonicalize().ok().filter(|file| file.is_file());
    found.with_context(|| {
        format!(
            "no program is at {}; give the file of a kvd",
            program.display()
        )
    })
}

async fn measure(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let asked = |subject| arguments.what.contains(&subject);
    let of_kvd = |subject| matches!(subject, Subject::Failover | Subject::Footprint);
    if arguments.ceiling && arguments.what.iter().copied().any(of_kvd) {
        anyhow::bail!("--ceiling has no failover and no footprint: its members do nothing");
    }
    let wants = |subject| {
        let all = asked(Subject::All) && !(arguments.ceiling && of_kvd(subject));
        all || asked(subject)
    };
    let with = |tells| match &arguments.against {
        Some(program) => Match::Against(program),
        None if arguments.ceiling => Match::Ceiling { tells },
        None => Match::Usual,
    };
    let (rounds, seconds) = if arguments.short { (3, 1.0) } else { (10, 5.0) };
    let rounds = arguments.rounds.unwrap_or(rounds);
    let turns = load::Turns {
        rounds,
        length: Duration::from_secs_f64(arguments.seconds.unwrap_or(seconds)),
        clients: arguments.clients,
        only: arguments.only,
    };
    let loads = [
        Subject::Puts,
        Subject::Gets,
        Subject::Transactions,
        Subject::Shared,
    ];
    if loads.into_iter().any(wants) {
        let mut pair = Pair::start(with(false)).await?;
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
        if wants(Subject::Shared) {
            load::shared(report, &mut pair, turns).await?;
        }
    }
    if wants(Subject::Fanout) {
        fanout::measure(report, &Pair::start(with(true)).await?, rounds).await?;
    }
    if wants(Subject::Failover) {
        failover::measure(report, with(false), rounds).await?;
    }
    if wants(Subject::Footprint) {
        footprint::measure(report, with(false), rounds).await?;
    }
    Ok(())
}
