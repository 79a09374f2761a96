//! Which layers there are for one key of a configuration, and which one counts at some place.

use holdfast_proto::{Key, KeyRange, Revision};

use super::{
    ConfigError,
    layers::{Layer, Place, split},
};
use crate::{Client, Entry, RangeOptions, ReadError, ReadOptions};

/// What the store has for a key of a configuration, layer by layer. From [`Client::config_layers`].
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigLayers {
    /// From the one that counts least to the one that counts most, those of other places among them.
    pub entries: Vec<LayerEntry>,
    /// Keys that are in the way: no configuration is made of them.
    pub odd: Vec<Key>,
    /// The revision that was read.
    pub revision: u64,
}

/// A key in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerEntry {
    /// The layer.
    pub layer: Layer,
    /// The key's version. The value of a secret is empty.
    pub entry: Entry,
    /// Whether the layer is one of the place that was asked for.
    pub applies: bool,
    /// Whether it is the one that counts there.
    pub counts: bool,
}

impl Client {
    /// What the store has for a key of a configuration, such as `billing/timeout`, and which of that counts
    /// at a place. The key is the cluster's own, without an `@`.
    pub async fn config_layers(&self, key: &Key, place: &Place) -> Result<ConfigLayers, ReadError> {
        let text = key.as_str().filter(|text| !text.contains('@'));
        let Some(text) = text else {
            return Err(ReadError::Invalid {
                message: format!(
                    "{key} is no key of a configuration for all: name it without what follows `@`"
                ),
            });
        };
        let overrides = KeyRange::prefix(format!("{text}@"));
        let page = self.range_all(overrides, RangeOptions::default()).await?;
        let options = ReadOptions {
            revision: Revision::new(page.revision),
            ..ReadOptions::default()
        };
        let own = self.get_with(key.clone(), options).await?;
        let all = own.map(|own| own.entry).into_iter().chain(page.entries);
        Ok(layers(all, place, page.revision))
    }
}

fn layers(all: impl Iterator<Item = Entry>, place: &Place, revision: u64) -> ConfigLayers {
    let (mut entries, mut odd) = (Vec::new(), Vec::new());
    for entry in all {
        match split("", &entry).map(|(_, layer)| layer) {
            Ok(layer) => {
                let rank = place.rank(&layer);
                let entry = LayerEntry {
                    applies: rank.is_some(),
                    counts: false,
                    layer,
                    entry,
                };
                entries.push((rank, entry));
            }
            Err(ConfigError::Key { key, .. }) => odd.push(key),
            Err(_) => odd.push(entry.key),
        }
    }
    // Those of other places first, then as they count.
    entries.sort_by_key(|(rank, _)| *rank);
    if let Some((Some(_), most)) = entries.last_mut() {
        most.counts = true;
    }
    ConfigLayers {
        entries: entries.into_iter().map(|(_, entry)| entry).collect(),
        odd,
        revision,
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::v1;

    use super::*;

    fn entry(key: &str) -> Entry {
        let text = v1::value::Kind::Text(key.to_owned());
        let wire = v1::Entry {
            key: key.as_bytes().to_vec().into(),
            value: Some(v1::Value { kind: Some(text) }),
            modified: 1,
            ..v1::Entry::default()
        };
        Entry::from_wire(wire).unwrap()
    }

    #[test]
    fn the_layer_that_counts_is_the_one_a_configuration_would_take() {
        let keys = [
            "p/a",
            "p/a@node:n1",
            "p/a@role:db",
            "p/a@role:web",
            "p/a@web",
        ];
        let cases: [(Place, &str, usize); 4] = [
            (Place::default(), "p/a", 1),
            (Place::default().role("web").role("db"), "p/a@role:db", 3),
            (Place::default().role("db").node("n1"), "p/a@node:n1", 3),
            (Place::default().node("n2"), "p/a", 1),
        ];
        for (place, counts, applying) in cases {
            let found = layers(keys.iter().map(|key| entry(key)), &place, 1);
            let counting = found.entries.iter().filter(|entry| entry.counts);
            let counting: Vec<_> = counting.map(|entry| entry.entry.key.to_string()).collect();
            assert_eq!(counting, [counts], "{place:?}");
            let applies = found.entries.iter().filter(|entry| entry.applies);
            assert_eq!(applies.count(), applying, "{place:?}");
            assert_eq!(found.odd.len(), 1);
        }
        let elsewhere = layers(std::iter::once(entry("p/a@node:n1")), &Place::default(), 1);
        assert!(!elsewhere.entries[0].counts);
    }
}
