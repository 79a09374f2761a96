//! The emergency override of a configuration: looked for beside the store, as long as the service runs.
//!
//! Invariants: (1) a file that is refused changes nothing: what was in use before stays, until it runs
//! out or its file is gone. (2) What ran out, or whose signer is an administrator no more, is wanted no
//! more, whatever lies there.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

use crate::{
    Override, OverrideError,
    overrides::{Administrators, Authority},
};

/// Looks at one file.
pub(super) struct Overriding {
    path: PathBuf,
    prefix: String,
    authority: Authority,
    administrators: Arc<Administrators>,
    told: watch::Receiver<Option<Arc<[String]>>>,
    /// When the file was written, and how long it is, as it was looked at last.
    seen: Option<(SystemTime, u64)>,
    next_look: Instant,
    wanted: Option<Wanted>,
    problem: Option<String>,
    /// What was said last of both. Who waits may be called away before it is.
    said: (Option<Arc<Override>>, Option<String>),
}

/// One that is to be used.
struct Wanted {
    /// The whole file; empty: it is there no more.
    text: String,
    checked: Arc<Override>,
    /// Its end on a clock that nobody sets.
    ends: Instant,
}

impl Overriding {
    pub(super) fn new(
        path: PathBuf,
        prefix: &str,
        authority: Authority,
        administrators: Arc<Administrators>,
    ) -> Self {
        Self {
            path,
            prefix: prefix.to_owned(),
            authority,
            told: administrators.subscribe(),
            administrators,
            seen: None,
            next_look: Instant::now(),
            wanted: None,
            problem: None,
            said: (None, None),
        }
    }

    /// The one that is to be used now.
    pub(super) fn wanted(&self) -> Option<&Arc<Override>> {
        self.wanted.as_ref().map(|wanted| &wanted.checked)
    }

    /// Why what lies there is not used, if something does.
    pub(super) fn problem(&self) -> Option<&String> {
        self.problem.as_ref()
    }

    /// The one that is wanted cannot be used, for no configuration comes of it. What is in use stays, as
    /// long as it counts.
    pub(super) fn refuse(&mut self, why: impl std::fmt::Display, in_use: Option<Arc<Override>>) {
        self.problem = Some(self.in_words(why));
        let wanted = self.wanted.take();
        let in_use =
            in_use.filter(|in_use| wanted.as_ref().is_some_and(|it| it.checked != *in_use));
        self.wanted = in_use.map(|in_use| Wanted::new(String::new(), in_use));
        self.said = self.now();
    }

    /// What was refused may be taken now.
    pub(super) fn look_again(&mut self) {
        self.seen = None;
    }

    /// It counts no more, and nothing else is there to be used.
    pub(super) fn keep_what_ended(&mut self, why: impl std::fmt::Display) {
        self.problem = Some(format!(
            "the override {} ran out or was taken away, and what it made is still in use, for no \
             configuration is left without it: {why}",
            self.path.display()
        ));
        self.said = self.now();
    }

    fn now(&self) -> (Option<Arc<Override>>, Option<String>) {
        (self.wanted().cloned(), self.problem.clone())
    }

    /// Whether a file is there.
    pub(super) async fn is_there(&self) -> bool {
        tokio::fs::try_exists(&self.path).await.unwrap_or(true)
    }

    /// Waits until another one is wanted, none is, or there is another problem.
    pub(super) async fn changed(&mut self) {
        loop {
            let ends = self.wanted.as_ref().map(|wanted| wanted.ends);
            let next = ends.map_or(self.next_look, |ends| ends.min(self.next_look));
            tokio::select! {
                _ = self.told.changed() => self.look_again(),
                () = tokio::time::sleep_until(next) => {}
            }
            let has_changed = self.look().await;
            self.next_look = Instant::now() + LOOK;
            if has_changed {
                return;
            }
        }
    }

