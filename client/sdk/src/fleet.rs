//! The fleet: what each service says it runs, and who says so.
//!
//! A [`Reporter`] tells the cluster, in the background, which revision of a configuration (or of a set
//! of files) this process uses, which it refused and why; [`crate::Config`] has one of its own. The
//! cluster keeps the last word of each, through restarts and failover, so who died is still listed.
//!
//! Reports take no revision, and no report holds a value.

mod instance;
mod report;
mod reporter;
mod told;

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use holdfast_proto::{Timestamp, limits, v1};

pub use self::{
    instance::default_instance,
    report::{Report, ReportItem, ReportState, ReportedOverride, Subject},
    reporter::{Reporter, ReporterStatus},
};
use crate::{Client, Consistency, ReadError, WriteError, node::Needs};

/// Who runs what. From [`Client::fleet`].
#[derive(Clone, Debug)]
pub struct FleetClient {
    client: Client,
}

/// What the cluster knows of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The last word of each instance on each subject, the worst first.
    pub entries: Vec<FleetEntry>,
    /// The newest revision of the whole store.
    pub revision: u64,
    /// Cluster time.
    pub now: Timestamp,
}

/// The last word of one instance on one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetEntry {
    /// What it said. Its age is as it was then.
    pub report: Report,
    /// Who said so, by its certificate: `client/NAME`.
    pub identity: String,
    /// Which of that identity's processes.
    pub instance: String,
    /// The name of its program's file.
    pub program: String,
    /// The version of its SDK.
    pub version: String,
    /// When it was heard last, in cluster time.
    pub heard_at: Timestamp,
    /// How long ago that was.
    pub heard: Duration,
    /// Since when it says the same, in cluster time.
    pub since: Timestamp,
    /// The newest revision under the prefix; 0: not known.
    pub newest: u64,
    /// Whether two processes report by this name: each needs one of its own.
    pub is_shared: bool,
}

/// What an operator makes of a report. The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Standing {
    /// It refused the newest state that it saw.
    Rejected,
    /// It was not heard for three minutes: what it runs now is not known.
    Stale,
    /// It uses an older revision than there is, and does not say why.
    Behind,
    /// It has not judged the newest state yet.
    Pending,
    /// An emergency override is in use.
    Overridden,
    /// It uses what it should, and says that something is wrong all the same.
    Troubled,
    /// It uses what it should.
    Applied,
}

/// Which reports are to be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgetOptions {
    /// Of this identity alone: `client/NAME`.
    pub identity: Option<String>,
    /// Of this instance alone.
    pub instance: Option<String>,
    /// On this set of files alone; `Some("")`: on configurations alone.
    pub set: Option<String>,
    /// Of those alone that are stale.
    pub stale: bool,
}

impl Client {
    /// Who runs what.
    pub fn fleet(&self) -> FleetClient {
        FleetClient {
            client: self.clone(),
        }
    }
}

impl FleetClient {
    /// The last word of each instance on subjects whose prefix begins with this one.
    pub async fn list(&self, prefix: impl Into<Bytes>) -> Result<Fleet, ReadError> {
        self.list_with(prefix, Consistency::Linearizable).await
    }

