//! From the lines' meaning to a document: the top key, one spelling a name, the last word wins.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Deletion, Document, Parameter, name},
    DEFAULT, NAMED_DEFAULT,
    scan::{Item, What},
};

pub(super) fn collect(items: Vec<Item>) -> Document {
    let mut collector = Collector {
        top: top(&items),
        ..Collector::default()
    };
    let mut key = String::new();
    for Item { line, what } in items {
        match what {
            What::Key(path) => key = collector.relative(&path),
            What::DeleteKey(path) => {
                let tree = collector.relative(&path);
                collector.delete_tree(tree);
            }
            What::Value(name, value) => {
                let key = collector.value_key(&key, name.as_deref());
                let id = key.to_lowercase();
                collector.deleted_keys.remove(&id);
                let place = collector.entries.len();
                let line = Some(line);
                collector
                    .entries
                    .insert(id, (place, Parameter { key, value, line }));
            }
            What::DeleteValue(name) => {
                let key = collector.value_key(&key, name.as_deref());
                let id = key.to_lowercase();
                collector.entries.remove(&id);
                collector.deleted_keys.insert(id, key);
            }
        }
    }
    collector.finish()
}

#[derive(Default)]
struct Collector {
    /// Parts of the top key, in lower case.
    top: Vec<String>,
    /// The first spelling of each name, by what stands for it in lower case.
    spellings: BTreeMap<String, String>,
    /// By key in lower case: place in the file's order, parameter.
    entries: BTreeMap<String, (usize, Parameter)>,
    deleted_keys: BTreeMap<String, String>,
    deleted_trees: BTreeSet<String>,
}

impl Collector {
    /// A key's path below the top, as parts that each end with `/`.
    fn relative(&mut self, path: &[String]) -> String {
        let mut id = String::new();
        let mut relative = String::new();
        for part in path.iter().skip(self.top.len()) {
            id.push_str(&part.to_lowercase());
            id.push('\\');
            let part = self
                .spellings
                .entry(id.clone())
                .or_insert_with(|| name::encode(part));
            relative.push_str(part);
            relative.push('/');
        }
        relative
    }

    fn value_key(&mut self, above: &str, value: Option<&str>) -> String {
        let part = match value {
            None => DEFAULT.to_owned(),
            Some(DEFAULT) => NAMED_DEFAULT.to_owned(),
            Some(value) => name::encode(value),
        };
        let key = format!("{above}{part}");
        let spelling = self.spellings.entry(key.to_lowercase());
        spelling.or_insert(key).clone()
    }

    fn delete_tree(&mut self, tree: String) {
        let id = tree.to_lowercase();
        self.entries.retain(|key, _| !key.starts_with(&id));
        self.deleted_keys.retain(|key, _| !key.starts_with(&id));
        self.deleted_trees.insert(tree);
    }

    fn finish(self) -> Document {
        let mut entries: Vec<_> = self.entries.into_values().collect();
        entries.sort_by_key(|(place, parameter)| (parameter.line, *place));
        let trees = self.deleted_trees.into_iter().map(Deletion::Tree);
        let keys = self.deleted_keys.into_values().map(Deletion::Key);
        Document {
            entries: entries
                .into_iter()
                .map(|(_, parameter)| parameter)
                .collect(),
            deletions: trees.chain(keys).collect(),
        }
    }
}

/// The deepest key that every key of the file lies in, in lower case.
fn top(items: &[Item]) -> Vec<String> {
    let lower = |path: &[String]| {
        path.iter()
            .map(|part| part.to_lowercase())
            .collect::<Vec<_>>()
    };
    let mut top: Option<Vec<String>> = None;
    for item in items {
        if let What::Key(path) = &item.what {
            top = Some(match top {
                Some(top) => common(&top, &lower(path)),
                None => lower(path),
            });
        }
    }
    for item in items {
        if let What::DeleteKey(path) = &item.what {
            let path = lower(path);
            top = Some(match top {
                Some(top) if path.starts_with(&top) => top,
                Some(top) if top.starts_with(&path) => path,
                Some(top) => common(&top, &path),
                // Deleting is all the file does: never take its own top for the whole prefix.
                None => path[..path.len() - 1].to_vec(),
            });
        }
    }
    top.unwrap_or_default()
}

fn common(first: &[String], second: &[String]) -> Vec<String> {
    let pairs = first.iter().zip(second);
    pairs
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.clone())
        .collect()
}
