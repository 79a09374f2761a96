//! Installing, inspecting and refusing, on a real disk.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    sync::Arc,
};

use holdfast_client::Value;

use super::*;
use crate::values::tests::values;

/// A set with two files, one of them in a folder of its own.
fn settings(folder: &Path, more: &str) -> SetSettings {
    let text = format!(
        r#"
name = "s"
folder = "{}"
prefixes = ["web/"]
{more}
[[file]]
path = "site.conf"
format = "raw"
key = "web/site"
mode = "0640"
[[file]]
path = "conf.d/all.json"
format = "json"
"#,
        folder.display()
    );
    toml::from_str(&text).unwrap()
}

fn single(folder: &Path) -> SetSettings {
    let text = format!(
        r#"
name = "s"
single = true
prefixes = ["web/"]
[[file]]
path = "{0}/a"
format = "raw"
key = "web/site"
[[file]]
path = "{0}/b"
format = "json"
"#,
        folder.display()
    );
    toml::from_str(&text).unwrap()
}

fn wanted(settings: &SetSettings, site: &str) -> Wanted {
    let values = values("web/", &[("web/site", Value::Text(site.to_owned()))]);
    Wanted::make(settings, &Arc::new(values), None).unwrap()
}

fn install(settings: &SetSettings, serial: u64, site: &str) -> Result<Installed, InstallError> {
    let wanted = wanted(settings, site);
    let staged = stage(settings, serial, &wanted)?;
    let installed = Installed::of(&wanted, serial, staged.version());
    staged.install(settings.keep)?;
    Ok(installed)
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    // Where temporary folders are may be behind a link.
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

#[test]
fn a_version_is_whole_and_the_link_leads_to_it() {
    let (_folder, root) = folder();
    let set = settings(&root.join("set"), "");
    for serial in 1..=5 {
        let installed = install(&set, serial, &format!("site {serial}")).unwrap();
        let current = root.join("set/current");
        assert_eq!(
            fs::read_to_string(current.join("site.conf")).unwrap(),
            format!("site {serial}")
        );
        assert!(current.join("conf.d/all.json").is_file());
        let mode = fs::metadata(current.join("site.conf"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(inspect(&set, &installed).unwrap(), [""; 0]);
    }
    let mut left: Vec<_> = fs::read_dir(root.join("set"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["000003-r7", "000004-r7", "000005-r7", "current"]);
}

#[test]
fn what_is_in_use_is_not_removed_where_the_record_was_lost() {
    let (_folder, root) = folder();
    let set = settings(&root.join("set"), "");
    assert_eq!(next_serial(&set, 0).unwrap(), 1, "there is no folder");
    install(&set, 1, "one").unwrap();
    install(&set, 12, "two").unwrap();
    fs::create_dir(root.join("set/99999999999999999999-r1")).unwrap();
    fs::create_dir(root.join("set/000020-old")).unwrap();
    assert_eq!(next_serial(&set, 0).unwrap(), 13);
    assert_eq!(next_serial(&set, 30).unwrap(), 31);
    let current = root.join("set/current");
    let before = fs::metadata(current.join("site.conf")).unwrap().ino();
    let again = install(&set, 12, "two").unwrap_err().to_string();
    assert!(again.contains("000012-r7 could not be replaced"), "{again}");
    let after = fs::metadata(current.join("site.conf")).unwrap().ino();
    assert_eq!(after, before);
}

#[test]
fn folders_on_the_way_are_the_agents_own() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root gives folders away");
        return;
    }
    let (_folder, root) = folder();
    let set = settings(
        &root.join("way/set"),
        "owner = \"1\"\nfolder_mode = \"0750\"",
    );
    install(&set, 1, "site").unwrap();
    let about = |path: &str| {
        let about = fs::metadata(root.join(path)).unwrap();
        (about.uid(), about.mode() & 0o777)
    };
    assert_eq!(
        about("way"),
        (0, 0o755),
        "its owner could move other sets away"
    );
    assert_eq!(about("way/set"), (1, 0o750));
    assert_eq!(about("way/set/current/conf.d"), (1, 0o750));
    assert_eq!(about("way/set/current/conf.d/all.json"), (1, 0o644));
}

#[test]
fn what_somebody_does_to_a_set_is_found() {
    type Act = fn(&Path);
    let acts: [(Act, &str); 7] = [
        (
            |at| fs::write(at.join("site.conf"), "x").unwrap(),
            "site.conf was edited",
        ),
        (
            |at| fs::remove_file(at.join("site.conf")).unwrap(),
            "site.conf is gone",
        ),
        (
            |at| fs::remove_dir_all(at.join("conf.d")).unwrap(),
            "conf.d/all.json is gone",
        ),
        (
            |at| {
                fs::set_permissions(at.join("site.conf"), fs::Permissions::from_mode(0o666))
                    .unwrap()
            },
            "site.conf has mode 0666 instead of 0640",
        ),
        (
            |at| fs::write(at.join("conf.d/extra.conf"), "x").unwrap(),
            "conf.d/extra.conf does not belong there",
        ),
        (
            |at| {
                fs::rename(at.join("site.conf"), at.join("../elsewhere")).unwrap();
                symlink("../elsewhere", at.join("site.conf")).unwrap();
            },
            "site.conf is no plain file",
        ),
        (
            |at| {
                let current = at.parent().unwrap().join("current");
                fs::remove_file(&current).unwrap();
                symlink("elsewhere", current).unwrap();
            },
            "current leads to elsewhere",
        ),
    ];
    for (act, said) in acts {
        let (_folder, root) = folder();
        let set = settings(&root.join("set"), "");
        let installed = install(&set, 1, "site").unwrap();
        act(&root.join("set").join(installed.version.as_deref().unwrap()));
        assert_eq!(inspect(&set, &installed).unwrap(), [said]);
        let again = install(&set, 2, "site").unwrap();
        assert_eq!(inspect(&set, &again).unwrap(), [""; 0], "after {said}");
    }
}

#[test]
fn no_link_is_followed_and_nothing_in_the_way_is_touched() {
    let (_folder, root) = folder();
    fs::create_dir(root.join("real")).unwrap();
    symlink("real", root.join("link")).unwrap();
    let refused = |set: &SetSettings| install(set, 1, "site").unwrap_err().to_string();

    let through = settings(&root.join("link/set"), "");
    assert!(refused(&through).contains("symbolic link"));
    let itself = settings(&root.join("link"), "");
    assert!(refused(&itself).contains("symbolic link"));
    assert_eq!(fs::read_dir(root.join("real")).unwrap().count(), 0);

    let taken = settings(&root.join("real"), "");
    fs::create_dir(root.join("real/current")).unwrap();
    assert!(refused(&taken).contains("is no link"));

    let open = root.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&settings(&open, "")).contains("written by everyone"));

    let files = root.join("files");
    fs::create_dir(&files).unwrap();
    symlink("../real", files.join("a")).unwrap();
    assert!(refused(&single(&files)).contains("no plain file"));
    assert!(fs::symlink_metadata(files.join("a")).unwrap().is_symlink());
}