    /// As [`FleetClient::list`]; a local one is answered without a majority, too.
    pub async fn list_with(
        &self,
        prefix: impl Into<Bytes>,
        consistency: Consistency,
    ) -> Result<Fleet, ReadError> {
        let message = v1::FleetListRequest {
            prefix: prefix.into(),
            consistency: match consistency {
                Consistency::Linearizable => v1::Consistency::Linearizable,
                Consistency::Local => v1::Consistency::Local,
            }
            .into(),
        };
        let mut call = self.client.reading();
        if consistency == Consistency::Local {
            call.needs = Needs::Node;
        }
        let answer = self
            .client
            .call(call, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.fleet().list(request).await }
            })
            .await?
            .message;
        Ok(Fleet::from_wire(answer))
    }

    /// Has reports forgotten on subjects whose prefix begins with this one; returns how many. Whoever
    /// still runs reports again.
    pub async fn forget(
        &self,
        prefix: impl Into<Bytes>,
        options: ForgetOptions,
    ) -> Result<u64, WriteError> {
        let write = self.client.begin_write();
        let message = v1::FleetForgetRequest {
            prefix: prefix.into(),
            set: options.set,
            identity: options.identity.unwrap_or_default(),
            instance: options.instance,
            stale: options.stale,
            request: Some(write.id().into()),
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.fleet().forget(request).await }
            })
            .await?;
        Ok(answer.message.forgotten)
    }

    /// Whose signature an emergency override counts by: `client/NAME`.
    pub async fn administrators(&self) -> Result<Vec<String>, ReadError> {
        let answer = self
            .client
            .call(self.client.reading(), |attempt| {
                let request = attempt.request(v1::FleetAdministratorsRequest {});
                async move { attempt.fleet().administrators(request).await }
            })
            .await?;
        Ok(answer.message.identities)
    }
}

impl Fleet {
    fn from_wire(wire: v1::FleetListResponse) -> Self {
        let now = Timestamp::from_millis(wire.now_ms);
        let newest: HashMap<Bytes, u64> = wire
            .prefixes
            .into_iter()
            .map(|prefix| (prefix.prefix, prefix.newest))
            .collect();
        let entries = wire.entries.into_iter();
        let mut entries: Vec<_> = entries
            .map(|entry| FleetEntry::from_wire(entry, &newest, now))
            .collect();
        entries.sort_by_cached_key(|entry| {
            (
                entry.standing(),
                entry.report.subject.clone(),
                entry.identity.clone(),
                entry.instance.clone(),
            )
        });
        Self {
            entries,
            revision: wire.header.unwrap_or_default().revision,
            now,
        }
    }
}

impl FleetEntry {
    fn from_wire(wire: v1::FleetEntry, newest: &HashMap<Bytes, u64>, now: Timestamp) -> Self {
        let mut report = wire.report.unwrap_or_default();
        let heard_at = Timestamp::from_millis(wire.heard_at_ms);
        Self {
            identity: wire.identity,
            instance: std::mem::take(&mut report.instance),
            program: std::mem::take(&mut report.program),
            version: std::mem::take(&mut report.version),
            heard_at,
            heard: Duration::from_millis(now.millis_since(heard_at)),
            since: Timestamp::from_millis(wire.since_ms),
            newest: newest.get(&report.prefix).copied().unwrap_or_default(),
            is_shared: wire.shared_at_ms != 0
                && now.millis_since(Timestamp::from_millis(wire.shared_at_ms))
                    < limits::FLEET_STALE_MS,
            report: Report::from_wire(report),
        }
    }

    /// How it is to be seen.
    pub fn standing(&self) -> Standing {
        let report = &self.report;
        if self.heard >= Duration::from_millis(limits::FLEET_STALE_MS) {
            return Standing::Stale;
        }
        match report.state {
            ReportState::Rejected => Standing::Rejected,
            ReportState::Pending => Standing::Pending,
            ReportState::Applied if report.revision < self.newest => Standing::Behind,
            ReportState::Applied if report.override_in_use.is_some() => Standing::Overridden,
            ReportState::Applied if self.is_troubled() => Standing::Troubled,
            ReportState::Applied => Standing::Applied,
        }
    }

    fn is_troubled(&self) -> bool {
        let report = &self.report;
        !report.detail.is_empty() || self.is_shared || report.items.iter().any(|item| item.failed)
    }
}

impl Standing {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Stale => "stale",
            Self::Behind => "behind",
            Self::Pending => "pending",
            Self::Overridden => "overridden",
            Self::Troubled => "troubled",
            Self::Applied => "applied",
        }
    }
}
