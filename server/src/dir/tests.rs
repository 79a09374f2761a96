use std::time::Duration;

use holdfast_proto::NodeId;

use super::*;
use crate::identity::{JoinToken, new_cluster_id};

/// What `kvd init` does to a folder.
fn make(path: &Path) -> NodeDir {
    let now = SystemTime::now();
    let id = new_cluster_id();
    let making = UnfinishedDir::begin(path, Maker::Init).unwrap();
    let authority = CertificateAuthority::create(&id, now).unwrap();
    let name = "n1".parse().unwrap();
    let mut configuration = NodeConfiguration::new(&id, "main", name, NodeId(1), "127.0.0.1:7101");
    configuration.founder = true;
    let certificate = authority
        .sign_node(
            &configuration.name,
            &making.key().public_key(),
            "127.0.0.1:7101",
            now,
        )
        .unwrap();
    making
        .finish(
            configuration,
            &Papers {
                authority: authority.certificate(),
                authority_key: Some(authority.key()),
                certificate: &certificate,
            },
        )
        .unwrap()
}

fn said(result: Result<NodeDir, DirError>) -> String {
    let error = result.err().expect("the folder was taken");
    let source = std::error::Error::source(&error)
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("{error}: {source}")
}

#[test]
fn a_folder_that_was_made_opens_again_with_working_tls() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("n1");
    let made = make(&path).configuration().clone();
    let dir = NodeDir::open(&path).unwrap();
    assert_eq!(dir.configuration(), &made);
    assert!(dir.is_first_start());
    assert!(dir.tls(SystemTime::now()).is_ok());
    assert_eq!(dir.authority().unwrap().cluster_id(), made.cluster_id);
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("n1");
    drop(make(&path));
    for (file, mode) in [
        ("", 0o700),
        ("tls", 0o700),
        ("tls/node.key", 0o600),
        ("tls/ca.key", 0o600),
    ] {
        let found = fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}: {found:o}");
    }
}

#[test]
fn two_processes_cannot_use_one_folder_and_the_second_is_told_who_has_it() {
    let temp = tempfile::tempdir().unwrap();
    let first = make(temp.path());
    let error = said(NodeDir::open(temp.path()));
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(first);
    assert!(NodeDir::open(temp.path()).is_ok());
}

#[test]
fn a_folder_with_other_files_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("thesis.odt"), "years of work").unwrap();
    for error in [
        said(NodeDir::open(temp.path())),
        said(UnfinishedDir::begin(temp.path(), Maker::Init).map(|_| unreachable!())),
    ] {
        assert!(
            error.contains("thesis.odt") && error.contains("nothing was touched"),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_or_missing_folder_holds_no_node() {
    let temp = tempfile::tempdir().unwrap();
    assert!(said(NodeDir::open(temp.path())).contains("kvd init"));
    assert!(said(NodeDir::open(&temp.path().join("nowhere"))).contains("kvd init"));
}

#[test]
fn a_folder_is_not_made_twice() {
    let temp = tempfile::tempdir().unwrap();
    drop(make(temp.path()));
    for maker in [Maker::Init, Maker::Join] {
        let error = said(UnfinishedDir::begin(temp.path(), maker).map(|_| unreachable!()));
        assert!(
            error.contains("already is node n1 of cluster main"),
            "{error}"
        );
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    drop(make(temp.path()));
    let file = temp.path().join("node.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("format = 1", "format = 7")).unwrap();
    let error = said(NodeDir::open(temp.path()));
    assert!(
        error.contains("node.toml") && error.contains("format 7"),
        "{error}"
    );
}

#[test]
fn a_damaged_node_toml_is_named() {
    let temp = tempfile::tempdir().unwrap();
    drop(make(temp.path()));
    fs::write(temp.path().join("node.toml"), "format = 1\ncluster = \"c0f").unwrap();
    assert!(said(NodeDir::open(temp.path())).contains("node.toml"));
}

#[test]
fn an_interrupted_init_is_refused_to_run_and_finished_by_init() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("n1");
    drop(UnfinishedDir::begin(&path, Maker::Init).unwrap());
    let error = said(NodeDir::open(&path));
    assert!(error.contains("`kvd init` was interrupted"), "{error}");
    let error = said(UnfinishedDir::begin(&path, Maker::Join).map(|_| unreachable!()));
    assert!(error.contains("`kvd init` was interrupted"), "{error}");
    drop(make(&path));
    assert!(NodeDir::open(&path).is_ok());
}

#[test]
fn an_interrupted_join_goes_on_with_the_same_key_and_request() {
    let temp = tempfile::tempdir().unwrap();
    let token = |endpoint: &str| {
        let pin = crate::identity::CaPin::from_bytes([1; 32]);
        JoinToken::generate("c0ffee", pin, vec![endpoint.to_owned()])
    };
    let (first, second) = (token("h:1"), token("h:1"));
    let begin = || UnfinishedDir::begin(temp.path(), Maker::Join).unwrap();
    let before = begin();
    let (key, request) = (before.key().public_key(), before.request(&first));
    drop(before);
    let after = begin();
    assert_eq!(after.key().public_key().der(), key.der());
    assert_eq!(after.request(&first), request);
    assert_ne!(after.request(&second), request);
}

#[test]
fn a_half_written_file_beside_the_whole_one_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    drop(make(temp.path()));
    fs::write(temp.path().join("node.toml.new"), "form").unwrap();
    fs::write(temp.path().join("tls/node.crt.new"), "-----BEGIN").unwrap();
    assert!(NodeDir::open(temp.path()).is_ok());
}

#[test]
fn a_node_whose_log_is_gone_does_not_start_under_its_old_id() {
    let temp = tempfile::tempdir().unwrap();
    let dir = make(temp.path());
    dir.mark_started().unwrap();
    drop(dir);
    let error = said(NodeDir::open(temp.path()));
    assert!(
        error.contains("under id 1") && error.contains("kvctl member remove n1"),
        "{error}"
    );
    fs::remove_dir_all(temp.path().join("data")).unwrap();
    assert!(matches!(
        NodeDir::open(temp.path()),
        Err(DirError::LostData { .. })
    ));
}

#[test]
fn data_of_another_cluster_or_node_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (temp.path().join("one"), temp.path().join("two"));
    drop(make(&one));
    drop(make(&two));
    fs::remove_dir_all(two.join("data")).unwrap();
    fs::rename(one.join("data"), two.join("data")).unwrap();
    let error = said(NodeDir::open(&two));
    assert!(error.contains("belongs to node 1 of cluster"), "{error}");
}

#[test]
fn a_missing_key_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let dir = make(temp.path());
    fs::remove_file(temp.path().join("tls/node.key")).unwrap();
    let error = dir.tls(SystemTime::now()).err().unwrap().to_string();
    assert!(error.contains("node.key"), "{error}");
}

