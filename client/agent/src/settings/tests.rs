//! What is refused, and that it is refused by name.

use super::*;

const SOUND: &str = r#"
context = "context.toml"
state = "state"
node = "db7"
roles = ["web"]

[[set]]
name = "nginx"
folder = "sets/nginx"
prefixes = ["web/"]

[[set.file]]
path = "conf.d/site.conf"
template = "site.conf.j2"
mode = "0640"

[[set.file]]
path = "tls.crt"
format = "raw"
key = "web/certificate"

[set.hook]
signal = { pid_file = "/run/nginx.pid", signal = "HUP", program = "nginx" }
timeout = "5s"
"#;

fn load(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kvagent.toml");
    std::fs::write(&path, text).unwrap();
    Settings::load(&path).map_err(|error| crate::failure::chain(&error))
}

#[test]
fn paths_are_relative_to_the_settings() {
    let settings = load(SOUND).unwrap();
    assert!(settings.state.is_absolute() && settings.state.ends_with("state"));
    let set = &settings.sets[0];
    assert!(matches!(set.place(), Place::Folder(folder) if folder.is_absolute()));
    assert!(set.files[0].template.as_ref().unwrap().is_absolute());
    assert_eq!(set.keep, 2);
    assert!(!set.guard.allow_empty);
}

#[test]
fn what_cannot_be_is_refused_with_its_field() {
    for (right, wrong, said) in [
        ("node = \"db7\"", "nodes = \"db7\"", "nodes"),
        ("node = \"db7\"", "node = \"d@b7\"", "node: "),
        ("name = \"nginx\"", "name = \"../x\"", "is no name of a set"),
        ("folder = \"sets/nginx\"", "", "set[nginx].folder"),
        (
            "prefixes = [\"web/\"]",
            "prefixes = []",
            "set[nginx].prefixes",
        ),
        ("[\"web/\"]", "[\"web/\", \"web/a/\"]", "within another"),
        ("conf.d/site.conf", "../site.conf", "without `..`"),
        ("conf.d/site.conf", "/etc/site.conf", "without `..`"),
        ("conf.d/site.conf", "./site.conf", "file[./site.conf].path"),
        ("conf.d/site.conf", "tls.crt/a", "lies below it"),
        ("mode = \"0640\"", "mode = \"4755\"", "no mode"),
        ("mode = \"0640\"", "key = \"web/a\"", ".key"),
        ("mode = \"0640\"", "format = \"env\"", ".format"),
        ("key = \"web/certificate\"", "", "name the key"),
        (
            "web/certificate",
            "other/certificate",
            "none of the set's prefixes",
        ),
        (
            "pid_file = \"/run/",
            "pid_file = \"run/",
            "hook.signal.pid_file",
        ),
        ("\"HUP\"", "\"STOPP\"", "no signal"),
        ("timeout = \"5s\"", "timeout = \"5\"", "no time"),
        ("timeout = \"5s\"", "exec = [\"true\"]", "exactly one"),
    ] {
        let text = SOUND.replace(right, wrong);
        assert_ne!(text, SOUND, "{right}");
        let error = load(&text).unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}

#[test]
fn two_sets_never_share_a_place_or_a_name() {
    let twice = |name: &str, folder: &str| {
        let set = &SOUND[SOUND.find("[[set]]").unwrap()..];
        let other = set
            .replace("name = \"nginx\"", &format!("name = {name:?}"))
            .replace("sets/nginx", folder);
        load(&format!("{SOUND}{other}")).unwrap_err()
    };
    assert!(twice("nginx", "elsewhere").contains("have this name"));
    assert!(twice("other", "sets/nginx").contains("another set"));
}

const SOCKET: &str = r#"
[socket]
path = "agent.sock"
mode = "0660"

[[socket.allow]]
user = "billing"
prefixes = ["billing/"]
reveal = true

[[socket.allow]]
group = 33
prefixes = ["web/", "billing/"]
"#;

#[test]
fn a_socket_has_its_place_and_says_what_is_to_be_at_hand() {
    let settings = load(&format!("{SOUND}{SOCKET}")).unwrap();
    let socket = settings.socket.unwrap();
    assert!(socket.path.is_absolute() && socket.path.ends_with("agent.sock"));
    assert_eq!(socket.mode, Mode::of(0o660));
    assert_eq!(socket.allow[1].group.as_deref(), Some("33"));
    let wanted: Vec<_> = socket.wanted().into_iter().collect();
    // One mirror for `billing/`, with its secrets open.
    assert_eq!(
        wanted,
        [("billing/".to_owned(), true), ("web/".to_owned(), false)]
    );
    assert!(load(SOUND).unwrap().socket.is_none());
}

#[test]
fn a_socket_that_cannot_be_is_refused_with_its_field() {
    for (right, wrong, said) in [
        ("mode = \"0660\"", "mods = \"0660\"", "mods"),
        ("mode = \"0660\"", "mode = \"rw\"", "no mode"),
        ("path = \"agent.sock\"", "path = \"/\"", "socket.path"),
        ("user = \"billing\"", "", "socket.allow[0].user"),
        (
            "user = \"billing\"",
            "user = \"billing\"\ngroup = 7",
            "either a user or a group",
        ),
        ("user = \"billing\"", "user = -1", "a name, or a number"),
        ("prefixes = [\"billing/\"]", "", "socket.allow[0].prefixes"),
        ("reveal = true", "all = true", "socket.allow[0].all"),
        ("reveal = true", "revel = true", "revel"),
    ] {
        let text = SOCKET.replacen(right, wrong, 1);
        assert_ne!(text, SOCKET, "{right}");
        let error = load(&format!("{SOUND}{text}")).unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
    let nobody = load(&format!("{SOUND}[socket]\n")).unwrap_err();
    assert!(
        nobody.contains("socket.allow: nobody may do anything"),
        "{nobody}"
    );
}

#[test]
fn the_example_of_a_socket_is_sound() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/socket.toml");
    let socket = Settings::load(&path).unwrap().socket.unwrap();
    assert_eq!(socket.allow.len(), 4);
    assert!(socket.allow[3].all);
}
