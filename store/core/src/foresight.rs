//! Looking ahead: what a batch of commands needs lies in places that nobody has looked at for long. One
//! after the other, the processor would wait for memory at each of them. Looked at side by side, it waits
//! for many at a time.
//!
//! Nothing depends on it but speed: it reads, and forgets what it read.

use std::{hint::black_box, sync::Arc};

use holdfast_proto::Key;

use crate::{
    State,
    command::{Body, Command},
    entry::{Entry, VersionMeta},
    operation::Operation,
};

impl State {
    /// Looks at what applying these commands will look at: the entries and histories of the keys that
    /// they put, the sessions that they are requests of, and what leaves the window for watches.
    pub fn look_ahead<'a>(&self, commands: impl Iterator<Item = &'a Command>) {
        let (mut count, mut keys, mut sessions) = (0, Vec::new(), Vec::new());
        for command in commands {
            count += 1;
            note_keys(command, &mut keys);
            let request = command.request.as_ref();
            sessions.extend(request.and_then(|request| self.sessions.all.get(&request.session)));
        }
        if keys.len() < 2 {
            // Nothing could be side by side.
            return;
        }
        // In rounds: each needs only what the one before has brought, so none of its places waits for
        // another one of it.
        let leaving = self.recent.next_to_leave(count);
        let leaving: Vec<&Arc<Entry>> = leaving
            .filter_map(|change| change.events.first()?.before.as_ref())
            .collect();
        let known: Vec<_> = keys
            .into_iter()
            .filter_map(|key| self.keys.current_with_history(key))
            .collect();
        for entry in &leaving {
            black_box(Arc::as_ptr(&entry.meta));
        }
        for (entry, history) in &known {
            black_box(Arc::as_ptr(&entry.meta));
            black_box(history.map(|history| history.bytes));
        }
        for session in &sessions {
            black_box(session.floor);
        }
        for entry in leaving {
            glance_at_meta(&entry.meta);
        }
        for session in &sessions {
            black_box(session.first_answer().map(Arc::as_ptr));
        }
        for (entry, history) in &known {
            black_box(entry.meta.version);
            black_box(
                history
                    .and_then(|history| history.newest())
                    .map(Arc::as_ptr),
            );
        }
        for session in sessions {
            black_box(session.first_answer().map(|answer| answer.bytes));
        }
    }
}

/// Looks at a version. Who reads many of them one by one looks at some of the next ones first.
pub(crate) fn glance(key: &Key, meta: &VersionMeta) {
    black_box(key.as_bytes().first());
    glance_at_meta(meta);
}

/// As [`glance`], where the key has just been looked at.
pub(crate) fn glance_at_meta(meta: &VersionMeta) {
    // It takes two lines of the processor's cache.
    black_box(meta.revision);
    black_box(meta.bytes);
}

/// So many are looked at at once, where there is no end of them.
pub(crate) const AT_ONCE: usize = 64;

/// The keys that a command puts.
fn note_keys<'a>(command: &'a Command, keys: &mut Vec<&'a Key>) {
    match &command.body {
        Body::Put(put) => keys.push(&put.put.key),
        Body::Transact(transaction) => {
            let puts = transaction
                .then
                .iter()
                .filter_map(|operation| match operation {
                    Operation::Put(put) => Some(&put.key),
                    _ => None,
                });
            keys.extend(puts);
        }
        _ => {}
    }
}
