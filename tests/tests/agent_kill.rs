//! The agent killed at every step of a swap: what is in use is always whole and of one revision, and the
//! next agent goes on from there, with the hook.
//!
//! `cargo test --workspace --features holdfast-tests/faults --test agent_kill`
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    path::PathBuf,
    time::Duration,
};

use holdfast_client::Client;
use holdfast_tests::harness::{Agent, Cluster, ClusterOptions, wait};

const LIMIT: Duration = Duration::from_secs(30);

/// In the order in which they come.
const VERSIONS: [&str; 13] = [
    "folder made",
    "half a file",
    "a file written",
    "a file written:2",
    "files written",
    "record written",
    "intended",
    "folder renamed",
    "link made",
    "link moved",
    "old version renamed",
    "installed",
    "record written:2",
];
const SINGLE: [&str; 9] = [
    "half a file",
    "a file written",
    "files written",
    "record written",
    "intended",
    "a file replaced",
    "a file replaced:2",
    "installed",
    "record written:2",
];
/// Of both, after it was installed.
const AFTER: [&str; 3] = ["recorded", "hook ran", "record written:3"];

const SETTINGS: &str = r#"
[[set]]
name = "pair"
PLACE
prefixes = ["web/"]
settle = "10ms"
keep = 1
[[set.file]]
path = "FIRST"
template = "both.j2"
mode = "0640"
group = "GROUP"
[[set.file]]
path = "SECOND"
template = "both.j2"
[set.hook]
exec = ["@DIR@/hook"]
"#;

async fn until(what: &str, is_so: impl FnMut() -> bool) {
    wait::until_true(what, LIMIT, is_so).await.unwrap();
}

struct Scene {
    agent: Agent,
    client: Client,
    number: u64,
    /// Where its two files are.
    files: [&'static str; 2],
}

impl Scene {
    async fn begin(cluster: &Cluster, settings: &str, files: [&'static str; 2]) -> Self {
        let client = cluster.client().await.unwrap();
        let settings = settings.replace("GROUP", &group().to_string());
        let agent = Agent::new(cluster, "agent", &settings).unwrap();
        // Long, so that half of it is seen to be half.
        let template = "{{ key('web/number') }}\n{% for line in range(2000) %}line {{ line }}\n{% endfor %}end\n";
        agent.write("both.j2", template).unwrap();
        let hook = format!("cd \"$(dirname \"$0\")\"; head -n 1 {} >> ran", files[0]);
        agent.write_script("hook", &hook).unwrap();
        fs::create_dir_all(agent.join("single")).unwrap();
        let mut scene = Self {
            agent,
            client,
            number: 0,
            files,
        };
        // So that there is an old version to remove.
        for _ in 0..3 {
            scene.change().await;
            scene.agent.start().unwrap();
            scene.converges("the beginning").await;
        }
        scene
    }

    async fn change(&mut self) {
        self.number += 1;
        let text = self.number.to_string();
        self.client.put("web/number", text).await.unwrap();
    }

    /// The number in a file that is whole.
    fn number_in(&self, file: &str) -> Option<u64> {
        let text = self.agent.read(file);
        let lines: Vec<&str> = text.lines().collect();
        let is_whole = lines.len() == 2_002 && lines.last() == Some(&"end");
        is_whole.then(|| lines[0].parse().unwrap())
    }

    async fn converges(&self, when: &str) {
        until(&format!("the files, after {when}"), || {
            self.files
                .iter()
                .all(|file| self.number_in(file) == Some(self.number))
        })
        .await;
        let last = format!("{}\n", self.number);
        until(&format!("the hook, after {when}"), || {
            self.agent.read("ran").lines().last() == Some(last.trim())
        })
        .await;
        until(&format!("the record, after {when}"), || {
            let record = self.agent.read("state/records/pair.json");
            record.contains("\"failure\": null") && record.contains("\"intended\": null")
        })
        .await;
    }

    /// A file that is half written already has its owner and its mode.
    fn look_at_half_a_file(&self) {
        let is_new = |path: &PathBuf| path.to_string_lossy().contains("new");
        let inside = |folder: &str| {
            let entries = fs::read_dir(self.agent.join(folder)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).filter(is_new)
        };
        let staged = inside("set").map(|folder| folder.join("first"));
        let half = staged.chain(inside("single")).next().unwrap();
        let about = fs::metadata(&half).unwrap();
        assert!(about.len() > 0, "{half:?}");
        assert_eq!(about.mode() & 0o7777, 0o640, "{half:?}");
        assert_eq!(about.gid(), group(), "{half:?}");
    }

    /// Dies at a step of installing the next number, and another one goes on.
    async fn die_at(&mut self, step: &str, must_be_one: bool) {
        self.change().await;
        let process = self.agent.start_with(&[("HOLDFAST_DIE_AT", step)]).unwrap();
        let ended = wait::until(format!("its end at {step}"), LIMIT, || {
            std::future::ready(process.exited())
        });
        let ended = ended.await.unwrap();
        assert_eq!(ended.signal(), Some(9), "at {step}");
        if step == "half a file" {
            self.look_at_half_a_file();
        }
        let found = self.files.map(|file| self.number_in(file));
        assert!(
            found.iter().all(Option::is_some),
            "at {step} a file was not whole: {found:?}"
        );
        if must_be_one {
            assert_eq!(found[0], found[1], "at {step}: of two revisions");
        }
        self.agent.start().unwrap();
        self.converges(step).await;
    }
}

/// Another group than the own, where that may be given.
fn group() -> u32 {
    match rustix::process::geteuid().is_root() {
        true => 1,
        false => rustix::process::getegid().as_raw(),
    }
}

async fn one_node() -> Cluster {
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    Cluster::start_with(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_a_set_is_whole_and_the_next_agent_goes_on() {
    let cluster = one_node().await;
    let settings = SETTINGS
        .replace("PLACE", "folder = \"set\"")
        .replace("FIRST", "first")
        .replace("SECOND", "deep/second");
    let files = ["set/current/first", "set/current/deep/second"];
    let mut scene = Scene::begin(&cluster, &settings, files).await;
    for step in VERSIONS.into_iter().chain(AFTER) {
        scene.die_at(step, true).await;
    }
    scene.change().await;
    scene.converges("the end").await;
    let left = fs::read_dir(scene.agent.join("set")).unwrap().count();
    assert_eq!(left, 3, "two versions and the link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_single_files_are_each_whole_and_the_next_agent_goes_on() {
    let cluster = one_node().await;
    let settings = SETTINGS
        .replace("PLACE", "single = true\ninspect = \"200ms\"")
        .replace("FIRST", "@DIR@/single/first")
        .replace("SECOND", "@DIR@/single/second");
    let mut scene = Scene::begin(&cluster, &settings, ["single/first", "single/second"]).await;
    for step in SINGLE.into_iter().chain(AFTER) {
        scene.die_at(step, false).await;
    }
    scene.change().await;
    scene.converges("the end").await;
    let left = fs::read_dir(scene.agent.join("single")).unwrap().count();
    assert_eq!(left, 2, "the two files");
}
