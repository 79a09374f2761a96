//! Reads: one key, a page of a range, a whole range at one revision.

use holdfast_proto::{Key, KeyRange, Revision, v1};

use crate::{
    Client, Consistency, Found, Page, RangeOptions, ReadError, ReadOptions,
    call::Answer,
    entry::{Unreadable, entries},
    node::Needs,
};

impl Client {
    /// Reads a key as it is now. `None`: there is no such key.
    pub async fn get<K>(&self, key: K) -> Result<Option<Found>, ReadError>
    where
        K: TryInto<Key>,
        K::Error: std::fmt::Display,
    {
        self.get_with(key, ReadOptions::default()).await
    }

    /// Reads a key, at an old revision or with less freshness.
    pub async fn get_with<K>(
        &self,
        key: K,
        options: ReadOptions,
    ) -> Result<Option<Found>, ReadError>
    where
        K: TryInto<Key>,
        K::Error: std::fmt::Display,
    {
        let key = parse_key(key)?;
        let options = RangeOptions {
            limit: 1,
            revision: options.revision,
            consistency: options.consistency,
            ..RangeOptions::default()
        };
        let page = self.range(KeyRange::single(&key), options).await?;
        let Some(entry) = page.entries.into_iter().next() else {
            return Ok(None);
        };
        if entry.value.is_none() {
            return Err(Unreadable("value").into());
        }
        Ok(Some(Found {
            entry,
            revision: page.revision,
            origin: page.origin,
            age: page.age,
        }))
    }

    /// Reads a page of a range. Go on with [`KeyRange::continue_from`] its `next` key, at its
    /// `revision`; or use [`Client::range_all`].
    pub async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, ReadError> {
        let mut call = self.reading();
        if options.consistency == Consistency::Local {
            call.needs = Needs::Node;
        }
        let request = v1::RangeRequest {
            range: Some(range.into()),
            limit: options.limit,
            keys_only: options.keys_only,
            count_only: options.count_only,
            revision: options.revision.map_or(0, Revision::get),
            consistency: match options.consistency {
                Consistency::Linearizable => v1::Consistency::Linearizable,
                Consistency::Local => v1::Consistency::Local,
            }
            .into(),
        };
        let answer = self
            .call(call, |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.kv().range(request).await }
            })
            .await?;
        Ok(page(answer)?)
    }

    /// Reads a whole range at one revision, page by page. `options.limit` is the size of a page.
    pub async fn range_all(
        &self,
        range: KeyRange,
        options: RangeOptions,
    ) -> Result<Page, ReadError> {
        let mut whole = self.range(range.clone(), options.clone()).await?;
        while let (true, Some(next)) = (whole.more, whole.next.take()) {
            let options = RangeOptions {
                revision: Revision::new(whole.revision),
                ..options.clone()
            };
            let rest = range.continue_from(next.to_bytes());
            let part = self.range(rest, options).await?;
            whole.entries.extend(part.entries);
            whole.more = part.more;
            whole.next = part.next;
            whole.age += part.age;
        }
        Ok(whole)
    }
}

fn page(answer: Answer<v1::RangeResponse>) -> Result<Page, Unreadable> {
    let wire = answer.message;
    let next = (wire.more && !wire.next_key.is_empty())
        .then(|| Key::new(wire.next_key))
        .transpose()
        .map_err(|_| Unreadable("next key"))?;
    Ok(Page {
        entries: entries(wire.entries)?,
        revision: wire.revision,
        more: wire.more,
        next,
        count: wire.count,
        origin: answer.origin,
        age: answer.age,
    })
}

pub(crate) fn parse_key<K>(key: K) -> Result<Key, ReadError>
where
    K: TryInto<Key>,
    K::Error: std::fmt::Display,
{
    key.try_into().map_err(|error| ReadError::Invalid {
        message: error.to_string(),
    })
}
