//! Who is let in, and what keeps one agent from another's socket.

use std::{
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    time::Duration,
};

use holdfast_client::{Client, ConnectError, Context, ReadError};
use holdfast_tests::harness::{Agent, binaries, program, wait};
use rustix::process::Signal;

use crate::{LIMIT, agent, allow, cluster_of, kvctl, own_uid, service, socket, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_no_entry_names_may_do_nothing_and_is_told_what_to_add() {
    let (cluster, _) = cluster_of(1).await;
    let other = format!(
        "[[socket.allow]]\nuser = {}\nprefixes = [\"\"]\nreveal = true\nwrite = true\n",
        own_uid() + 1
    );
    let agent = agent(&cluster, "agent", &[other]).await;
    let service = service(&agent);
    let denied = service.get("web/a").await.unwrap_err();
    let uid = format!("uid {}", own_uid());
    assert!(
        matches!(&denied, ReadError::Denied { message } if message.contains(&uid)
            && message.contains("[[socket.allow]]")),
        "{denied:?}"
    );
    service.put("web/a", "1").await.unwrap_err();
    assert!(service.cluster().status().await.is_err());
    let through = Context::through_agent("", socket(&agent));
    let refused = Client::connect(&through).await.unwrap_err();
    assert!(
        matches!(refused, ConnectError::AgentRefuses { .. }),
        "{refused}"
    );
    kvctl(&agent, &["get", "web/a"])
        .await
        .fails(1, &[&uid, "agent.sock refuses", "[[socket.allow]]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_has_one_agent_and_one_that_was_left_behind_is_replaced() {
    let (cluster, operator) = cluster_of(1).await;
    operator.put("web/a", "1").await.unwrap();
    let entry = allow("prefixes = [\"web/\"]");
    let mut first = agent(&cluster, "agent", std::slice::from_ref(&entry)).await;
    let mode = || std::fs::metadata(socket(&first)).unwrap().permissions();
    assert_eq!(mode().mode() & 0o777, 0o666);

    let there = socket(&first);
    let settings = format!("[socket]\npath = {there:?}\nmode = \"0600\"\n{entry}");
    let mut second = Agent::new(&cluster, "second", &settings).unwrap();
    let ended = second.start().unwrap().wait(LIMIT).unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(
        second.said().contains("another agent's"),
        "{}",
        second.said()
    );
    let service = service(&first);
    service.get("web/a").await.unwrap().unwrap();

    // Killed, it takes nothing away; the next one finds that nobody answers there.
    first.kill();
    assert!(there.exists());
    start(&mut first).await;
    service.get("web/a").await.unwrap().unwrap();
    // Told to end, it leaves nothing behind.
    first.process().signal(Signal::TERM);
    first.process().wait(LIMIT).unwrap();
    assert!(!there.exists());
    std::fs::write(&there, "not a socket").unwrap();
    let ended = first.start().unwrap().wait(LIMIT).unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(first.said().contains("is no socket"), "{}", first.said());
    assert_eq!(std::fs::read(&there).unwrap(), b"not a socket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_not_there_is_named_by_its_socket() {
    let context = Context::through_agent("", "/nowhere/agent.sock");
    let client = Client::lazy(&context, Default::default()).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(300));
    let error = hasty.get("web/a").await.unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/agent.sock") && error.contains("is kvagent running"),
        "{error}"
    );
}

/// However many connections one user makes, there is room for others, and for the agent itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_so_many_connections_and_no_more() {
    let (cluster, operator) = cluster_of(1).await;
    operator.put("web/a", "1").await.unwrap();
    let agent = agent(&cluster, "agent", &[allow("prefixes = [\"web/\"]")]).await;
    let mut open = Vec::new();
    let closed = wait::until("one to be closed", LIMIT, || {
        let one = UnixStream::connect(socket(&agent)).unwrap();
        one.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        open.push(one);
        let newest = open.iter_mut().rev().take(8);
        let is_closed = newest
            .map(|one| one.read(&mut [0; 64]))
            .any(|read| matches!(read, Ok(0)));
        std::future::ready((is_closed || open.len() > 1_000).then_some(is_closed))
    });
    assert!(closed.await.unwrap());
    assert!(open.len() > 200, "{}", open.len());
    let told = agent.said();
    assert!(told.contains("too many connections"), "{told}");
    drop(open);
    service(&agent).get("web/a").await.unwrap().unwrap();
}

/// However long it may take: who mistyped the path is told at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kvctl_does_not_wait_for_a_socket_that_is_not_there() {
    let mut command = tokio::process::Command::new(binaries::kvctl());
    command
        .args(["get", "web/a", "--timeout", "1h"])
        .args(["--agent", "/nowhere/agent.sock"]);
    let ran = program::run(&mut command).await;
    ran.fails(
        4,
        &["no agent at /nowhere/agent.sock", "check that kvagent"],
    );
}