    /// Looks at the file, if it is another one. `true`: something has changed.
    pub(super) async fn look(&mut self) -> bool {
        self.end_what_ran_out();
        match stamp(&self.path).await {
            Ok(stamp) if self.seen == Some(stamp) => {}
            Ok(stamp) => {
                self.read().await;
                // Not before: who waits for this may be called away.
                self.seen = Some(stamp);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.seen, self.wanted, self.problem) = (None, None, None);
            }
            Err(error) => self.problem = Some(self.in_words(error)),
        }
        let now = self.now();
        let is_news = now != self.said;
        self.said = now;
        is_news
    }

    fn end_what_ran_out(&mut self) {
        let is_over = |wanted: &Wanted| {
            wanted.ends <= Instant::now() || wanted.checked.expires() <= SystemTime::now()
        };
        if self.wanted.as_ref().is_some_and(is_over) {
            self.wanted = None;
            self.problem = Some(self.in_words(OverrideError::Expired(Duration::ZERO)));
        }
        // Whatever lies there by now.
        let known = self.administrators.known();
        let is_none = |wanted: &Wanted| {
            let names = |known: &[String]| known.iter().any(|it| it == wanted.checked.signer());
            known.as_deref().is_some_and(|known| !names(known))
        };
        if let Some(wanted) = self.wanted.take_if(|wanted| is_none(wanted)) {
            let signer = wanted.checked.signer().to_owned();
            self.problem = Some(self.in_words(OverrideError::NotAdministrator { signer }));
        }
    }

    async fn read(&mut self) {
        let text = match read(&self.path).await {
            Ok(text) => text,
            Err(error) => {
                self.problem = Some(self.in_words(error));
                return;
            }
        };
        let (now, known) = (SystemTime::now(), self.administrators.known());
        let known = known.as_deref();
        match Override::read(&self.authority, &self.prefix, known, &text, now) {
            Ok(checked) => {
                self.problem = None;
                self.wanted = Some(Wanted::new(text, Arc::new(checked)));
            }
            Err(error) => {
                self.problem = Some(self.in_words(error));
                // It is the very one that is in use: it counts no more.
                if self.wanted.as_ref().is_some_and(|one| one.text == text) {
                    self.wanted = None;
                }
            }
        }
    }

    fn in_words(&self, why: impl std::fmt::Display) -> String {
        format!("the override {} is not used: {why}", self.path.display())
    }
}

impl Wanted {
    fn new(text: String, checked: Arc<Override>) -> Self {
        let life = checked.expires().duration_since(SystemTime::now());
        Self {
            ends: Instant::now() + life.unwrap_or_default(),
            text,
            checked,
        }
    }
}

async fn stamp(path: &PathBuf) -> io::Result<(SystemTime, u64)> {
    let file = tokio::fs::metadata(path).await?;
    Ok((file.modified()?, file.len()))
}

async fn read(path: &PathBuf) -> io::Result<String> {
    use tokio::io::AsyncReadExt as _;
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(LONGEST).read_to_string(&mut text).await?;
    Ok(text)
}

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes. What is cut off is not whole, and refused.
const LONGEST: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says so by failing")]

    use super::*;
    use crate::{Context, OverrideFormat, OverrideTerms};

    macro_rules! pem {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/suite/trust/", $name)).to_vec()
        };
    }

    #[tokio::test]
    async fn one_whose_signer_is_no_administrator_any_more_ends_whatever_lies_there() {
        let context = Context {
            cluster: "home".to_owned(),
            ca: pem!("ca.crt"),
            cert: pem!("client.crt"),
            key: pem!("client.key"),
            ..Context::default()
        };
        let terms = OverrideTerms {
            prefix: "shop/".to_owned(),
            lifetime: Duration::from_secs(3_600),
            reason: "the database moved".to_owned(),
        };
        let (format, now) = (OverrideFormat::Toml, SystemTime::now());
        let text = Override::sign(&context, &terms, format, "number = 42\n", now).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("override");
        std::fs::write(&path, text).unwrap();
        let administrators = Arc::new(Administrators::unknown());
        administrators.learn(&["client/admin"]);
        let authority = Authority::of(&context);
        let known = Arc::clone(&administrators);
        let mut overriding = Overriding::new(path.clone(), "shop/", authority, known);
        assert!(overriding.look().await);
        assert!(overriding.wanted().is_some());

        // What is refused changes nothing by itself.
        std::fs::write(&path, "not an override").unwrap();
        overriding.look().await;
        assert!(overriding.wanted().is_some());
        administrators.learn(&["client/other"]);
        assert!(overriding.look().await);
        assert!(overriding.wanted().is_none());
    }
}
