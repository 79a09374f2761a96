//! Debian's nginx, configured by the example's settings: replaced two hundred times under load.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use holdfast_tests::harness::{Agent, Process, http, ports};
use rustix::process::Signal;

use crate::{LIMIT, examples, one_node, put, until};

/// Asks all the time; each answer is of one revision, and none fails.
fn load(
    address: String,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let page = http::page(&address, "/hello").await.expect("an answer");
            assert!(page.starts_with("HTTP/1.1 200"), "{page}");
            let body = page.split("\r\n\r\n").nth(1).unwrap_or_default();
            let (first, second) = body.trim().split_once(' ').expect("two numbers");
            assert_eq!(first, second, "half of a revision");
            answers.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Told to end before it is killed, or its workers would outlive a test that failed.
struct Nginx(Process);

impl Drop for Nginx {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        // If it does not, it is killed.
        let _ = self.0.wait(LIMIT);
    }
}

fn start_nginx(agent: &Agent) -> Nginx {
    let main = format!(
        "daemon off;\npid {0}/nginx.pid;\nerror_log {0}/nginx-error.log;\nevents {{}}\nhttp {{\n\
         access_log off;\ninclude {0}/kvagent/sets/nginx/current/site.conf;\n}}\n",
        agent.join("").display()
    );
    agent.write("main.conf", &main.replace("//", "/")).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(agent.join(""))
        .arg("-c")
        .arg(agent.join("main.conf"));
    Nginx(Process::spawn(&mut command, &agent.join("nginx.log")).unwrap())
}

/// Both numbers are in one transaction, and both stand in the answer.
async fn set(client: &holdfast_client::Client, number: u64) {
    let text = number.to_string();
    put(client, &[("web/first", &text), ("web/second", &text)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_is_replaced_two_hundred_times_and_no_request_fails() {
    if !Path::new("/usr/sbin/nginx").exists() {
        println!("skipped: there is no nginx here; apt-get install nginx-light");
        return;
    }
    let (cluster, client) = one_node().await;
    let [port] = ports::free();
    put(&client, &[("web/port", &port.to_string())]).await;
    set(&client, 0).await;
    let mut agent = examples::nginx(&cluster, |text| {
        let hook =
            "signal = { pid_file = \"/run/nginx.pid\", signal = \"HUP\", program = \"nginx\" }";
        assert!(text.contains(hook));
        let own = "signal = { pid_file = \"@DIR@/nginx.pid\", signal = \"HUP\", program = \"nginx\" }\nbackoff = \"100ms\"";
        text.replace(hook, own)
            .replace("prefixes =", "settle = \"10ms\"\nprefixes =")
    });
    let greeting = "{{ key('web/greeting') | quote }}";
    let template = agent.read("nginx/site.conf.j2");
    assert!(template.contains(greeting));
    let two = "\"{{ key('web/first') }} {{ key('web/second') }}\"";
    agent
        .write("nginx/site.conf.j2", &template.replace(greeting, two))
        .unwrap();

    let check = agent.read("nginx/check.nginx.j2");
    let pid_file = agent.join("nginx.pid").to_string_lossy().into_owned();
    assert!(check.contains("/run/nginx.pid"));
    let check = check.replace("/run/nginx.pid", &pid_file);
    agent.write("nginx/check.nginx.j2", &check).unwrap();

    // Without nginx there is no number in its pid file: the hook fails, is told and repeated, and works once there is.
    agent.start().unwrap();
    until("a failed hook", || {
        agent.said().matches("a hook failed").count() >= 2
    })
    .await;
    let mut nginx = start_nginx(&agent);
    let address = format!("127.0.0.1:{port}");
    holdfast_tests::harness::wait::until("nginx", LIMIT, || async {
        http::page(&address, "/hello").await.ok()
    })
    .await
    .unwrap();
    let record = || agent.read("state/records/nginx.json");
    until("the hook", || record().contains("\"failure\": null")).await;

    let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let loads: Vec<_> = (0..3)
        .map(|_| load(address.clone(), Arc::clone(&stop), Arc::clone(&answers)))
        .collect();
    let site = "kvagent/sets/nginx/current/site.conf";
    for number in 1..=200 {
        set(&client, number).await;
        let text = format!("\"{number} {number}\"");
        until("the swap", || agent.read(site).contains(&text)).await;
        assert!(
            loads.iter().all(|load| !load.is_finished()),
            "a request failed"
        );
    }
    let served = |number: u64| {
        let address = address.clone();
        async move {
            let page = http::page(&address, "/hello").await.unwrap();
            page.ends_with(&format!("{number} {number}")).then_some(())
        }
    };
    holdfast_tests::harness::wait::until("the last", LIMIT, || served(200))
        .await
        .unwrap();

    // What does not parse as a value, and what nginx itself does not take, never reaches it.
    put(
        &client,
        &[
            ("web/port", "x y"),
            ("web/first", "201"),
            ("web/second", "201"),
        ],
    )
    .await;
    until("the check", || {
        agent.said().contains("the check refused it")
    })
    .await;
    let broken = agent.read("nginx/site.conf.j2");
    agent.write("nginx/site.conf.j2", "{% if %}").unwrap();
    put(&client, &[("web/port", &port.to_string())]).await;
    until("the template", || {
        agent.said().contains("site.conf.j2: line 1")
    })
    .await;
    assert!(agent.read(site).contains("\"200 200\""));
    agent.write("nginx/site.conf.j2", &broken).unwrap();
    holdfast_tests::harness::wait::until("it is mended", LIMIT, || served(201))
        .await
        .unwrap();

    let version = std::fs::read_dir(agent.join("kvagent/sets/nginx/current")).unwrap();
    assert_eq!(version.count(), 2, "the check left something");
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    let count = answers.load(Ordering::Relaxed);
    println!("{count} requests over 201 swaps, none failed");
    assert!(count > 1_000, "{count} requests");
    assert!(nginx.0.exited().is_none());
    nginx.0.signal(Signal::QUIT);
    assert!(nginx.0.wait(LIMIT).unwrap().success());
}
