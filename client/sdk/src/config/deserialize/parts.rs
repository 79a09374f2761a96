//! What a value is made of: fields, items, the content of a variant.

use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, value::StrDeserializer};
use serde_json::Value as Json;

use super::Reader;
use crate::config::{
    error::FieldError,
    tree::{Fields, Tree},
};

/// The fields of a branch.
pub(super) struct Map<'t> {
    fields: std::collections::btree_map::Iter<'t, &'t str, Tree<'t>>,
    next: Option<(&'t str, &'t Tree<'t>)>,
}

impl<'t> Map<'t> {
    pub(super) fn new(fields: &'t Fields<'t>) -> Self {
        Self {
            fields: fields.iter(),
            next: None,
        }
    }
}

impl<'de> MapAccess<'de> for Map<'_> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FieldError> {
        let Some((name, tree)) = self.fields.next() else {
            return Ok(None);
        };
        self.next = Some((name, tree));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, FieldError> {
        let (name, tree) = self.next.take().expect("a value comes after its key");
        seed.deserialize(Reader::of(tree))
            .map_err(|error| error.below(name))
    }
}

/// The fields of a JSON object.
pub(super) struct JsonMap<'t> {
    in_secret: bool,
    fields: serde_json::map::Iter<'t>,
    next: Option<(&'t str, &'t Json)>,
}

impl<'t> JsonMap<'t> {
    pub(super) fn new(fields: &'t serde_json::Map<String, Json>, in_secret: bool) -> Self {
        Self {
            in_secret,
            fields: fields.iter(),
            next: None,
        }
    }
}

impl<'de> MapAccess<'de> for JsonMap<'_> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FieldError> {
        let Some((name, json)) = self.fields.next() else {
            return Ok(None);
        };
        self.next = Some((name, json));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, FieldError> {
        let (name, json) = self.next.take().expect("a value comes after its key");
        seed.deserialize(Reader::of_json(json, self.in_secret))
            .map_err(|error| error.below(name))
    }
}

/// The items of a JSON array.
pub(super) struct Items<'t> {
    in_secret: bool,
    items: std::iter::Enumerate<std::slice::Iter<'t, Json>>,
}

impl<'t> Items<'t> {
    pub(super) fn new(items: &'t [Json], in_secret: bool) -> Self {
        Self {
            in_secret,
            items: items.iter().enumerate(),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FieldError> {
        let Some((index, item)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader::of_json(item, self.in_secret))
            .map(Some)
            .map_err(|error| error.below(&index.to_string()))
    }
}

/// A variant of an enum with its content.
pub(super) struct Variant<'t> {
    pub(super) name: &'t str,
    pub(super) content: Reader<'t>,
}

impl<'de, 't> EnumAccess<'de> for Variant<'t> {
    type Error = FieldError;
    type Variant = Reader<'t>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Reader<'t>), FieldError> {
        let variant = seed.deserialize(StrDeserializer::<FieldError>::new(self.name))?;
        Ok((variant, self.content))
    }
}
