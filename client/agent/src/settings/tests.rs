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
        (
            "roles = [\"web\"]",
            "[http]\nlisten = \"9464\"",
            "http.listen: \"9464\" is no address",
        ),
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
