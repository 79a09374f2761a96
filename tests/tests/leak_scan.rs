//! Secrets are nowhere but sealed: fifty that are marked, a cluster to which everything happens,
//! and a search through all that is left behind.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use holdfast_client::{Client, Consistency, Context, RevealOptions, limits};
use holdfast_tests::{
    escrow,
    harness::{
        Cluster, ClusterOptions, Folder,
        program::{Ran, kvctl, kvctl_with_input},
        wait,
    },
    leak::{Capture, Marks, Processes, Scanner, Searched},
};
use rustix::process::Signal;

/// A secret with a mark in it.
struct Planted {
    key: String,
    bytes: Vec<u8>,
}

/// What was planted, and everything that was said meanwhile.
struct Scene {
    cluster: Cluster,
    context: PathBuf,
    client: Client,
    planted: Vec<Planted>,
    /// Not searched: it holds the secrets as their owner does.
    own: Folder,
    scanner: Arc<Scanner>,
    searched: Searched,
}

impl Scene {
    /// Runs `kvctl`, and searches what it says on standard error, and on standard output unless a
    /// secret was asked for.
    async fn kvctl(&mut self, arguments: &[&str]) -> Ran {
        let ran = kvctl(&self.context, arguments).await;
        self.search(arguments, &ran);
        ran
    }

    fn search(&mut self, arguments: &[&str], ran: &Ran) {
        let name = format!("what kvctl {arguments:?} said");
        self.scanner
            .bytes(&name, ran.stderr.as_bytes(), &mut self.searched);
        if arguments.first_chunk() != Some(&["secret", "get"]) {
            self.scanner
                .bytes(&name, ran.stdout.as_bytes(), &mut self.searched);
        }
    }

    /// Opens every secret, through each running node, and compares.
    async fn all_open(&self) {
        for node in self.cluster.running() {
            let context = self.cluster.context_file_through(node).unwrap();
            let context = Context::load(context).unwrap();
            let client = Client::connect(&context).await.unwrap();
            for planted in &self.planted {
                let revealed = client.secrets().reveal(planted.key.as_str()).await.unwrap();
                assert!(
                    *revealed.secret.expose() == planted.bytes,
                    "{} opens to something else at {}",
                    planted.key,
                    self.cluster.name(node)
                );
            }
        }
    }

    /// Puts every secret again, as its next version.
    async fn put_all(&self) {
        for planted in &self.planted {
            let put = self.client.secrets();
            put.put(planted.key.as_str(), planted.bytes.clone())
                .await
                .unwrap();
        }
    }
}

fn plant(marks: &mut Marks) -> Vec<Planted> {
    (0..50)
        .map(|number| {
            let key = format!("secrets/{number}");
            let bytes = match number {
                0..25 => format!("password={}\n", marks.text(&key)).into_bytes(),
                25..45 => [&[0xff, 0], &marks.bytes(&key)[..], &[0]].concat(),
                _ => marks.large(&key, limits::VALUE_BYTES),
            };
            Planted { key, bytes }
        })
        .collect()
}

