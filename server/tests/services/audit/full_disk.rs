//! A full disk under the audit log: what must be recorded is refused, and nothing else is.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use holdfast_proto::v1;
use holdfast_server::node::Node;

use super::{records, verify};
use crate::nodes::{Clients as _, Nodes, put, reason, restart, single};

/// A small file system of its own over a folder.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where this user may not mount one.
    fn mount(over: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "holdfast-test"])
            .arg(over)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(over));
        }
        println!("skipped: this user may not mount a small disk");
        None
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a child that another test is just starting may still share a file of it.
        drop(Command::new("umount").arg("-l").arg(self.0).status());
    }
}

async fn set_retention(node: &Node) -> Result<(), tonic::Status> {
    let request = v1::SetRetentionRequest {
        prefix: b"some/".to_vec().into(),
        ..v1::SetRetentionRequest::default()
    };
    node.kv().set_retention(request).await.map(drop)
}

#[tokio::test]
async fn a_full_disk_refuses_admin_acts_and_lets_everything_else_go_on() {
    let mut nodes = Nodes::one().await;
    let stopped = nodes.all.remove(0);
    let dir = stopped.dir().path().to_owned();
    stopped.shutdown().await;
    let folder = dir.join("audit");
    fs::create_dir_all(&folder).unwrap();
    let Some(disk) = SmallDisk::mount(&folder) else {
        return;
    };
    let node = restart(&dir).await;
    set_retention(&node).await.unwrap();

    let filler = folder.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let mut recorded = 1;
    // There is room in the page that was begun.
    let refused = loop {
        match set_retention(&node).await {
            Ok(()) => recorded += 1,
            Err(status) => break status,
        }
        assert!(recorded < 1_000, "the disk is full");
    };
    assert_eq!(reason(&refused), "not_recorded", "{refused:?}");
    let words = refused.message();
    assert!(
        words.contains("audit log") && words.contains("nothing was done"),
        "{words}"
    );
    assert!(
        !words.contains(folder.to_str().unwrap()),
        "no path: {words}"
    );
    let token = v1::CreateTokenRequest::default();
    let refused = node.cluster().create_token(token).await.unwrap_err();
    assert_eq!(reason(&refused), "not_recorded");

    node.kv().put(put("plain", "1")).await.unwrap();
    let range = v1::RangeRequest {
        range: single("plain"),
        ..v1::RangeRequest::default()
    };
    assert_eq!(node.kv().range(range).await.unwrap().into_inner().count, 1);
    let status = v1::StatusRequest { local: true };
    let status = node.cluster().status(status).await.unwrap().into_inner();
    assert!(
        status
            .problems
            .iter()
            .any(|problem| problem.contains("audit log")),
        "{:?}",
        status.problems
    );
    assert_eq!(records(&node, 0).await.len(), recorded, "it can be read");
    assert_eq!(verify(&node, 1).await[0].damages, []);

    drop(file);
    fs::remove_file(&filler).unwrap();
    set_retention(&node).await.expect("there is room again");
    let status = v1::StatusRequest { local: true };
    let status = node.cluster().status(status).await.unwrap().into_inner();
    assert_eq!(status.problems, Vec::<String>::new());
    let mut after = records(&node, 0).await;
    // That it was read is recorded as well as can be.
    after.retain(|record| !record.act.starts_with("holdfast.v1.Audit/"));
    assert_eq!(after.len(), recorded + 1, "what was refused left no trace");
    assert_eq!(verify(&node, 1).await[0].damages, []);
    node.shutdown().await;
    drop(disk);
}
