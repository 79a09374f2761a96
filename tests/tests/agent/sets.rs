//! Sets follow the cluster, whole, and are looked after.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_client::{Client, Standing};
use holdfast_tests::harness::{Agent, wait};

use crate::{one_node, put, until};

/// Two files that must always say the same.
const PAIR: &str = r#"
[[set]]
name = "pair"
folder = "pair"
prefixes = ["web/", "app/"]
settle = "10ms"
inspect = "200ms"
keep = 3
[[set.file]]
path = "first"
template = "both.j2"
[[set.file]]
path = "deep/second"
template = "both.j2"
[set.hook]
exec = ["@DIR@/hook"]
"#;

/// Reads both files of one version again and again.
struct Reader {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reader {
    fn start(current: &Path) -> Self {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted, current) =
            (Arc::clone(&stop), Arc::clone(&seen), current.to_owned());
        let thread = std::thread::spawn(move || {
            let mut newest = 0;
            while !stopped.load(Ordering::Relaxed) {
                // As a service does that opens its folder: what it holds open is one version.
                let Ok(version) = fs::canonicalize(&current) else {
                    panic!("current is gone");
                };
                let read = |name: &str| fs::read_to_string(version.join(name));
                let (first, second) = match (read("first"), read("deep/second")) {
                    (Ok(first), Ok(second)) => (first, second),
                    // Four versions later it was removed.
                    _ => continue,
                };
                assert_eq!(first, second, "half of a set in {version:?}");
                // Each of another prefix, put in one transaction.
                let (web, app) = first.trim().split_once(' ').unwrap();
                assert_eq!(web, app, "of two revisions in {version:?}");
                let number: u64 = web.parse().unwrap();
                assert!(number >= newest, "{number} after {newest}");
                newest = number;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.seen.load(Ordering::Relaxed)
    }
}

/// One number under two prefixes, in one revision.
async fn both(client: &holdfast_client::Client, number: u64) -> u64 {
    let text = number.to_string();
    put(client, &[("web/number", &text), ("app/number", &text)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_follows_whole_and_its_hook_runs_for_what_was_installed() {
    let (_cluster, client) = one_node().await;
    let mut agent = Agent::new(&_cluster, "agent", PAIR).unwrap();
    agent
        .write(
            "both.j2",
            "{{ key('web/number') }} {{ key('app/number') }}\n",
        )
        .unwrap();
    agent
        .write_script(
            "hook",
            "cut -d ' ' -f 1 \"$HOLDFAST_FOLDER/first\" >> \"$(dirname \"$0\")/ran\"",
        )
        .unwrap();
    both(&client, 1).await;
    agent.start().unwrap();
    until("the first hook", || agent.read("ran") == "1\n").await;

    let reader = Reader::start(&agent.join("pair/current"));
    let mut took = Vec::new();
    for number in 2..=40 {
        both(&client, number).await;
        let text = format!("{number} {number}");
        let started = Instant::now();
        until("the file", || {
            agent.read("pair/current/first").trim() == text
        })
        .await;
        took.push(started.elapsed());
    }
    took.sort();
    println!(
        "from the put's return to the file: p50 {:?}, p95 {:?} (settle 10 ms)",
        took[took.len() / 2],
        took[took.len() * 95 / 100]
    );
    until("the last hook", || agent.read("ran").ends_with("\n40\n")).await;
    let before = agent.read("ran").lines().count();
    assert!(before <= 40, "{before} hooks for 40 changes");

    // A burst is one change, or a few.
    for number in 41..=140 {
        both(&client, number).await;
    }
    until("the end of the burst", || {
        agent.read("ran").ends_with("\n140\n")
    })
    .await;
    let burst = agent.read("ran").lines().count() - before;
    assert!(burst < 80, "{burst} hooks for a burst of 100");
    // What changes nothing runs nothing.
    put(&client, &[("web/other", "1")]).await;
    both(&client, 140).await;
    let last = both(&client, 141).await;
    until("the next", || agent.read("ran").ends_with("\n140\n141\n")).await;
    assert!(reader.end() > 100, "it read while the set was replaced");
    // A reader of the fleet sees what is installed.
    until_told(&_cluster, last).await;
}

/// Waits until the cluster knows that the set is of a revision.
async fn until_told(cluster: &holdfast_tests::harness::Cluster, revision: u64) {
    use holdfast_tests::harness::{program::asked, wait};
    let context = cluster.context_file();
    wait::until("the fleet's view", crate::LIMIT, || async {
        let fleet = asked(&context, &["fleet"]).await.to_string();
        let is_there = fleet.contains("\"pair\"") && fleet.contains(&revision.to_string());
        is_there.then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_edits_is_found_told_and_put_right() {
    let (cluster, client) = one_node().await;
    let mut agent = Agent::new(&cluster, "agent", &PAIR.replace(", \"app/\"", "")).unwrap();
    agent.write("both.j2", "{{ key('web/number') }}\n").unwrap();
    agent
        .write_script("hook", "echo x >> \"$(dirname \"$0\")/ran\"")
        .unwrap();
    put(&client, &[("web/number", "1")]).await;
    agent.start().unwrap();
    until("the first hook", || agent.read("ran") == "x\n").await;
    let file = agent.join("pair/current/first");
    fs::write(&file, "mine\n").unwrap();
    until("it is put right", || {
        agent.read("pair/current/first") == "1\n"
    })
    .await;
    until("the hook for it", || agent.read("ran") == "x\nx\n").await;
    assert!(
        agent.said().contains("first was edited"),
        "{}",
        agent.said()
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    until("the mode", || {
        fs::metadata(&file).is_ok_and(|about| about.permissions().mode() & 0o777 == 0o644)
    })
    .await;
    // While no agent looks.
    agent.kill();
    fs::remove_file(&file).unwrap();
    agent.start().unwrap();
    until("the file is back", || {
        agent.read("pair/current/first") == "1\n"
    })
    .await;
    // An agent that knows of nothing takes none of the files away that are in use.
    agent.kill();
    let version = fs::canonicalize(agent.join("pair/current")).unwrap();
    fs::remove_file(agent.join("state/records/pair.json")).unwrap();
    agent.start().unwrap();
    until("a new version", || {
        fs::canonicalize(agent.join("pair/current")).is_ok_and(|now| now > version)
    })
    .await;
    assert_eq!(fs::read_to_string(version.join("first")).unwrap(), "1\n");
}

/// Waits until the cluster knows that the set stands so.
async fn until_standing(client: &Client, standing: Standing) {
    wait::until(format!("{standing:?}"), crate::LIMIT, || async {
        let fleet = client.fleet().list("web/").await.ok()?;
        (fleet.entries.first()?.standing() == standing).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_put_right_is_told_and_tried_again_until_it_is() {
    let (cluster, client) = one_node().await;
    let settings = PAIR
        .replace(", \"app/\"", "")
        .replace("inspect = \"200ms\"", "inspect = \"1h\"")
        + "[set.check]\nexec = [\"@DIR@/check\"]\n";
    let mut agent = Agent::new(&cluster, "agent", &settings).unwrap();
    agent.write("both.j2", "{{ key('web/number') }}\n").unwrap();
    let check = "cd \"$(dirname \"$0\")\"; echo x >> checked; test ! -e broken";
    agent.write_script("check", check).unwrap();
    agent.write_script("hook", "true").unwrap();
    put(&client, &[("web/number", "1")]).await;
    agent.start().unwrap();
    until_standing(&client, Standing::Applied).await;
    assert_eq!(agent.read("checked"), "x\n");

    // Edited while no agent looks, and the next one finds it, but may not put it right.
    agent.kill();
    fs::write(agent.join("pair/current/first"), "mine\n").unwrap();
    agent.write("broken", "").unwrap();
    agent.start().unwrap();
    until("a third attempt", || {
        agent.read("checked").lines().count() >= 4
    })
    .await;
    assert_eq!(agent.read("pair/current/first"), "mine\n");
    until_standing(&client, Standing::Rejected).await;
    fs::remove_file(agent.join("broken")).unwrap();
    until("it is put right", || {
        agent.read("pair/current/first") == "1\n"
    })
    .await;
    until_standing(&client, Standing::Applied).await;
    let said = agent.said();
    assert_eq!(said.matches("first was edited").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_check_refuses_is_tried_later_and_later_and_another_at_once() {
    let (cluster, client) = one_node().await;
    let settings =
        PAIR.replace(", \"app/\"", "") + "[set.check]\nexec = [\"@DIR@/check\", \"{folder}\"]\n";
    let mut agent = Agent::new(&cluster, "agent", &settings).unwrap();
    agent.write("both.j2", "{{ key('web/number') }}\n").unwrap();
    let check = "date +%s%3N >> \"$(dirname \"$0\")/checked\"; ! grep -q bad \"$1/first\"";
    agent.write_script("check", check).unwrap();
    agent.write_script("hook", "true").unwrap();
    put(&client, &[("web/number", "bad")]).await;
    agent.start().unwrap();
    let checked = || -> Vec<u64> {
        let checked = agent.read("checked");
        checked.lines().map(|line| line.parse().unwrap()).collect()
    };
    until("a third attempt", || checked().len() == 3).await;
    let at = checked();
    assert!(at[2] - at[1] > 3_500, "it came too early: {at:?}");
    // The next would be eight seconds later, and what is no other set changes nothing.
    put(&client, &[("web/other", "1")]).await;
    let last = put(&client, &[("web/number", "1")]).await;
    until("another set", || agent.read("pair/current/first") == "1\n").await;
    let at = checked();
    assert_eq!(at.len(), 4, "{at:?}");
    assert!(at[3] - at[2] < 7_500, "it was not tried at once: {at:?}");
    until_told(&cluster, last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_never_emptied_and_a_broken_one_harms_no_other() {
    let (cluster, client) = one_node().await;
    let settings = r#"
[[set]]
name = "good"
folder = "good"
prefixes = ["good/"]
settle = "10ms"
[[set.file]]
path = "file.json"
format = "json"
[[set]]
name = "bad"
folder = "bad"
prefixes = ["bad/"]
settle = "10ms"
[[set.file]]
path = "file"
template = "bad.j2"
"#;
    let mut agent = Agent::new(&cluster, "agent", settings).unwrap();
    agent
        .write("bad.j2", "{{ key('bad/number') | parse_int }}")
        .unwrap();
    put(
        &client,
        &[
            ("good/a", "1"),
            ("good/b@node:n1", "mine"),
            ("good/b", "all"),
            ("bad/number", "1"),
        ],
    )
    .await;
    agent.start().unwrap();
    until("both sets", || {
        agent
            .read("good/current/file.json")
            .contains("\"a\": \"1\"")
            && agent.read("bad/current/file") == "1"
    })
    .await;
    assert!(
        agent
            .read("good/current/file.json")
            .contains("\"b\": \"mine\"")
    );

    put(&client, &[("bad/number", "none")]).await;
    until("it is told", || agent.said().contains("no whole number")).await;
    put(&client, &[("good/a", "2")]).await;
    until("the other set", || {
        agent
            .read("good/current/file.json")
            .contains("\"a\": \"2\"")
    })
    .await;
    assert_eq!(agent.read("bad/current/file"), "1");
    put(&client, &[("bad/number", "3")]).await;
    until("it is mended", || agent.read("bad/current/file") == "3").await;

    let good = agent.read("good/current/file.json");
    for key in ["good/a", "good/b", "good/b@node:n1"] {
        client.delete(key).await.unwrap();
    }
    until("it is told", || {
        agent.said().contains("there is no key under good/")
    })
    .await;
    // Of the deletions that left some, one may have been installed.
    assert!(
        agent.read("good/current/file.json").contains("\"b\""),
        "{good}"
    );

    // No server, and a new agent: what is installed stays.
    let mut cluster = cluster;
    cluster.kill_all();
    agent.start().unwrap();
    until("it is told", || {
        agent.said().contains("no server") || agent.said().contains("reach")
    })
    .await;
    assert_eq!(agent.read("bad/current/file"), "3");
    cluster.mend().unwrap();
    let newest = holdfast_tests::harness::wait::until("the cluster", crate::LIMIT, || async {
        client.put("bad/number", "4").await.ok()
    });
    newest.await.unwrap();
    until("it follows again", || agent.read("bad/current/file") == "4").await;
    let ended = {
        let process = agent.process();
        process.signal(rustix::process::Signal::TERM);
        process.wait(Duration::from_secs(20)).unwrap()
    };
    assert!(ended.success(), "{ended}");
}