async fn begin() -> (Scene, Processes, Option<Capture>, Folder) {
    let mut marks = Marks::default();
    let planted = plant(&mut marks);
    let options = ClusterOptions {
        // So that archives are written, and sent to a node that comes late.
        settings: vec![("archive_after_bytes", (4 << 20).to_string())],
        environment: vec![
            ("HOLDFAST_LOG", "trace".to_owned()),
            ("RUST_LOG", "trace".to_owned()),
            ("RUST_BACKTRACE", "full".to_owned()),
        ],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let context = cluster.context_file();
    let own = Folder::new().unwrap();
    prove_recovery(&context, &own, &mut marks).await;
    let scanner = Arc::new(Scanner::new(&marks).unwrap());
    let processes = Processes::watch(Arc::clone(&scanner));
    let captured = Folder::new().unwrap();
    let capture = Capture::begin(captured.path()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let scene = Scene {
        cluster,
        context,
        client,
        planted,
        own,
        scanner,
        searched: Searched::default(),
    };
    (scene, processes, capture, captured)
}

/// Its shares are secrets like the others.
async fn prove_recovery(context: &Path, own: &Folder, marks: &mut Marks) {
    escrow::reveal(context).await;
    let out = own.join("shares");
    let out = out.to_str().unwrap();
    kvctl(
        context,
        &[
            "keyring",
            "init-recovery",
            "--shares",
            "3",
            "--threshold",
            "2",
            "--out",
            out,
        ],
    )
    .await
    .success();
    let mut files: Vec<String> = fs::read_dir(out)
        .unwrap()
        .map(|file| file.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        // Behind the groups that name the set, which is no secret.
        marks.known(format!("share {file}"), &text.trim().as_bytes()[24..]);
    }
    let verify = [
        "keyring",
        "verify-recovery",
        "--share",
        &files[0],
        &files[2],
    ];
    kvctl(context, &verify).await.success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_secrets_are_nowhere_but_sealed_whatever_happens_to_the_cluster() {
    let (mut scene, processes, capture, captured) = begin().await;
    put_by_every_way(&mut scene).await;
    scene.all_open().await;
    open_and_look_by_every_command(&mut scene).await;
    provoke_errors(&mut scene).await;
    let rotate = ["keyring", "rotate", "--reason", "a drill", "--wait"];
    scene.kvctl(&rotate).await.success();
    lose_a_leader_and_abort_a_follower(&mut scene).await;
    send_a_snapshot(&mut scene).await;
    // In the nodes' folders, and searched with them.
    scene.kvctl(&["backup", "create"]).await.success();
    scene.kvctl(&["backup", "drill"]).await.success();
    let destroy = ["secret", "destroy", "secrets/0", "--yes"];
    scene.kvctl(&destroy).await.success();
    let gone = scene.planted.remove(0);
    scene
        .kvctl(&["secret", "get", &gone.key])
        .await
        .fails(1, &[]);
    // The whole cluster loses its power.
    scene.cluster.kill_all();
    scene.cluster.mend().unwrap();
    scene.cluster.wait_until_whole().await.unwrap();
    scene.all_open().await;

    let Scene {
        cluster,
        scanner,
        mut searched,
        own,
        ..
    } = scene;
    let folder = cluster.folder().path().to_owned();
    scanner.folder(&folder, &[], &mut searched).unwrap();
    searched.add(processes.end());
    match capture {
        Some(capture) => capture.end(&scanner, &mut searched).unwrap(),
        None => eprintln!("there is no tcpdump here: nothing was captured"),
    }
    println!(
        "searched {} files and {} MiB",
        searched.files,
        searched.bytes >> 20
    );
    assert!(searched.leaks().is_empty(), "{:#?}", searched.leaks());
    it_was_no_blind_search(&cluster, &scanner, &own).await;
    drop(captured);
}

async fn put_by_every_way(scene: &mut Scene) {
    for (number, planted) in std::mem::take(&mut scene.planted).into_iter().enumerate() {
        let key = planted.key.as_str();
        match number % 3 {
            0 => {
                let arguments = ["secret", "put", key, "-"];
                let ran = kvctl_with_input(&scene.context, &arguments, &planted.bytes).await;
                scene.search(&arguments, &ran);
                ran.success();
            }
            1 => {
                let file = scene.own.join("secret");
                fs::write(&file, &planted.bytes).unwrap();
                let arguments = ["secret", "put", key, "--file", file.to_str().unwrap()];
                scene.kvctl(&arguments).await.success();
            }
            _ => {
                let secrets = scene.client.secrets();
                secrets.put(key, planted.bytes.clone()).await.unwrap();
            }
        }
        scene.planted.push(planted);
    }
}

async fn open_and_look_by_every_command(scene: &mut Scene) {
    for key in ["secrets/1", "secrets/30", "secrets/49"] {
        scene.kvctl(&["secret", "get", key]).await.success();
        scene.kvctl(&["secret", "history", key]).await.success();
        scene.kvctl(&["history", key]).await.success();
        scene.kvctl(&["-o", "json", "history", key]).await.success();
        scene.kvctl(&["get", key]).await.fails(1, &["secret get"]);
    }
    for output in ["table", "json", "raw"] {
        scene.kvctl(&["-o", output, "list"]).await.success();
        let list = ["-o", output, "secret", "list"];
        scene.kvctl(&list).await.success();
        let watch = [
            "-o", output, "watch", "secrets/", "--from", "1", "--count", "20",
        ];
        scene.kvctl(&watch).await.success();
        scene.kvctl(&["-o", output, "status"]).await.success();
        let status = ["-o", output, "keyring", "status"];
        scene.kvctl(&status).await.success();
    }
    let export = ["export", "secrets", "--format", "json"];
    scene.kvctl(&export).await.fails(1, &["secret"]);
    let newest = scene.client.get("secrets/49").await.unwrap().unwrap();
    let (from, to) = ("1".to_owned(), newest.entry.modified.to_string());
    let diff = ["-o", "json", "diff", "secrets/", &from, &to, "--prefix"];
    scene.kvctl(&diff).await.success();
}

async fn provoke_errors(scene: &mut Scene) {
    let marked = &scene.planted[49].bytes;
    let too_large = [&marked[..], b"!"].concat();
    let long_note = "n".repeat(limits::NOTE_BYTES + 1);
    let marked = scene.planted[1].bytes.clone();
    let attempts = [
        (vec!["secret", "put", "secrets/49", "-"], too_large),
        (
            vec!["secret", "put", "secrets/1", "-", "--if-revision", "1"],
            marked.clone(),
        ),
        (
            vec!["secret", "put", "secrets/1", "-", "--note", &long_note],
            marked.clone(),
        ),
        (vec!["secret", "put", "", "-"], marked.clone()),
        (vec!["put", "secrets/1", "-"], marked.clone()),
        (
            vec!["put", "secrets/1", "-", "--type", "integer"],
            b"7".to_vec(),
        ),
    ];
    for (arguments, input) in attempts {
        let ran = kvctl_with_input(&scene.context, &arguments, &input).await;
        assert_ne!(ran.code, Some(0), "{arguments:?}");
        scene.search(&arguments, &ran);
    }
    for arguments in [
        &["secret", "get", "secrets/none"][..],
        &["secret", "get", "secrets/1", "--revision", "999999"],
        &["secret", "destroy", "secrets/none", "--yes"],
    ] {
        assert_ne!(scene.kvctl(arguments).await.code, Some(0), "{arguments:?}");
    }
    // Without a majority.
    let nodes = [1, 2];
    nodes
        .into_iter()
        .for_each(|node| scene.cluster.freeze(node));
    let waiting = scene.client.with_timeout(Duration::from_secs(2));
    let put = waiting.secrets().put("secrets/1", marked).await;
    let said = format!("{put:?}");
    assert!(put.is_err(), "{said}");
    scene
        .scanner
        .bytes("an error", said.as_bytes(), &mut scene.searched);
    nodes.into_iter().for_each(|node| scene.cluster.thaw(node));
    scene.cluster.wait_until_whole().await.unwrap();
}

async fn lose_a_leader_and_abort_a_follower(scene: &mut Scene) {
    let leader = scene.cluster.leader(&scene.client).await.unwrap();
    scene.cluster.kill(leader);
    scene.put_all().await;
    scene.cluster.run(leader).unwrap();
    scene.cluster.wait_until_whole().await.unwrap();
    let follower = scene.cluster.follower(&scene.client).await.unwrap();
    let process = scene.cluster.process(follower);
    process.signal(Signal::ABORT);
    process.wait(Duration::from_secs(20)).unwrap();
    scene.cluster.kill(follower);
    scene.cluster.run(follower).unwrap();
    scene.cluster.wait_until_whole().await.unwrap();
    scene.all_open().await;
}

/// A new node, when the log it would have needed is gone.
async fn send_a_snapshot(scene: &mut Scene) {
    let filler = "x".repeat(256 * 1024);
    let leader = scene.cluster.leader(&scene.client).await.unwrap();
    let address = scene.cluster.address(leader).to_owned();
    let (cluster, client) = (&scene.cluster, &scene.client);
    wait::until("the log to be cut", Duration::from_secs(60), || async {
        client.put("filler", filler.as_str()).await.ok()?;
        let status = client.cluster().status_local(&address).await.ok()?;
        (status.log_first > 1).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(cluster.len(), 3);
    let new = scene.cluster.grow().await.unwrap();
    scene.cluster.wait_until_whole().await.unwrap();
    let through = scene.cluster.context_file_through(new).unwrap();
    let client = Client::connect(&Context::load(through).unwrap()).await;
    let options = RevealOptions {
        consistency: Consistency::Local,
        ..RevealOptions::default()
    };
    let planted = &scene.planted[1];
    let secrets = client.unwrap().secrets();
    let opened = wait::until(
        "the new node to hold the keyring",
        Duration::from_secs(30),
        || {
            let (secrets, options) = (secrets.clone(), options.clone());
            async move {
                secrets
                    .reveal_with(planted.key.as_str(), options)
                    .await
                    .ok()
            }
        },
    );
    assert!(*opened.await.unwrap().secret.expose() == planted.bytes);
}

/// A plain value is found in the folder of each node by the same search, and a mark that is put
/// into one is found by the very same scanner.
async fn it_was_no_blind_search(cluster: &Cluster, scanner: &Scanner, own: &Folder) {
    let mut marks = Marks::default();
    let plain = marks.text("plain");
    let client = cluster.client().await.unwrap();
    client.put("plain", plain.as_str()).await.unwrap();
    cluster.wait_until_whole().await.unwrap();
    let control = Scanner::new(&marks).unwrap();
    for node in cluster.running() {
        let mut searched = Searched::default();
        control
            .folder(cluster.dir(node), &[], &mut searched)
            .unwrap();
        assert!(
            !searched.leaks().is_empty(),
            "{} was not searched",
            cluster.name(node)
        );
    }
    let mut searched = Searched::default();
    let planted = cluster.dir(0).join("planted");
    fs::copy(own.join("secret"), planted).unwrap();
    scanner
        .folder(cluster.folder().path(), &[], &mut searched)
        .unwrap();
    assert_eq!(searched.leaks().len(), 1, "{searched:?}");
}