#[test]
fn single_files_are_replaced_where_they_are_and_only_if_they_differ() {
    let (_folder, root) = folder();
    let set = single(&root);
    fs::write(root.join("a"), "somebody's").unwrap();
    let first = install(&set, 1, "one").unwrap();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "one");
    assert_eq!(inspect(&set, &first).unwrap(), [""; 0]);
    let of = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    let (a, b) = (of("a"), of("b"));
    fs::write(root.join("b"), "edited").unwrap();
    let found = inspect(&set, &first).unwrap();
    assert!(found[0].ends_with("b was edited"), "{found:?}");
    install(&set, 2, "one").unwrap();
    assert_eq!(of("a"), a, "it did not differ");
    assert_ne!(of("b"), b);
    assert_eq!(
        fs::read_dir(&root).unwrap().count(),
        2,
        "nothing is left behind"
    );
}

#[test]
fn what_was_left_behind_is_removed_and_a_discarded_set_leaves_nothing() {
    let (_folder, root) = folder();
    let set = settings(&root.join("set"), "");
    install(&set, 1, "one").unwrap();
    fs::create_dir_all(root.join("set/.new-000009/deep")).unwrap();
    symlink("nowhere", root.join("set/.current-new")).unwrap();
    stage(&set, 2, &wanted(&set, "two"))
        .unwrap()
        .discard()
        .unwrap();
    let left = fs::read_dir(root.join("set")).unwrap().count();
    assert_eq!(left, 2, "one version and the link");
}

#[test]
fn nothing_becomes_empty_by_accident() {
    let (_folder, root) = folder();
    let set = settings(&root.join("set"), "");
    let make = |set: &SetSettings, site: &[(&str, Value)], before| {
        Wanted::make(set, &Arc::new(values("web/", site)), before)
            .err()
            .map(|error| error.to_string())
    };
    let text = |text: &str| Value::Text(text.to_owned());
    assert!(make(&set, &[], None).unwrap().contains("no key under web/"));
    assert!(
        make(&set, &[("web/site", text(""))], None)
            .unwrap()
            .contains("would become empty")
    );
    assert_eq!(make(&set, &[("web/site", text("x"))], Some(1_000)), None);
    let guarded = settings(&root.join("set"), "guard = { vanish_percent = 50 }");
    let vanished = make(&guarded, &[("web/site", text("x"))], Some(3)).unwrap();
    assert!(vanished.contains("3 keys became 1"), "{vanished}");
    assert_eq!(make(&guarded, &[("web/site", text("x"))], Some(2)), None);
    let open = settings(&root.join("set"), "guard = { allow_empty = true }");
    assert_eq!(make(&open, &[("web/site", text(""))], Some(9)), None);
}

#[test]
fn who_owns_a_file_is_said_by_name_or_number() {
    let root = Owner::of(Some("root"), Some("0")).unwrap();
    assert_eq!((root.uid, root.gid), (0, 0));
    let error = Owner::of(Some("no-such-user"), None).unwrap_err();
    assert!(error.contains("does not have"), "{error}");
    assert!(
        Owner::of(Some("4294967295"), None).is_err(),
        "it would mean nobody"
    );
}

#[test]
fn a_record_is_kept_by_one_and_one_that_is_damaged_says_nothing() {
    let (_folder, root) = folder();
    let set = settings(&root.join("set"), "");
    let file = RecordFile::open(&root, &set.name).unwrap();
    let other = RecordFile::open(&root, &set.name).err().unwrap();
    assert!(other.to_string().contains("another kvagent"));
    let installed = install(&set, 4, "site").unwrap();
    let record = Record {
        serial: 4,
        installed: Some(installed),
        ..Record::default()
    };
    file.save(&record).unwrap();
    let loaded = file.load();
    assert_eq!(
        (loaded.serial, loaded.installed.as_ref().unwrap().revision),
        (4, 7)
    );
    assert!(loaded.owes_hook());
    let path = root.join("records/s.json");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read_to_string(&path).unwrap();
    for damaged in ["", "{", &text.replace("\"format\": 1", "\"format\": 2")] {
        fs::write(&path, damaged).unwrap();
        assert!(file.load().installed.is_none());
    }
}
