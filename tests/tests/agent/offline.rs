//! The agent with every server down: what it has kept, sealed, is as good as a server's word, until there is
//! one; what was damaged or put back is not.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use holdfast_client::{Client, ClientOptions, KeptMirror, StartPolicy};
use holdfast_tests::{
    escrow,
    harness::{Agent, Cluster, wait},
};
use rand::RngExt as _;

use crate::{LIMIT, one_node, put, until};

const APP: &str = r#"
[[set]]
name = "app"
folder = "app"
prefixes = ["app/"]
secrets = true
settle = "10ms"
[[set.file]]
path = "app.conf"
template = "app.j2"
[set.hook]
exec = ["sh", "-c", "echo x >> @DIR@/ran"]
[[set]]
name = "open"
folder = "open"
prefixes = ["app/"]
settle = "10ms"
[[set.file]]
path = "name"
format = "raw"
key = "app/name"
"#;

/// Two values that are always put together.
const PAIR: &str = r#"
[[set]]
name = "pair"
folder = "pair"
prefixes = ["web/"]
settle = "10ms"
[[set.file]]
path = "both"
template = "both.j2"
"#;

const PASSWORD: &str = "hunter2-of-the-app-offline";

fn pair(cluster: &Cluster) -> Agent {
    let agent = Agent::new(cluster, "agent", PAIR).unwrap();
    let template = "{{ key('web/number') }} {{ key('web/twin') }}\n";
    agent.write("both.j2", template).unwrap();
    agent
}

async fn both(client: &Client, number: u64) -> u64 {
    let text = number.to_string();
    put(client, &[("web/number", &text), ("web/twin", &text)]).await
}

/// What is installed.
fn installed(agent: &Agent) -> Option<u64> {
    let text = agent.read("pair/current/both");
    let (number, twin) = text.trim().split_once(' ')?;
    assert_eq!(number, twin, "half of a change");
    Some(number.parse().unwrap())
}

/// Files of this kind in a folder of what is kept.
fn kept(agent: &Agent, folder: &str, kind: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(agent.join("state/cache").join(folder));
    let all = folder
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == kind))
        .collect()
}

/// The one cache of a set without secrets.
fn cache(agent: &Agent) -> PathBuf {
    let found = kept(agent, "plain", "cache");
    assert_eq!(found.len(), 1);
    found[0].clone()
}

/// Waits until something is kept.
async fn until_kept(agent: &Agent, folder: &str) {
    until("it is kept", || !kept(agent, folder, "mark").is_empty()).await;
}

/// Waits until another state is kept, and marked as the newest.
async fn until_kept_anew(agent: &Agent, before: &[u8]) {
    let cache = cache(agent);
    until("it is kept anew", || fs::read(&cache).unwrap() != before).await;
    let mark = cache.with_extension("mark");
    let written = |path: &Path| fs::metadata(path).and_then(|about| about.modified());
    until("it is marked", || {
        written(&mark).unwrap() >= written(&cache).unwrap()
    })
    .await;
}

/// Both die, and what was installed is removed.
fn lose_everything_but_the_cache(cluster: &mut Cluster, agent: &mut Agent) {
    cluster.kill_all();
    agent.kill();
    for set in ["app", "open", "pair"] {
        if agent.join(set).exists() {
            fs::remove_dir_all(agent.join(set)).unwrap();
        }
    }
    fs::write(agent.join("agent.log"), "").unwrap();
}