#[test]
fn a_certificate_is_renewed_in_time_and_when_the_address_changes() {
    let temp = tempfile::tempdir().unwrap();
    let mut dir = make(temp.path());
    let now = SystemTime::now();
    let tls = dir.tls(now).unwrap();
    assert!(!dir.renew_if_due(&tls, now).unwrap());
    let later = now + Duration::from_secs(300 * 24 * 60 * 60);
    assert!(dir.renew_if_due(&tls, later).unwrap());
    assert!(!tls.is_due(later));
    dir.configure(|configuration| configuration.advertise = "10.0.0.7:7101".to_owned())
        .unwrap();
    assert!(dir.tls(later).unwrap().names_address("10.0.0.7:7101"));
}

#[test]
fn a_node_that_fenced_itself_does_not_start_again_and_says_why() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("n1");
    let dir = make(&path);
    dir.mark_fenced("its state differs; join it anew").unwrap();
    drop(dir);
    let said = said(NodeDir::open(&path));
    assert!(
        said.contains("fenced itself") && said.contains("join it anew"),
        "{said}"
    );
}

/// The next papers of a node, complete.
fn with_next(path: &Path) -> CertificateAuthority {
    let dir = make(path);
    let now = SystemTime::now();
    let cluster = dir.configuration().cluster_id.clone();
    let next = CertificateAuthority::create_next(&cluster, 2, now).unwrap();
    dir.keep_next(next.certificate()).unwrap();
    let kept = dir.keep_next_key(next.key()).unwrap();
    let certificate = dir.sign_next(&kept, now).unwrap();
    dir.keep_next_certificate(&certificate, now).unwrap();
    next
}

#[test]
fn the_next_papers_lie_beside_those_in_use_until_they_take_their_places() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("n1");
    let next = with_next(&path);
    let dir = NodeDir::open(&path).unwrap();
    let now = SystemTime::now();
    assert!(dir.has_next(next.certificate()));
    assert_ne!(dir.tls(now).unwrap().authority(), next.certificate());
    let beside = dir.next_tls(now).unwrap().unwrap();
    assert_eq!(beside.authority(), next.certificate());
    dir.settle().unwrap();
    assert_eq!(dir.tls(now).unwrap().authority(), next.certificate());
    assert_eq!(dir.authority().unwrap().pin(), next.pin());
    assert!(dir.next_tls(now).unwrap().is_none() && !path.join("tls/next").exists());
}

#[test]
fn papers_that_were_changing_places_when_the_power_went_do_so_at_the_next_start() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("n1");
    let next = with_next(&path);
    let tls = path.join("tls");
    // Only the first file came to its place: it does not belong to the others.
    fs::write(tls.join("next/settle"), "").unwrap();
    fs::copy(tls.join("next/ca.crt"), tls.join("ca.crt")).unwrap();
    let dir = NodeDir::open(&path).unwrap();
    assert_eq!(dir.authority().unwrap().pin(), next.pin());
    assert_eq!(
        dir.tls(SystemTime::now()).unwrap().authority(),
        next.certificate()
    );
}

#[test]
fn papers_of_another_next_authority_are_thrown_away_whole_and_a_strange_key_is_not_kept() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("n1");
    let first = with_next(&path);
    let dir = NodeDir::open(&path).unwrap();
    let (now, cluster) = (SystemTime::now(), dir.configuration().cluster_id.clone());
    let second = CertificateAuthority::create_next(&cluster, 2, now).unwrap();
    assert!(!dir.has_next(second.certificate()));
    dir.keep_next(second.certificate()).unwrap();
    assert!(dir.next_authority().unwrap().is_none());
    assert!(dir.next_tls(now).unwrap().is_none());
    assert!(dir.keep_next_key(first.key()).is_err());
    assert!(dir.next_authority().unwrap().is_none());
}
