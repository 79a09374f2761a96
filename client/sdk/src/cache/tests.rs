//! Whatever bytes lie where a cache should be: what was saved comes back whole, or nothing does.

use std::{fs, path::PathBuf, sync::Arc, time::SystemTime};

use holdfast_proto::v1;
use proptest::prelude::*;

use super::*;
use crate::{Entry, Secret, mirror::Kept};

const HOUR: Duration = Duration::from_secs(3_600);

/// A cache, its folder, and the bytes of two states that were saved one after the other.
struct Scene {
    cache: Cache,
    /// Of each: the cache and its mark.
    saved: [(Vec<u8>, Vec<u8>); 2],
    mark: PathBuf,
    _folder: tempfile::TempDir,
}

/// What of a state is compared.
#[derive(Debug, PartialEq)]
struct Content {
    serial: u64,
    revision: u64,
    changed: u64,
    entries: Vec<Arc<Entry>>,
    secrets: Vec<(Vec<u8>, Vec<u8>)>,
    endpoints: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SymmetricKey::from_slice(&[7; 32]).unwrap();
        let cache = Cache::open(folder.path(), key, "cluster", "shop/").unwrap();
        let mark = cache.path().with_extension("mark");
        let saved = [1, 2].map(|serial| {
            cache.save(&state(serial)).unwrap();
            (fs::read(cache.path()).unwrap(), fs::read(&mark).unwrap())
        });
        Self {
            cache,
            saved,
            mark,
            _folder: folder,
        }
    }

    fn put(&self, cache: &[u8], mark: &[u8]) {
        fs::write(self.cache.path(), cache).unwrap();
        fs::write(&self.mark, mark).unwrap();
    }

    /// What comes of these bytes; a panic is a failure by itself.
    fn load(&self, cache: &[u8], mark: &[u8]) -> Result<Content, CacheError> {
        self.put(cache, mark);
        self.cache.load().map(|saved| content(&saved))
    }

    fn refuses(&self, what: &str, cache: &[u8], mark: &[u8]) {
        match self.load(cache, mark) {
            Err(CacheError::Damaged { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

fn entry(key: &str, modified: u64, value: v1::value::Kind) -> Arc<Entry> {
    let wire = v1::Entry {
        key: key.as_bytes().to_vec().into(),
        value: Some(v1::Value { kind: Some(value) }),
        created: 1,
        modified,
        version: 1,
        ..v1::Entry::default()
    };
    Arc::new(Entry::from_wire(wire).unwrap())
}

/// The state that is saved as this one: a value and a secret, other ones each time.
fn state(serial: u64) -> Saved {
    let text = v1::value::Kind::Text(format!("value {serial}"));
    let sealed = v1::value::Kind::Sealed(v1::Sealed::default());
    let plain = entry("shop/name", serial, text);
    let closed = entry("shop/password", serial, sealed);
    let kept = Kept {
        entry: Arc::clone(&closed),
        secret: Secret::from(format!("hunter{serial}")),
    };
    Saved {
        serial,
        secrets: Secrets::unit(closed.key.clone(), Arc::new(kept)),
        view: MirrorView::of([plain, closed], serial * 10 - 3..=serial * 10),
        confirmed_at: SystemTime::now(),
        endpoints: vec![format!("node{serial}:7101")],
        administrators: Vec::new(),
    }
}

fn content(saved: &Saved) -> Content {
    let secrets = saved.secrets.iter();
    Content {
        serial: saved.serial,
        revision: saved.view.revision(),
        changed: saved.view.changed(),
        entries: saved.view.iter().cloned().collect(),
        secrets: secrets
            .map(|(key, kept)| (key.as_bytes().to_vec(), kept.secret.expose().to_vec()))
            .collect(),
        endpoints: saved.endpoints.clone(),
    }
}

#[test]
fn what_was_saved_comes_back() {
    let scene = Scene::new();
    let [_, (cache, mark)] = &scene.saved;
    assert_eq!(scene.load(cache, mark).unwrap(), content(&state(2)));
}

#[test]
fn how_long_it_was_so_comes_back_from_its_own_mark_alone() {
    let scene = Scene::new();
    let [(_, old_mark), (new, _)] = &scene.saved;
    let later = SystemTime::now();
    scene.cache.set_mark(2, 25, later).unwrap();
    let view = scene.cache.load().unwrap().view;
    assert_eq!((view.changed(), view.revision()), (17, 25));
    // One that is of the file before says nothing of this one.
    scene.cache.set_mark(1, 26, later).unwrap();
    assert_eq!(scene.cache.load().unwrap().view.revision(), 20);
    assert_eq!(scene.load(new, old_mark).unwrap(), content(&state(2)));
}

/// What was noted while the clock was ahead would look young for as long as it was ahead.
#[test]
fn a_mark_may_take_back_a_time_that_was_noted_by_a_clock_ahead() {
    let scene = Scene::new();
    let now = SystemTime::now();
    let ahead = Saved {
        serial: 3,
        confirmed_at: now + HOUR,
        ..state(2)
    };
    scene.cache.save(&ahead).unwrap();
    assert_eq!(scene.cache.load().unwrap().age(), Duration::MAX);
    scene.cache.set_mark(3, 25, now).unwrap();
    assert!(scene.cache.load().unwrap().age() < HOUR);
}

#[test]
fn any_bit_that_is_flipped_has_it_refused() {
    let scene = Scene::new();
    let [_, (cache, mark)] = &scene.saved;
    for (is_mark, bytes) in [(false, cache), (true, mark)] {
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                let what = format!("bit {bit} of byte {place}, of the mark: {is_mark}");
                match is_mark {
                    false => scene.refuses(&what, &changed, mark),
                    true => scene.refuses(&what, cache, &changed),
                }
            }
        }
    }
}

#[test]
fn any_length_but_its_own_has_it_refused() {
    let scene = Scene::new();
    let [_, (cache, mark)] = &scene.saved;
    for length in 0..cache.len() {
        scene.refuses(&format!("{length} bytes"), &cache[..length], mark);
    }
    for length in 0..mark.len() {
        scene.refuses(&format!("a mark of {length}"), cache, &mark[..length]);
    }
    for more in [1, 16, 5000] {
        let longer = |bytes: &[u8]| [bytes, &vec![0; more]].concat();
        scene.refuses("a longer one", &longer(cache), mark);
        scene.refuses("a longer mark", cache, &longer(mark));
    }
}

#[test]
fn an_older_one_is_refused_and_one_that_is_newer_than_its_mark_is_whole() {
    let scene = Scene::new();
    let [(old, old_mark), (new, new_mark)] = &scene.saved;
    let rolled_back = scene.load(old, new_mark);
    let is_rolled_back = matches!(
        rolled_back,
        Err(CacheError::RolledBack {
            found: 1,
            newest: 2,
            ..
        })
    );
    assert!(is_rolled_back, "{rolled_back:?}");
    // The process ended between the two.
    assert_eq!(scene.load(new, old_mark).unwrap(), content(&state(2)));
    // Each in the other's place, and for somebody else.
    scene.refuses("the mark as a cache", new_mark, new_mark);
    scene.refuses("the cache as a mark", new, new);
    for (key, cluster, prefix) in [
        ([8; 32], "cluster", "shop/"),
        ([7; 32], "clusters", "hop/"),
        ([7; 32], "cluster", "mall/"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let key = SymmetricKey::from_slice(&key).unwrap();
        let other = Cache::open(folder.path(), key, cluster, prefix).unwrap();
        fs::write(other.path(), new).unwrap();
        fs::write(other.path().with_extension("mark"), new_mark).unwrap();
        let found = other.load().map(|saved| content(&saved));
        assert!(
            matches!(found, Err(CacheError::Damaged { .. })),
            "{found:?}"
        );
    }
}

/// A process that ends at any step of a save leaves the state before or the new one; and the next save
/// is not in the way of what it left.
#[test]
fn a_save_that_is_broken_off_anywhere_leaves_the_one_before_or_the_new_one() {
    let scene = Scene::new();
    let [(old, old_mark), (new, new_mark)] = &scene.saved;
    let cache_new = scene.cache.path().with_extension("cache-new");
    let mark_new = scene.cache.path().with_extension("mark-new");
    let is = |serial: u64, what: &str| {
        let found = content(&scene.cache.load().unwrap());
        assert_eq!(found, content(&state(serial)), "{what}");
    };
    scene.put(old, old_mark);
    for written in 0..=new.len() {
        fs::write(&cache_new, &new[..written]).unwrap();
        is(1, "the new one is on its way");
    }
    fs::rename(&cache_new, scene.cache.path()).unwrap();
    is(2, "its mark was not begun");
    for written in 0..=new_mark.len() {
        fs::write(&mark_new, &new_mark[..written]).unwrap();
        is(2, "its mark is on its way");
    }
    fs::rename(&mark_new, &scene.mark).unwrap();
    is(2, "it is done");
    // Longer than what is to be written.
    fs::write(&cache_new, vec![1; 10_000]).unwrap();
    fs::write(&mark_new, vec![1; 10_000]).unwrap();
    scene.cache.save(&state(3)).unwrap();
    is(3, "what was left is written over");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn of_two_that_are_spliced_nothing_is_taken(cuts in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 32)) {
        let scene = Scene::new();
        let [(old, _), (new, mark)] = &scene.saved;
        let at = |bytes: &[u8], place: f64| (bytes.len() as f64 * place) as usize;
        for (first, second) in cuts {
            for (head, tail) in [(old, new), (new, old)] {
                // At one place of both, and at any two.
                for second in [first, second] {
                    let spliced = [&head[..at(head, first)], &tail[at(tail, second)..]].concat();
                    if &spliced != old && &spliced != new {
                        scene.refuses("a splice", &spliced, mark);
                    }
                }
            }
        }
    }

    #[test]
    fn of_any_bytes_nothing_is_taken(
        cache in prop::collection::vec(any::<u8>(), 0..2_000),
        kept in 0_usize..200,
    ) {
        let scene = Scene::new();
        let [_, (whole, mark)] = &scene.saved;
        scene.refuses("any bytes", &cache, mark);
        scene.refuses("any bytes as a mark", whole, &cache);
        // With a beginning that is right.
        let begun = [&whole[..kept], &cache[..]].concat();
        scene.refuses("any bytes after a beginning", &begun, mark);
    }

    /// Whoever has the key and writes nonsense gets nothing either, and no panic.
    #[test]
    fn of_nonsense_that_is_sealed_nothing_is_taken(
        plain in prop::collection::vec(any::<u8>(), 0..2_000),
        entries in any::<u64>(),
        secrets in any::<u64>(),
    ) {
        let scene = Scene::new();
        let [_, (_, mark)] = &scene.saved;
        let head = |entries, secrets| file::sealed_for_tests(&scene.cache, entries, secrets, &plain);
        for (entries, secrets) in [(entries, 0), (0, secrets), (entries % 4, secrets % 4), (0, 0)] {
            let bytes = head(entries, secrets);
            match scene.load(&bytes, mark) {
                Err(CacheError::Damaged { .. }) => {}
                // It happens to be right: an empty one.
                Ok(found) => prop_assert!(plain.is_empty() && found.entries.is_empty()),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn any_state_comes_back(
        values in prop::collection::btree_map("[a-z]{1,12}", prop::collection::vec(any::<u8>(), 0..3_000), 0..40),
        revision in 1_u64..u64::MAX,
    ) {
        let scene = Scene::new();
        let mut secrets = Secrets::default();
        let mut entries = Vec::new();
        for (number, (name, bytes)) in values.into_iter().enumerate() {
            let key = format!("shop/{name}");
            if number % 2 == 0 {
                entries.push(entry(&key, 1, v1::value::Kind::Bytes(bytes.into())));
                continue;
            }
            let closed = entry(&key, 2, v1::value::Kind::Sealed(v1::Sealed::default()));
            let secret = Secret::from(bytes);
            let kept = Kept { entry: Arc::clone(&closed), secret };
            secrets.insert(closed.key.clone(), Arc::new(kept));
            entries.push(closed);
        }
        let saved = Saved {
            serial: 3,
            view: MirrorView::of(entries, 1..=revision),
            secrets,
            ..state(3)
        };
        scene.cache.save(&saved).unwrap();
        let found = scene.cache.load().unwrap();
        prop_assert_eq!(content(&found), content(&saved));
    }
}