/// Waits until the agent says something while every server is down, and looks on: nothing is installed.
async fn says_and_installs_nothing(agent: &Agent, what: &str) {
    until(what, || agent.said().contains(what)).await;
    let until_then = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until_then {
        assert_eq!(installed(agent), None, "what was refused was installed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_is_back_without_any_server_secrets_too() {
    let (mut cluster, client) = one_node().await;
    escrow::prove(&cluster.context_file(), &cluster.folder().join("shares"))
        .await
        .unwrap();
    let mut agent = Agent::new(&cluster, "agent", APP).unwrap();
    let template = "user = {{ key('app/name') }}\npassword = {{ secret('app/password') }}\n";
    agent.write("app.j2", template).unwrap();
    put(&client, &[("app/name", "one")]).await;
    wait::until("a secret to be taken", LIMIT, || async {
        let secrets = client.secrets();
        secrets.put("app/password", PASSWORD.to_owned()).await.ok()
    })
    .await
    .unwrap();
    agent.start().unwrap();
    let wanted = format!("user = one\npassword = {PASSWORD}\n");
    let is_there = |agent: &Agent| {
        agent.read("app/current/app.conf") == wanted && agent.read("open/current/name") == "one"
    };
    until("the files", || is_there(&agent)).await;
    until_kept(&agent, "plain").await;
    until_kept(&agent, "revealed").await;
    until("the hook", || agent.read("ran") == "x\n").await;

    lose_everything_but_the_cache(&mut cluster, &mut agent);
    let started = Instant::now();
    agent.start().unwrap();
    until("the files are back", || is_there(&agent)).await;
    println!("back {:?} after the start", started.elapsed());
    until("its hook ran", || agent.read("ran") == "x\nx\n").await;
    assert!(
        agent.said().contains("starting with what was kept"),
        "{}",
        agent.said()
    );
    // The disk tells a thief nothing that the files do not.
    for folder in ["plain", "revealed"] {
        for kind in ["cache", "mark", "lock"] {
            for path in kept(&agent, folder, kind) {
                let bytes = fs::read(&path).unwrap();
                for word in [PASSWORD, "app/name"] {
                    let is_found = bytes
                        .windows(word.len())
                        .any(|part| part == word.as_bytes());
                    assert!(!is_found, "{word} in {path:?}");
                }
            }
        }
    }

    cluster.mend().unwrap();
    wait::until("the cluster", LIMIT, || async {
        client.put("app/name", "two").await.ok()
    })
    .await
    .unwrap();
    until("it follows again", || {
        agent.read("open/current/name") == "two"
            && agent.read("app/current/app.conf").contains("user = two\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_was_damaged_or_put_back_installs_nothing_and_is_replaced() {
    let (mut cluster, client) = one_node().await;
    let mut agent = pair(&cluster);
    both(&client, 1).await;
    agent.start().unwrap();
    until("the first", || installed(&agent) == Some(1)).await;
    until_kept(&agent, "plain").await;
    let older = fs::read(cache(&agent)).unwrap();
    both(&client, 2).await;
    until("the second", || installed(&agent) == Some(2)).await;
    until_kept_anew(&agent, &older).await;

    let mut damaged = fs::read(cache(&agent)).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (bad, why) in [
        (damaged, "does not open"),
        (older, "an older one was put back"),
    ] {
        lose_everything_but_the_cache(&mut cluster, &mut agent);
        fs::write(cache(&agent), &bad).unwrap();
        agent.start().unwrap();
        says_and_installs_nothing(&agent, why).await;

        cluster.mend().unwrap();
        until("a server's word", || installed(&agent) == Some(2)).await;
        until_kept_anew(&agent, &bad).await;
        // What replaced it is good.
        lose_everything_but_the_cache(&mut cluster, &mut agent);
        agent.start().unwrap();
        until("it is back", || installed(&agent) == Some(2)).await;
    }
}

/// The agent's cache cannot be written for a while, so that it is older than what is installed; and a node
/// that was away is older, too. Neither replaces what is installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_what_is_installed_is_taken_from_no_cache_and_no_lone_node() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut agent = pair(&cluster);
    let through = cluster.context_file_through(1).unwrap();
    let all = [1, 0, 2].map(|node| cluster.address(node)).join("\", \"");
    let text = fs::read_to_string(&through).unwrap();
    let context = through.with_file_name("all.toml");
    fs::write(&context, text.replace(cluster.address(1), &all)).unwrap();
    agent.set(&context, PAIR).unwrap();
    let first = both(&client, 1).await;
    agent.start().unwrap();
    until("the first", || installed(&agent) == Some(1)).await;
    until_kept(&agent, "plain").await;
    fs::create_dir(cache(&agent).with_extension("cache-new")).unwrap();
    // Some: of the last a node that begins alone does not know that a majority has it.
    let mut second = 0;
    for number in 2..=10 {
        second = both(&client, number).await;
    }
    until("the second", || installed(&agent) == Some(10)).await;
    wait::until("the node that will be alone", LIMIT, || async {
        let lone = Client::lazy(
            &holdfast_client::Context::load(&through).unwrap(),
            ClientOptions::default(),
        );
        let options = holdfast_client::RangeOptions {
            consistency: holdfast_client::Consistency::Local,
            ..Default::default()
        };
        let range = holdfast_client::KeyRange::prefix("web/");
        let page = lone.unwrap().range(range, options).await.ok()?;
        (page.revision >= second).then_some(())
    })
    .await
    .unwrap();
    cluster.kill(1);
    both(&client, 11).await;
    until("the third", || installed(&agent) == Some(11)).await;
    assert!(
        agent.said().contains("not kept on disk"),
        "{}",
        agent.said()
    );

    lose_everything_but_the_cache(&mut cluster, &mut agent);
    agent.start().unwrap();
    says_and_installs_nothing(&agent, "older than what is installed").await;
    cluster.run(1).unwrap();
    until("what the lone node has was looked at", || {
        (first + 1..=second)
            .any(|revision| agent.said().contains(&format!("of revision {revision},")))
    })
    .await;
    says_and_installs_nothing(&agent, "older than what is installed").await;
    cluster.mend().unwrap();
    until("a majority's word", || installed(&agent) == Some(11)).await;
}

/// The state was kept as soon as it was there, and installed later, when the store had moved on elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_contents_are_not_older_although_less_is_known_of_their_revision() {
    let (mut cluster, client) = one_node().await;
    let mut agent = pair(&cluster);
    let slow = PAIR.replace("\"10ms\"", "\"6s\"");
    agent.set(&cluster.context_file(), &slow).unwrap();
    both(&client, 1).await;
    agent.start().unwrap();
    until("the first", || installed(&agent) == Some(1)).await;
    until_kept(&agent, "plain").await;
    let before = fs::read(cache(&agent)).unwrap();
    let second = both(&client, 2).await;
    until_kept_anew(&agent, &before).await;
    let mark = kept(&agent, "plain", "mark").remove(0);
    let early = fs::read(&mark).unwrap();
    let elsewhere = put(&client, &[("elsewhere", "1")]).await;
    until("the second", || installed(&agent) == Some(2)).await;
    let recorded = |agent: &Agent, what: &str| {
        let record = agent.read("state/records/pair.json");
        let record = serde_json::from_str::<serde_json::Value>(&record).unwrap();
        record["installed"][what].as_u64().unwrap()
    };
    until("it is recorded", || {
        recorded(&agent, "revision") == elsewhere
    })
    .await;
    let serial = recorded(&agent, "serial");
    let found = {
        agent.kill();
        // As if it had died before it noted that the same was still so.
        fs::write(&mark, &early).unwrap();
        let found = look_at_cache(&cluster, &agent).await;
        found.mirror().revision()
    };
    assert_eq!(found, second, "the cache knows less");

    lose_everything_but_the_cache(&mut cluster, &mut agent);
    agent.start().unwrap();
    until("it is back", || installed(&agent) == Some(2)).await;
    until("it is recorded", || recorded(&agent, "serial") > serial).await;
    let revision = recorded(&agent, "revision");
    assert_eq!(revision, elsewhere, "what is known is not forgotten");
}

/// Each prefix is kept when it changes; that they were all so at one moment is noted later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_two_prefixes_is_back_although_they_changed_at_different_revisions() {
    let (mut cluster, client) = one_node().await;
    let agent = &mut pair(&cluster);
    let two = PAIR.replace("\"web/\"", "\"web/\", \"app/\"");
    agent.set(&cluster.context_file(), &two).unwrap();
    agent
        .write("both.j2", "{{ key('web/a') }} {{ key('app/a') }}\n")
        .unwrap();
    put(&client, &[("web/a", "1"), ("app/a", "0")]).await;
    agent.start().unwrap();
    until("the first", || agent.read("pair/current/both") == "1 0\n").await;
    put(&client, &[("app/a", "1")]).await;
    until("the second", || installed_pair(agent)).await;
    let changed = SystemTime::now();
    until("it is noted of both", || {
        let marks = kept(agent, "plain", "mark");
        let written = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified());
        // Its revision is asked for every two seconds.
        let is_later = |path| written(path).is_ok_and(|at| at > changed + Duration::from_secs(4));
        marks.len() == 2 && marks.iter().all(is_later)
    })
    .await;
    lose_everything_but_the_cache(&mut cluster, agent);
    agent.start().unwrap();
    until("it is back", || installed_pair(agent)).await;
}

fn installed_pair(agent: &Agent) -> bool {
    agent.read("pair/current/both") == "1 1\n"
}

/// Opened as the agent would, and with no server to ask.
async fn look_at_cache(cluster: &Cluster, agent: &Agent) -> KeptMirror {
    let mut context = cluster.context().unwrap();
    context.endpoints = vec!["127.0.0.1:1".to_owned()];
    let client = Client::lazy(&context, ClientOptions::default()).unwrap();
    let wait = Duration::from_millis(1);
    client
        .kept_mirror("web/", agent.join("state/cache/plain"))
        .start(StartPolicy::ServerThenCache { wait })
        .open()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_while_it_keeps_leaves_a_whole_cache() {
    let (mut cluster, client) = one_node().await;
    let mut agent = pair(&cluster);
    let mut number = 1;
    both(&client, number).await;
    agent.start().unwrap();
    until("the first", || installed(&agent) == Some(1)).await;
    until_kept(&agent, "plain").await;
    let mut newest = 1;
    let (mut saves, mut broken_off) = (0, 0);
    for round in 0..20 {
        let before = fs::read(cache(&agent)).unwrap();
        let until_then = rand::rng().random_range(1..50);
        for put in 0..50 {
            number += 1;
            both(&client, number).await;
            if put == until_then {
                agent.kill();
            }
        }
        let after = fs::read(cache(&agent)).unwrap();
        saves += u32::from(before != after);
        broken_off += u32::from(!kept(&agent, "plain", "cache-new").is_empty());
        let found = look_at_cache(&cluster, &agent).await;
        let view = found.mirror().view();
        let value = |key: &str| {
            let value = view.get(key).unwrap().value.clone().unwrap();
            format!("{value:?}")
        };
        assert_eq!(value("web/number"), value("web/twin"), "round {round}");
        let digits: String = value("web/number").matches(char::is_numeric).collect();
        let this: u64 = digits.parse().unwrap();
        assert!((newest..=number).contains(&this), "{this} after {newest}");
        newest = this;
        drop((view, found));
        agent.start().unwrap();
        until("it follows again", || installed(&agent) == Some(number)).await;
    }
    println!("{saves} of 20 kills came after a save, {broken_off} within one");
    assert!(saves > 0, "nothing was kept while it was killed");
    let before = fs::read(cache(&agent)).unwrap();
    both(&client, number + 1).await;
    until("the last", || installed(&agent) == Some(number + 1)).await;
    until_kept_anew(&agent, &before).await;
    lose_everything_but_the_cache(&mut cluster, &mut agent);
    agent.start().unwrap();
    until("it is back", || installed(&agent) == Some(number + 1)).await;
}
